// UTF8Check: whether bytes are well-formed UTF-8, without a String.

extension RawSpan {
    /// Whether the bytes are well-formed UTF-8 (Unicode 15, table 3-7): no surrogates, no overlong forms.
    public var isUTF8: Bool {
        var index = 0
        while index < byteCount {
            if byteCount >= 8 {
                // The last eight bytes when fewer are left: those before them are well-formed, or these are not all ASCII.
                let word = little(UInt64.self, at: Swift.min(index, byteCount - 8))
                if word & 0x8080_8080_8080_8080 == 0 {
                    index += 8
                    continue
                }
            }
            guard let length = scalarLength(at: index) else { return false }
            index += length
        }
        return true
    }

    /// Whether the bytes stand in a JSON string as they are: no quotation mark, backslash or character below U+0020.
    var isPlainJSON: Bool {
        var index = 0
        while byteCount >= 8, index < byteCount {
            // The last eight bytes when fewer are left.
            let word = little(UInt64.self, at: Swift.min(index, byteCount - 8))
            if SpecialBytes.inJSONString(word) != 0 { return false }
            index += 8
        }
        while index < byteCount {
            let byte = little(UInt8.self, at: index)
            if byte < 0x20 || byte == 0x22 || byte == 0x5c { return false }
            index += 1
        }
        return true
    }

    /// Whether a control character (U+0000-001F, U+007F-009F) is among the characters of valid UTF-8. CloudEvents
    /// forbids them in attributes, and PostgreSQL cannot store U+0000 in a text.
    public var hasControlCharacter: Bool {
        var start = 0
        while byteCount >= 8, start < byteCount {
            // The last eight bytes when fewer are left.
            let word = little(UInt64.self, at: Swift.min(start, byteCount - 8))
            guard SpecialBytes.inText(word) == 0 else { break }
            start += 8
        }
        for index in stride(from: start, to: byteCount, by: 1) {
            let byte = little(UInt8.self, at: index)
            if byte < 0x20 || byte == 0x7f { return true }
            guard byte == 0xc2, index + 1 < byteCount else { continue }
            if little(UInt8.self, at: index + 1) < 0xa0 { return true }
        }
        return false
    }

    /// Bytes of the well-formed character at `index`, or nil.
    private func scalarLength(at index: Int) -> Int? {
        let first = little(UInt8.self, at: index)
        switch first {
        case 0x00...0x7f: return 1
        case 0xc2...0xdf: return follows(index, 1, 0x80...0xbf)
        case 0xe0: return follows(index, 2, 0xa0...0xbf)
        case 0xe1...0xec, 0xee...0xef: return follows(index, 2, 0x80...0xbf)
        case 0xed: return follows(index, 2, 0x80...0x9f)
        case 0xf0: return follows(index, 3, 0x90...0xbf)
        case 0xf1...0xf3: return follows(index, 3, 0x80...0xbf)
        case 0xf4: return follows(index, 3, 0x80...0x8f)
        default: return nil
        }
    }

    /// `continuations` bytes follow `index`, the first of them in `second`.
    private func follows(_ index: Int, _ continuations: Int, _ second: ClosedRange<UInt8>) -> Int? {
        guard index + continuations < byteCount, second.contains(little(UInt8.self, at: index + 1)) else { return nil }
        for offset in stride(from: 2, through: continuations, by: 1)
        where little(UInt8.self, at: index + offset) & 0xc0 != 0x80 {
            return nil
        }
        return continuations + 1
    }
}

/// Finding a byte among eight at a time (SWAR).
public enum SpecialBytes {
    /// Not 0 when a byte of the word may begin a control character: one below 0x20, 0x7f or 0xc2, the first byte of
    /// U+0080-009F. As in `inJSONString`, bits above the lowest one set may be wrong by a carry.
    @inline(__always)
    static func inText(_ word: UInt64) -> UInt64 {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let delete = word ^ (ones &* 0x7f)
        let lead = word ^ (ones &* 0xc2)
        return (((word &- (ones &* 0x20)) & ~word) | ((delete &- ones) & ~delete) | ((lead &- ones) & ~lead))
            & 0x8080_8080_8080_8080
    }

    /// Not 0 when a byte of the word ends or breaks the plain part of a JSON string: a quotation mark, a backslash or one
    /// below 0x20. The lowest bit set is the top bit of the first such byte; bits above it may be wrong by a carry.
    @inlinable
    @inline(__always)
    public static func inJSONString(_ word: UInt64) -> UInt64 {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let quote = word ^ (ones &* 0x22)
        let slash = word ^ (ones &* 0x5c)
        return ((word &- ones &* 0x20) & ~word | (quote &- ones) & ~quote | (slash &- ones) & ~slash)
            & 0x8080_8080_8080_8080
    }
}
