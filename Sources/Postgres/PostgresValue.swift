// PostgresValue: parameters of queries and typed reading of results.

/// A parameter. Numbers, times and ids travel in binary; text travels as text with its type left to the server.
public enum PostgresValue: Sendable {
    case null
    case bool(Bool)
    case int(Int64)
    case double(Double)
    case text(String)
    case bytes([UInt8])
    case uuid(PostgresUUID)
    /// Microseconds since the Unix epoch.
    case timestamp(Int64)

    /// Type OIDs of pg_type; 0 lets the server infer.
    var typeID: UInt32 {
        switch self {
        case .null, .text: 0
        case .bool: 16
        case .bytes: 17
        case .int: 20
        case .double: 701
        case .uuid: 2950
        case .timestamp: 1184
        }
    }

    var isBinary: Bool {
        switch self {
        case .null, .text: false
        default: true
        }
    }

    /// The bytes on the wire; nil for null. Text is terminated, as libpq asks.
    var encoded: [UInt8]? {
        switch self {
        case .null: nil
        case .bool(let value): [value ? 1 : 0]
        case .int(let value): bigEndianBytes(value)
        case .double(let value): bigEndianBytes(value.bitPattern)
        case .text(let value): Array(value.utf8) + [0]
        case .bytes(let value): value
        case .uuid(let value): bigEndianBytes(value.high) + bigEndianBytes(value.low)
        case .timestamp(let value): bigEndianBytes(PostgresTime.fromUnix(value))
        }
    }
}

/// 16 bytes as two big-endian words.
public struct PostgresUUID: Hashable, Sendable {
    public var high: UInt64
    public var low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }
}

/// A `timestamptz`, as microseconds since the Unix epoch.
public struct PostgresTimestamp: Hashable, Sendable {
    public var unixMicroseconds: Int64

    public init(unixMicroseconds: Int64) {
        self.unixMicroseconds = unixMicroseconds
    }
}

/// PostgreSQL counts microseconds from 2000-01-01 UTC.
enum PostgresTime {
    static let epochMicroseconds: Int64 = 946_684_800_000_000

    /// Times before the years that PostgreSQL knows become its smallest value instead of wrapping around.
    static func fromUnix(_ microseconds: Int64) -> Int64 {
        let (value, overflow) = microseconds.subtractingReportingOverflow(epochMicroseconds)
        return overflow ? Int64.min + 1 : value
    }

    static func toUnix(_ microseconds: Int64) -> Int64 {
        let (value, overflow) = microseconds.addingReportingOverflow(epochMicroseconds)
        return overflow ? Int64.max : value
    }
}

func bigEndianBytes<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    unsafe withUnsafeBytes(of: value.bigEndian) { unsafe Array($0) }
}

func decodeBigEndian<T: FixedWidthInteger>(_ type: T.Type, _ bytes: [UInt8]) -> T? {
    guard bytes.count == MemoryLayout<T>.size else { return nil }
    return bytes.reduce(T.zero) { $0 << 8 | T(truncatingIfNeeded: $1) }
}

/// A type that can be read from a result, in text or binary format.
public protocol PostgresDecodable {
    init?(postgresText text: String)
    init?(postgresBinary bytes: [UInt8])
}

extension PostgresDecodable where Self: FixedWidthInteger {
    public init?(postgresText text: String) { self.init(text) }

    /// Reads any width of integer that fits.
    public init?(postgresBinary bytes: [UInt8]) {
        switch bytes.count {
        case 2: self.init(exactly: decodeBigEndian(Int16.self, bytes) ?? 0)
        case 4: self.init(exactly: decodeBigEndian(Int32.self, bytes) ?? 0)
        case 8: self.init(exactly: decodeBigEndian(Int64.self, bytes) ?? 0)
        default: return nil
        }
    }
}

extension Int16: PostgresDecodable {}
extension Int32: PostgresDecodable {}
extension Int64: PostgresDecodable {}
extension Int: PostgresDecodable {}

extension Double: PostgresDecodable {
    public init?(postgresText text: String) { self.init(text) }
    public init?(postgresBinary bytes: [UInt8]) {
        if let bits = decodeBigEndian(UInt32.self, bytes) {
            self = Double(Float(bitPattern: bits))
            return
        }
        guard let bits = decodeBigEndian(UInt64.self, bytes) else { return nil }
        self.init(bitPattern: bits)
    }
}

extension Float: PostgresDecodable {
    public init?(postgresText text: String) { self.init(text) }
    public init?(postgresBinary bytes: [UInt8]) {
        guard let bits = decodeBigEndian(UInt32.self, bytes) else { return nil }
        self.init(bitPattern: bits)
    }
}

extension Bool: PostgresDecodable {
    public init?(postgresText text: String) {
        guard text == "t" || text == "f" else { return nil }
        self = text == "t"
    }
    public init?(postgresBinary bytes: [UInt8]) {
        guard bytes.count == 1 else { return nil }
        self = bytes[0] != 0
    }
}

extension String: PostgresDecodable {
    public init?(postgresText text: String) { self = text }
    public init?(postgresBinary bytes: [UInt8]) {
        guard let text = String(validating: bytes, as: UTF8.self) else { return nil }
        self = text
    }
}

extension PostgresUUID: PostgresDecodable {
    public init?(postgresText text: String) {
        let digits = text.filter { $0 != "-" }
        guard digits.utf8.count == 32, let high = UInt64(digits.prefix(16), radix: 16),
            let low = UInt64(digits.suffix(16), radix: 16)
        else { return nil }
        self.init(high: high, low: low)
    }
    public init?(postgresBinary bytes: [UInt8]) {
        guard bytes.count == 16, let high = decodeBigEndian(UInt64.self, Array(bytes[0..<8])),
            let low = decodeBigEndian(UInt64.self, Array(bytes[8...]))
        else { return nil }
        self.init(high: high, low: low)
    }
}

extension PostgresTimestamp: PostgresDecodable {
    /// Text timestamps depend on the session's DateStyle: ask for binary results instead.
    public init?(postgresText text: String) { return nil }
    public init?(postgresBinary bytes: [UInt8]) {
        guard let value = decodeBigEndian(Int64.self, bytes) else { return nil }
        self.init(unixMicroseconds: PostgresTime.toUnix(value))
    }
}

/// `bytea`.
extension [UInt8]: PostgresDecodable {
    public init?(postgresText text: String) {
        guard text.hasPrefix("\\x") else { return nil }
        let digits = Array<UInt8>(text.utf8.dropFirst(2))
        guard digits.count.isMultiple(of: 2) else { return nil }
        self = []
        reserveCapacity(digits.count / 2)
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let byte = UInt8(String(decoding: digits[index..<index + 2], as: UTF8.self), radix: 16) else {
                return nil
            }
            append(byte)
        }
    }
    public init?(postgresBinary bytes: [UInt8]) { self = bytes }
}
