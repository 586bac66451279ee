// Bytes+Text: appending spans, numbers, hexadecimal and JSON text to byte arrays without a String in between.

extension [UInt8] {
    /// Appends a copy of `bytes`.
    @inlinable
    @inline(__always)
    public mutating func append(copying bytes: RawSpan) {
        bytes.withUnsafeBytes { unsafe append(contentsOf: $0) }
    }

    /// Appends the decimal digits of an integer.
    public mutating func appendDecimal(_ value: some FixedWidthInteger) {
        if value < 0 { append(0x2d) }
        appendDigits(UInt64(truncatingIfNeeded: value.magnitude), widthMin: 1)
    }

    /// Appends the decimal digits of `value`, with leading zeros up to `widthMin`.
    public mutating func appendDigits(_ value: UInt64, widthMin: Int) {
        // Written from the back into a register-sized scratch, then appended at once: an append per digit costs more
        // than the digit. 20 digits hold every UInt64.
        var digits = InlineArray<24, UInt8>(repeating: 0x30)
        var start = 24
        var rest = value
        repeat {
            start -= 1
            digits[start] = 0x30 + UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        } while rest > 0
        append(copying: digits.span.bytes.extracting(Swift.min(start, 24 - widthMin)..<24))
    }

    /// Appends the shortest text that reads back as the same Float32, valid as a JSON number.
    ///
    /// At most 15 ASCII characters, which a Swift String holds without an allocation.
    public mutating func appendShortest(_ value: Float) {
        precondition(value.isFinite, "JSON has no text for a number that is not finite")
        append(contentsOf: value.description.utf8)
    }

    /// Appends 16 lower-case hexadecimal digits.
    public mutating func appendHexadecimal(_ value: UInt64) { append(atMost: 16) { $0.putHexadecimal(value) } }

    /// Appends the ASCII characters of a literal.
    @inlinable
    @inline(__always)
    public mutating func append(ascii text: StaticString) {
        unsafe append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    /// Appends a JSON string, quotes included. `text` must be valid UTF-8.
    public mutating func appendJSONString(_ text: RawSpan) {
        append(0x22)
        var clean = 0
        for index in 0..<text.byteCount {
            let byte = text.little(UInt8.self, at: index)
            guard byte < 0x20 || byte == 0x22 || byte == 0x5c else { continue }
            append(copying: text.extracting(clean..<index))
            appendJSONEscape(byte)
            clean = index + 1
        }
        append(copying: text.extracting(clean..<text.byteCount))
        append(0x22)
    }

    /// Appends a JSON string, or `null`.
    public mutating func appendJSONString(orNull text: RawSpan?) {
        guard let text else { return append(ascii: "null") }
        appendJSONString(text)
    }

    mutating func appendJSONEscape(_ byte: UInt8) {
        append(0x5c)
        switch byte {
        case 0x22, 0x5c: append(byte)
        case 0x08: append(0x62)
        case 0x09: append(0x74)
        case 0x0a: append(0x6e)
        case 0x0c: append(0x66)
        case 0x0d: append(0x72)
        default:
            append(ascii: "u00")
            append(Hexadecimal.digit(byte >> 4))
            append(Hexadecimal.digit(byte & 15))
        }
    }
}

/// Reading and writing of lower-case hexadecimal digits.
public enum Hexadecimal {
    /// The digit of 0...15.
    @inline(__always)
    static func digit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 + value : 0x57 + value }

    /// Reads 1 to 16 lower-case digits; nil for anything else.
    public static func parse(_ bytes: RawSpan) -> UInt64? {
        let count = bytes.byteCount
        guard (1...16).contains(count) else { return nil }
        if count == 16 {
            guard let high = number(of: bytes.little(UInt64.self, at: 0)),
                let low = number(of: bytes.little(UInt64.self, at: 8))
            else { return nil }
            return UInt64(high) << 32 | UInt64(low)
        }
        var value: UInt64 = 0
        for index in 0..<count {
            let byte = bytes.little(UInt8.self, at: index)
            switch byte {
            case 0x30...0x39: value = value << 4 | UInt64(byte - 0x30)
            case 0x61...0x66: value = value << 4 | UInt64(byte - 0x57)
            default: return nil
            }
        }
        return value
    }

    // Eight digits in a register, each in its byte (SWAR), the first in the lowest.

    /// The characters of the eight digits of `value`.
    @inline(__always)
    static func characters(of value: UInt32) -> UInt64 {
        var digits = UInt64(value)
        digits = (digits << 16 | digits) & 0x0000_ffff_0000_ffff
        digits = (digits << 8 | digits) & 0x00ff_00ff_00ff_00ff
        digits = (digits << 4 | digits) & 0x0f0f_0f0f_0f0f_0f0f
        return characters(ofDigits: digits.byteSwapped)
    }

    @inline(__always)
    private static func characters(ofDigits digits: UInt64) -> UInt64 {
        let isLetter = ((digits &+ 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101
        return digits &+ 0x3030_3030_3030_3030 &+ isLetter &* 0x27
    }

    /// The value of eight lower-case digits, the characters as they lie in memory read as a little-endian number; nil for
    /// anything else.
    @inline(__always)
    public static func number(of characters: UInt64) -> UInt32? {
        let isLetter = (characters >> 6) & 0x0101_0101_0101_0101
        let digits = (characters & 0x0f0f_0f0f_0f0f_0f0f) &+ isLetter &* 9
        // Written again they must be the same, and each a digit: this refuses every other character.
        guard digits & 0xf0f0_f0f0_f0f0_f0f0 == 0, self.characters(ofDigits: digits) == characters else { return nil }
        var value = digits.byteSwapped
        value = (value >> 4 | value) & 0x00ff_00ff_00ff_00ff
        value = (value >> 8 | value) & 0x0000_ffff_0000_ffff
        return UInt32(truncatingIfNeeded: value >> 16 | value)
    }

    /// Sixteen lower-case digits.
    public static func text(_ value: UInt64) -> String {
        var bytes: [UInt8] = []
        bytes.appendHexadecimal(value)
        return String(decoding: bytes, as: UTF8.self)
    }
}
