// ReactionController: reports in; alerts, decisions and retraining requests out.

public import EventContracts
public import MonitorRuntime
public import PipelineContract

/// The logic of `reaction-controller`: one alert per episode of a signal, and one decision after the other, each with its
/// reasons. Policy times are watermark (event) time; those of infrastructure alerts are wall clock, as their reports are.
public struct ReactionController: MonitorLogic {
    enum Input {
        static let monitoring = 0
        static let models = 1
        static let control = 2
    }

    public static let program = "reaction-controller"

    public static func inputTopics(_ topics: PipelineTopics) -> [String] {
        [topics.monitoring, topics.models, topics.control]
    }
    public static func outputTopics(_ topics: PipelineTopics) -> [String] {
        [topics.alerts, topics.alertsCurrent, topics.retraining, topics.review]
    }

    let pipeline: Pipeline
    var memory = Memory()
    var outputs: [MonitorOutput] = []

    /// What a snapshot holds.
    public struct Memory: Codable {
        /// By fingerprint; resolved alerts stay, for their episode's number.
        var alerts: [String: Episode] = [:]
        /// Latest watermark of a report on data.
        var watermark: Int64 = .min
        var model = ""
        var modelVersion = ""
        var requests = Requests()
        var refinement: Refinement?
        var decisions = 0
        var malformed = 0
    }

    struct Episode: Codable {
        var record: AlertRecord
        /// When the signal was well again, unless it is not.
        var wellSince: Int64?
        /// Requests of this episode.
        var attempts = 0
        /// Conditions that kept the last decision waiting, to say the same thing once.
        var saidWaiting: [String]?
        /// The episode has its one decision that needs no repeat (administrator, review).
        var isDecided = false
    }

    /// What was asked for, and what came of it.
    struct Requests: Codable {
        struct Open: Codable {
            var id: String
            var at: Int64
            var alert: String
            var request: RetrainingRequest?
            /// The candidate that came of it; later events of the models name it and not the request.
            var version: String?
        }

        var open: Open?
        var lastAt: Int64?
        /// Candidates refused, or requests that nobody answered, in a row.
        var failures = 0
    }

    public init(pipeline: Pipeline) {
        self.pipeline = pipeline
        memory.model = pipeline.model.name
    }

    // MARK: - MonitorLogic

    public var state: Memory { memory }

    public mutating func restore(_ state: Memory) throws { memory = state }

    public mutating func takeOutputs() -> [MonitorOutput] {
        defer { outputs.removeAll(keepingCapacity: true) }
        return outputs
    }

    public mutating func take(_ batch: RecordBatch) throws {
        for index in 0..<batch.count {
            guard let value = batch.bytes(batch.values[index]) else { continue }
            do {
                switch batch.origins[index].topicIndex {
                case Input.monitoring:
                    let event = try CloudEvent<MonitoringReport>.decode(value, types: MonitoringReport.types)
                    if let event { try take(event.data) }
                case Input.models:
                    try take(try ModelEvent.decode(value))
                default:
                    let event = try CloudEvent<AlertCommand>.decode(value, types: [AlertCommand.type])
                    if let event { try take(event.data) }
                }
            } catch let error as RecordFormatError {
                // Somebody else's record must not stop the reactions; the count shows in the state.
                memory.malformed += 1
                guard
                    error.code == .malformedRecord || error.code == .malformedJSON || error.code == .tooLarge
                        || error.code == .unsupportedSpecVersion || error.code == .unsupportedFormatVersion
                else { throw error }
            }
        }
    }

    // MARK: - Reports

    private mutating func take(_ report: MonitoringReport) throws {
        if report.kind != .infrastructure {
            memory.watermark = max(memory.watermark, report.watermark.microseconds)
            try giveUpStaleRequest()
        }
        guard let definition = AlertCatalogue.definition(of: report.alert) else { return }
        if report.kind != .infrastructure, report.level != .warmup, let version = report.modelVersion,
            memory.modelVersion.isEmpty
        {
            memory.modelVersion = version
        }
        let fingerprint = report.fingerprint
        let active = memory.alerts[fingerprint].flatMap { $0.record.state == .resolved ? nil : $0 }
        switch (report.level, active) {
        case (.firing, let active):
            try fire(report, definition, active)
        case (.suspect, nil):
            try open(report, definition, state: .suspect)
        case (.ok, let active?), (.suspect, let active?):
            try soothe(report, active)
        case (.warmup, let active?):
            // The model or its reference was replaced: the old alarm says nothing of the new one.
            if report.modelVersion != active.record.report.modelVersion
                || report.reference != active.record.report.reference
            {
                try resolve(report, active)
            }
        case (.ok, nil), (.warmup, nil): break
        }
        if let episode = memory.alerts[fingerprint], episode.record.state == .firing { try decide(fingerprint) }
        if report.alert == AlertCatalogue.performanceLoss { try refine(report) }
    }

