// Telemetry: the process's heartbeat, written to `<p>.telemetry` each second by a client and a thread of its own.

import EventContracts
import Glibc
import Kafka
import Logging
import Observability
import ProcessControl
import Synchronization

/// Writes heartbeats until it is stopped. Nothing here can hold the stage up or end it: a heartbeat that cannot be sent
/// within two seconds is thrown away, and its absence tells more than it would have.
final class Telemetry: Sendable {
    private static let intervalMilliseconds: Int64 = 1_000

    private struct State {
        var isStopping = false
        var whenStopped: CheckedContinuation<Void, Never>?
        var isOver = false
    }

    private let state = Mutex(State())
    private let producer: Producer
    private let topic: Int
    private let program: String
    private let stage: String
    private let instance: String
    private let health: HealthState
    private let registry: MetricsRegistry

    /// Nil when the client's settings are refused, which the stage's own clients report.
    init?(
        program: String, stage: String, instance: String, topic: String, configuration: KafkaConfiguration,
        health: HealthState,
        registry: MetricsRegistry
    ) {
        self.program = program
        self.stage = stage
        self.instance = instance
        self.health = health
        self.registry = registry
        do {
            // The stage's own producer may be transactional and idempotent; a heartbeat is neither.
            let unwanted: Set = ["transactional.id", "transaction.timeout.ms", "enable.idempotence"]
            var configuration = try KafkaConfiguration(
                settings: configuration.settings.filter { !unwanted.contains($0.name) })
            try configuration.set("enable.idempotence", "false")
            try configuration.set("acks", "1")
            try configuration.set("delivery.timeout.ms", "2000")
            try configuration.set("queue.buffering.max.messages", "100")
            try configuration.set("statistics.interval.ms", "0")
            try configuration.set("client.id", "\(instance)-telemetry")
            producer = try Producer(configuration: configuration)
            self.topic = try producer.registerTopic(topic)
        } catch {
            return nil
        }
    }

    func start() {
        let isStarted = Threads.start(named: "telemetry") { self.loop() }
        if !isStarted { state.withLock { $0.isOver = true } }
    }

    /// Says that the process stops on purpose, and ends the thread.
    func stop() async {
        await withCheckedContinuation { continuation in
            let isOver = state.withLock { state in
                state.isStopping = true
                if !state.isOver { state.whenStopped = continuation }
                return state.isOver
            }
            if isOver { continuation.resume() } else { producer.wake() }
        }
    }

    private func loop() {
        var next = ContinuousClock.now
        while !state.withLock({ $0.isStopping }) {
            if ContinuousClock.now >= next {
                write(isLast: false)
                next += .milliseconds(Self.intervalMilliseconds)
                // After a standstill of the machine there is no need to catch up.
                if next < ContinuousClock.now { next = .now + .milliseconds(Self.intervalMilliseconds) }
            }
            // The wait: it serves delivery reports, and `stop` ends it.
            let rest = ContinuousClock.now.duration(to: next) / .milliseconds(1)
            _ = producer.pollDeliveries(timeoutMilliseconds: Int32(max(1, min(rest, 1_000)))) { _ in }
        }
        write(isLast: true)
        let lastMilliseconds: Int32 = 500
        try? producer.flush(timeoutMilliseconds: lastMilliseconds)
        let continuation = state.withLock { state in
            state.isOver = true
            return state.whenStopped.take()
        }
        continuation?.resume()
    }

    private func write(isLast: Bool) {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        let reasons = health.readinessFailures.map(\.message)
        let heartbeat = Heartbeat(
            program: program, stage: stage, instance: instance, pid: getpid(),
            at: EventTime(microseconds: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000),
            isReady: reasons.isEmpty, reasons: Array(reasons.prefix(5)), isLast: isLast,
            figures: [
                "consumed": registry.total(of: MetricNames.recordsConsumed),
                "produced": registry.total(of: MetricNames.recordsProduced),
                "deadLetters": registry.total(of: MetricNames.deadLetters),
            ])
        guard let value = try? heartbeat.encoded() else { return }
        // A full queue means that the brokers are away.
        try? producer.produce(
            topic: topic, key: Array("\(program)/\(stage)/\(instance)".utf8).span.bytes, value: value.span.bytes)
    }
}
