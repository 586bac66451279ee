// GroupLagTests: `penstock lag` on a log with an open transaction, against the embedded broker.

import ArgumentParser
import EmbeddedBroker
import EventContracts
import Kafka
import TestSupport
import Testing

@testable import PenstockCommand

@Suite("Lag of the groups")
struct GroupLagTests {
    @Test("It counts to the end of the log, records of a transaction that is still open among them")
    func openTransaction() async throws {
        let directory = try TemporaryDirectory()
        let broker = try await EmbeddedBroker.start(BrokerOptions(directory: directory.file("log")))
        do {
            try await read(broker)
            await broker.stop()
        } catch {
            await broker.stop()
            throw error
        }
    }

    private func read(_ broker: EmbeddedBroker) async throws {
        let topics = PipelineTopics(prefix: "penstock", pipeline: "lagging")
        for (_, topic) in GroupLag.groups(topics) { try await broker.createTopic(topic, partitions: 1) }
        let cluster = try ClusterOptions.parse(["--bootstrap-servers", broker.bootstrapServers])
        #expect(try lag(of: "transform", topics, cluster) == 0)

        var configuration = try KafkaConfiguration.producerDefaults(
            bootstrapServers: broker.bootstrapServers, clientID: "test")
        try configuration.makeTransactional("lagging.ingest.0")
        let producer = try Producer(configuration: configuration)
        let events = try producer.registerTopic(topics.events)
        try producer.initializeTransactions(timeoutMilliseconds: 10_000)
        try producer.beginTransaction()
        for number in 0..<3 { try producer.produce(topic: events, key: nil, value: [UInt8(number)].span.bytes) }
        try producer.flush(timeoutMilliseconds: 10_000) { _ in }
        #expect(try lag(of: "transform", topics, cluster) == 3)
        #expect(try lag(of: "inference", topics, cluster) == 0)
        try producer.commitTransaction(timeoutMilliseconds: 10_000)
    }

    private func lag(of stage: String, _ topics: PipelineTopics, _ cluster: ClusterOptions) throws -> Int64? {
        try GroupLag.read(topics, cluster: cluster).first { $0.group == "\(topics.root).\(stage)" }?.lag
    }
}
