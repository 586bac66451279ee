// JSONValue: strict JSON and its canonical form (RFC 8785) for headers, documents and tokens.

/// A JSON value without fractions: sealed formats hold integers of at most 53 bits only.
public enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    case integer(Int64)
    case string(String)
    case array([JSONValue])
    /// Names are unique; the canonical form sorts them by their UTF-16 code units.
    case object([String: JSONValue])

    static let integerMax: Int64 = 9_007_199_254_740_991
    static let depthMax = 16

    public subscript(name: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members[name]
    }

    public var string: String? { if case .string(let value) = self { value } else { nil } }
    public var integer: Int64? { if case .integer(let value) = self { value } else { nil } }
    public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    public var array: [JSONValue]? { if case .array(let value) = self { value } else { nil } }
    public var object: [String: JSONValue]? { if case .object(let value) = self { value } else { nil } }

    /// RFC 8785: no white space, sorted names, the shortest escapes.
    public var canonical: [UInt8] {
        var bytes: [UInt8] = []
        write(to: &bytes)
        return bytes
    }

    public var canonicalText: String { String(decoding: canonical, as: UTF8.self) }

    private func write(to bytes: inout [UInt8]) {
        switch self {
        case .null: bytes += Array("null".utf8)
        case .bool(let value): bytes += Array((value ? "true" : "false").utf8)
        case .integer(let value): bytes += Array(String(value).utf8)
        case .string(let value): Self.write(value, to: &bytes)
        case .array(let values):
            bytes.append(0x5b)
            for (index, value) in values.enumerated() {
                if index > 0 { bytes.append(0x2c) }
                value.write(to: &bytes)
            }
            bytes.append(0x5d)
        case .object(let members):
            bytes.append(0x7b)
            let sorted = members.sorted { $0.key.utf16.lexicographicallyPrecedes($1.key.utf16) }
            for (index, member) in sorted.enumerated() {
                if index > 0 { bytes.append(0x2c) }
                Self.write(member.key, to: &bytes)
                bytes.append(0x3a)
                member.value.write(to: &bytes)
            }
            bytes.append(0x7d)
        }
    }

    private static func write(_ text: String, to bytes: inout [UInt8]) {
        bytes.append(0x22)
        for byte in text.utf8 {
            switch byte {
            case 0x22: bytes += [0x5c, 0x22]
            case 0x5c: bytes += [0x5c, 0x5c]
            case 0x08: bytes += [0x5c, 0x62]
            case 0x09: bytes += [0x5c, 0x74]
            case 0x0a: bytes += [0x5c, 0x6e]
            case 0x0c: bytes += [0x5c, 0x66]
            case 0x0d: bytes += [0x5c, 0x72]
            case 0..<0x20:
                let digits = Array("0123456789abcdef".utf8)
                bytes += Array("\\u00".utf8) + [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            default: bytes.append(byte)
            }
        }
        bytes.append(0x22)
    }

    /// Reads one JSON text, strictly: unique names, no fraction, no number beyond 53 bits, valid UTF-8.
    public init(parsing bytes: [UInt8]) throws(SealingError) {
        guard bytes.count <= 4 << 20, String(validating: bytes, as: UTF8.self) != nil else {
            throw SealingError(.badDocument, "not JSON: longer than 4 MiB, or not UTF-8")
        }
        var parser = JSONParser(bytes: bytes)
        self = try parser.parse()
    }

    /// Reads a text that must be its own canonical form, so that one value has one signature.
    public init(canonical bytes: [UInt8], what: String) throws(SealingError) {
        let value: JSONValue
        do throws(SealingError) {
            value = try JSONValue(parsing: bytes)
        } catch {
            throw SealingError(.badHeader, "\(what): \(error.message)")
        }
        guard value.canonical == bytes else {
            throw SealingError(.badHeader, "\(what) is not in canonical form (RFC 8785)")
        }
        self = value
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByDictionaryLiteral, ExpressibleByArrayLiteral
{
    public init(stringLiteral value: String) { self = .string(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(integerLiteral value: Int64) { self = .integer(value) }
    public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    public init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(Dictionary(elements, uniquingKeysWith: { _, last in last }))
    }
}
