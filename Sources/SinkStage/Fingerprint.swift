// Fingerprint: what is remembered of the last record of a partition, to notice a topic that was made anew.

import EventContracts

/// The last processed record of a partition, as stored beside the offset.
public struct Fingerprint: Sendable, Equatable {
    public var offset: Int64
    public var timestampMilliseconds: Int64
    /// FNV-1a over key and value.
    public var hash: Int64

    public init(offset: Int64, timestampMilliseconds: Int64, key: [UInt8]?, value: [UInt8]?) {
        self.offset = offset
        self.timestampMilliseconds = timestampMilliseconds
        var state = Self.start
        for part in [key, value] {
            // A length in front keeps (a, bc) and (ab, c) apart, and null from empty.
            state = Self.hash(withUnsafeBytes(of: Int64(part?.count ?? -1).littleEndian) { Array($0) }, from: state)
            state = Self.hash(part ?? [], from: state)
        }
        hash = Int64(bitPattern: state)
    }

    init(offset: Int64, timestampMilliseconds: Int64, hash: Int64) {
        self.offset = offset
        self.timestampMilliseconds = timestampMilliseconds
        self.hash = hash
    }

    /// Of record `index` of a batch.
    init(of index: Int, in batch: RecordBatch) {
        self.init(
            offset: batch.origins[index].offset, timestampMilliseconds: batch.timestampsMilliseconds[index],
            key: batch.bytes(batch.keys[index]), value: batch.bytes(batch.values[index]))
    }

    private static let start: UInt64 = 0xcbf2_9ce4_8422_2325

    /// FNV-1a, 64 bits (http://www.isthe.com/chongo/tech/comp/fnv/).
    static func hash<S: Sequence>(_ bytes: S, from start: UInt64 = start) -> UInt64 where S.Element == UInt8 {
        bytes.reduce(start) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    }
}

/// What a record probe finds at an offset.
public enum ProbedRecord: Sendable, Equatable {
    case found(Fingerprint)
    /// The log begins after the offset: retention took the record, nothing can be said.
    case expired
    /// The log ends at or before the offset.
    case beyondEnd
    /// The broker cannot be asked now.
    case unavailable(String)
}

/// Reads single records of a topic, for the comparison with stored fingerprints.
public protocol RecordProbe {
    mutating func record(topic: String, partition: Int32, offset: Int64) -> ProbedRecord
}
