// DeliverySeamTests: a delivery that keeps offsets itself, is away at times and refuses batches, as a sink does.

import EventContracts
import Kafka
import Logging
import Observability
import Synchronization
import TestSupport
import Testing

@testable import StageRuntime

/// A store in memory: rows and the next offset per partition, moved by compare-and-set.
final class MemoryStore: Sendable {
    struct State {
        var rows: [String] = []
        var next: [TopicPartition: Int64] = [:]
        var isAway = false
        var isAwayAtStart = false
        /// The next so many batches are refused, as if another instance had moved the offsets.
        var refusals = 0
        var offers = 0
        var ended: [TopicPartition] = []
    }

    let state = Mutex(State())

    var rows: [String] { state.withLock { $0.rows } }
}

struct StoreDelivery: Delivery {
    typealias Output = OutputBatch

    let store: MemoryStore
    private(set) var progress: [TopicPartition: Int64] = [:]

    init(store: MemoryStore) { self.store = store }

    var batchesInFlightMax: Int { 1 }
    var batchesInFlight: Int { 0 }

    mutating func startPositions(of partitions: [TopicPartition]) throws(DeliveryFailure) -> StartAnswer {
        let next = store.state.withLock { $0.isAwayAtStart ? nil : $0.next }
        guard let next else { return .later(reason: "the store is away at the start") }
        return .positions(
            Dictionary(uniqueKeysWithValues: partitions.map { ($0, next[$0].map { .at($0) } ?? .pipelineStart) }))
    }

    mutating func begin(_ starts: [PartitionStart]) throws(DeliveryFailure) -> DeliveryAnswer {
        store.state.withLock { state in
            for start in starts { state.next[start.partition] = start.position }
        }
        for start in starts { progress[start.partition] = start.position }
        return .accepted
    }

    mutating func deliver(_ output: OutputBatch, of batch: ProcessedBatch) throws(DeliveryFailure) -> DeliveryAnswer {
        let answer: DeliveryAnswer = store.state.withLock { state in
            state.offers += 1
            if state.isAway { return .later(reason: "the store is away") }
            if state.refusals > 0 {
                state.refusals -= 1
                return .restart(reason: "another instance was here")
            }
            for range in batch.ranges where state.next[range.partition] != range.start {
                return .restart(reason: "compare-and-set missed")
            }
            for range in batch.ranges { state.next[range.partition] = range.end }
            for emission in output.emissions {
                let value = emission.value
                state.rows.append(
                    String(decoding: output.arena[value.start..<(value.start + value.length)], as: UTF8.self))
            }
            return .accepted
        }
        if answer == .accepted {
            for range in batch.ranges { progress[range.partition] = range.end }
        }
        return answer
    }

    mutating func poll(waitMilliseconds: Int) throws(DeliveryFailure) {}

    mutating func drain(_ partitions: [TopicPartition]?, timeoutMilliseconds: Int) throws(DeliveryFailure) -> Bool {
        true
    }

    mutating func end(_ partitions: [TopicPartition], lost: Bool) {
        store.state.withLock { $0.ended += partitions }
        for partition in partitions { progress[partition] = nil }
    }
}

@Suite("Delivery seam")
struct DeliverySeamTests {
    private func start(
        _ harness: EchoHarness, _ store: MemoryStore, rewind: Rewind? = nil,
        change: (inout StageSettings) throws -> Void = { _ in }
    ) throws -> RunningStage {
        var settings = try harness.settings()
        try change(&settings)
        let metrics = StageMetrics(registry: harness.registry, stage: "echo", group: harness.group)
        return try RunningStage(settings: settings, metrics: metrics) { [log = harness.log] _ in
            (EchoProcessor(log: log, rewind: rewind), StoreDelivery(store: store))
        }
    }

    private func contains(_ harness: EchoHarness, _ line: String) -> Bool {
        harness.registry.exposition().contains(line)
    }

    @Test("Partitions start where the delivery says, not where the group does")
    func ownOffsets() async throws {
        let harness = try EchoHarness()
        try harness.broker.produce((0..<20).map { ("k", "v\($0)") }, to: harness.input)
        let store = MemoryStore()
        store.state.withLock { $0.next[TopicPartition(topic: harness.input, partition: 0)] = 15 }
        let stage = try start(harness, store)
        let isDone = try await TestProgram.waitFor { store.rows.count == 5 ? true : nil }
        #expect(isDone == true)
        #expect(store.rows == (15..<20).map { "V\($0)" })
        try await stage.stop()
        // The group follows for its lag.
        #expect(try harness.committed()[0]?.offset == 20)
    }

    @Test("While the delivery says later the partitions are paused, nothing is lost, and all arrives afterwards")
    func later() async throws {
        let harness = try EchoHarness()
        let store = MemoryStore()
        let stage = try start(harness, store)
        #expect(try await stage.becomesReady())
        store.state.withLock { $0.isAway = true }
        try harness.broker.produce((0..<1_000).map { ("k", "v\($0)") }, to: harness.input)
        let isPaused = try await TestProgram.waitFor {
            contains(harness, "penstock_paused_partitions{stage=\"echo\"} 1") ? true : nil
        }
        #expect(isPaused == true)
        #expect(stage.health.readinessFailures.contains { $0.check == "delivery" && $0.message == "the store is away" })
        #expect(stage.health.livenessFailures.isEmpty)
        // One batch is in hand and offered again; nothing else is processed meanwhile.
        try await Task.sleep(for: .milliseconds(500))
        #expect(harness.log.batchSizes.count == 1)
        #expect(store.state.withLock { $0.offers } > 2)
        store.state.withLock { $0.isAway = false }
        let isDone = try await TestProgram.waitFor { store.rows.count == 1_000 ? true : nil }
        #expect(isDone == true)
        #expect(store.rows == (0..<1_000).map { "V\($0)" })
        #expect(try await stage.becomesReady())
        #expect(contains(harness, "penstock_paused_partitions{stage=\"echo\"} 0"))
        try await stage.stop()
    }

