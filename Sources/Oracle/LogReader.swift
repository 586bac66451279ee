// LogReader: reads whole topics, from their first offsets to the end offsets at the start of the reading.

import Kafka

/// Reads topics without joining a group and without committing anything.
public struct LogReader {
    private let settings: [KafkaConfiguration.Setting]
    private let timeout: Duration
    private static let pollMilliseconds: Int32 = 500
    private static let requestMilliseconds: Int32 = 10_000

    /// - Parameters:
    ///   - bootstrapServers: `HOST:PORT,…`.
    ///   - settings: further librdkafka settings, `name=value`.
    ///   - timeout: for the reading of one topic.
    public init(bootstrapServers: String, settings: [(name: String, value: String)] = [], timeout: Duration) {
        let own = [
            ("bootstrap.servers", bootstrapServers), ("client.id", "penstock-oracle"),
            ("group.id", "penstock-oracle-\(UInt64.random(in: 0...UInt64.max))"), ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"), ("auto.offset.reset", "error"), ("enable.partition.eof", "true"),
            ("allow.auto.create.topics", "false"), ("isolation.level", "read_committed"),
            ("fetch.wait.max.ms", "50"),
        ]
        self.settings = (own + settings.map { ($0.name, $0.value) }).map { KafkaConfiguration.Setting($0.0, $0.1) }
        self.timeout = timeout
    }

    private func consumer() throws -> Consumer { try Consumer(configuration: KafkaConfiguration(settings: settings)) }

    public func clusterID() throws -> String {
        guard let id = try consumer().clusterID(timeoutMilliseconds: Self.requestMilliseconds) else {
            throw OracleError("the broker does not answer: check --bootstrap-servers")
        }
        return id
    }

    /// The end offset of each partition.
    public func ends(of topic: String) throws -> [Int32: Int64] {
        let consumer = try consumer()
        return try watermarks(of: topic, consumer).mapValues(\.high)
    }

    /// The next offsets that a group has committed for a topic, without joining it; nil when it never committed any.
    public func committed(group: String, topic: String) throws -> [Int32: Int64]? {
        let consumer = try Consumer(
            configuration: KafkaConfiguration(
                settings: settings + [KafkaConfiguration.Setting("group.id", group)]))
        let partitions = try watermarks(of: topic, consumer).keys.map { KafkaPartition(topic: topic, partition: $0) }
        let found = try consumer.committed(partitions, timeoutMilliseconds: Self.requestMilliseconds)
        guard !found.isEmpty else { return nil }
        return Dictionary(uniqueKeysWithValues: found.map { ($0.key.partition, $0.value.offset) })
    }

    /// All records of a topic. A topic that does not exist is an error unless `isOptional`.
    public func read(_ topic: String, isOptional: Bool = false) throws -> TopicLog {
        let consumer = try consumer()
        let watermarks = try watermarks(of: topic, consumer)
        if watermarks.isEmpty, !isOptional {
            throw OracleError("the topic \(topic) does not exist: check the pipeline and --bootstrap-servers")
        }
        var records: [LogRecord] = []
        var open = watermarks.filter { $0.value.low < $0.value.high }
        try consumer.assign(
            open.map { (KafkaPartition(topic: topic, partition: $0.key), $0.value.low) })
        let deadline = ContinuousClock.now + timeout
        while !open.isEmpty {
            guard ContinuousClock.now < deadline else {
                throw OracleError(
                    "\(topic) could not be read within \(timeout), partitions \(open.keys.sorted()) are incomplete: "
                        + "raise --timeout-seconds")
            }
            let polled = consumer.pollMessages(maximum: 10_000, timeoutMilliseconds: Self.pollMilliseconds) { message in
                guard let end = watermarks[message.partition]?.high, message.offset < end else { return }
                records.append(Self.record(message))
                if message.offset + 1 >= end { open[message.partition] = nil }
            }
            guard case .error(let error, let partition, _) = polled.event else { continue }
            if error.code == .partitionEnd, let partition {
                open[partition.partition] = nil
            } else if error.isFatal || error.code == .offsetOutOfRange || error.code == .authorization
                || error.code == .authentication
            {
                throw OracleError("\(topic) cannot be read: \(error.message)")
            }
        }
        return TopicLog(records: records, starts: watermarks.mapValues(\.low), ends: watermarks.mapValues(\.high))
    }

    private func watermarks(of topic: String, _ consumer: Consumer) throws -> [Int32: Watermarks] {
        let described: [TopicDescription]
        do {
            described = try consumer.topics(timeoutMilliseconds: Self.requestMilliseconds)
        } catch {
            throw OracleError("the broker does not answer (\(error.message)): check --bootstrap-servers")
        }
        var result: [Int32: Watermarks] = [:]
        for partition in described.first(where: { $0.name == topic })?.partitions ?? [] {
            result[partition.partition] = try consumer.watermarks(
                partition, timeoutMilliseconds: Self.requestMilliseconds)
        }
        return result
    }

    private static func record(_ message: borrowing Message) -> LogRecord {
        LogRecord(
            origin: Origin(partition: message.partition, offset: message.offset),
            timestampMilliseconds: message.timestampMilliseconds, key: message.key, value: message.value,
            headers: message.headers.map { LogHeader(name: $0.nameBytes, value: $0.value) })
    }
}
