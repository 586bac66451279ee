// InfrastructureMonitor: heartbeats, lag, dead letters and PostgreSQL in; reports of the infrastructure out.

import Drift
public import EventContracts
public import MonitorRuntime
public import PipelineContract

/// What the monitor asks the brokers and PostgreSQL. Called once per interval, from the monitor's thread.
public protocol InfrastructureProbe {
    /// Partitions of a group with its committed offsets; empty when the brokers do not answer.
    mutating func lags() -> [GroupPartition]
    /// First and next offset of each partition of the topics, summed.
    mutating func recordCounts(_ topics: [String]) -> [String: Int64]
    /// Nil when no database is to be watched.
    mutating func postgres() -> PostgresAnswer?
}

public struct GroupPartition: Sendable, Equatable {
    public var group: String
    public var topic: String
    public var partition: Int32
    public var committed: Int64?
    public var low: Int64
    public var high: Int64

    public init(group: String, topic: String, partition: Int32, committed: Int64?, low: Int64, high: Int64) {
        self.group = group
        self.topic = topic
        self.partition = partition
        self.committed = committed
        self.low = low
        self.high = high
    }
}

public enum PostgresAnswer: Sendable, Equatable {
    case answered(microseconds: Int64)
    case failed(String)
}

/// The logic of `infrastructure-monitor`. Its times are wall clock.
public struct InfrastructureMonitor<Probe: InfrastructureProbe>: MonitorLogic {
    public static var program: String { "infrastructure-monitor" }
    public static func inputTopics(_ topics: PipelineTopics) -> [String] { [topics.telemetry] }

    /// A signal that is well again says so for so long, that the alert can be resolved.
    private static var echoMicroseconds: Int64 { 20_000_000 }
    private static var refreshMicroseconds: Int64 { 30_000_000 }
    /// Answers of PostgreSQL in a row that make an alert.
    private static var failuresMax: Int { 3 }
    /// Dead letters below which their share says nothing.
    private static var deadLettersMin: Int64 { 10 }
    private static var shareMicroseconds: Int64 { 60_000_000 }

    /// Gets every partition's lag in records and milliseconds, for the metrics.
    public typealias LagObserver = @Sendable (GroupPartition, _ lag: Int64, _ milliseconds: Int64) -> Void

    private let pipeline: Pipeline
    private var probe: Probe
    private let observer: LagObserver
    private var memory = Memory()
    private var outputs: [MonitorOutput] = []
    private var histories: [String: LagHistory] = [:]
    private var counts: [(time: Int64, counts: [String: Int64])] = []
    private var postgresFailures = 0
    private var now: Int64 = 0
    private var nextRound: Int64 = 0

    public struct Memory: Codable {
        var signals: [String: Signal] = [:]
        /// Latest heartbeat of each instance, by `<program>/<stage>` and instance.
        var instances: [String: [String: Int64]] = [:]
    }

    struct Signal: Codable {
        var level: MonitoringReport.Level
        var changedAt: Int64
        var saidAt: Int64
        var count: Int
    }

    public init(pipeline: Pipeline, probe: Probe, observer: @escaping LagObserver) {
        self.pipeline = pipeline
        self.probe = probe
        self.observer = observer
    }

    public var state: Memory { memory }

    public mutating func restore(_ state: Memory) throws { memory = state }

    public mutating func takeOutputs() -> [MonitorOutput] {
        defer { outputs.removeAll(keepingCapacity: true) }
        return outputs
    }

    /// Heartbeats count from the time at which they were written, by the broker's or the producer's clock.
    public mutating func take(_ batch: RecordBatch) throws {
        for index in 0..<batch.count {
            guard let value = batch.bytes(batch.values[index]), let heartbeat = try? Heartbeat.decode(value) else {
                continue
            }
            let name = "\(heartbeat.program)/\(heartbeat.stage)"
            if heartbeat.isLast {
                memory.instances[name]?[heartbeat.instance] = nil
                // A program that was stopped on purpose is not missed.
                if memory.instances[name]?.isEmpty == true { memory.instances[name] = nil }
            } else {
                memory.instances[name, default: [:]][heartbeat.instance] = heartbeat.at.microseconds
            }
        }
    }

    public mutating func tick(nowMicroseconds: Int64) throws {
        now = nowMicroseconds
        guard now >= nextRound else { return }
        nextRound = now + pipeline.monitors.infrastructure.intervalMicroseconds
        try judgeHeartbeats()
        try judgeLag()
        try judgeDeadLetters()
        try judgePostgres()
    }

    // MARK: - Signals

    private mutating func judgeHeartbeats() throws {
        let limit = pipeline.monitors.infrastructure.heartbeatMicroseconds
        for (name, instances) in memory.instances.sorted(by: { $0.key < $1.key }) {
            let program = name.prefix { $0 != "/" }
            let stage = name.dropFirst(program.count + 1)
            let latest = instances.values.max() ?? 0
            let silence = now - latest
            // Instances that another one replaced are forgotten; the last one is not.
            let live = instances.filter { now - $0.value <= limit }
            if !live.isEmpty { memory.instances[name] = live }
            let seconds = Double(silence) / 1e6
            try say(
                AlertCatalogue.processDown, ["program": String(program), "stage": String(stage)],
                silence > limit ? .firing : .ok, value: seconds,
                threshold: Double(limit) / 1e6,
                silence > limit
                    ? "\(program) (\(stage)) has been silent for \(Int(seconds)) s"
                    : "\(program) (\(stage)): \(live.count) live instances")
        }
    }