    @Test("A stop while the delivery is away ends gracefully, and the next start goes on without loss")
    func stopWhileAway() async throws {
        let harness = try EchoHarness()
        let store = MemoryStore()
        store.state.withLock { $0.isAway = true }
        try harness.broker.produce((0..<10).map { ("k", "v\($0)") }, to: harness.input)
        let stage = try start(harness, store)
        _ = try await TestProgram.waitFor { harness.log.processed.count == 10 ? true : nil }
        let outcome = try await stage.stop()
        #expect(throws: Never.self) { try outcome?.get() }
        #expect(try harness.committed()[0] == CommittedOffset(offset: 0, metadata: "penstock/1 clean"))
        store.state.withLock { $0.isAway = false }
        let next = try start(harness, store)
        let isDone = try await TestProgram.waitFor { store.rows.count == 10 ? true : nil }
        #expect(isDone == true)
        try await next.stop()
    }

    @Test("A store that is away at the start delays the reading, not the membership")
    func awayAtStart() async throws {
        let harness = try EchoHarness()
        let store = MemoryStore()
        store.state.withLock { $0.isAwayAtStart = true }
        try harness.broker.produce((0..<10).map { ("k", "v\($0)") }, to: harness.input)
        let stage = try start(harness, store)
        let isTold = try await TestProgram.waitFor {
            stage.health.readinessFailures.contains { $0.message == "the store is away at the start" } ? true : nil
        }
        #expect(isTold == true)
        #expect(harness.log.processed.isEmpty)
        store.state.withLock { $0.isAwayAtStart = false }
        let isDone = try await TestProgram.waitFor { store.rows.count == 10 ? true : nil }
        #expect(isDone == true)
        try await stage.stop()
    }

    @Test("A refused batch is thrown away, and read again with the stage's state rebuilt")
    func restart() async throws {
        let harness = try EchoHarness()
        let store = MemoryStore()
        let stage = try start(harness, store, rewind: Rewind(recordsMax: 5, ageMillisecondsMax: 3_600_000))
        #expect(try await stage.becomesReady())
        try harness.broker.produce((0..<20).map { ("k", "v\($0)") }, to: harness.input)
        _ = try await TestProgram.waitFor { store.rows.count == 20 ? true : nil }
        store.state.withLock { $0.refusals = 2 }
        try harness.broker.produce((20..<30).map { ("k", "v\($0)") }, to: harness.input)
        let isDone = try await TestProgram.waitFor { store.rows.count == 30 ? true : nil }
        #expect(isDone == true)
        #expect(store.rows == (0..<30).map { "V\($0)" })
        #expect(harness.log.state.withLock { $0.forgotten.count } >= 2)
        #expect(harness.log.rebuilt.contains("v19"))
        try await stage.stop()
    }

    @Test("A batch refused while the stage is paused is read again, though its start takes a while to settle")
    func restartWhilePaused() async throws {
        let harness = try EchoHarness()
        let store = MemoryStore()
        let stage = try start(harness, store, rewind: Rewind(recordsMax: 5, ageMillisecondsMax: 3_600_000)) {
            $0.pauseAfterMilliseconds = 20
        }
        #expect(try await stage.becomesReady())
        try harness.broker.produce((0..<20).map { ("k", "v\($0)") }, to: harness.input)
        _ = try await TestProgram.waitFor { store.rows.count == 20 ? true : nil }
        store.state.withLock { $0.isAway = true }
        try harness.broker.produce((20..<30).map { ("k", "v\($0)") }, to: harness.input)
        let isPaused = try await TestProgram.waitFor {
            contains(harness, "penstock_paused_partitions{stage=\"echo\"} 1") ? true : nil
        }
        #expect(isPaused == true)
        store.state.withLock { state in
            state.isAway = false
            state.refusals = 1
            state.isAwayAtStart = true
        }
        _ = try await TestProgram.waitFor { store.state.withLock { $0.refusals == 0 } ? true : nil }
        // Several rounds without a partition being read: the pause ends in one of them.
        let isResumed = try await TestProgram.waitFor {
            contains(harness, "penstock_paused_partitions{stage=\"echo\"} 0") ? true : nil
        }
        #expect(isResumed == true)
        store.state.withLock { $0.isAwayAtStart = false }
        let isDone = try await TestProgram.waitFor { store.rows.count == 30 ? true : nil }
        #expect(isDone == true)
        #expect(store.rows == (0..<30).map { "V\($0)" })
        try await stage.stop()
    }

    @Test("A compare-and-set that misses reads on where the store stands")
    func movedOn() async throws {
        let harness = try EchoHarness()
        let store = MemoryStore()
        let stage = try start(harness, store)
        #expect(try await stage.becomesReady())
        // Another instance did the first ten.
        store.state.withLock { $0.next[TopicPartition(topic: harness.input, partition: 0)] = 10 }
        try harness.broker.produce((0..<20).map { ("k", "v\($0)") }, to: harness.input)
        let isDone = try await TestProgram.waitFor { store.rows.count == 10 ? true : nil }
        #expect(isDone == true)
        #expect(store.rows == (10..<20).map { "V\($0)" })
        try await stage.stop()
    }
}
