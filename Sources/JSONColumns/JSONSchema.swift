// JSONSchema: what a decoder expects of each document.

/// The fields of a flat JSON object, and the limits of a document.
public struct JSONSchema: Sendable, Equatable {
    public enum FieldType: Sendable, Equatable {
        case number
        /// A number without a fraction, at most 2^53 in magnitude; 1.0 counts as 1.
        case integer
        case boolean
        case string
        /// Any value, validated but not read: its place in the input is returned.
        case raw

        /// Whether the value stands in the numeric columns; else in the text columns.
        public var isNumeric: Bool { self == .number || self == .integer || self == .boolean }
    }

    public struct Field: Sendable, Equatable {
        public var name: String
        public var type: FieldType
        public var isRequired: Bool
        public var isNullable: Bool

        public init(_ name: String, _ type: FieldType, isRequired: Bool = false, isNullable: Bool = false) {
            self.name = name
            self.type = type
            self.isRequired = isRequired
            self.isNullable = isNullable
        }
    }

    /// What to do with a field that is not in `fields`. An ignored value is validated all the same.
    public enum UnknownFields: Sendable, Equatable {
        case reject
        case ignore
        /// Ignored when it may be a CloudEvents extension: a name of [a-z0-9], and neither object nor array.
        case cloudEventsExtensions
    }

    /// Deepest nesting that can be asked for; the walk through a document is recursive.
    public static let depthLimit = 256

    public var fields: [Field]
    public var unknownFields: UnknownFields
    /// Longest document, in bytes.
    public var bytesMax: Int
    /// Deepest nesting of objects and arrays; the outer object counts 1.
    public var depthMax: Int

    public init(fields: [Field], unknownFields: UnknownFields, bytesMax: Int, depthMax: Int) {
        precondition(Set(fields.map(\.name)).count == fields.count, "two fields of one name")
        precondition((1...Self.depthLimit).contains(depthMax), "the depth limit must be 1...\(Self.depthLimit)")
        precondition((1...Int(UInt32.max / 2)).contains(bytesMax), "the limit of bytes must be positive")
        self.fields = fields
        self.unknownFields = unknownFields
        self.bytesMax = bytesMax
        self.depthMax = depthMax
    }
}
