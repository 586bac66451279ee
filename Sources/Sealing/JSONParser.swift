// JSONParser: a strict reader of JSON (RFC 8259) for signed texts.

struct JSONParser {
    private let bytes: [UInt8]
    private var index = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func parse() throws(SealingError) -> JSONValue {
        let value = try value(depth: 0)
        skipSpace()
        guard index == bytes.count else { throw fault("text behind the value") }
        return value
    }

    private func fault(_ text: String) -> SealingError {
        SealingError(.badDocument, "not JSON at byte \(index): \(text)")
    }

    private mutating func skipSpace() {
        while index < bytes.count, [0x20, 0x09, 0x0a, 0x0d].contains(bytes[index]) { index += 1 }
    }

    private var current: UInt8 { index < bytes.count ? bytes[index] : 0 }

    private mutating func expect(_ byte: UInt8) throws(SealingError) {
        skipSpace()
        guard index < bytes.count, bytes[index] == byte else {
            throw fault("'\(Character(UnicodeScalar(byte)))' is expected")
        }
        index += 1
    }

    private mutating func value(depth: Int) throws(SealingError) -> JSONValue {
        guard depth < JSONValue.depthMax else { throw fault("more than \(JSONValue.depthMax) levels") }
        skipSpace()
        switch current {
        case 0x7b: return try object(depth: depth)
        case 0x5b: return try array(depth: depth)
        case 0x22: return .string(try string())
        case 0x74: return try word("true", .bool(true))
        case 0x66: return try word("false", .bool(false))
        case 0x6e: return try word("null", .null)
        default: return try number()
        }
    }

    private mutating func word(_ text: String, _ value: JSONValue) throws(SealingError) -> JSONValue {
        guard bytes[index...].starts(with: text.utf8) else { throw fault("an unknown word") }
        index += text.utf8.count
        return value
    }

    private mutating func number() throws(SealingError) -> JSONValue {
        let start = index
        if current == 0x2d { index += 1 }
        let first = index
        while index < bytes.count, (0x30...0x39).contains(bytes[index]) { index += 1 }
        guard index > first, index - first <= 16, index - first == 1 || bytes[first] != 0x30 else {
            throw fault("a value is expected")
        }
        guard ![0x2e, 0x65, 0x45].contains(current) else { throw fault("a number with a fraction or an exponent") }
        guard let value = Int64(String(decoding: bytes[start..<index], as: UTF8.self)),
            value.magnitude <= UInt64(JSONValue.integerMax), value != 0 || start == first
        else { throw fault("a number beyond 53 bits") }
        return .integer(value)
    }

    private mutating func array(depth: Int) throws(SealingError) -> JSONValue {
        index += 1
        var values: [JSONValue] = []
        skipSpace()
        if current == 0x5d {
            index += 1
            return .array(values)
        }
        while true {
            values.append(try value(depth: depth + 1))
            skipSpace()
            guard current == 0x2c else { break }
            index += 1
        }
        try expect(0x5d)
        return .array(values)
    }

    private mutating func object(depth: Int) throws(SealingError) -> JSONValue {
        index += 1
        var members: [String: JSONValue] = [:]
        skipSpace()
        if current == 0x7d {
            index += 1
            return .object(members)
        }
        while true {
            skipSpace()
            guard current == 0x22 else { throw fault("a name in quotes is expected") }
            let name = try string()
            guard members[name] == nil else { throw fault("the name '\(name)' stands twice") }
            try expect(0x3a)
            members[name] = try value(depth: depth + 1)
            skipSpace()
            guard current == 0x2c else { break }
            index += 1
        }
        try expect(0x7d)
        return .object(members)
    }

    private mutating func string() throws(SealingError) -> String {
        index += 1
        var text: [UInt8] = []
        while index < bytes.count {
            let byte = bytes[index]
            index += 1
            switch byte {
            case 0x22: return String(decoding: text, as: UTF8.self)
            case 0x5c: try escape(into: &text)
            case 0..<0x20: throw fault("a control character in a text")
            default: text.append(byte)
            }
        }
        throw fault("a text without an end")
    }

    private mutating func escape(into text: inout [UInt8]) throws(SealingError) {
        let plain: [UInt8: UInt8] = [
            0x22: 0x22, 0x5c: 0x5c, 0x2f: 0x2f, 0x62: 0x08, 0x66: 0x0c, 0x6e: 0x0a, 0x72: 0x0d, 0x74: 0x09,
        ]
        let kind = current
        index += 1
        if let byte = plain[kind] { return text.append(byte) }
        guard kind == 0x75 else { throw fault("an unknown escape") }
        var code = UInt32(try hexadecimal())
        if (0xd800..<0xdc00).contains(code) {
            guard bytes[min(index, bytes.count)...].starts(with: [0x5c, 0x75]) else {
                throw fault("half a surrogate pair")
            }
            index += 2
            let low = UInt32(try hexadecimal())
            guard (0xdc00..<0xe000).contains(low) else { throw fault("half a surrogate pair") }
            code = 0x10000 + (code - 0xd800) << 10 + (low - 0xdc00)
        }
        guard let scalar = UnicodeScalar(code) else { throw fault("half a surrogate pair") }
        text += Array(String(Character(scalar)).utf8)
    }

    private mutating func hexadecimal() throws(SealingError) -> UInt16 {
        guard index + 4 <= bytes.count,
            let code = UInt16(String(decoding: bytes[index..<index + 4], as: UTF8.self), radix: 16),
            bytes[index] != 0x2b, bytes[index] != 0x2d
        else { throw fault("four hexadecimal digits are expected") }
        index += 4
        return code
    }
}
