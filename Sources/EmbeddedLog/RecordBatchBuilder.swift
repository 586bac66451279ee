// RecordBatchBuilder: makes uncompressed record batches, for the broker's own topics, for markers and for tests.

/// A record of a batch.
public struct LogRecord: Sendable, Equatable {
    /// The offset; 0-based within the batch when building.
    public var offset: Int64
    /// Milliseconds since 1970.
    public var timestamp: Int64
    /// The key, nil if none.
    public var key: [UInt8]?
    /// The value; nil is a tombstone.
    public var value: [UInt8]?
    /// Headers in order.
    public var headers: [Header]

    /// A header of a record.
    public struct Header: Sendable, Equatable {
        /// The name.
        public var name: String
        /// The value, nil if null.
        public var value: [UInt8]?

        /// A header.
        public init(_ name: String, _ value: [UInt8]?) {
            self.name = name
            self.value = value
        }
    }

    /// A record.
    public init(
        key: [UInt8]?, value: [UInt8]?, timestamp: Int64, headers: [Header] = [], offset: Int64 = 0
    ) {
        self.key = key
        self.value = value
        self.timestamp = timestamp
        self.headers = headers
        self.offset = offset
    }
}

/// The producer fields of a batch.
public struct BatchProducer: Sendable, Equatable {
    /// The producer's id.
    public var id: Int64
    /// Its epoch.
    public var epoch: Int16
    /// Sequence number of the batch's first record.
    public var baseSequence: Int32
    /// Whether the batch belongs to a transaction.
    public var isTransactional: Bool

    /// Producer fields.
    public init(id: Int64, epoch: Int16, baseSequence: Int32, isTransactional: Bool = false) {
        self.id = id
        self.epoch = epoch
        self.baseSequence = baseSequence
        self.isTransactional = isTransactional
    }
}

/// Makes record batches of format 2 without compression.
public enum RecordBatchBuilder {
    /// One batch with these records, base offset 0; the log sets the offset when it appends.
    public static func batch(_ records: [LogRecord], producer: BatchProducer? = nil) -> [UInt8] {
        batch(
            records, producer: producer,
            attributes: producer?.isTransactional == true ? BatchHeader.transactionalBit : 0)
    }

    /// A transaction marker: a control batch with one record.
    public static func marker(
        producerID: Int64, producerEpoch: Int16, coordinatorEpoch: Int32, commit: Bool, timestamp: Int64
    ) -> [UInt8] {
        var key: [UInt8] = []
        key.appendInteger(Int16(0))
        key.appendInteger(Int16(commit ? 1 : 0))
        var value: [UInt8] = []
        value.appendInteger(Int16(0))
        value.appendInteger(coordinatorEpoch)
        return batch(
            [LogRecord(key: key, value: value, timestamp: timestamp)],
            producer: BatchProducer(id: producerID, epoch: producerEpoch, baseSequence: -1),
            attributes: BatchHeader.transactionalBit | BatchHeader.controlBit)
    }

    private static func batch(_ records: [LogRecord], producer: BatchProducer?, attributes: Int16) -> [UInt8] {
        let baseTimestamp = records.first?.timestamp ?? -1
        var bytes: [UInt8] = []
        bytes.appendInteger(Int64(0))
        bytes.appendInteger(Int32(0))
        bytes.appendInteger(Int32(0))
        bytes.appendInteger(Int8(2))
        bytes.appendInteger(UInt32(0))
        bytes.appendInteger(attributes)
        bytes.appendInteger(Int32(max(records.count, 1) - 1))
        bytes.appendInteger(baseTimestamp)
        bytes.appendInteger(records.map(\.timestamp).max() ?? -1)
        bytes.appendInteger(producer?.id ?? -1)
        bytes.appendInteger(producer?.epoch ?? -1)
        bytes.appendInteger(producer?.baseSequence ?? -1)
        bytes.appendInteger(Int32(records.count))
        for (index, record) in records.enumerated() {
            append(record, offsetDelta: index, baseTimestamp: baseTimestamp, to: &bytes)
        }
        seal(&bytes)
        return bytes
    }

    /// Sets the length and checksum fields of a batch.
    static func seal(_ bytes: inout [UInt8]) {
        bytes.setInteger(Int32(bytes.count - BatchHeader.lengthPrefix), at: 8)
        let checksum = unsafe Checksum.crc32c(bytes.span.bytes.extracting(droppingFirst: BatchHeader.checksummedFrom))
        bytes.setInteger(checksum, at: 17)
    }

    private static func append(
        _ record: LogRecord, offsetDelta: Int, baseTimestamp: Int64, to bytes: inout [UInt8]
    ) {
        var body: [UInt8] = [0]
        body.appendVarint(record.timestamp - baseTimestamp)
        body.appendVarint(Int64(offsetDelta))
        append(record.key, to: &body)
        append(record.value, to: &body)
        body.appendVarint(Int64(record.headers.count))
        for header in record.headers {
            append([UInt8](header.name.utf8), to: &body)
            append(header.value, to: &body)
        }
        bytes.appendVarint(Int64(body.count))
        bytes.append(contentsOf: body)
    }

    private static func append(_ field: [UInt8]?, to bytes: inout [UInt8]) {
        guard let field else { return bytes.appendVarint(-1) }
        bytes.appendVarint(Int64(field.count))
        bytes.append(contentsOf: field)
    }
}
