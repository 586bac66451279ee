// ExactDeliveryTests: transactions of a stage against the embedded broker, with its requests made to go wrong.

import EmbeddedBroker
import EventContracts
import Glibc
import Kafka
import Logging
import Observability
import Synchronization
import TestSupport
import Testing

@testable import StageRuntime

/// A broker in this process, the topics of one echo stage, and runners in the profile `exact`.
final class ExactHarness: Sendable {
    let broker: EmbeddedBroker
    let input: String
    let output: String
    let group = TestBroker.uniqueName("group")
    let log = EchoProcessor.Log()
    let registry = MetricsRegistry()
    private let directory: TemporaryDirectory
    private let partitions: Int

    init(partitions: Int, outputSettings: [String: String] = [:]) async throws {
        directory = try TemporaryDirectory()
        broker = try await EmbeddedBroker.start(BrokerOptions(directory: directory.file("log")))
        input = TestBroker.uniqueName("in")
        output = TestBroker.uniqueName("out")
        self.partitions = partitions
        try await broker.createTopic(input, partitions: partitions)
        try await broker.createTopic(output, partitions: partitions, settings: outputSettings)
        try await broker.createTopic("\(input).dlq", partitions: 1)
    }

    static func with<R>(
        partitions: Int = 1, outputSettings: [String: String] = [:], _ body: (ExactHarness) async throws -> R
    ) async throws -> R {
        let harness = try await ExactHarness(partitions: partitions, outputSettings: outputSettings)
        do {
            let result = try await body(harness)
            await harness.broker.stop()
            return result
        } catch {
            await harness.broker.stop()
            throw error
        }
    }

    private func configured(_ configuration: KafkaConfiguration) throws -> KafkaConfiguration {
        var configuration = configuration
        try configuration.set("statistics.interval.ms", "0")
        return configuration
    }

    private func settings(_ slot: String, readsHeaders: Bool) throws -> StageSettings {
        var consumer = try configured(
            KafkaConfiguration.consumerDefaults(
                bootstrapServers: broker.bootstrapServers, group: group, clientID: slot))
        try consumer.set("session.timeout.ms", "3000")
        try consumer.set("heartbeat.interval.ms", "200")
        try consumer.makeStaticMember("\(group).\(slot)")
        var settings = StageSettings(
            stage: "echo", group: group, instance: slot, inputTopics: [input], readsHeaders: readsHeaders,
            consumer: consumer, batch: BatchLimits(recordsMax: 64, bytesMax: 1 << 20, deadlineMicroseconds: 2_000))
        settings.drainMillisecondsMax = 10_000
        return settings
    }

    /// A runner whose delivery keeps the offsets itself and lets the runner commit them to the group.
    func start(
        _ slot: String = "a", store: MemoryStore, onBatch: @escaping @Sendable ([String]) throws -> Void
    ) throws -> RunningStage {
        var settings = try settings(slot, readsHeaders: false)
        settings.commitIntervalMilliseconds = 1
        let metrics = StageMetrics(registry: registry, stage: "echo", group: group)
        return try RunningStage(settings: settings, metrics: metrics) { [log] _ in
            (EchoProcessor(log: log, onBatch: onBatch), StoreDelivery(store: store))
        }
    }

    /// The next heartbeats are refused, as by a coordinator that forgot the member; returns when the last one was.
    func forgetMember() async throws {
        broker.faults.add(.error(.unknownMemberID), to: .heartbeat)
        _ = try await TestProgram.waitFor { broker.faults.remaining(.heartbeat) == 0 ? true : nil }
    }

    func start(
        _ slot: String = "a", readsHeaders: Bool = false,
        change: @Sendable (inout ExactDelivery.Settings) -> Void = { _ in },
        onBatch: @escaping @Sendable ([String]) throws -> Void = { _ in }
    ) throws -> RunningStage {
        let settings = try settings(slot, readsHeaders: readsHeaders)
        var producer = try configured(
            KafkaConfiguration.producerDefaults(bootstrapServers: broker.bootstrapServers, clientID: slot))
        try producer.makeTransactional("\(group).\(slot)")
        var delivery = ExactDelivery.Settings(
            outputs: OutputSettings(
                producer: producer, outputTopics: [output], module: "EchoStage", deadLetterStage: .transformation))
        delivery.requestMillisecondsMax = 500
        change(&delivery)
        let metrics = StageMetrics(registry: registry, stage: "echo", group: group)
        let final = delivery
        return try RunningStage(settings: settings, metrics: metrics) { [log] logger in
            (
                EchoProcessor(log: log, onBatch: onBatch),
                ExactDelivery(settings: final, metrics: metrics, logger: logger)
            )
        }
    }

