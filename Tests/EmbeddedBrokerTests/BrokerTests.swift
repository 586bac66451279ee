// BrokerTests: the broker as librdkafka sees it.

import EmbeddedLog
import Kafka
import TestSupport
import Testing

@testable import EmbeddedBroker

@Suite("The embedded broker serves librdkafka")
struct BrokerTests {
    @Test("Records come back as they were sent", arguments: ["none", "gzip", "snappy", "lz4", "zstd"])
    func codecs(codec: String) async throws {
        try await withBroker { broker in
            try await broker.createTopic("t", partitions: 1)
            let sent = (0..<500).map { "value \($0) \(String(repeating: "x", count: $0))" }
            try broker.produce(sent, to: "t", ["compression.type": codec])
            #expect(try broker.read(500, from: "t") == sent)
        }
    }

    @Test("A restart keeps records, committed offsets and their metadata")
    func restart() async throws {
        let directory = try TemporaryDirectory()
        let partition = KafkaPartition(topic: "t", partition: 0)
        let cluster = try await withBroker(directory: directory) { broker in
            try await broker.createTopic("t", partitions: 1)
            try broker.produce(["a", "b", "c"], to: "t")
            try broker.makeConsumer().commit(
                [partition: CommittedOffset(offset: 2, metadata: "mark")], timeoutMilliseconds: 10_000)
            return broker.clusterID
        }
        try await withBroker(directory: directory) { broker in
            #expect(broker.clusterID == cluster)
            #expect(try broker.read(3, from: "t") == ["a", "b", "c"])
            let committed = try broker.makeConsumer().committed([partition], timeoutMilliseconds: 10_000)
            #expect(committed[partition] == CommittedOffset(offset: 2, metadata: "mark"))
        }
    }

