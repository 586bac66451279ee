// EventSchema: the fields of an event, compiled from a flat JSON Schema.

import Cryptography

/// A flat JSON Schema (draft 2020-12 subset), compiled once. Field order is the order in the schema file.
public struct EventSchema: Sendable, Equatable {
    public enum FieldType: String, Sendable { case number, integer, boolean, string, timestamp }

    public struct Field: Sendable, Equatable {
        public var name: String
        public var type: FieldType
        public var isRequired: Bool
        public var isNullable: Bool
        public var minimum: Double?
        public var maximum: Double?
        public var isMinimumExclusive: Bool
        public var isMaximumExclusive: Bool
        /// The texts allowed; nil allows all.
        public var enumeration: [String]?
        /// Bounds of a text's length in Unicode scalars, as JSON Schema counts it.
        public var lengthMin: Int?
        public var lengthMax: Int?
        /// A regular expression that must match somewhere in the text (not anchored, as in JSON Schema).
        public var pattern: String?

        public init(
            name: String, type: FieldType, isRequired: Bool, isNullable: Bool = false, minimum: Double? = nil,
            maximum: Double? = nil, isMinimumExclusive: Bool = false, isMaximumExclusive: Bool = false,
            enumeration: [String]? = nil, lengthMin: Int? = nil, lengthMax: Int? = nil, pattern: String? = nil
        ) {
            self.name = name
            self.type = type
            self.isRequired = isRequired
            self.isNullable = isNullable
            self.minimum = minimum
            self.maximum = maximum
            self.isMinimumExclusive = isMinimumExclusive
            self.isMaximumExclusive = isMaximumExclusive
            self.enumeration = enumeration
            self.lengthMin = lengthMin
            self.lengthMax = lengthMax
            self.pattern = pattern
        }
    }

    public let fields: [Field]
    /// First word of the SHA-256 of `canonicalText`; travels in every `events` record.
    public let contractHash: UInt64

    public init(fields: [Field]) {
        self.fields = fields
        contractHash = SHA256.digest(of: Array(Self.canonicalText(of: fields).utf8)).words.0
    }

    /// Fields whose values stand in the numeric columns: number, integer, boolean (0/1), timestamp (microseconds).
    public var numericFields: [Field] { fields.filter { $0.type != .string } }
    public var textFields: [Field] { fields.filter { $0.type == .string } }

    /// What readers of `events` must agree on: names, order, types, and where a value may be missing. Limits on values
    /// are not part of it: widening a range must not turn events on their way into dead letters.
    ///
    /// JSON with sorted keys and no white space:
    /// `{"fields":[{"name":"id","nullable":false,"required":true,"type":"string"},…],"version":1}`.
    public var canonicalText: String { Self.canonicalText(of: fields) }

    private static func canonicalText(of fields: [Field]) -> String {
        let members = fields.map { field in
            "{\"name\":\(quoted(field.name)),\"nullable\":\(field.isNullable),\"required\":\(field.isRequired),"
                + "\"type\":\"\(field.type.rawValue)\"}"
        }
        return "{\"fields\":[\(members.joined(separator: ","))],\"version\":1}"
    }

    /// A JSON string; only what RFC 8259 asks for is escaped, control characters as `\u00XX`.
    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
