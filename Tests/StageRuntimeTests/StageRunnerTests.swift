// StageRunnerTests: a stage from records to records, against a mock cluster.

import EventContracts
import Kafka
import Observability
import StageRuntime
import TestSupport
import Testing

@Suite("Stage runner")
struct StageRunnerTests {
    @Test("Every record comes out once, in the order of its key, and the commit follows")
    func echo() async throws {
        let harness = try EchoHarness(partitions: 4)
        try harness.broker.produce((0..<1_000).map { ("k\($0 % 7)", "v\($0)") }, to: harness.input)
        let stage = try harness.start()
        let records = try harness.read(harness.output, 1_000)
        #expect(Set(records.compactMap(\.text)) == Set((0..<1_000).map { "V\($0)" }))
        for key in 0..<7 {
            let mine = records.filter { $0.key == Array("k\(key)".utf8) }.compactMap {
                $0.text.flatMap { Int($0.dropFirst()) }
            }
            #expect(mine == mine.sorted())
        }
        #expect(harness.log.batchSizes.allSatisfy { $0 <= 64 })
        let outcome = try await stage.stop()
        #expect(throws: Never.self) { try outcome?.get() }
        let committed = try harness.committed(partitions: 4)
        #expect(committed.values.map(\.offset).reduce(0, +) == 1_000)
        #expect(committed.values.allSatisfy { $0.metadata == "penstock/1 clean" })
        #expect(
            harness.registry.exposition().contains(
                "penstock_records_consumed_total{stage=\"echo\",topic=\"\(harness.input)\"} 1000"))
    }

    @Test("A dead letter keeps key, value and headers byte for byte and adds the documented headers")
    func deadLetter() async throws {
        let harness = try EchoHarness()
        let producer = try harness.broker.makeProducer()
        let topic = try producer.registerTopic(harness.input)
        let key: [UInt8] = [1, 0, 2]
        let value = Array("bad".utf8) + [0, 255, 128]
        let own = [
            RecordHeader(nameBytes: Array("h".utf8), value: [0, 1, 255]), RecordHeader("h", nil),
            RecordHeader("x-error-code", text: "mine"), RecordHeader("empty", []),
        ]
        try producer.produce(
            topic: topic, key: key.span.bytes, value: value.span.bytes, headers: own,
            timestampMilliseconds: 1_600_000_000_123)
        try producer.flush(timeoutMilliseconds: 10_000)
        let stage = try harness.start()
        let letters = try harness.read(harness.deadLetters, 1)
        let letter = try #require(letters.first)
        #expect(letter.key == key)
        #expect(letter.value == value)
        #expect(Array(letter.headers.prefix(4)) == own)
        let added = Dictionary(
            letter.headers.dropFirst(4).map { ($0.name, String(decoding: $0.value ?? [], as: UTF8.self)) },
            uniquingKeysWith: { first, _ in first })
        #expect(added["x-error-code"] == nil, "a name that the record has is never written again")
        #expect(added["__connect.errors.topic"] == harness.input)
        #expect(added["__connect.errors.partition"] == "0")
        #expect(added["__connect.errors.offset"] == "0")
        #expect(added["__connect.errors.connector.name"] == harness.group)
        #expect(added["__connect.errors.task.id"] == "a")
        #expect(added["__connect.errors.stage"] == "TRANSFORMATION")
        #expect(added["__connect.errors.class.name"] == "EchoStage")
        #expect(added["__connect.errors.exception.class.name"] == "penstock.malformed_json")
        #expect(added["__connect.errors.exception.message"] == "the record is bad: send a good one")
        #expect(added["x-original-timestamp"] == "1600000000123")
        #expect(added["x-error-time"]?.hasSuffix("Z") == true)
        try await stage.stop()
        #expect(
            harness.registry.exposition().contains(
                "penstock_dead_letters_total{code=\"malformed_json\",stage=\"echo\"} 1")
                || harness.registry.exposition().contains(
                    "penstock_dead_letters_total{stage=\"echo\",code=\"malformed_json\"} 1")
        )
    }

    @Test("An output that the producer finds too large becomes a dead letter, and the rest goes on")
    func tooLarge() async throws {
        let harness = try EchoHarness()
        try harness.broker.produce([("k", "a"), ("k", "big"), ("k", "b")], to: harness.input)
        let stage = try harness.start()
        let letters = try harness.read(harness.deadLetters, 1)
        #expect(letters.first?.text == "big")
        #expect(letters.first?.headers.contains(RecordHeader("x-error-code", text: "output_too_large")) == true)
        #expect(try harness.read(harness.output, 2).compactMap(\.text) == ["A", "B"])
        try await stage.stop()
        #expect(try harness.committed()[0]?.offset == 3)
    }

    @Test("An output that the broker finds too large becomes a dead letter too")
    func tooLargeForBroker() async throws {
        let harness = try EchoHarness()
        try harness.broker.produce([("k", "a")], to: harness.input)
        // The error hits the next produce request of any client: the stage's.
        harness.broker.cluster.pushErrors([.messageTooLarge], for: .produce)
        let stage = try harness.start()
        let letters = try harness.read(harness.deadLetters, 1)
        #expect(letters.first?.text == "a")
        #expect(letters.first?.headers.contains(RecordHeader("x-error-code", text: "output_too_large")) == true)
        try await stage.stop()
    }

    @Test("Nothing is committed while its outputs are not acknowledged")
    func commitAfterDelivery() async throws {
        let harness = try EchoHarness(brokers: 2)
        // The group and the input live on broker 1, the output on broker 2, which goes away.
        try harness.broker.cluster.setCoordinator(.group, key: harness.group, broker: 1)
        try harness.broker.cluster.setLeader(of: KafkaPartition(topic: harness.input, partition: 0), broker: 1)
        try harness.broker.cluster.setLeader(of: KafkaPartition(topic: harness.output, partition: 0), broker: 2)
        let stage = try harness.start()
        #expect(try await stage.becomesReady())
        try harness.broker.cluster.setBroker(2, isUp: false)
        try harness.broker.produce((0..<2_000).map { ("k", "v\($0)") }, to: harness.input)
        // Eight batches of 64 are in flight, then the stage stops processing and pauses.
        let isPaused = try await TestProgram.waitFor(timeoutMilliseconds: 20_000) {
            harness.registry.exposition().contains("penstock_paused_partitions{stage=\"echo\"} 1") ? true : nil
        }
        #expect(isPaused == true)
        #expect(harness.log.processed.count <= 8 * 64)
        #expect(try harness.committed()[0]?.offset == 0)
        try harness.broker.cluster.setBroker(2, isUp: true)
        let records = try harness.read(harness.output, 2_000, timeoutMilliseconds: 60_000)
        #expect(Set(records.compactMap(\.text)).count == 2_000)
        try await stage.stop()
        #expect(try harness.committed()[0]?.offset == 2_000)
    }

    @Test("A fault of the stage stops it with the message, and nothing of the batch is produced or committed")
    func fault() async throws {
        let harness = try EchoHarness()
        try harness.broker.produce([("k", "fine")], to: harness.input)
        struct Fault: Error {}
        let stage = try harness.start(onBatch: { values in if values.contains("throw") { throw Fault() } })
        #expect(try harness.read(harness.output, 1).count == 1)
        try harness.broker.produce([("k", "throw")], to: harness.input)
        let failure = try await stage.ended()
        #expect(throws: StageFailure.self) { try failure?.get() }
        #expect((try harness.committed()[0]?.offset ?? 0) <= 1)
        #expect(try harness.committed()[0]?.metadata.hasPrefix("penstock/1 dirty") == true)
    }
}
