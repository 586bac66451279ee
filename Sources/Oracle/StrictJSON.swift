// StrictJSON: the oracle's own JSON reader, after RFC 8259 to the letter.

import Foundation

/// A JSON value. Objects keep the order of their members and members that are repeated; numbers keep their text.
indirect enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    case number(String)
    case string(String)
    case array([JSONValue])
    case object([(key: String, value: JSONValue)])

    static func == (lhs: JSONValue, rhs: JSONValue) -> Bool {
        switch (lhs, rhs) {
        case (.null, .null): true
        case (.bool(let a), .bool(let b)): a == b
        case (.number(let a), .number(let b)), (.string(let a), .string(let b)): a == b
        case (.array(let a), .array(let b)): a == b
        case (.object(let a), .object(let b)): a.map(\.key) == b.map(\.key) && a.map(\.value) == b.map(\.value)
        default: false
        }
    }

    subscript(key: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.key.utf8.elementsEqual(key.utf8) }?.value
    }

    var text: String? { if case .string(let text) = self { text } else { nil } }
    var double: Double? { if case .number(let text) = self { Double(text) } else { nil } }
    var integer: Int64? { if case .number(let text) = self { Int64(text) } else { nil } }
    var boolean: Bool? { if case .bool(let value) = self { value } else { nil } }
    var elements: [JSONValue]? { if case .array(let elements) = self { elements } else { nil } }
    var members: [(key: String, value: JSONValue)]? { if case .object(let members) = self { members } else { nil } }

    /// Levels of arrays and objects: 0 for a scalar, 1 for `{}`.
    var depth: Int {
        switch self {
        case .array(let elements): 1 + (elements.map(\.depth).max() ?? 0)
        case .object(let members): 1 + (members.map(\.value.depth).max() ?? 0)
        default: 0
        }
    }

    /// Whether some object in it has two members of one name.
    var hasRepeatedKeys: Bool {
        switch self {
        case .array(let elements): elements.contains(where: \.hasRepeatedKeys)
        case .object(let members):
            Self.hasRepeatedNames(members) || members.contains { $0.value.hasRepeatedKeys }
        default: false
        }
    }

    // Names are compared byte by byte: Swift's own comparison takes canonically equivalent texts for equal.
    private static func hasRepeatedNames(_ members: [(key: String, value: JSONValue)]) -> Bool {
        guard members.count <= 16 else {
            return Set(members.map { Array($0.key.utf8) }).count < members.count
        }
        return members.indices.contains { index in
            members[..<index].contains { $0.key.utf8.elementsEqual(members[index].key.utf8) }
        }
    }
}

/// Why bytes are no JSON.
enum JSONFault: Error, Equatable {
    case notUTF8
    /// Not JSON, and the reason is `NaN`, `Infinity` or `-Infinity`.
    case notFinite
    case malformed
    /// Nested deeper than the reader goes.
    case tooDeep
}

struct StrictJSON {
    /// Deeper values are not read; far above any limit of a pipeline.
    static let depthMax = 512

    private let bytes: [UInt8]
    private var index = 0

    static func parse(_ bytes: [UInt8]) throws(JSONFault) -> JSONValue {
        guard String(validating: bytes, as: UTF8.self) != nil else { throw .notUTF8 }
        var reader = StrictJSON(bytes: bytes)
        reader.skipSpace()
        let value = try reader.value(depth: 0)
        reader.skipSpace()
        guard reader.index == bytes.count else { throw .malformed }
        return value
    }

    private init(bytes: [UInt8]) {
        self.bytes = bytes
    }

    private var current: UInt8? { index < bytes.count ? bytes[index] : nil }