    func publish(_ range: Range<Int>, prefix: String = "v") throws {
        let producer = try Producer(
            configuration: try configured(
                KafkaConfiguration.producerDefaults(bootstrapServers: broker.bootstrapServers, clientID: "test")))
        let topic = try producer.registerTopic(input)
        for number in range {
            let (key, value) = (Array("k\(number % 7)".utf8), Array("\(prefix)\(number)".utf8))
            try producer.produce(topic: topic, key: key.span.bytes, value: value.span.bytes)
        }
        try producer.flush(timeoutMilliseconds: 10_000)
    }

    /// All committed records of a topic.
    func read(_ topic: String, partitions: Int? = nil) throws -> [TestRecord] {
        var configuration = try configured(
            KafkaConfiguration.consumerDefaults(
                bootstrapServers: broker.bootstrapServers, group: "reader", clientID: "reader"))
        try configuration.set("enable.partition.eof", "true")
        let consumer = try Consumer(configuration: configuration)
        let places = (0..<(partitions ?? self.partitions)).map { KafkaPartition(topic: topic, partition: Int32($0)) }
        try consumer.assign(places.map { ($0, KafkaOffset.beginning) })
        var records: [TestRecord] = []
        var ended: Set<KafkaPartition> = []
        let deadline = ContinuousClock.now.advanced(by: .seconds(20))
        while ended.count < places.count, ContinuousClock.now < deadline {
            _ = consumer.pollMessages(
                maximum: 1_000, timeoutMilliseconds: 100, onPartitionEnd: { place, _ in ended.insert(place) },
                onMessage: { records.append(TestRecord($0)) })
        }
        return records
    }

    /// Waits until the group stands at the end of its input, and the output holds exactly the echoes of that range.
    func expectEchoes(of range: Range<Int>) async throws {
        let watch = try Consumer(
            configuration: try configured(
                KafkaConfiguration.consumerDefaults(
                    bootstrapServers: broker.bootstrapServers, group: group, clientID: "watch")))
        let isDone = try await TestProgram.waitFor(timeoutMilliseconds: 30_000) {
            try watch.lag(ofTopics: [input], timeoutMilliseconds: 5_000).allSatisfy { $0.lag == 0 } ? true : nil
        }
        #expect(isDone == true)
        // The offsets inside a transaction may be seen before its records are.
        let found = try await TestProgram.waitFor(timeoutMilliseconds: 10_000) {
            let texts = try read(output).compactMap(\.text)
            return texts.count >= range.count ? texts : nil
        }
        let texts = try found ?? read(output).compactMap(\.text)
        #expect(texts.count == range.count)
        #expect(Set(texts) == Set(range.map { "V\($0)" }))
    }

    func count(_ outcome: String) -> Int {
        let line = "penstock_transactions_total{stage=\"echo\",outcome=\"\(outcome)\"} "
        return registry.exposition().split(separator: "\n").first { $0.hasPrefix(line) }
            .flatMap { Int($0.dropFirst(line.count)) } ?? 0
    }
}

/// Holds a stage's thread in the middle of its work.
final class Door: Sendable {
    private let state = Mutex((admitted: Int.max, isWaitedAt: false))

    var isWaitedAt: Bool { state.withLock { $0.isWaitedAt } }

    func close() { state.withLock { $0 = (0, false) } }
    func open() { state.withLock { $0.admitted = Int.max } }
    /// Lets one through; who comes next waits.
    func admitOne() { state.withLock { $0 = (1, false) } }

    /// Returns when the door is open.
    func pass() {
        while true {
            let isAdmitted = state.withLock { state in
                guard state.admitted > 0 else {
                    state.isWaitedAt = true
                    return false
                }
                if state.admitted < Int.max { state.admitted -= 1 }
                return true
            }
            guard !isAdmitted else { return }
            usleep(1_000)
        }
    }
}

