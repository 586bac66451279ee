// FlatJSON: reads one JSON object of scalars, strictly, without allocating an object per record.

import EventContracts

/// A scanner over the bytes of one JSON object (RFC 8259) whose values are strings, numbers and nulls. Nested values,
/// booleans and anything after the object are refused: a `predictions` record has none.
struct FlatJSON {
    /// Where a value stands.
    enum Value {
        case null
        /// Bytes of the input, a JSON number by its characters.
        case number(Range<Int>)
        /// Bytes of `strings`, unescaped and valid UTF-8.
        case string(Range<Int>)
    }

    struct Fault: Error {
        var code: ErrorCode
        var message: String
    }

    /// The bytes of the object in hand, where a string without escapes stands as it is, and behind them the other strings,
    /// unescaped.
    private(set) var strings: [UInt8] = []
    private var inputCount = 0
    private var position = 0

    /// Calls `body` with each key (a range of `strings`) and value.
    mutating func read(
        _ bytes: RawSpan, _ body: (inout FlatJSON, Range<Int>, Value) throws(Fault) -> Void
    ) throws(Fault) {
        strings.removeAll(keepingCapacity: true)
        strings.append(copying: bytes)
        inputCount = bytes.byteCount
        position = 0
        guard bytes.isUTF8 else { throw Fault(code: .notUTF8, message: "the record is not valid UTF-8") }
        skipSpace(bytes)
        guard take(bytes) == 0x7b else { throw Fault(code: .notAnObject, message: "the record is not a JSON object") }
        skipSpace(bytes)
        if peek(bytes) == 0x7d {
            position += 1
        } else {
            repeat {
                skipSpace(bytes)
                let key = try string(bytes)
                skipSpace(bytes)
                guard take(bytes) == 0x3a else { throw malformed("expected a colon") }
                skipSpace(bytes)
                let value = try value(bytes)
                try body(&self, key, value)
                skipSpace(bytes)
            } while try more(bytes)
        }
        skipSpace(bytes)
        guard position == bytes.byteCount else { throw malformed("unexpected bytes after the object") }
    }

    /// Whether a string was written with an escape; only then it may hold U+0000.
    func hadEscape(_ range: Range<Int>) -> Bool { range.lowerBound >= inputCount }

    /// Whether the key or string at that range is this text.
    @inline(__always)
    func matches(_ range: Range<Int>, _ text: StaticString) -> Bool {
        guard range.count == text.utf8CodeUnitCount else { return false }
        return text.withUTF8Buffer { expected in
            for index in 0..<expected.count where strings[range.lowerBound + index] != expected[index] { return false }
            return true
        }
    }

    private func malformed(_ what: String) -> Fault {
        Fault(code: .malformedJSON, message: "malformed JSON at byte \(position): \(what)")
    }

    @inline(__always)
    private func peek(_ bytes: RawSpan) -> UInt8 {
        position < bytes.byteCount ? bytes.little(UInt8.self, at: position) : 0
    }

    @inline(__always)
    private mutating func take(_ bytes: RawSpan) -> UInt8 {
        defer { position += 1 }
        return peek(bytes)
    }

    private mutating func skipSpace(_ bytes: RawSpan) {
        while true {
            switch peek(bytes) {
            case 0x20, 0x09, 0x0a, 0x0d: position += 1
            default: return
            }
        }
    }

    private mutating func more(_ bytes: RawSpan) throws(Fault) -> Bool {
        switch take(bytes) {
        case 0x2c: return true
        case 0x7d: return false
        default:
            position -= 1
            throw malformed("expected a comma or the end of the object")
        }
    }

    private mutating func value(_ bytes: RawSpan) throws(Fault) -> Value {
        switch peek(bytes) {
        case 0x22: return .string(try string(bytes))
        case 0x2d, 0x30...0x39: return .number(try number(bytes))
        case 0x6e:
            guard take(bytes) == 0x6e, take(bytes) == 0x75, take(bytes) == 0x6c, take(bytes) == 0x6c else {
                throw malformed("expected null")
            }
            return .null
        default: throw malformed("expected a string, a number or null")
        }
    }

