// EchoStage: a stage for tests, and a harness that runs it against a mock cluster on a thread of its own.

import EventContracts
import Glibc
import Kafka
import Logging
import Observability
import ProcessControl
import Synchronization
import TestSupport

@testable import StageRuntime

/// Emits each value in capitals; `bad…` becomes a dead letter, `big…` an output of two megabytes, `throw` a fault.
struct EchoProcessor: StageProcessor {
    typealias Output = OutputBatch

    /// What processors of a test saw, shared by all runners of it.
    final class Log: Sendable {
        struct State {
            var batches: [[String]] = []
            var rebuilt: [String] = []
            var forgotten: [TopicPartition] = []
        }
        let state = Mutex(State())

        var processed: [String] { state.withLock { $0.batches.flatMap { $0 } } }
        var batchSizes: [Int] { state.withLock { $0.batches.map(\.count) } }
        var rebuilt: [String] { state.withLock { $0.rebuilt } }
    }

    let log: Log
    var rewind: Rewind?
    /// Called before each batch with its values.
    var onBatch: @Sendable ([String]) throws -> Void = { _ in }

    mutating func rebuild(_ batch: RecordBatch, context: ProcessingContext) throws {
        let values = Self.values(batch)
        log.state.withLock { $0.rebuilt += values }
    }

    mutating func process(_ batch: RecordBatch, context: ProcessingContext, into output: inout OutputBatch) throws {
        let values = Self.values(batch)
        try onBatch(values)
        log.state.withLock { $0.batches.append(values) }
        for (index, value) in values.enumerated() {
            if value.hasPrefix("bad") {
                output.deadLetter(source: index, .malformedJSON, "the record is bad: send a good one")
            } else if value.hasPrefix("big") {
                output.emit(source: index) { $0.append(contentsOf: repeatElement(65, count: 2_000_000)) }
            } else {
                output.emit(source: index) { $0.append(contentsOf: value.uppercased().utf8) }
            }
        }
    }

    mutating func forget(_ partitions: [TopicPartition]) {
        log.state.withLock { $0.forgotten += partitions }
    }

    private static func values(_ batch: RecordBatch) -> [String] {
        batch.values.map { String(decoding: batch.bytes($0) ?? [], as: UTF8.self) }
    }
}

/// Topics, group and runners of one test.
final class EchoHarness: Sendable {
    let broker: TestBroker
    let input: String
    let output: String
    let group = TestBroker.uniqueName("group")
    let log = EchoProcessor.Log()
    let registry = MetricsRegistry()

    init(partitions: Int = 1, brokers: Int = 1) throws {
        broker = try TestBroker(brokers: brokers)
        input = try broker.makeTopic("in", partitions: partitions)
        output = try broker.makeTopic("out", partitions: partitions)
        try broker.cluster.createTopic("\(input).dlq", partitions: 1)
    }

    var deadLetters: String { "\(input).dlq" }

    func consumerConfiguration(_ instance: String) throws -> KafkaConfiguration {
        var configuration = try KafkaConfiguration.consumerDefaults(
            bootstrapServers: broker.bootstrapServers, group: group, clientID: instance)
        try configuration.set("statistics.interval.ms", "0")
        try configuration.set("fetch.wait.max.ms", "10")
        // The mock lets a rebalance take the session time-out less a second.
        try configuration.set("session.timeout.ms", "4000")
        return configuration
    }

    func settings(_ instance: String = "a") throws -> StageSettings {
        var settings = StageSettings(
            stage: "echo", group: group, instance: instance, inputTopics: [input], readsHeaders: true,
            consumer: try consumerConfiguration(instance),
            batch: BatchLimits(recordsMax: 64, bytesMax: 1 << 20, deadlineMicroseconds: 2_000))
        settings.drainMillisecondsMax = 10_000
        return settings
    }

    func outputSettings() throws -> OutputSettings {
        var producer = try KafkaConfiguration.producerDefaults(
            bootstrapServers: broker.bootstrapServers, clientID: "echo")
        try producer.set("statistics.interval.ms", "0")
        return OutputSettings(
            producer: producer, outputTopics: [output], module: "EchoStage", deadLetterStage: .transformation)
    }

    /// A runner with the at-least-once delivery, started on its own thread.
    func start(
        _ instance: String = "a", rewind: Rewind? = nil, change: (inout StageSettings) throws -> Void = { _ in },
        changeDelivery: (inout AtLeastOnceDelivery.Settings) throws -> Void = { _ in }, diesOfFaults: Bool = false,
        onBatch: @escaping @Sendable ([String]) throws -> Void = { _ in }
    ) throws -> RunningStage {
        var settings = try settings(instance)
        try change(&settings)
        var outputs = try outputSettings()
        outputs.faults = settings.faults
        var deliverySettings = AtLeastOnceDelivery.Settings(outputs: outputs)
        try changeDelivery(&deliverySettings)
        let metrics = StageMetrics(registry: registry, stage: "echo", group: group)
        let finalSettings = deliverySettings
        return try RunningStage(settings: settings, metrics: metrics, diesOfFaults: diesOfFaults) { [log] logger in
            (
                EchoProcessor(log: log, rewind: rewind, onBatch: onBatch),
                AtLeastOnceDelivery(settings: finalSettings, metrics: metrics, logger: logger)
            )
        }
    }