@Suite("Exact delivery", .serialized)
struct ExactDeliveryTests {
    @Test(
        "Each record comes out once and in order, many in a transaction, and the offsets are inside",
        arguments: [1, Int.max])
    func echo(openersRecordsMin: Int) async throws {
        try await ExactHarness.with(partitions: 4) { harness in
            try harness.publish(0..<2_000)
            let stage = try harness.start(change: { $0.openersRecordsMin = openersRecordsMin })
            try await harness.expectEchoes(of: 0..<2_000)
            for key in 0..<7 {
                let mine = try harness.read(harness.output).filter { $0.key == Array("k\(key)".utf8) }
                    .compactMap { $0.text.flatMap { Int($0.dropFirst()) } }
                #expect(mine == mine.sorted())
            }
            let committed = harness.count("committed")
            #expect(committed > 0 && committed < 200, "\(committed) transactions for 2,000 records")
            #expect(harness.count("aborted") == 0)
            let outcome = try await stage.stop()
            #expect(throws: Never.self) { try outcome?.get() }
        }
    }

    @Test("A transaction ends with the batch that brings it to its number of records, however young it is")
    func size() async throws {
        try await ExactHarness.with(partitions: 2) { harness in
            try harness.publish(0..<640)
            // Neither age nor the number of batches ends one: only its size does.
            let stage = try harness.start(change: {
                $0.idleMilliseconds = 3_000
                $0.busyMilliseconds = 3_000
                $0.batchesMax = 1_000
                $0.recordsMax = 128
            })
            try await harness.expectEchoes(of: 0..<640)
            #expect(harness.count("committed") >= 3)
            let outcome = try await stage.stop()
            #expect(throws: Never.self) { try outcome?.get() }
        }
    }

    @Test("The answer to the end of a transaction is lost: its outcome is looked up, nothing is repeated")
    func lostAnswer() async throws {
        try await ExactHarness.with { harness in
            let stage = try harness.start()
            #expect(try await stage.becomesReady())
            for (number, fault) in [Fault.stall, .disconnectAfter, .disconnectBefore, .stall].enumerated() {
                harness.broker.faults.add(fault, to: .endTransaction)
                try harness.publish(number * 100..<number * 100 + 100)
                try await harness.expectEchoes(of: 0..<number * 100 + 100)
            }
            #expect(harness.broker.faults.remaining(.endTransaction) == 0)
            let outcome = try await stage.stop()
            #expect(throws: Never.self) { try outcome?.get() }
        }
    }

    @Test("Errors, delays and disconnects in every request of a transaction: aborted, read again, each record once")
    func brokenRequests() async throws {
        try await ExactHarness.with(partitions: 2) { harness in
            let stage = try harness.start()
            #expect(try await stage.becomesReady())
            let requests: [APIKey] = [
                .addPartitionsToTransaction, .produce, .addOffsetsToTransaction, .transactionOffsetCommit,
                .endTransaction,
            ]
            var end = 0
            for request in requests {
                for fault in [Fault.delay(milliseconds: 300), .disconnectBefore, .disconnectAfter, .stall] {
                    // The publisher of the test would meet it.
                    if request == .produce, fault == .stall { continue }
                    harness.broker.faults.add(fault, to: request)
                    try harness.publish(end..<end + 20)
                    end += 20
                    try await harness.expectEchoes(of: 0..<end)
                }
            }
            // ILLEGAL_GENERATION: the transaction is aborted, the batch read again.
            harness.broker.faults.add(.error(ProtocolError(code: 22)), to: .transactionOffsetCommit)
            try harness.publish(end..<end + 20)
            try await harness.expectEchoes(of: 0..<end + 20)
            #expect(harness.count("aborted") > 0)
            let outcome = try await stage.stop()
            #expect(throws: Never.self) { try outcome?.get() }
        }
    }