    private mutating func digits(_ bytes: RawSpan) throws(Fault) {
        let start = position
        while (0x30...0x39).contains(peek(bytes)) { position += 1 }
        if position == start { throw malformed("expected a digit") }
    }

    private mutating func number(_ bytes: RawSpan) throws(Fault) -> Range<Int> {
        let start = position
        if peek(bytes) == 0x2d { position += 1 }
        if peek(bytes) == 0x30 { position += 1 } else { try digits(bytes) }
        if peek(bytes) == 0x2e {
            position += 1
            try digits(bytes)
        }
        if peek(bytes) | 0x20 == 0x65 {
            position += 1
            if peek(bytes) == 0x2b || peek(bytes) == 0x2d { position += 1 }
            try digits(bytes)
        }
        return start..<position
    }

    private mutating func string(_ bytes: RawSpan) throws(Fault) -> Range<Int> {
        guard take(bytes) == 0x22 else {
            position -= 1
            throw malformed("expected a string")
        }
        var clean = position
        skipPlain(bytes)
        if peek(bytes) == 0x22 {
            defer { position += 1 }
            return clean..<position
        }
        let start = strings.count
        while true {
            // What needs no unescaping is copied at once.
            strings.append(copying: bytes.extracting(clean..<position))
            guard position < bytes.byteCount else { throw malformed("the string does not end") }
            switch take(bytes) {
            case 0x22: return start..<strings.count
            case 0x5c: try escape(bytes)
            default: throw malformed("control character in a string")
            }
            clean = position
            skipPlain(bytes)
        }
    }

    /// Moves to the next quotation mark, backslash or control character, or to the end.
    private mutating func skipPlain(_ bytes: RawSpan) {
        var place = position
        let count = bytes.byteCount
        while place + 8 <= count {
            let found = SpecialBytes.inJSONString(bytes.little(UInt64.self, at: place))
            if found != 0 {
                position = place + found.trailingZeroBitCount / 8
                return
            }
            place += 8
        }
        while place < count, Self.isPlain(bytes.little(UInt8.self, at: place)) { place += 1 }
        position = place
    }

    @inline(__always)
    private static func isPlain(_ byte: UInt8) -> Bool { byte >= 0x20 && byte != 0x22 && byte != 0x5c }

    private mutating func escape(_ bytes: RawSpan) throws(Fault) {
        switch take(bytes) {
        case 0x22: strings.append(0x22)
        case 0x5c: strings.append(0x5c)
        case 0x2f: strings.append(0x2f)
        case 0x62: strings.append(0x08)
        case 0x66: strings.append(0x0c)
        case 0x6e: strings.append(0x0a)
        case 0x72: strings.append(0x0d)
        case 0x74: strings.append(0x09)
        case 0x75: try escapedScalar(bytes)
        default: throw malformed("unknown escape in a string")
        }
    }

    private mutating func escapedScalar(_ bytes: RawSpan) throws(Fault) {
        var code = try hexadecimal(bytes)
        if (0xd800..<0xdc00).contains(code) {
            guard take(bytes) == 0x5c, take(bytes) == 0x75 else { throw malformed("half a surrogate pair") }
            let low = try hexadecimal(bytes)
            guard (0xdc00..<0xe000).contains(low) else { throw malformed("half a surrogate pair") }
            code = 0x10000 + (code - 0xd800) << 10 + (low - 0xdc00)
        }
        guard let scalar = Unicode.Scalar(code) else { throw malformed("half a surrogate pair") }
        strings.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
    }

    private mutating func hexadecimal(_ bytes: RawSpan) throws(Fault) -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<4 {
            let byte = take(bytes)
            switch byte {
            case 0x30...0x39: code = code << 4 | UInt32(byte - 0x30)
            case 0x41...0x46: code = code << 4 | UInt32(byte - 0x37)
            case 0x61...0x66: code = code << 4 | UInt32(byte - 0x57)
            default: throw malformed("expected four hexadecimal digits")
            }
        }
        return code
    }
}
