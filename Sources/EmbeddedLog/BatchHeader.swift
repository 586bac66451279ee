// BatchHeader: the 61 bytes at the start of a record batch of format 2.

/// The fixed fields of a record batch, in the order of the wire.
public struct BatchHeader: Sendable, Equatable {
    /// Offset of the first record.
    public var baseOffset: Int64
    /// Bytes of the batch after the length field.
    public var batchLength: Int32
    /// Epoch of the leader that appended the batch.
    public var leaderEpoch: Int32
    /// Format; 2.
    public var magic: Int8
    /// CRC-32C of everything from the attributes on.
    public var checksum: UInt32
    /// Codec, time type, transactional, control, delete horizon.
    public var attributes: Int16
    /// Offset of the last record, relative to the base offset.
    public var lastOffsetDelta: Int32
    /// Timestamp the records' deltas refer to, in milliseconds.
    public var baseTimestamp: Int64
    /// Largest timestamp in milliseconds.
    public var maxTimestamp: Int64
    /// The idempotent producer, -1 if none.
    public var producerID: Int64
    /// Its epoch.
    public var producerEpoch: Int16
    /// Sequence number of the first record.
    public var baseSequence: Int32
    /// Number of records.
    public var recordCount: Int32

    /// Bytes of the fixed part.
    public static let size = 61
    /// Bytes before those that `batchLength` counts.
    static let lengthPrefix = 12
    /// First byte the checksum covers.
    static let checksummedFrom = 21

    static let codecMask: Int16 = 0x07
    static let appendTimeBit: Int16 = 0x08
    static let transactionalBit: Int16 = 0x10
    static let controlBit: Int16 = 0x20

    /// Reads a header; the span has at least ``size`` bytes from `offset` on.
    public init(_ bytes: RawSpan, at offset: Int = 0) {
        baseOffset = bytes.integer(at: offset)
        batchLength = bytes.integer(at: offset + 8)
        leaderEpoch = bytes.integer(at: offset + 12)
        magic = bytes.integer(at: offset + 16)
        checksum = bytes.integer(at: offset + 17)
        attributes = bytes.integer(at: offset + 21)
        lastOffsetDelta = bytes.integer(at: offset + 23)
        baseTimestamp = bytes.integer(at: offset + 27)
        maxTimestamp = bytes.integer(at: offset + 35)
        producerID = bytes.integer(at: offset + 43)
        producerEpoch = bytes.integer(at: offset + 51)
        baseSequence = bytes.integer(at: offset + 53)
        recordCount = bytes.integer(at: offset + 57)
    }

    /// Bytes of the whole batch.
    public var byteCount: Int { Int(batchLength) + Self.lengthPrefix }
    /// Offset of the last record.
    public var lastOffset: Int64 { baseOffset + Int64(lastOffsetDelta) }
    /// Offset after the last record.
    public var nextOffset: Int64 { lastOffset + 1 }
    /// 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    public var codec: Int { Int(attributes & Self.codecMask) }
    /// Whether the records are compressed.
    public var isCompressed: Bool { codec != 0 }
    /// Whether the records' time is the broker's.
    public var usesAppendTime: Bool { attributes & Self.appendTimeBit != 0 }
    /// Whether the batch belongs to a transaction.
    public var isTransactional: Bool { attributes & Self.transactionalBit != 0 }
    /// Whether the batch is a transaction marker.
    public var isControl: Bool { attributes & Self.controlBit != 0 }
    /// Whether an idempotent producer sent the batch.
    public var hasProducer: Bool { producerID >= 0 }
    /// Sequence number of the last record, which wraps around after the largest.
    public var lastSequence: Int32 { ProducerSequence.advanced(baseSequence, by: lastOffsetDelta) }

    /// Whether the fields can belong to a batch of format 2 at all.
    var isPlausible: Bool {
        magic == 2 && batchLength >= Int32(Self.size - Self.lengthPrefix) && baseOffset >= 0 && lastOffsetDelta >= 0
            && recordCount >= 0 && baseOffset <= Int64.max - Int64(lastOffsetDelta) - 1
    }
}

/// Arithmetic of sequence numbers: 0 follows the largest 32-bit number.
enum ProducerSequence {
    static func advanced(_ sequence: Int32, by count: Int32) -> Int32 {
        let sum = Int64(sequence) + Int64(count)
        return Int32(truncatingIfNeeded: sum > Int64(Int32.max) ? sum - Int64(Int32.max) - 1 : sum)
    }

    static func follows(_ next: Int32, _ last: Int32) -> Bool {
        Int64(next) == Int64(last) + 1 || (next == 0 && last == Int32.max)
    }
}
