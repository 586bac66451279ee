// InternalLog: a compacted topic in which the broker keeps its own state.

import EmbeddedLog
import NIOCore

/// Records of the broker's own, one partition, made on first use.
///
/// A key starts with the format's version (16 bits) and the kind of record (8 bits); both key and value are fields as
/// the protocol's older versions write them: big endian, strings with 16-bit lengths, arrays and bytes with 32 bits.
struct InternalLog {
    static let groupsTopic = "__consumer_offsets"
    static let transactionsTopic = "__transaction_state"
    static let topics: Set<String> = [groupsTopic, transactionsTopic]

    let store: LogStore
    let topic: String

    private static let settings = [
        "cleanup.policy": "compact", "segment.bytes": "\(16 << 20)", "max.message.bytes": "\(16 << 20)",
    ]
    private static let readBytesMax = 4 << 20

    private func partition() throws(LogError) -> PartitionLog {
        if let partition = store.partition(topic, 0) { return partition }
        let made = try store.createTopic(topic, partitions: 1, overrides: Self.settings)
        guard let partition = made.partitions.first else { throw LogError(.storage, "\(topic) has no partition") }
        return partition
    }

    /// Appends all records as one batch: all of them survive a crash, or none.
    func append(_ records: [LogRecord]) throws(LogError) -> DurabilityPosition {
        let batch = RecordBatchBuilder.batch(records)
        return try partition().append(batch.span.bytes, origin: .coordinator).position
    }

    /// All records from the start on.
    func load(_ body: (LogRecord) -> Void) throws(LogError) {
        guard let partition = store.partition(topic, 0) else { return }
        var offset = partition.logStartOffset
        while offset < partition.highWatermark {
            let slice = try partition.locate(from: offset, maxBytes: Self.readBytesMax)
            guard slice.byteCount > 0 else { return }
            let bytes = try partition.bytes(of: slice)
            guard let last = RecordBatchReader.batches(bytes.span.bytes).last else { return }
            for record in try RecordBatchReader.records(bytes.span.bytes) where record.offset >= offset { body(record) }
            offset = last.header.lastOffset + 1
        }
    }
}

/// Fields of an internal record.
extension WireStruct {
    func encoded() -> [UInt8] {
        var coder = WireCoder(writingInto: ByteBuffer(), version: 0, isFlexible: false)
        var copy = self
        // Writing does not fail: only reading meets bytes of others.
        guard (try? copy.code(&coder)) != nil else { return [] }
        return coder.pieces().reduce(into: []) { $0 += $1.readableBytesView }
    }

    /// nil for bytes of another format.
    init?(encoded bytes: [UInt8]) {
        self.init()
        var coder = WireCoder(reading: ByteBuffer(bytes: bytes), version: 0, isFlexible: false)
        guard (try? code(&coder)) != nil else { return nil }
    }
}