    /// The group's committed offsets, as an outsider reads them.
    func committed(partitions: Int = 1) throws -> [Int32: CommittedOffset] {
        let consumer = try broker.makeConsumer(group: group)
        let places = (0..<partitions).map { KafkaPartition(topic: input, partition: Int32($0)) }
        let found = try consumer.committed(places, timeoutMilliseconds: 10_000)
        return Dictionary(uniqueKeysWithValues: found.map { ($0.key.partition, $0.value) })
    }

    /// All records of a topic, as an outsider reads them.
    func read(_ topic: String, _ count: Int, timeoutMilliseconds: Int = 20_000) throws -> [TestRecord] {
        let consumer = try broker.makeConsumer()
        try consumer.subscribe(topics: [topic])
        return try consumer.collect(count, timeoutMilliseconds: timeoutMilliseconds)
    }

    /// How many different values a topic holds, waiting for so many.
    func readDistinct(_ topic: String, _ count: Int) throws -> Int {
        let consumer = try broker.makeConsumer()
        try consumer.subscribe(topics: [topic])
        var values: Set<String> = []
        let deadline = ContinuousClock.now.advanced(by: .seconds(30))
        while values.count < count, ContinuousClock.now < deadline {
            values.formUnion(try consumer.collect(count - values.count, timeoutMilliseconds: 2_000).compactMap(\.text))
        }
        return values.count
    }
}

/// A runner on its thread.
final class RunningStage: Sendable {
    let control = StageControl()
    let health: HealthState
    private let result = Mutex<Result<Void, StageFailure>?>(nil)
    private let isKilled = Atomic<Bool>(false)
    /// A fault of the processor ends the runner as a crash would end its process.
    private let diesOfFaults: Bool

    init<P: StageProcessor, D: Delivery>(
        settings: StageSettings, metrics: StageMetrics, diesOfFaults: Bool = false,
        _ make: @escaping @Sendable (Logger) -> (P, D)
    ) throws where P.Output == D.Output {
        health = HealthState()
        self.diesOfFaults = diesOfFaults
        let started = Threads.start(named: "stage-\(settings.instance)") { [self] in
            let logger = Self.logger(settings.instance)
            let outcome: Result<Void, StageFailure>
            do throws(StageFailure) {
                let (processor, delivery) = make(logger)
                let runner = try StageRunner(
                    settings: settings, processor: processor, delivery: delivery, control: control, health: health,
                    metrics: metrics, logger: logger)
                try run(runner)
                outcome = .success(())
            } catch {
                outcome = .failure(error)
            }
            result.withLock { $0 = outcome }
        }
        guard started else { throw StageFailure("no thread could be started") }
    }

    deinit { control.requestStop() }

    /// Silent, unless PENSTOCK_TEST_LOG asks for the lines.
    private static func logger(_ instance: String) -> Logger {
        Logger(label: "stage-\(instance)") { label in
            guard getenv("PENSTOCK_TEST_LOG") != nil else { return SwiftLogNoOpLogHandler() }
            return StructuredLogHandler(component: instance, label: label, level: .debug)
        }
    }

    /// As `StageRunner.run`, but a kill ends it between two turns without drain, commit or farewell.
    private func run<P: StageProcessor, D: Delivery>(_ runner: StageRunner<P, D>) throws(StageFailure)
    where P.Output == D.Output {
        runner.control.setWake { [consumer = runner.consumer] in consumer.wake() }
        do throws(StageFailure) {
            guard try runner.start() else { return }
            while !control.isStopRequested { try runner.turn() }
            guard !isKilled.load(ordering: .acquiring) else { return try die(runner) }
            try runner.stop()
        } catch {
            if diesOfFaults { try die(runner) } else { runner.fail(error) }
            throw error
        }
    }

    /// Commits nothing. The group is left, which a killed process does not do, only so that the test need not wait for the
    /// session to time out.
    private func die<P: StageProcessor, D: Delivery>(_ runner: StageRunner<P, D>) throws(StageFailure)
    where P.Output == D.Output {
        do throws(KafkaError) {
            try runner.consumer.close(timeoutMilliseconds: 10_000)
        } catch {
            throw StageFailure("\(error)")
        }
    }

    /// Ends the runner as kill -9 would end its process, as far as the brokers can see.
    func kill() async throws {
        isKilled.store(true, ordering: .releasing)
        try await stop()
    }

    var outcome: Result<Void, StageFailure>? { result.withLock { $0 } }

    /// Asks for a stop and waits for the end.
    @discardableResult
    func stop() async throws -> Result<Void, StageFailure>? {
        control.requestStop()
        return try await ended()
    }

    func ended() async throws -> Result<Void, StageFailure>? {
        try await TestProgram.waitFor(timeoutMilliseconds: 40_000) { outcome }
    }

    func becomesReady() async throws -> Bool {
        try await TestProgram.waitFor(timeoutMilliseconds: 30_000) { health.readinessFailures.isEmpty ? true : nil }
            ?? false
    }
}