    @Test("A runner that dies in the middle leaves nothing visible; the next one on its slot does the work once")
    func death() async throws {
        try await ExactHarness.with(partitions: 2) { harness in
            // Transactions that do not end by themselves, so that the death finds one open.
            let first = try harness.start(change: {
                $0.idleMilliseconds = 60_000
                $0.busyMilliseconds = 60_000
                $0.batchesMax = 1_000
            })
            #expect(try await first.becomesReady())
            try harness.publish(0..<300)
            _ = try await TestProgram.waitFor { harness.log.processed.count == 300 ? true : nil }
            try await first.kill()
            #expect(try harness.read(harness.output).isEmpty)
            let second = try harness.start()
            try await harness.expectEchoes(of: 0..<300)
            try await second.stop()
        }
    }

    @Test("A second process on the same slot: the first one ends with a message and commits nothing more")
    func fenced() async throws {
        try await ExactHarness.with { harness in
            let first = try harness.start()
            #expect(try await first.becomesReady())
            try harness.publish(0..<50)
            try await harness.expectEchoes(of: 0..<50)
            let second = try harness.start()
            let outcome = try await TestProgram.waitFor(timeoutMilliseconds: 30_000) {
                first.outcome
            }
            guard case .failure(let failure) = outcome else {
                Issue.record("the first process goes on: \(String(describing: outcome))")
                return
            }
            #expect(failure.message.contains("slot"), "\(failure.message)")
            try harness.publish(50..<100)
            try await harness.expectEchoes(of: 0..<100)
            try await second.stop()
        }
    }

    @Test("A stage that the group forgot while it was busy ends in order when it is told to stop, and leaves the work")
    func forgottenAtStop() async throws {
        try await ExactHarness.with { harness in
            let door = Door()
            let first = try harness.start(onBatch: { _ in door.pass() })
            #expect(try await first.becomesReady())
            door.close()
            try harness.publish(0..<50)
            _ = try await TestProgram.waitFor { door.isWaitedAt ? true : nil }
            try await harness.forgetMember()
            first.control.requestStop()
            door.open()
            let outcome = try await first.ended()
            guard case .success = outcome else {
                Issue.record("the stage failed: \(String(describing: outcome))")
                return
            }
            #expect(try harness.read(harness.output).isEmpty)
            let second = try harness.start()
            try await harness.expectEchoes(of: 0..<50)
            try await second.stop()
        }
    }

    @Test(
        "A stage that the group forgets while it stops ends in order too: what was on its way is the next owner's work")
    func forgottenWhileStopping() async throws {
        try await ExactHarness.with { harness in
            let door = Door()
            let first = try harness.start(onBatch: { _ in door.pass() })
            #expect(try await first.becomesReady())
            door.close()
            // More than one batch holds: the stop finds the second one in hand.
            try harness.publish(0..<100)
            _ = try await TestProgram.waitFor { door.isWaitedAt ? true : nil }
            first.control.requestStop()
            door.admitOne()
            _ = try await TestProgram.waitFor { door.isWaitedAt ? true : nil }
            try await harness.forgetMember()
            // The client has read the refusal, but nobody has heard of the loss.
            try await Task.sleep(for: .milliseconds(100))
            door.open()
            let outcome = try await first.ended()
            guard case .success = outcome else {
                Issue.record("the stage failed: \(String(describing: outcome))")
                return
            }
            let second = try harness.start()
            try await harness.expectEchoes(of: 0..<100)
            try await second.stop()
        }
    }

    @Test("A member whose name is refused while its offsets are on their way gives the transaction up and goes on")
    func forgottenInTransaction() async throws {
        try await ExactHarness.with { harness in
            let stage = try harness.start(change: { $0.requestMillisecondsMax = 5_000 })
            #expect(try await stage.becomesReady())
            // Tried again after half a second; by then the heartbeat was refused, and what has no name is fenced.
            harness.broker.faults.add(.error(.coordinatorLoadInProgress), to: .transactionOffsetCommit)
            harness.broker.faults.add(.error(.fencedInstanceID), to: .transactionOffsetCommit)
            try harness.publish(0..<50)
            _ = try await TestProgram.waitFor {
                harness.broker.faults.remaining(.transactionOffsetCommit) == 1 ? true : nil
            }
            try await harness.forgetMember()
            try await harness.expectEchoes(of: 0..<50)
            #expect(harness.broker.faults.remaining(.transactionOffsetCommit) == 0)
            #expect(stage.outcome == nil, "\(String(describing: stage.outcome))")
            try await stage.stop()
        }
    }

