// Support: what the broker's tests share.

import EmbeddedLog
import Kafka
import NIOCore
import TestSupport

@testable import EmbeddedBroker

/// A broker in this process with a directory of its own.
@discardableResult
func withBroker<R>(
    directory: TemporaryDirectory? = nil, configure: (inout BrokerOptions) -> Void = { _ in },
    body: (EmbeddedBroker) async throws -> R
) async throws -> R {
    let directory = try directory ?? TemporaryDirectory()
    var options = BrokerOptions(directory: directory.file("log"))
    configure(&options)
    let broker = try await EmbeddedBroker.start(options)
    do {
        let result = try await body(broker)
        await broker.stop()
        return result
    } catch {
        await broker.stop()
        throw error
    }
}

extension EmbeddedBroker {
    func makeProducer(_ settings: [String: String] = [:]) throws -> Producer {
        var configuration = try KafkaConfiguration.producerDefaults(
            bootstrapServers: bootstrapServers, clientID: TestBroker.uniqueName("producer"))
        try configuration.set("statistics.interval.ms", "0")
        for (name, value) in settings { try configuration.set(name, value) }
        return try Producer(configuration: configuration)
    }

    /// A producer with the transactional id `x`.
    func makeTransactional() throws -> Producer {
        try makeProducer(["transactional.id": "x", "transaction.timeout.ms": "20000", "message.timeout.ms": "10000"])
    }

    func makeConsumer(group: String = "group", _ settings: [String: String] = [:]) throws -> Consumer {
        var configuration = try KafkaConfiguration.consumerDefaults(
            bootstrapServers: bootstrapServers, group: group, clientID: TestBroker.uniqueName("consumer"))
        try configuration.set("statistics.interval.ms", "0")
        try configuration.set("session.timeout.ms", "3000")
        try configuration.set("heartbeat.interval.ms", "200")
        for (name, value) in settings { try configuration.set(name, value) }
        return try Consumer(configuration: configuration)
    }

    func produce(_ values: [String], to topic: String, _ settings: [String: String] = [:]) throws {
        let producer = try makeProducer(settings)
        try producer.send(values, to: topic)
    }

    /// The values of a partition from the start on.
    func read(_ count: Int, from topic: String, _ settings: [String: String] = [:]) throws -> [String?] {
        let consumer = try makeConsumer(group: TestBroker.uniqueName("reader"), settings)
        let index = KafkaPartition(topic: topic, partition: 0)
        try consumer.incrementalAssign([(index, KafkaOffset.beginning)])
        return try consumer.collect(count).map(\.text)
    }
}

extension Producer {
    /// Produces to partition 0 and waits for all reports.
    func send(_ values: [String], to topic: String) throws {
        let index = try registerTopic(topic)
        for value in values {
            let bytes = Array(value.utf8)
            try produce(topic: index, partition: 0, key: nil, value: bytes.span.bytes)
        }
        var failures: [KafkaError] = []
        try flush(timeoutMilliseconds: 20_000) { if let error = $0.error { failures.append(error) } }
        if let failure = failures.first { throw failure }
    }
}

/// Numbers that are the same in each run.
struct SeededNumbers: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
