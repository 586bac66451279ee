// RecordBatch: a micro-batch of Kafka records in one contiguous arena, free of any Kafka handle.

/// A micro-batch of consumed records. Keys, values and headers lie back to back in one byte arena, so a stage decodes
/// straight from contiguous memory into columns and a test can build a batch without a broker.
///
/// Index `i` (0 ..< count) names a record in every accessor. A missing key or a tombstone value is `nil`, never empty.
public struct RecordBatch: Sendable {
    /// Position of one record in its topic.
    public struct Origin: Hashable, Sendable {
        /// Index into the stage's list of input topics.
        public var topicIndex: Int
        public var partition: Int32
        public var offset: Int64

        public init(topicIndex: Int, partition: Int32, offset: Int64) {
            self.topicIndex = topicIndex
            self.partition = partition
            self.offset = offset
        }
    }

    /// A range of the arena; `length` -1 stands for null.
    public struct Slice: Sendable {
        public var start: Int
        public var length: Int
        public var isNull: Bool { length < 0 }
        public static let null = Slice(start: 0, length: -1)

        public init(start: Int, length: Int) {
            self.start = start
            self.length = length
        }
    }

    struct HeaderSlices: Sendable {
        var name: Slice
        var value: Slice
    }

    /// Bytes that may be read past the end of any value (zeroed), as simdjson asks for.
    public static let paddingBytes = 64

    public private(set) var origins: [Origin] = []
    /// Milliseconds since the Unix epoch, as the record's Kafka timestamp; -1 when the broker has none.
    public private(set) var timestampsMilliseconds: [Int64] = []
    public private(set) var keys: [Slice] = []
    public private(set) var values: [Slice] = []
    /// The arena; `paddingBytes` zero bytes always follow the last payload byte once `seal()` was called.
    public private(set) var arena: [UInt8] = []
    private var headers: [HeaderSlices] = []
    private var headerRanges: [Range<Int>] = []
    private var isSealed = false

    public init() {}

    public var count: Int { origins.count }
    public var isEmpty: Bool { origins.isEmpty }
    /// Payload bytes held: keys, values and headers.
    public var byteCount: Int { isSealed ? arena.count - Self.paddingBytes : arena.count }

    /// Empties the batch and keeps its capacity.
    public mutating func removeAll() {
        origins.removeAll(keepingCapacity: true)
        timestampsMilliseconds.removeAll(keepingCapacity: true)
        keys.removeAll(keepingCapacity: true)
        values.removeAll(keepingCapacity: true)
        headers.removeAll(keepingCapacity: true)
        headerRanges.removeAll(keepingCapacity: true)
        arena.removeAll(keepingCapacity: true)
        isSealed = false
    }

    /// Makes room, so that the arrays do not grow record by record.
    public mutating func reserve(records: Int, bytes: Int) {
        origins.reserveCapacity(records)
        timestampsMilliseconds.reserveCapacity(records)
        keys.reserveCapacity(records)
        values.reserveCapacity(records)
        headerRanges.reserveCapacity(records)
        arena.reserveCapacity(bytes + Self.paddingBytes)
    }

    /// Appends a record without headers; add them with `appendHeader` before the next record.
    public mutating func append(origin: Origin, timestampMilliseconds: Int64, key: RawSpan?, value: RawSpan?) {
        precondition(!isSealed, "append after seal")
        origins.append(origin)
        timestampsMilliseconds.append(timestampMilliseconds)
        keys.append(copy(key))
        values.append(copy(value))
        headerRanges.append(headers.count..<headers.count)
    }

    /// Adds a header to the record appended last.
    public mutating func appendHeader(name: RawSpan, value: RawSpan?) {
        precondition(!isSealed && !headerRanges.isEmpty, "no record to add a header to")
        headers.append(HeaderSlices(name: copy(name), value: copy(value)))
        let last = headerRanges.count - 1
        headerRanges[last] = headerRanges[last].lowerBound..<headers.count
    }

    /// Adds the zero padding. Call once, after the last append.
    public mutating func seal() {
        guard !isSealed else { return }
        arena.append(contentsOf: repeatElement(0, count: Self.paddingBytes))
        isSealed = true
    }

    private mutating func copy(_ bytes: RawSpan?) -> Slice {
        guard let bytes else { return .null }
        let start = arena.count
        bytes.withUnsafeBytes { unsafe arena.append(contentsOf: $0) }
        return Slice(start: start, length: bytes.byteCount)
    }

    /// Borrows the bytes of a slice; nil for a null slice.
    @inlinable
    @inline(__always)
    public func withBytes<R, E: Error>(_ slice: Slice, _ body: (RawSpan?) throws(E) -> R) throws(E) -> R {
        guard !slice.isNull else { return try body(nil) }
        return try body(arena.span.bytes.extracting(slice.start..<(slice.start + slice.length)))
    }

    /// Copies a slice out; nil for null.
    public func bytes(_ slice: Slice) -> [UInt8]? {
        slice.isNull ? nil : Array(arena[slice.start..<(slice.start + slice.length)])
    }

    public func headerCount(of index: Int) -> Int { headerRanges[index].count }

    /// Name and value of header `header` (0 ..< headerCount) of record `index`.
    public func header(_ header: Int, of index: Int) -> (name: Slice, value: Slice) {
        let slices = headers[headerRanges[index].lowerBound + header]
        return (slices.name, slices.value)
    }

    /// Value of the last header of that name (UTF-8 bytes compared), or nil when absent.
    public func headerValue(named name: StaticString, of index: Int) -> Slice? {
        for position in headerRanges[index].reversed() where matches(headers[position].name, name) {
            return headers[position].value
        }
        return nil
    }

    private func matches(_ slice: Slice, _ name: StaticString) -> Bool {
        guard slice.length == name.utf8CodeUnitCount else { return false }
        return name.withUTF8Buffer { expected in
            for i in 0..<slice.length where arena[slice.start + i] != expected[i] { return false }
            return true
        }
    }
}
