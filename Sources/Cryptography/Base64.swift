// Base64: strict base64 and base64url (RFC 4648) without Foundation.

/// Base64 with padding, and base64url without. Decoding accepts exactly one text for each byte string.
public enum Base64 {
    private static let standard = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    private static let url = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

    public static func encode(_ bytes: [UInt8]) -> String { unsafe encode(bytes.span.bytes, standard, isPadded: true) }
    public static func encodeURL(_ bytes: [UInt8]) -> String { unsafe encode(bytes.span.bytes, url, isPadded: false) }
    public static func encodeURL(_ bytes: RawSpan) -> String { encode(bytes, url, isPadded: false) }

    /// Nil unless `text` is padded base64 of something.
    public static func decode(_ text: String) -> [UInt8]? {
        let bytes = Array(text.utf8)
        guard bytes.count % 4 == 0 else { return nil }
        let padding = bytes.reversed().prefix(2).prefix { $0 == 0x3d }.count
        return decode(bytes.dropLast(padding), standard)
    }

    /// Nil unless `text` is unpadded base64url of something.
    public static func decodeURL(_ text: String) -> [UInt8]? { decode(Array(text.utf8)[...], url) }

    /// Writes unpadded base64url into `output` from `offset` on; for keys, of which no text must be left behind.
    public static func encodeURL(_ bytes: RawSpan, into output: inout MutableRawSpan, at offset: Int) {
        var target = offset
        var index = 0
        func byte(_ position: Int) -> UInt32 {
            position < bytes.byteCount ? UInt32(unsafe bytes.unsafeLoad(fromByteOffset: position, as: UInt8.self)) : 0
        }
        while index < bytes.byteCount {
            let group = byte(index) << 16 | byte(index + 1) << 8 | byte(index + 2)
            for digit in 0..<min(4, bytes.byteCount - index + 1) {
                output.storeBytes(
                    of: url[Int(group >> UInt32(18 - 6 * digit) & 63)], toByteOffset: target, as: UInt8.self)
                target += 1
            }
            index += 3
        }
    }

    /// Decodes unpadded base64url into `output`, which has exactly the right length; false when the text is not that.
    public static func decodeURL(_ text: RawSpan, into output: inout MutableRawSpan) -> Bool {
        guard text.byteCount % 4 != 1, text.byteCount * 3 / 4 == output.byteCount else { return false }
        var bits: UInt32 = 0
        var held = 0
        var target = 0
        for position in 0..<text.byteCount {
            let digit = unsafe text.unsafeLoad(fromByteOffset: position, as: UInt8.self)
            guard let value = value(digit) else { return false }
            bits = bits << 6 | value
            held += 6
            guard held >= 8 else { continue }
            held -= 8
            output.storeBytes(of: UInt8(truncatingIfNeeded: bits >> UInt32(held)), toByteOffset: target, as: UInt8.self)
            target += 1
            bits &= (1 << UInt32(held)) - 1
        }
        return bits == 0
    }

    private static func value(_ digit: UInt8) -> UInt32? {
        switch digit {
        case 0x41...0x5a: UInt32(digit) - 0x41
        case 0x61...0x7a: UInt32(digit) - 0x61 + 26
        case 0x30...0x39: UInt32(digit) - 0x30 + 52
        case 0x2d: 62
        case 0x5f: 63
        default: nil
        }
    }

    private static func encode(_ bytes: RawSpan, _ alphabet: [UInt8], isPadded: Bool) -> String {
        var result: [UInt8] = []
        result.reserveCapacity((bytes.byteCount + 2) / 3 * 4)
        var index = 0
        let count = bytes.byteCount
        func byte(_ position: Int) -> UInt32 {
            position < count ? UInt32(unsafe bytes.unsafeLoad(fromByteOffset: position, as: UInt8.self)) : 0
        }
        while index < count {
            let group = byte(index) << 16 | byte(index + 1) << 8 | byte(index + 2)
            let digits = min(4, count - index + 1)
            for digit in 0..<digits { result.append(alphabet[Int(group >> UInt32(18 - 6 * digit) & 63)]) }
            if isPadded { for _ in digits..<4 { result.append(0x3d) } }
            index += 3
        }
        return String(decoding: result, as: UTF8.self)
    }

    private static func decode(_ text: ArraySlice<UInt8>, _ alphabet: [UInt8]) -> [UInt8]? {
        guard text.count % 4 != 1 else { return nil }
        var values = [UInt8](repeating: 255, count: 256)
        for (value, digit) in alphabet.enumerated() { values[Int(digit)] = UInt8(value) }
        var result: [UInt8] = []
        result.reserveCapacity(text.count * 3 / 4)
        var bits: UInt32 = 0
        var held = 0
        for digit in text {
            let value = values[Int(digit)]
            guard value < 64 else { return nil }
            bits = bits << 6 | UInt32(value)
            held += 6
            if held >= 8 {
                held -= 8
                result.append(UInt8(truncatingIfNeeded: bits >> UInt32(held)))
                bits &= (1 << UInt32(held)) - 1
            }
        }
        // Bits that no byte needs must be zero, or two texts would mean one value.
        return bits == 0 ? result : nil
    }
}

/// Lower-case hexadecimal.
public enum Hex {
    public static func encode(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef".utf8)
        var result: [UInt8] = []
        result.reserveCapacity(2 * bytes.count)
        for byte in bytes { result += [digits[Int(byte >> 4)], digits[Int(byte & 15)]] }
        return String(decoding: result, as: UTF8.self)
    }

    /// Nil unless `text` is an even number of lower-case hexadecimal digits.
    public static func decode(_ text: String) -> [UInt8]? {
        var result: [UInt8] = []
        var high: UInt8?
        for digit in text.utf8 {
            let value: UInt8
            switch digit {
            case 0x30...0x39: value = digit - 0x30
            case 0x61...0x66: value = digit - 0x57
            default: return nil
            }
            if let first = high {
                result.append(first << 4 | value)
                high = nil
            } else {
                high = value
            }
        }
        return high == nil ? result : nil
    }
}
