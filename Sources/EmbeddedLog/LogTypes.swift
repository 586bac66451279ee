// LogTypes: the values that appends, reads and look-ups take and return.

/// A topic's persistent identity: 16 bytes, new for each creation.
public struct TopicID: Hashable, Sendable, CustomStringConvertible {
    /// The first eight bytes, big endian.
    public let high: UInt64
    /// The last eight bytes, big endian.
    public let low: UInt64

    /// An identity from its two halves.
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// 32 hexadecimal digits.
    public var description: String { Hexadecimal.text(high) + Hexadecimal.text(low) }
}

/// Who appends: control batches are the transaction coordinator's alone.
public enum AppendOrigin: Sendable {
    /// A produce request: all checks.
    case client
    /// The broker's own records: internal topics and transaction markers.
    case coordinator
}

/// A place in the order of all appends of a store; see ``LogStore/whenDurable(_:_:)``.
public struct DurabilityPosition: Comparable, Hashable, Sendable {
    let sequence: UInt64

    public static func < (a: Self, b: Self) -> Bool { a.sequence < b.sequence }
}

/// What an append did.
public struct AppendResult: Sendable, Equatable {
    /// Offset of the first record; of the earlier append when `isDuplicate`.
    public var baseOffset: Int64
    /// Offset of the last record.
    public var lastOffset: Int64
    /// The broker's time in milliseconds if the topic uses append time, else -1.
    public var logAppendTime: Int64
    /// The log's first offset.
    public var logStartOffset: Int64
    /// Pass it to ``LogStore/whenDurable(_:_:)`` before acknowledging.
    public var position: DurabilityPosition
    /// Whether the batch was already in the log (a retried idempotent produce); nothing was written.
    public var isDuplicate: Bool
}

/// What a reader may see.
public enum Isolation: Sendable {
    /// Everything below the high watermark.
    case readUncommitted
    /// Everything below the last stable offset; the reader drops the aborted transactions listed with it.
    case readCommitted
}

/// A transaction whose records a `readCommitted` reader drops, from its first offset up to its abort marker.
public struct AbortedTransaction: Hashable, Sendable {
    /// The producer whose records are dropped.
    public var producerID: Int64
    /// Offset of the transaction's first record in this partition.
    public var firstOffset: Int64
}

/// Whole record batches found by ``PartitionLog/locate(from:maxBytes:isolation:atLeastOneBatch:)``: not yet read.
public struct LogSlice {
    /// Length in bytes; 0 when nothing is visible from that offset on.
    public let byteCount: Int
    /// Offset of the first record that is not visible yet.
    public let highWatermark: Int64
    /// First offset that may belong to an undecided transaction; the high watermark if none does.
    public let lastStableOffset: Int64
    /// The log's first offset.
    public let logStartOffset: Int64
    /// For `readCommitted`: aborted transactions that overlap the slice. Empty otherwise.
    public let abortedTransactions: [AbortedTransaction]

    let file: (any LogFile)?
    let filePosition: Int64
}

/// A record's offset found by time.
public struct TimestampedOffset: Sendable, Equatable {
    /// The record's offset.
    public var offset: Int64
    /// Its timestamp in milliseconds.
    public var timestamp: Int64
}

/// A producer that a partition remembers.
public struct ProducerDescription: Sendable, Equatable {
    /// The producer's id.
    public var producerID: Int64
    /// Its newest epoch.
    public var epoch: Int16
    /// Its last sequence number, -1 if none.
    public var lastSequence: Int32
    /// Time of its last append in milliseconds.
    public var lastTimestamp: Int64
    /// Epoch of the coordinator that wrote its last marker, -1 if none.
    public var coordinatorEpoch: Int32
    /// First offset of its open transaction.
    public var transactionFirstOffset: Int64?
}