    private mutating func judgeLag() throws {
        let settings = pipeline.monitors.infrastructure
        var groups: [String: (topic: String, lag: Int64, milliseconds: Int64, status: LagStatus)] = [:]
        for partition in probe.lags() {
            let key = "\(partition.group)/\(partition.topic)/\(partition.partition)"
            var history = histories[key] ?? LagHistory()
            let time = now / 1_000
            history.take(committed: partition.committed, low: partition.low, high: partition.high, now: time)
            histories[key] = history
            let milliseconds = history.lagMilliseconds(now: time)
            observer(partition, history.lag, milliseconds)
            var group = groups[partition.group] ?? (partition.topic, 0, 0, .ok)
            group.lag += history.lag
            group.milliseconds = max(group.milliseconds, milliseconds)
            group.status = max(group.status, history.status(now: time))
            groups[partition.group] = group
        }
        for (name, group) in groups.sorted(by: { $0.key < $1.key }) {
            let isBehind =
                group.milliseconds * 1_000 > settings.lagMicroseconds || group.lag > Int64(settings.lagRecords)
            let isDoubtful = group.status > .ok && group.milliseconds * 4_000 > settings.lagMicroseconds
            try say(
                AlertCatalogue.consumerLag, ["group": name, "topic": group.topic],
                isBehind ? .firing : isDoubtful ? .suspect : .ok, value: Double(group.milliseconds) / 1e3,
                threshold: Double(settings.lagMicroseconds) / 1e6,
                "\(name) is \(group.lag) records and \(group.milliseconds / 1_000) s behind",
                metrics: [
                    .init("lag_records", Double(group.lag)), .init("burrow_status", Double(group.status.rawValue)),
                ])
        }
    }

    private mutating func judgeDeadLetters() throws {
        let topics = pipeline.topics.withDeadLetters
        let found = probe.recordCounts(topics + topics.map(PipelineTopics.deadLetters(of:)))
        counts.append((now, found))
        while let first = counts.first, now - first.time > Self.shareMicroseconds { counts.removeFirst() }
        guard let first = counts.first else { return }
        for topic in topics {
            let letters = PipelineTopics.deadLetters(of: topic)
            guard let before = first.counts[topic], let after = found[topic], let lettersBefore = first.counts[letters],
                let lettersAfter = found[letters]
            else { continue }
            let dead = max(0, lettersAfter - lettersBefore)
            let records = max(0, after - before)
            let share = Double(dead) / Double(max(1, max(records, dead)))
            let limit = pipeline.monitors.infrastructure.deadLetterShareMax
            let isFiring = dead >= Self.deadLettersMin && share > limit
            try say(
                AlertCatalogue.deadLetterRate, ["topic": topic], isFiring ? .firing : .ok, value: share,
                threshold: limit, "\(dead) dead letters and \(records) records of \(topic) within the last minute")
        }
    }

    private mutating func judgePostgres() throws {
        guard let answer = probe.postgres() else { return }
        let limit = pipeline.monitors.infrastructure.postgresMicroseconds
        let summary: String
        var value: Double?
        switch answer {
        case .answered(let microseconds):
            value = Double(microseconds) / 1e6
            postgresFailures = microseconds > limit ? postgresFailures + 1 : 0
            summary = "PostgreSQL answered after \(microseconds / 1_000) ms"
        case .failed(let message):
            postgresFailures += 1
            summary = "PostgreSQL does not answer: \(message)"
        }
        let level: MonitoringReport.Level =
            postgresFailures >= Self.failuresMax ? .firing : postgresFailures > 0 ? .suspect : .ok
        try say(
            AlertCatalogue.postgresUnavailable, [:], level, value: value, threshold: Double(limit) / 1e6, summary)
    }

    /// Reports a change of level at once, a firing signal now and then, and for a while that it is well again.
    private mutating func say(
        _ alert: String, _ labels: [String: String], _ level: MonitoringReport.Level, value: Double?,
        threshold: Double, _ summary: String, metrics: [MonitoringReport.Metric] = []
    ) throws {
        var report = MonitoringReport(
            pipeline: pipeline.name, kind: .infrastructure, alert: alert,
            labels: labels.merging(["pipeline": pipeline.name]) { own, _ in own }, level: level,
            watermark: EventTime(microseconds: now), summary: summary)
        report.value = value
        report.threshold = threshold
        report.metrics = metrics
        var signal = memory.signals[report.fingerprint]
        // What has always been well needs no word.
        if signal == nil, level == .ok {
            memory.signals[report.fingerprint] = Signal(level: .ok, changedAt: .min / 2, saidAt: .min / 2, count: 0)
            return
        }
        let isChange = signal?.level != level
        let changedAt = isChange ? now : signal?.changedAt ?? now
        let saidAt = signal?.saidAt ?? .min / 2
        let isEcho = level == .ok && now - changedAt <= Self.echoMicroseconds
        let isRefresh = level == .firing && now - saidAt >= Self.refreshMicroseconds
        guard isChange || isEcho || isRefresh else { return }
        let count = (signal?.count ?? 0) + 1
        signal = Signal(level: level, changedAt: changedAt, saidAt: now, count: count)
        memory.signals[report.fingerprint] = signal
        let event = report.event(program: Self.program, sequence: "\(count)")
        outputs.append(
            MonitorOutput(topic: pipeline.topics.monitoring, key: report.fingerprint, value: try event.encoded()))
    }
}
