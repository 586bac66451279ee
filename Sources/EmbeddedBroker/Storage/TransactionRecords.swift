// TransactionRecords: how transactional ids are written to __transaction_state.

struct TransactionRecordKey: WireStruct, Hashable {
    var format: Int16 = 1
    var kindNumber: Int8 = 0
    var transactionalID = ""

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.int16(&format)
        try coder.int8(&kindNumber)
        try coder.string(&transactionalID)
    }
}

struct TransactionRecord: WireStruct, Equatable {
    var phase: Int8 = 0
    var producerID: Int64 = -1
    var producerEpoch: Int16 = -1
    var lastEpoch: Int16 = -1
    var timeoutMilliseconds: Int32 = 0
    var startedAt: Int64 = -1
    var updatedAt: Int64 = -1
    var topics: [TopicPartitions] = []
    var groups: [String] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.int8(&phase)
        try coder.int64(&producerID)
        try coder.int16(&producerEpoch)
        try coder.int16(&lastEpoch)
        try coder.int32(&timeoutMilliseconds)
        try coder.int64(&startedAt)
        try coder.int64(&updatedAt)
        try coder.array(&topics)
        try coder.strings(&groups)
    }
}

extension TransactionMachine {
    var record: TransactionRecord {
        let byTopic = Dictionary(grouping: partitions, by: \.topic)
        return TransactionRecord(
            phase: phase.rawValue, producerID: producer.id, producerEpoch: producer.epoch, lastEpoch: lastEpoch,
            timeoutMilliseconds: timeoutMilliseconds, startedAt: startedAt, updatedAt: updatedAt,
            topics: byTopic.sorted { $0.key < $1.key }.map {
                TopicPartitions(name: $0.key, partitions: $0.value.map(\.partition).sorted())
            },
            groups: groups.sorted())
    }

    init?(transactionalID: String, record: TransactionRecord) {
        guard let phase = Phase(rawValue: record.phase) else { return nil }
        self.init(
            transactionalID: transactionalID, producerID: record.producerID,
            timeoutMilliseconds: record.timeoutMilliseconds, now: record.updatedAt)
        self.phase = phase
        producer.epoch = record.producerEpoch
        lastEpoch = record.lastEpoch
        startedAt = record.startedAt
        partitions = Set(
            record.topics.flatMap { topic in
                topic.partitions.map { TopicPartition(topic: topic.name, partition: $0) }
            })
        groups = Set(record.groups)
    }
}