    private mutating func fire(_ report: MonitoringReport, _ definition: AlertDefinition, _ active: Episode?) throws {
        guard var episode = active else { return try open(report, definition, state: .firing) }
        let wasFiring = episode.record.state == .firing
        if episode.record.state == .suspect { episode.record.startsAt = report.watermark }
        episode.record.state = .firing
        episode.wellSince = nil
        try store(episode, report, isNew: !wasFiring)
    }

    private mutating func open(
        _ report: MonitoringReport, _ definition: AlertDefinition, state: AlertRecord.State
    ) throws {
        let fingerprint = report.fingerprint
        let number = (memory.alerts[fingerprint]?.record.episode ?? 0) + 1
        let record = AlertRecord(
            fingerprint: fingerprint, episode: number, revision: 0, name: report.alert, pipeline: pipeline.name,
            kind: report.kind, state: state,
            severity: pipeline.reactions.severities[report.alert] ?? definition.severity, labels: report.labels,
            summary: report.summary, runbook: definition.runbook, startsAt: report.watermark,
            changedAt: report.watermark, endsAt: nil, report: report)
        try store(Episode(record: record), report, isNew: true)
    }

    /// The signal is below its threshold: recovering, and resolved once it has been well for long enough.
    private mutating func soothe(_ report: MonitoringReport, _ active: Episode) throws {
        var episode = active
        guard report.level == .ok else {
            // Suspicion keeps a firing or recovering alert as it is.
            return
        }
        let since = episode.wellSince ?? report.watermark.microseconds
        let wait =
            report.kind == .infrastructure
            ? pipeline.reactions.infrastructureResolveAfterMicroseconds : pipeline.reactions.resolveAfterMicroseconds
        if episode.record.state == .suspect || report.watermark.microseconds - since >= wait {
            return try resolve(report, episode)
        }
        guard episode.record.state != .recovering else { return }
        episode.wellSince = since
        episode.record.state = .recovering
        try store(episode, report, isNew: true)
    }

    private mutating func resolve(_ report: MonitoringReport, _ active: Episode) throws {
        var episode = active
        episode.record.state = .resolved
        episode.record.endsAt = report.watermark
        try store(episode, report, isNew: true)
    }

    /// Keeps the episode, writes the alert when something changed, and tells the alerts that depend on it.
    private mutating func store(_ episode: Episode, _ report: MonitoringReport, isNew: Bool) throws {
        var episode = episode
        let before = episode.record
        episode.record.report = report
        episode.record.summary = report.summary
        episode.record.changedAt = report.watermark
        if let value = report.value { episode.record.peak = max(episode.record.peak ?? value, value) }
        episode.record.inhibitedBy = inhibitors(of: episode.record)
        // A firing signal reports again and again; only what a person would want to know is a change.
        let isChange =
            isNew || before.report.features.map(\.isAtFault) != report.features.map(\.isAtFault)
            || before.report.modelVersion != report.modelVersion || before.inhibitedBy != episode.record.inhibitedBy
        guard isChange else {
            memory.alerts[before.fingerprint] = episode
            return
        }
        try write(&episode)
        if isNew { try refreshDependents(of: episode.record.name) }
    }

    func write(_ record: AlertRecord, to outputs: inout [MonitorOutput]) throws {
        let value = try record.event().encoded()
        outputs.append(MonitorOutput(topic: pipeline.topics.alerts, key: record.fingerprint, value: value))
        outputs.append(MonitorOutput(topic: pipeline.topics.alertsCurrent, key: record.fingerprint, value: value))
    }

    private mutating func write(_ episode: inout Episode) throws {
        episode.record.revision += 1
        memory.alerts[episode.record.fingerprint] = episode
        try write(episode.record, to: &outputs)
    }

    private func inhibitors(of record: AlertRecord) -> [String] {
        let names = AlertCatalogue.definition(of: record.name)?.inhibitors ?? []
        return names.filter { name in
            memory.alerts.values.contains { $0.record.name == name && $0.record.state == .firing }
        }
    }

    /// An alert that began or ended changes who is told of the alerts that it explains.
    private mutating func refreshDependents(of name: String) throws {
        let dependents = memory.alerts.values.filter { episode in
            episode.record.state != .resolved
                && AlertCatalogue.definition(of: episode.record.name)?.inhibitors.contains(name) == true
        }
        for dependent in dependents.sorted(by: { $0.record.fingerprint < $1.record.fingerprint }) {
            let inhibitors = inhibitors(of: dependent.record)
            guard inhibitors != dependent.record.inhibitedBy else { continue }
            var episode = dependent
            episode.record.inhibitedBy = inhibitors
            try write(&episode)
        }
    }

    // MARK: - People

    private mutating func take(_ command: AlertCommand) throws {
        guard var episode = memory.alerts[command.fingerprint], episode.record.state != .resolved else { return }
        switch command.action {
        case .acknowledge: episode.record.acknowledgedBy = command.by
        case .silence: episode.record.silencedUntil = command.until
        case .unsilence: episode.record.silencedUntil = nil
        }
        try write(&episode)
    }
}
