// BinaryCopyWriter: rows in PostgreSQL's binary COPY format, in one reusable buffer.

/// Builds rows for `COPY … FROM STDIN (FORMAT binary)`. Call `beginRow`, then one `write` for each column, in order.
/// The buffer keeps its capacity over `removeAll`, and any range of rows can be sent, so that a batch is encoded once
/// even when bad rows have to be searched for.
public struct BinaryCopyWriter: Sendable {
    /// Signature, flags and length of the header extension (PostgreSQL documentation of COPY, "Binary Format").
    static let header: [UInt8] = [
        0x50, 0x47, 0x43, 0x4f, 0x50, 0x59, 0x0a, 0xff, 0x0d, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ]
    static let trailer: [UInt8] = [0xff, 0xff]

    private(set) var bytes: [UInt8] = []
    private var rowStarts: [Int] = []
    private let columnCount: Int16

    public init(columnCount: Int) {
        precondition(columnCount > 0 && columnCount <= 1_600, "a table has 1 to 1,600 columns")
        self.columnCount = Int16(columnCount)
    }

    public var rowCount: Int { rowStarts.count }
    public var byteCount: Int { bytes.count }

    public mutating func removeAll() {
        bytes.removeAll(keepingCapacity: true)
        rowStarts.removeAll(keepingCapacity: true)
    }

    public mutating func beginRow() {
        rowStarts.append(bytes.count)
        append(columnCount)
    }

    /// Bytes of the rows of that range.
    func range(of rows: Range<Int>) -> Range<Int> {
        guard !rows.isEmpty else { return 0..<0 }
        let end = rows.upperBound < rowStarts.count ? rowStarts[rows.upperBound] : bytes.count
        return rowStarts[rows.lowerBound]..<end
    }

    public mutating func writeNull() { append(Int32(-1)) }

    public mutating func write(_ value: Bool) {
        append(Int32(1))
        bytes.append(value ? 1 : 0)
    }

    public mutating func write(_ value: Int16) {
        append(Int32(2))
        append(value)
    }

    public mutating func write(_ value: Int32) { append(four: UInt32(bitPattern: value)) }

    public mutating func write(_ value: Int64) { append(eight: UInt64(bitPattern: value)) }

    public mutating func write(_ value: Float) { append(four: value.bitPattern) }

    public mutating func write(_ value: Double) { append(eight: value.bitPattern) }

    public mutating func write(uuid: PostgresUUID) {
        let (first, second) = (Self.words(uuid.high), Self.words(uuid.low))
        append(words: (UInt32(16).bigEndian, first.high, first.low, second.high, second.low))
    }

    /// `timestamptz`, from microseconds since the Unix epoch.
    public mutating func write(timestamp unixMicroseconds: Int64) {
        append(eight: UInt64(bitPattern: PostgresTime.fromUnix(unixMicroseconds)))
    }

    public mutating func write(_ text: String) {
        let utf8 = text.utf8
        append(Int32(clamping: utf8.count))
        bytes.append(contentsOf: utf8)
    }

    /// `bytea`, or text that is already UTF-8.
    public mutating func write<C: Collection>(bytes value: C) where C.Element == UInt8 {
        append(Int32(clamping: value.count))
        bytes.append(contentsOf: value)
    }

    /// `bytea`, or text that is already UTF-8.
    public mutating func write(bytes value: RawSpan) {
        append(Int32(clamping: value.byteCount))
        // Copied before the borrow ends.
        unsafe value.withUnsafeBytes { unsafe bytes.append(contentsOf: $0) }
    }

    // Length and value of a fixed-width column go in with one append: it costs more than the bytes.

    private mutating func append(four value: UInt32) { append(words: (UInt32(4).bigEndian, value.bigEndian)) }

    private mutating func append(eight value: UInt64) {
        let (high, low) = Self.words(value)
        append(words: (UInt32(8).bigEndian, high, low))
    }

    private static func words(_ value: UInt64) -> (high: UInt32, low: UInt32) {
        (UInt32(truncatingIfNeeded: value >> 32).bigEndian, UInt32(truncatingIfNeeded: value).bigEndian)
    }

    /// A tuple of 32-bit words in network order, without padding between them.
    @inline(__always)
    private mutating func append<T: BitwiseCopyable>(words: T) {
        unsafe withUnsafeBytes(of: words) { unsafe bytes.append(contentsOf: $0) }
    }

    @inline(__always)
    private mutating func append<T: FixedWidthInteger>(_ value: T) {
        unsafe withUnsafeBytes(of: value.bigEndian) { unsafe bytes.append(contentsOf: $0) }
    }
}
