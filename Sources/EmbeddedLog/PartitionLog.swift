// PartitionLog: one partition's record batches on disk, and the state that decides what may be appended and seen.

/// A partition of a topic.
///
/// Not thread-safe: used by the one thread that owns the ``LogStore``.
public final class PartitionLog {
    /// The topic's name.
    public let topic: String
    /// The partition's number within the topic.
    public let index: Int
    /// First offset that can be read.
    public internal(set) var logStartOffset: Int64 = 0
    /// The offset the next record gets.
    public internal(set) var logEndOffset: Int64 = 0
    /// First offset not visible yet: the log's end, or under group commit the end of what is durable.
    public internal(set) var highWatermark: Int64 = 0
    /// First offset that may belong to an undecided transaction, else the high watermark.
    public var lastStableOffset: Int64 { highWatermark }
    /// Bytes of record batches on disk.
    public var sizeBytes: Int64 { 0 }
    /// Called when the high watermark or the last stable offset has risen: wake waiting fetches.
    public var onVisible: ((PartitionLog) -> Void)?

    init(topic: String, index: Int) {
        self.topic = topic
        self.index = index
    }

    /// Appends the record batches of a produce request: all of them or none.
    ///
    /// Only base offset and leader epoch are rewritten, and under append time the time; the rest stays as it came.
    ///
    /// - Parameters:
    ///   - recordSet: one or more record batches of format 2, one after another.
    ///   - leaderEpoch: written into the batches.
    ///   - origin: control batches are accepted from the coordinator only.
    /// - Throws: an error with the Kafka code for the client; after any error nothing has been appended.
    public func append(
        _ recordSet: RawSpan, leaderEpoch: Int32 = 0, origin: AppendOrigin = .client
    ) throws(LogError) -> AppendResult {
        throw LogError(.storage, "closed")
    }

    /// Ends a producer's transaction in this partition with a commit or abort marker.
    ///
    /// Without an open transaction the marker is written all the same (it fences older epochs), as in Kafka.
    public func appendMarker(
        producerID: Int64, producerEpoch: Int16, coordinatorEpoch: Int32, commit: Bool, leaderEpoch: Int32 = 0
    ) throws(LogError) -> AppendResult {
        throw LogError(.storage, "closed")
    }

    /// Finds whole batches from the one that holds `offset` on, without reading them.
    ///
    /// - Parameters:
    ///   - maxBytes: the slice is not longer, but for `atLeastOneBatch`.
    ///   - atLeastOneBatch: gives the first batch even if it is longer than `maxBytes`.
    /// - Returns: a slice; empty if nothing is visible at `offset`. Use it before the next call of any mutating method.
    /// - Throws: `offsetOutOfRange` below the log's start or above its end.
    public func locate(
        from offset: Int64, maxBytes: Int, isolation: Isolation = .readUncommitted, atLeastOneBatch: Bool = true
    ) throws(LogError) -> LogSlice {
        throw LogError(.storage, "closed")
    }

    /// Copies a slice from the file into `buffer`, which holds at least `slice.byteCount` bytes.
    ///
    /// - Returns: the count of bytes written: `slice.byteCount`.
    public func read(_ slice: LogSlice, into buffer: UnsafeMutableRawBufferPointer) throws(LogError) -> Int {
        throw LogError(.storage, "closed")
    }

    /// The bytes of a slice.
    public func bytes(of slice: LogSlice) throws(LogError) -> [UInt8] {
        throw LogError(.storage, "closed")
    }

    /// The first visible record whose timestamp is `timestamp` milliseconds or later; nil if there is none.
    ///
    /// In a compressed batch the batch's first record stands for all of it.
    public func offset(forTimestamp timestamp: Int64) throws(LogError) -> TimestampedOffset? {
        throw LogError(.storage, "closed")
    }

    /// The record with the largest timestamp (the first of them); nil for an empty log. In a compressed batch: its last.
    public func offsetOfMaxTimestamp() throws(LogError) -> TimestampedOffset? {
        throw LogError(.storage, "closed")
    }

    /// Moves the log's start up to `offset` (-1: the high watermark), durably; returns the new start.
    public func deleteRecords(before offset: Int64) throws(LogError) -> Int64 {
        throw LogError(.storage, "closed")
    }

    /// What the log remembers of a producer.
    public func producer(_ producerID: Int64) -> ProducerDescription? { nil }

    /// All producers the log remembers.
    public var producers: [ProducerDescription] { [] }
}