    private mutating func skipSpace() {
        while let byte = current, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { index += 1 }
    }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard current == UInt8(ascii: character) else { return false }
        index += 1
        return true
    }

    private mutating func value(depth: Int) throws(JSONFault) -> JSONValue {
        guard depth <= Self.depthMax else { throw .tooDeep }
        switch current {
        case UInt8(ascii: "{"): return .object(try object(depth: depth))
        case UInt8(ascii: "["): return .array(try array(depth: depth))
        case UInt8(ascii: "\""): return .string(try string())
        default: return try literal()
        }
    }

    private mutating func object(depth: Int) throws(JSONFault) -> [(key: String, value: JSONValue)] {
        index += 1
        var members: [(key: String, value: JSONValue)] = []
        skipSpace()
        if take("}") { return members }
        repeat {
            skipSpace()
            guard current == UInt8(ascii: "\"") else { throw .malformed }
            let key = try string()
            skipSpace()
            guard take(":") else { throw .malformed }
            skipSpace()
            members.append((key, try value(depth: depth + 1)))
            skipSpace()
        } while take(",")
        guard take("}") else { throw .malformed }
        return members
    }

    private mutating func array(depth: Int) throws(JSONFault) -> [JSONValue] {
        index += 1
        var elements: [JSONValue] = []
        skipSpace()
        if take("]") { return elements }
        repeat {
            skipSpace()
            elements.append(try value(depth: depth + 1))
            skipSpace()
        } while take(",")
        guard take("]") else { throw .malformed }
        return elements
    }

    private mutating func string() throws(JSONFault) -> String {
        index += 1
        var start = index
        // Stays empty, and costs nothing, where nothing is escaped.
        var text = ""
        while let byte = current {
            index += 1
            switch byte {
            case UInt8(ascii: "\""):
                let rest = String(decoding: bytes[start..<index - 1], as: UTF8.self)
                return text.isEmpty ? rest : text + rest
            case UInt8(ascii: "\\"):
                text += String(decoding: bytes[start..<index - 1], as: UTF8.self)
                text.unicodeScalars.append(try escape())
                start = index
            case 0..<0x20: throw .malformed
            default: break
            }
        }
        throw .malformed
    }

    private mutating func escape() throws(JSONFault) -> Unicode.Scalar {
        guard let byte = current else { throw .malformed }
        index += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"):
            let unit = try hexadecimal()
            if let scalar = Unicode.Scalar(unit) { return scalar }
            guard unit < 0xdc00, take("\\"), take("u") else { throw .malformed }
            let low = try hexadecimal()
            guard (0xdc00...0xdfff).contains(low) else { throw .malformed }
            guard let scalar = Unicode.Scalar(0x10000 + (unit - 0xd800) * 0x400 + (low - 0xdc00)) else {
                throw .malformed
            }
            return scalar
        default: throw .malformed
        }
    }

    private mutating func hexadecimal() throws(JSONFault) -> UInt32 {
        guard index + 4 <= bytes.count else { throw .malformed }
        let digits = String(decoding: bytes[index..<index + 4], as: UTF8.self)
        guard digits.allSatisfy({ $0.isHexDigit && $0.isASCII }), let value = UInt32(digits, radix: 16) else {
            throw .malformed
        }
        index += 4
        return value
    }

    private mutating func literal() throws(JSONFault) -> JSONValue {
        let start = index
        while let byte = current, !Self.endsLiteral(byte) { index += 1 }
        let text = String(decoding: bytes[start..<index], as: UTF8.self)
        if Self.isNumber(bytes[start..<index]) { return .number(text) }
        switch text {
        case "null": return .null
        case "true": return .bool(true)
        case "false": return .bool(false)
        default: break
        }
        let name = text.lowercased()
        let unsigned = name.hasPrefix("-") || name.hasPrefix("+") ? name.dropFirst() : name[...]
        throw ["nan", "inf", "infinity"].contains(unsigned) ? .notFinite : .malformed
    }

    private static func endsLiteral(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x20, 0x09, 0x0a, 0x0d, UInt8(ascii: ","), UInt8(ascii: ":"), UInt8(ascii: "\""), UInt8(ascii: "["),
            UInt8(ascii: "]"), UInt8(ascii: "{"), UInt8(ascii: "}"):
            true
        default: false
        }
    }

    /// RFC 8259, section 6: `-`? (`0` | [1-9][0-9]*) (`.` [0-9]+)? ([eE] [+-]? [0-9]+)?
    private static func isNumber(_ text: ArraySlice<UInt8>) -> Bool {
        var rest = text
        func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
        /// Drops leading digits and tells how many there were.
        func digits() -> Int {
            let end = rest.firstIndex { !isDigit($0) } ?? rest.endIndex
            defer { rest = rest[end...] }
            return end - rest.startIndex
        }
        if rest.first == UInt8(ascii: "-") { rest = rest.dropFirst() }
        let startsWithZero = rest.first == UInt8(ascii: "0")
        let whole = digits()
        guard whole > 0, !startsWithZero || whole == 1 else { return false }
        if rest.first == UInt8(ascii: ".") {
            rest = rest.dropFirst()
            guard digits() > 0 else { return false }
        }
        if rest.first == UInt8(ascii: "e") || rest.first == UInt8(ascii: "E") {
            rest = rest.dropFirst()
            if rest.first == UInt8(ascii: "+") || rest.first == UInt8(ascii: "-") { rest = rest.dropFirst() }
            guard digits() > 0 else { return false }
        }
        return rest.isEmpty
    }
}
