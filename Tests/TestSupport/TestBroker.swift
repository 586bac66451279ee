// TestBroker: an in-process Kafka cluster for one test, with names nobody else uses.

public import Kafka
import Synchronization

/// A mock cluster and the clients a test needs. Topics and groups get names unique within the process.
public final class TestBroker: Sendable {
    public let cluster: MockCluster
    private static let nextNumber = Atomic<UInt64>(0)

    public init(brokers: Int = 1) throws {
        cluster = try MockCluster(brokerCount: brokers)
    }

    public var bootstrapServers: String { cluster.bootstrapServers }

    /// A name that was never given before in this process.
    public static func uniqueName(_ base: String) -> String {
        let number = nextNumber.wrappingAdd(1, ordering: .relaxed).oldValue
        return "\(base)-\(number)"
    }

    /// Makes a topic and returns its name.
    public func makeTopic(_ base: String = "topic", partitions: Int = 1) throws -> String {
        let name = Self.uniqueName(base)
        try cluster.createTopic(name, partitions: partitions)
        return name
    }

    /// A consumer with the stage defaults and short waits; settings are laid over them.
    public func makeConsumer(
        group: String = TestBroker.uniqueName("group"), _ settings: [String: String] = [:]
    ) throws -> Consumer {
        var configuration = try KafkaConfiguration.consumerDefaults(
            bootstrapServers: bootstrapServers, group: group, clientID: TestBroker.uniqueName("consumer"))
        try configuration.set("statistics.interval.ms", "0")
        try configuration.set("fetch.wait.max.ms", "10")
        // The mock's rebalances wait for this time-out, less a second, when a member is missing.
        try configuration.set("session.timeout.ms", "3000")
        try configuration.set("heartbeat.interval.ms", "200")
        for (name, value) in settings { try configuration.set(name, value) }
        return try Consumer(configuration: configuration)
    }

    /// A producer with the stage defaults; settings are laid over them.
    public func makeProducer(_ settings: [String: String] = [:]) throws -> Producer {
        var configuration = try KafkaConfiguration.producerDefaults(
            bootstrapServers: bootstrapServers, clientID: TestBroker.uniqueName("producer"))
        try configuration.set("statistics.interval.ms", "0")
        for (name, value) in settings { try configuration.set(name, value) }
        return try Producer(configuration: configuration)
    }

    /// Produces text records and waits until the broker has them all.
    public func produce(
        _ records: [(key: String?, value: String?)], to topic: String, partition: Int32 = KafkaPartition.unassigned
    ) throws {
        let producer = try makeProducer()
        let index = try producer.registerTopic(topic)
        for (key, value) in records {
            let key = key.map { Array($0.utf8) }
            let value = value.map { Array($0.utf8) }
            try producer.produce(
                topic: index, partition: partition, key: key?.span.bytes, value: value?.span.bytes)
        }
        var failures: [KafkaError] = []
        try producer.flush(timeoutMilliseconds: 10_000) { report in
            if let error = report.error { failures.append(error) }
        }
        if let failure = failures.first { throw failure }
    }
}

/// A record copied out of a consumer.
public struct TestRecord: Sendable, Hashable {
    public var topicIndex: Int
    public var partition: Int32
    public var offset: Int64
    public var timestampMilliseconds: Int64
    public var key: [UInt8]?
    public var value: [UInt8]?
    public var headers: [RecordHeader]

    public init(_ message: borrowing Message) {
        topicIndex = message.topicIndex
        partition = message.partition
        offset = message.offset
        timestampMilliseconds = message.timestampMilliseconds
        key = message.key
        value = message.value
        headers = message.headers
    }

    /// The value as text; nil for a tombstone.
    public var text: String? { value.map { String(decoding: $0, as: UTF8.self) } }
}

extension Consumer {
    /// Polls until that many records came or the time is over. Assignments are answered with the group's committed
    /// offsets or the beginning; other events are handed to `onEvent`.
    public func collect(
        _ count: Int, timeoutMilliseconds: Int = 15_000, onEvent: (ConsumerEvent) throws -> Void = { _ in }
    ) throws -> [TestRecord] {
        var records: [TestRecord] = []
        let deadline = ContinuousClock.now.advanced(by: .milliseconds(timeoutMilliseconds))
        while records.count < count, ContinuousClock.now < deadline {
            let polled = pollMessages(maximum: count - records.count, timeoutMilliseconds: 50) { message in
                records.append(TestRecord(message))
            }
            guard let event = polled.event else { continue }
            if case .rebalance(let change) = event { try answer(change) }
            try onEvent(event)
        }
        return records
    }

    /// Polls until the condition holds for an event, answering rebalances; false when the time is over before.
    public func waitForEvent(
        timeoutMilliseconds: Int = 15_000, _ isWanted: (ConsumerEvent) throws -> Bool
    ) throws -> Bool {
        let deadline = ContinuousClock.now.advanced(by: .milliseconds(timeoutMilliseconds))
        while ContinuousClock.now < deadline {
            guard let event = poll(timeoutMilliseconds: 50, { _ in }) else { continue }
            if case .rebalance(let change) = event { try answer(change) }
            if try isWanted(event) { return true }
        }
        return false
    }

    /// Takes an assignment from the committed offsets, or from the beginning; gives a revocation up.
    public func answer(_ change: Rebalance) throws {
        guard change.kind == .assign else { return try incrementalUnassign(change.partitions) }
        let committed = try committed(change.partitions, timeoutMilliseconds: 5_000)
        try incrementalAssign(
            change.partitions.map { ($0, committed[$0]?.offset ?? KafkaOffset.beginning) })
    }
}