    @Test("A stage that the group forgot while it was busy commits nothing in its old name, joins again and goes on")
    func forgottenWhileBusy() async throws {
        try await ExactHarness.with { harness in
            let (door, store) = (Door(), MemoryStore())
            let stage = try harness.start(store: store, onBatch: { _ in door.pass() })
            #expect(try await stage.becomesReady())
            for round in 0..<3 {
                door.close()
                try harness.publish(round * 50..<(round + 1) * 50)
                _ = try await TestProgram.waitFor { door.isWaitedAt ? true : nil }
                try await harness.forgetMember()
                door.open()
                let isDone = try await TestProgram.waitFor { store.rows.count == (round + 1) * 50 ? true : nil }
                #expect(isDone == true)
            }
            let outcome = try await stage.stop()
            guard case .success = outcome else {
                Issue.record("the stage failed: \(String(describing: outcome))")
                return
            }
            #expect(store.rows.sorted() == (0..<150).map { "V\($0)" }.sorted())
        }
    }

    @Test("A record whose output the broker finds too large becomes a dead letter, its neighbours go through")
    func oversized() async throws {
        try await ExactHarness.with { harness in
            let stage = try harness.start()
            #expect(try await stage.becomesReady())
            try harness.publish(0..<20)
            try harness.publish(20..<21, prefix: "big")
            try harness.publish(21..<40)
            let letter = try await TestProgram.waitFor(timeoutMilliseconds: 30_000) {
                try harness.read("\(harness.input).dlq", partitions: 1).first
            }
            #expect(letter?.text == "big20")
            let isDone = try await TestProgram.waitFor { harness.log.processed.contains("v39") ? true : nil }
            #expect(isDone == true)
            let outcome = try await stage.stop()
            #expect(throws: Never.self) { try outcome?.get() }
            #expect(Set(try harness.read(harness.output).compactMap(\.text)).count == 39)
            #expect(try harness.read("\(harness.input).dlq", partitions: 1).count == 1)
        }
    }

    @Test("A topic that takes small batches only gets small ones: no record that fits is refused with others")
    func smallBatches() async throws {
        try await ExactHarness.with(outputSettings: ["max.message.bytes": "2000"]) { harness in
            // Before the stage starts, so that it takes them in full batches.
            try harness.publish(0..<2_000)
            let stage = try harness.start { $0.batchesMax = 64 }
            try await harness.expectEchoes(of: 0..<2_000)
            try await stage.stop()
            #expect(try harness.read("\(harness.input).dlq", partitions: 1).isEmpty)
        }
    }

    @Test("A broker that errs when it is asked for a log's first or last offset never makes a log look empty")
    func watermarks() async throws {
        try await ExactHarness.with { harness in
            try harness.publish(0..<10)
            let consumer = try Consumer(
                configuration: try KafkaConfiguration.consumerDefaults(
                    bootstrapServers: harness.broker.bootstrapServers, group: "watermarks", clientID: "watermarks"))
            let place = KafkaPartition(topic: harness.input, partition: 0)
            var (refused, told) = (0, 0)
            for round in 0..<60 {
                harness.broker.faults.clear()
                if round % 3 != 0 { harness.broker.faults.add(.error(ProtocolError(code: 6)), to: .listOffsets) }
                do throws(KafkaError) {
                    let found = try consumer.watermarks(place, timeoutMilliseconds: 5_000)
                    #expect(found.low == 0 && found.high == 10, "round \(round): \(found)")
                    told += 1
                } catch {
                    refused += 1
                }
            }
            #expect(refused >= 1 && told >= 20)
        }
    }

    @Test("Members come and go under load: partitions move between slots and each record stays once")
    func rebalances() async throws {
        try await ExactHarness.with(partitions: 4) { harness in
            let first = try harness.start("a")
            #expect(try await first.becomesReady())
            try harness.publish(0..<500)
            let second = try harness.start("b")
            try harness.publish(500..<1_000)
            #expect(try await second.becomesReady())
            try harness.publish(1_000..<1_500)
            try await second.stop()
            try harness.publish(1_500..<2_000)
            try await harness.expectEchoes(of: 0..<2_000)
            try await first.stop()
        }
    }
}
