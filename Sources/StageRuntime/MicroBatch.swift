// MicroBatch: records collected for one call of the processor, and when the collection closes. A pure value.

import EventContracts

/// When a micro-batch closes, whichever comes first. It also closes as soon as the input is drained while fewer than
/// `Delivery.eagerBatchesMax` batches are in flight: an idle stage processes at once what is there.
public struct BatchLimits: Sendable, Equatable {
    public var recordsMax: Int
    /// Keys, values and headers together. A single larger record travels alone.
    public var bytesMax: Int
    /// From the first record on.
    public var deadlineMicroseconds: Int64

    public init(recordsMax: Int, bytesMax: Int, deadlineMicroseconds: Int64) {
        self.recordsMax = recordsMax
        self.bytesMax = bytesMax
        self.deadlineMicroseconds = deadlineMicroseconds
    }
}

struct MicroBatch {
    /// Where a suspicious partition's chunk must end: it travels alone.
    struct Chunk: Equatable {
        var partition: TopicPartition
        var recordsMax: Int
        /// The first offset that must not be in it.
        var endMax: Int64
    }

    /// A stretch of one partition, with the number of its records.
    struct Stretch: Equatable {
        var range: OffsetRange
        /// Of the first record; `range.start` may lie before it.
        var firstOffset: Int64
        var records: Int
    }

    /// A partition as its records name it: numbers only, which cost less to compare and to pass than a name.
    struct Place: Equatable {
        var topicIndex: Int
        var partition: Int32
    }

    let limits: BatchLimits
    /// Set when the batch is one chunk of a suspicious partition.
    let chunk: Chunk?
    private(set) var records = RecordBatch()
    private(set) var stretches: [Stretch] = []
    /// Of the record added last.
    private var lastStretch = 0
    private var lastPlace: Place?
    private(set) var openedAt: Int64 = 0
    private(set) var closedAt: Int64 = 0
    private(set) var isClosed = false

    /// - Parameter expected: records and bytes to make room for.
    init(limits: BatchLimits, chunk: Chunk?, expected: (records: Int, bytes: Int) = (0, 0)) {
        self.limits = limits
        self.chunk = chunk
        records.reserve(records: expected.records, bytes: expected.bytes)
    }

    var count: Int { records.count }
    var ranges: [OffsetRange] { stretches.map(\.range) }
    /// Microseconds from the first record to the close.
    var queueMicroseconds: Int64 { closedAt - openedAt }

    /// Whether a record may join. `partitionChunk` is the chunk its partition asks for now, nil in normal mode.
    func admits(partition: TopicPartition, offset: Int64, bytes: Int, partitionChunk: Chunk?) -> Bool {
        guard !isClosed else { return false }
        if let chunk {
            guard partition == chunk.partition, count < chunk.recordsMax, offset < chunk.endMax else { return false }
        } else if partitionChunk != nil {
            return false
        }
        return count == 0 || (count < limits.recordsMax && records.byteCount + bytes <= limits.bytesMax)
    }

    /// Adds a record in normal mode when it follows one of its partition and there is room; `write` appends it to the records.
    ///
    /// Mutating throughout, so that an element of an array is changed in its place: one look at it as a value would copy it,
    /// and count its references, for each record.
    /// - Returns: whether the batch is full now; nil when the record may not join, and nothing was written.
    @inline(__always)
    mutating func extend(
        with place: Place, offset: Int64, bytes: Int, _ write: (inout RecordBatch) -> Void
    ) -> Bool? {
        guard !isClosed, chunk == nil, lastPlace == place, records.count < limits.recordsMax,
            records.byteCount + bytes <= limits.bytesMax
        else { return nil }
        write(&records)
        stretches[lastStretch].range.end = offset + 1
        stretches[lastStretch].records += 1
        return records.count >= limits.recordsMax || records.byteCount >= limits.bytesMax
    }

    /// Adds a record that `admits` let in; `write` appends it to the records.
    /// - Parameter start: where the partition's batch starts when this is its first record here: the end of the last one.
    mutating func add(
        partition: TopicPartition, place: Place, offset: Int64, start: Int64, now: Int64,
        _ write: (inout RecordBatch) -> Void
    ) {
        if records.isEmpty { openedAt = now }
        lastPlace = place
        write(&records)
        // A scan beats a dictionary, for an instance owns few partitions.
        if let index = stretches.lastIndex(where: { $0.range.partition == partition }) {
            lastStretch = index
            stretches[index].range.end = offset + 1
            stretches[index].records += 1
        } else {
            let range = OffsetRange(partition: partition, start: start, end: offset + 1)
            lastStretch = stretches.count
            stretches.append(Stretch(range: range, firstOffset: offset, records: 1))
        }
    }

    var isFull: Bool {
        count >= min(limits.recordsMax, chunk?.recordsMax ?? Int.max) || records.byteCount >= limits.bytesMax
            || (chunk.map { chunk in stretches.first.map { $0.range.end >= chunk.endMax } ?? false } ?? false)
    }

    /// Whether to stop waiting for more.
    func isDue(now: Int64) -> Bool { isFull || (count > 0 && now - openedAt >= limits.deadlineMicroseconds) }

    /// Microseconds until the deadline; nil when nothing was collected yet.
    func wait(now: Int64) -> Int64? { count == 0 ? nil : max(0, openedAt + limits.deadlineMicroseconds - now) }

    mutating func close(now: Int64) {
        guard !isClosed else { return }
        isClosed = true
        closedAt = now
        records.seal()
    }
}
