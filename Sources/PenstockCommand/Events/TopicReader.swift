// TopicReader: reads records of whole topics, outside any group.

import Kafka

/// A record as commands show it.
struct ReadRecord: Sendable {
    var topic: String
    var partition: Int32
    var offset: Int64
    /// Milliseconds since the Unix epoch.
    var timestamp: Int64
    var key: [UInt8]?
    var value: [UInt8]?
    var headers: [RecordHeader]

    func header(_ name: String) -> String? {
        headers.first { $0.name == name }?.value.map { String(decoding: $0, as: UTF8.self) }
    }
}

final class TopicReader {
    enum Start { case beginning, end }

    static let requestMilliseconds: Int32 = 10_000

    private let consumer: Consumer
    /// What `count` has counted so far: the next offset to look at, and the records before it.
    private var counted: [KafkaPartition: (next: Int64, records: Int)] = [:]

    init(configuration: KafkaConfiguration) throws {
        var configuration = configuration
        // Commands look at what is there: what retention has removed meanwhile is no error for them.
        try configuration.set("auto.offset.reset", "earliest")
        try configuration.set("fetch.wait.max.ms", "50")
        // A topic may end with markers of transactions, which no record tells of.
        try configuration.set("enable.partition.eof", "true")
        consumer = try Consumer(configuration: configuration)
    }

    /// Partition counts of the topics that exist.
    func topics(_ names: [String]) throws -> [TopicDescription] {
        try consumer.topics(named: names, timeoutMilliseconds: Self.requestMilliseconds)
    }

    func watermarks(_ names: [String]) throws -> [KafkaPartition: Watermarks] {
        var result: [KafkaPartition: Watermarks] = [:]
        for topic in try topics(names) {
            for partition in topic.partitions {
                result[partition] = try consumer.watermarks(partition, timeoutMilliseconds: Self.requestMilliseconds)
            }
        }
        return result
    }

    /// Committed records in the topics now, counted on from the last call. Offsets alone do not tell: transactions leave
    /// markers and aborted records between them.
    func count(_ names: [String]) throws -> Int {
        var total = 0
        for (partition, found) in try watermarks(names) {
            total += counted[partition, default: (found.low, 0)].records
        }
        try readAll(names, from: counted.mapValues(\.next)) { record in
            let partition = KafkaPartition(topic: record.topic, partition: record.partition)
            counted[partition] = (record.offset + 1, (counted[partition]?.records ?? 0) + 1)
            total += 1
        }
        return total
    }

    /// Reads everything that is in the topics now, in order of each partition.
    /// - Parameter from: where to start per partition; others start at their beginning.
    func readAll(_ names: [String], from: [KafkaPartition: Int64] = [:], _ body: (ReadRecord) throws -> Void) throws {
        let ends = try watermarks(names)
        var open = ends.filter { max($0.value.low, from[$0.key] ?? 0) < $0.value.high }
        guard !open.isEmpty else { return }
        try consumer.assign(open.map { ($0.key, max($0.value.low, from[$0.key] ?? $0.value.low)) })
        defer { try? consumer.unassign() }
        let clock = ContinuousClock()
        var deadline = clock.now + .milliseconds(Int64(Self.requestMilliseconds))
        while !open.isEmpty {
            var ended: [KafkaPartition] = []
            func take(_ record: ReadRecord) throws -> Bool {
                let partition = KafkaPartition(topic: record.topic, partition: record.partition)
                guard let end = open[partition], record.offset < end.high else { return true }
                try body(record)
                if record.offset + 1 >= end.high { open[partition] = nil }
                return true
            }
            let count = try poll(milliseconds: 200, onEnd: { ended.append($0) }, take)
            for partition in ended { open[partition] = nil }
            if count > 0 || !ended.isEmpty { deadline = clock.now + .milliseconds(Int64(Self.requestMilliseconds)) }
            guard clock.now < deadline else {
                throw CommandFailure("no more records arrived from \(open.keys.sorted()) although they have some")
            }
        }
    }

    /// Follows the topics until `body` returns false.
    func follow(_ names: [String], start: Start, _ body: (ReadRecord) throws -> Bool) throws {
        let partitions = try topics(names).flatMap(\.partitions)
        guard !partitions.isEmpty else {
            throw CommandFailure("no topic \(names.joined(separator: ", ")) on these brokers")
        }
        let ends = start == .end ? try watermarks(names) : [:]
        try consumer.assign(partitions.map { ($0, start == .end ? ends[$0]?.high ?? 0 : KafkaOffset.beginning) })
        var goesOn = true
        while goesOn {
            _ = try poll(milliseconds: 500) { record in
                goesOn = try body(record)
                return goesOn
            }
        }
    }

    private struct Stop: Error {}

    private func poll(
        milliseconds: Int32, onEnd: (KafkaPartition) -> Void = { _ in }, _ body: (ReadRecord) throws -> Bool
    ) throws -> Int {
        let polled: Consumer.Polled
        do {
            polled = try consumer.pollMessages(
                maximum: 1_000, timeoutMilliseconds: milliseconds,
                onPartitionEnd: { partition, _ in onEnd(partition) },
                onMessage: { message in
                    let record = ReadRecord(
                        topic: consumer.topicName(at: message.topicIndex) ?? "?", partition: message.partition,
                        offset: message.offset, timestamp: message.timestampMilliseconds, key: message.key,
                        value: message.value, headers: message.headers)
                    guard try body(record) else { throw Stop() }
                })
        } catch is Stop {
            return 1
        }
        if case .error(let error, _, _) = polled.event, error.isFatal || error.code == .brokerUnavailable {
            throw error
        }
        return polled.messageCount
    }
}