    @Test("A topic that is made again keeps its partitions and records and takes the new settings, for good")
    func settings() async throws {
        let directory = try TemporaryDirectory()
        try await withBroker(directory: directory) { broker in
            try await broker.createTopic("t", partitions: 2, settings: ["retention.ms": "1000000"])
            try broker.produce(["kept"], to: "t")
            try await broker.createTopic(
                "t", partitions: 5, settings: ["retention.ms": "-1", "cleanup.policy": "compact"])
            await #expect(throws: LogError.self) {
                try await broker.createTopic("t", partitions: 2, settings: ["retention.ms": "soon"])
            }
        }
        try await withBroker(directory: directory) { broker in
            let settings = try await broker.settings(ofTopic: "t")
            #expect(settings == ["retention.ms": "-1", "cleanup.policy": "compact"])
            #expect(try broker.read(1, from: "t") == ["kept"])
        }
    }

    @Test("A second broker on the same directory is refused")
    func locked() async throws {
        let directory = try TemporaryDirectory()
        try await withBroker(directory: directory) { _ in
            await #expect(throws: BrokerStartError.self) { try await withBroker(directory: directory) { _ in } }
        }
    }

    @Test("An idempotent producer whose connection breaks after the append leaves each record once and in order")
    func idempotence() async throws {
        try await withBroker { broker in
            try await broker.createTopic("t", partitions: 1)
            broker.faults.add(.disconnectAfter, to: .produce, count: 3)
            let sent = (0..<200).map(String.init)
            try broker.produce(
                sent, to: "t", ["enable.idempotence": "true", "batch.num.messages": "10", "retry.backoff.ms": "10"])
            #expect(broker.faults.remaining(.produce) == 0)
            try broker.produce(["end"], to: "t")
            #expect(try broker.read(201, from: "t") == sent + ["end"])
        }
    }

    @Test("A refused fetch is a well-formed answer, and reading goes on after it")
    func refusedFetch() async throws {
        try await withBroker { broker in
            try await broker.createTopic("t", partitions: 1)
            let notLeader = ProtocolError(code: 6)
            broker.faults.add(.error(notLeader), to: .fetch, count: 2)
            try broker.produce(["a", "b"], to: "t")
            let consumer = try broker.makeConsumer(group: "g")
            try consumer.incrementalAssign([(KafkaPartition(topic: "t", partition: 0), KafkaOffset.beginning)])
            var complaints: [String] = []
            let records = try consumer.collect(2) { event in
                if case .log(let line) = event, line.facility == "PROTOERR" { complaints.append(line.message) }
            }
            #expect(records.map(\.text) == ["a", "b"])
            #expect(broker.faults.remaining(.fetch) == 0)
            #expect(complaints.isEmpty)
        }
    }

    @Test("Readers of committed records see a transaction at its commit, and never an aborted one")
    func transactions() async throws {
        try await withBroker { broker in
            try await broker.createTopic("t", partitions: 1)
            let producer = try broker.makeTransactional()
            try producer.initializeTransactions(timeoutMilliseconds: 10_000)
            try producer.beginTransaction()
            try producer.send(["aborted"], to: "t")
            try producer.abortTransaction(timeoutMilliseconds: 10_000)
            try producer.beginTransaction()
            try producer.send(["committed"], to: "t")
            try producer.commitTransaction(timeoutMilliseconds: 10_000)
            try broker.produce(["plain"], to: "t")
            #expect(try broker.read(2, from: "t", ["isolation.level": "read_committed"]) == ["committed", "plain"])
            #expect(
                try broker.read(3, from: "t", ["isolation.level": "read_uncommitted"])
                    == ["aborted", "committed", "plain"])
        }
    }

    @Test("A producer that was replaced cannot commit")
    func fencing() async throws {
        try await withBroker { broker in
            try await broker.createTopic("t", partitions: 1)
            let first = try broker.makeTransactional()
            try first.initializeTransactions(timeoutMilliseconds: 10_000)
            try first.beginTransaction()
            try first.send(["zombie"], to: "t")
            let second = try broker.makeTransactional()
            try second.initializeTransactions(timeoutMilliseconds: 10_000)
            #expect(throws: KafkaError.self) { try first.commitTransaction(timeoutMilliseconds: 10_000) }
            try second.beginTransaction()
            try second.send(["live"], to: "t")
            try second.commitTransaction(timeoutMilliseconds: 10_000)
            #expect(try broker.read(1, from: "t", ["isolation.level": "read_committed"]) == ["live"])
        }
    }

    @Test("A transaction that a restart interrupts is aborted when its producer comes back")
    func interruptedTransaction() async throws {
        let directory = try TemporaryDirectory()
        try await withBroker(directory: directory) { broker in
            try await broker.createTopic("t", partitions: 1)
            let producer = try broker.makeTransactional()
            try producer.initializeTransactions(timeoutMilliseconds: 10_000)
            try producer.beginTransaction()
            try producer.send(["open"], to: "t")
        }
        try await withBroker(directory: directory) { broker in
            let producer = try broker.makeTransactional()
            try producer.initializeTransactions(timeoutMilliseconds: 20_000)
            try broker.produce(["plain"], to: "t")
            #expect(try broker.read(1, from: "t", ["isolation.level": "read_committed"]) == ["plain"])
        }
    }

    @Test("Two members share four partitions; one that leaves gives its share back")
    func rebalance() async throws {
        try await withBroker { broker in
            try await broker.createTopic("t", partitions: 4)
            let first = try broker.makeConsumer()
            try first.subscribe(topics: ["t"])
            try Self.poll([first]) { $0 == [4] }
            let second = try broker.makeConsumer()
            try second.subscribe(topics: ["t"])
            try Self.poll([first, second]) { $0 == [2, 2] }
            try second.close(timeoutMilliseconds: 10_000) { _ in }
            try Self.poll([first]) { $0 == [4] }
        }
    }

    /// Polls all of them until the counts of their partitions are as wanted.
    private static func poll(_ consumers: [Consumer], until isWanted: ([Int]) -> Bool) throws {
        let deadline = ContinuousClock.now.advanced(by: .seconds(30))
        while ContinuousClock.now < deadline {
            for consumer in consumers {
                guard let event = consumer.poll(timeoutMilliseconds: 20, { _ in }) else { continue }
                if case .rebalance(let change) = event { try consumer.answer(change) }
            }
            if isWanted(try consumers.map { try $0.assignment().count }) { return }
        }
        Issue.record("The assignments did not come to what was expected")
    }
}
