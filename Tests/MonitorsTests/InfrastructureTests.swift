// InfrastructureTests: lag verdicts, and what silence, dead letters and a lost database are reported as.

import Drift
import EventContracts
import Foundation
import MonitorRuntime
import Monitors
import PipelineContract
import StageRuntime
import Testing

private struct Probe: InfrastructureProbe {
    final class Answers: @unchecked Sendable {
        var partitions: [GroupPartition] = []
        var counts: [String: Int64] = [:]
        var postgres: PostgresAnswer?
    }
    let answers: Answers

    func lags() -> [GroupPartition] { answers.partitions }
    func recordCounts(_ topics: [String]) -> [String: Int64] { answers.counts }
    func postgres() -> PostgresAnswer? { answers.postgres }
}

@Suite("The infrastructure monitor")
struct InfrastructureTests {
    private struct Cases: Decodable {
        struct Case: Decodable {
            var name: String
            /// Offset, time, lag.
            var offsets: [[Int64?]]
            var current_lag: Int64
            var broker_offsets: [Int64]
            var now: Int64
            var allowed_lag: Int64
            var status: String
        }
        var cases: [Case]
    }

    @Test("The verdicts on lag equal those of Burrow's rules")
    func burrow() throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "DriftTests/Fixtures/lag_cases.json")
        let names: [String: LagStatus] = [
            "OK": .ok, "WARN": .warn, "STOP": .stop, "STALL": .stall, "REWIND": .rewind,
        ]
        for lag in try JSONDecoder().decode(Cases.self, from: Data(contentsOf: file)).cases {
            let samples = lag.offsets.map { LagSample(offset: $0[0] ?? 0, time: $0[1] ?? 0, lag: $0[2]) }
            // The cases give the present in seconds.
            let status = LagRules.status(
                samples, currentLag: lag.current_lag, ends: lag.broker_offsets, now: lag.now * 1_000,
                allowedLag: lag.allowed_lag)
            #expect(status == names[lag.status], "\(lag.name)")
        }
    }

    @Test("Lag in time is the age of the first record that is not committed")
    func lagTime() {
        var history = LagHistory()
        for second in Int64(0)..<100 {
            // A hundred records a second; the group stopped after 50 seconds.
            history.take(committed: min(second, 50) * 100, low: 0, high: second * 100, now: second * 1_000)
        }
        #expect(history.lag == 4_900)
        #expect(history.lagMilliseconds(now: 99_000) == 48_000)
        #expect(history.status(now: 99_000) == .stop)
    }

    @Test("Silence, lag, dead letters and a lost database fire, and say when they are over")
    func signals() throws {
        let answers = Probe.Answers()
        var pipeline = try World.pipeline()
        pipeline.monitors.infrastructure.lagMicroseconds = 20_000_000
        var monitor = InfrastructureMonitor(pipeline: pipeline, probe: Probe(answers: answers)) { _, _, _ in }
        var reports: [MonitoringReport] = []
        let topics = pipeline.topics
        var second: Int64 = 0
        func run(_ seconds: Int, alive: Bool = true, committed: (Int64) -> Int64) throws {
            for _ in 0..<seconds {
                second += 1
                let now = World.start + second * 1_000_000
                answers.partitions = [
                    GroupPartition(
                        group: "g", topic: topics.inputs, partition: 0, committed: committed(second), low: 0,
                        high: second * 10)
                ]
                answers.counts[topics.inputs] = second * 10
                if alive {
                    let heartbeat = Heartbeat(
                        program: "ingest-consumer", stage: "ingest", instance: "one", pid: 1,
                        at: EventTime(microseconds: now),
                        isReady: true, reasons: [], isLast: false, figures: [:])
                    try monitor.take(World.batch([(0, try heartbeat.encoded())]))
                }
                try monitor.tick(nowMicroseconds: now)
                for output in monitor.takeOutputs() {
                    let event = try CloudEvent<MonitoringReport>.decode(output.value, types: MonitoringReport.types)
                    if let event { reports.append(event.data) }
                }
            }
        }
        func levels(_ alert: String) -> [MonitoringReport.Level] {
            reports.filter { $0.alert == alert }.map(\.level)
        }
        let letters = PipelineTopics.deadLetters(of: topics.inputs)
        answers.counts[letters] = 0
        answers.postgres = .answered(microseconds: 900)
        try run(30) { $0 * 10 }
        #expect(reports.isEmpty, "all is well, so nothing is said: \(reports.map(\.summary))")

        answers.postgres = .failed("refused")
        answers.counts[letters] = 200
        try run(40, alive: false) { _ in 300 }
        for alert in [
            AlertCatalogue.processDown, AlertCatalogue.consumerLag, AlertCatalogue.deadLetterRate,
            AlertCatalogue.postgresUnavailable,
        ] {
            #expect(levels(alert).contains(.firing), "\(alert)")
        }
        answers.postgres = .answered(microseconds: 900)
        try run(100) { $0 * 10 }
        for alert in [
            AlertCatalogue.processDown, AlertCatalogue.consumerLag, AlertCatalogue.deadLetterRate,
            AlertCatalogue.postgresUnavailable,
        ] {
            #expect(levels(alert).last == .ok, "\(alert)")
        }
        // A process that says goodbye is not missed.
        let goodbye = Heartbeat(
            program: "ingest-consumer", stage: "ingest", instance: "one", pid: 1, at: EventTime(microseconds: 0),
            isReady: false,
            reasons: [], isLast: true, figures: [:])
        try monitor.take(World.batch([(0, try goodbye.encoded())]))
        let before = levels(AlertCatalogue.processDown).count { $0 == .firing }
        try run(30, alive: false) { $0 * 10 }
        #expect(levels(AlertCatalogue.processDown).count { $0 == .firing } == before)
    }
}
