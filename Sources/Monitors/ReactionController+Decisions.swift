// ReactionController+Decisions: what follows from an alert, by the pipeline's policy.

import EventContracts
import MonitorRuntime
import PipelineContract

extension ReactionController {
    /// Looks at a firing alert again; called with each of its reports and with each event of the models.
    mutating func decide(_ fingerprint: String) throws {
        guard let episode = memory.alerts[fingerprint] else { return }
        guard let cause = Self.cause(of: episode.record) else {
            return try decideOnce(
                fingerprint, .alertAdministrator,
                [.init("kind", isMet: false, "an alert of \(episode.record.kind.rawValue) never retrains a model")])
        }
        guard pipeline.reactions.modality == .tabular else {
            return try decideOnce(
                fingerprint, .review,
                [.init("modality", isMet: false, "a vision model is never retrained without a person's review")])
        }
        guard pipeline.reactions.retrainOn.contains(cause) else {
            return try decideOnce(
                fingerprint, .alertAdministrator,
                [.init("policy", isMet: false, "reactions.retrain.on does not name \(cause.rawValue)")])
        }
        let reasons = conditions(of: episode)
        guard reasons.allSatisfy(\.isMet) else {
            let open = reasons.filter { !$0.isMet }.map(\.condition)
            // Waiting for the same things is said once.
            guard open != episode.saidWaiting else { return }
            memory.alerts[fingerprint]?.saidWaiting = open
            return try write(.wait, reasons, of: episode, requestID: nil)
        }
        try request(fingerprint, episode, reasons)
    }

    static func cause(of record: AlertRecord) -> ReactionSettings.Cause? {
        switch record.name {
        case AlertCatalogue.performanceLoss: .performance
        case AlertCatalogue.dataDrift: .drift
        default: nil
        }
    }

    /// Every condition of a retraining, and how it stands.
    private func conditions(of episode: Episode) -> [ReactionDecision.Reason] {
        let settings = pipeline.reactions
        let report = episode.record.report
        let labels = report.labelsAvailable ?? 0
        return [
            ReactionDecision.Reason(
                "evidence", isMet: true,
                episode.record.name == AlertCatalogue.performanceLoss
                    ? "a loss of performance is confirmed: \(report.summary)"
                    : "the features drifted: \(report.summary)"),
            .init(
                "labels", isMet: labels >= settings.labelsMin,
                "\(labels) labels since the change, \(settings.labelsMin) are needed"),
        ] + commonConditions
    }

    /// What holds for every retraining, whatever leads to it.
    var commonConditions: [ReactionDecision.Reason] {
        let quality = memory.alerts.values.contains {
            $0.record.name == AlertCatalogue.dataQuality && $0.record.state == .firing
        }
        return [
            .init(
                "quality", isMet: !quality,
                quality ? "the quality of the data is in doubt: mend it first" : "the quality of the data is as usual"),
            memory.requests.open.map { .init("inFlight", isMet: false, "request \($0.id) is still open") }
                ?? .init("inFlight", isMet: true, "no request is open"),
            cooldown,
        ]
    }

    /// The cooldown, doubled for each refused candidate in a row.
    private var cooldown: ReactionDecision.Reason {
        let settings = pipeline.reactions
        guard let last = memory.requests.lastAt else {
            return .init("cooldown", isMet: true, "this is the first request")
        }
        var wait = settings.cooldownMicroseconds
        for _ in 0..<min(memory.requests.failures, 40) where wait < settings.backOffMicrosecondsMax { wait *= 2 }
        wait = min(wait, max(settings.backOffMicrosecondsMax, settings.cooldownMicroseconds))
        let until = EventTime(microseconds: last).adding(microseconds: wait)
        return .init(
            "cooldown", isMet: memory.watermark >= until.microseconds,
            "the next request may come from \(until) on, after \(memory.requests.failures) refused candidates")
    }

    private mutating func request(
        _ fingerprint: String, _ episode: Episode, _ reasons: [ReactionDecision.Reason]
    ) throws {
        let report = episode.record.report
        let attempt = episode.attempts + 1
        let alertID = episode.record.id
        let request = RetrainingRequest(
            id: RetrainingRequest.id(pipeline: pipeline.name, alertID: alertID, attempt: attempt),
            pipeline: pipeline.name, reason: "\(episode.record.name): \(report.summary)",
            decidedAt: EventTime(microseconds: memory.watermark),
            trigger: .init(
                alertID: alertID, alert: episode.record.name, features: report.features.map(\.name),
                changeTime: report.changeTime), model: report.model ?? memory.model,
            modelVersion: memory.modelVersion.isEmpty ? report.modelVersion ?? "" : memory.modelVersion,
            labelsMin: pipeline.reactions.labelsMin, labelsAvailable: report.labelsAvailable ?? 0,
            trainFrom: report.changeTime, trainUntil: trainUntil(report), attempt: attempt)
        try send(request, fingerprint, reasons, of: episode)
    }

    /// The labels that were counted became known up to the newest event; the watermark may lie days before it, and so many
    /// labels would be missing when the trainer looks.
    func trainUntil(_ report: MonitoringReport) -> EventTime {
        max(EventTime(microseconds: memory.watermark), report.newestEvent ?? report.watermark)
    }

    mutating func send(
        _ request: RetrainingRequest, _ fingerprint: String, _ reasons: [ReactionDecision.Reason], of episode: Episode
    ) throws {
        memory.alerts[fingerprint]?.attempts = request.attempt
        memory.alerts[fingerprint]?.saidWaiting = nil
        memory.requests.open = .init(id: request.id, at: memory.watermark, alert: fingerprint, request: request)
        memory.requests.lastAt = memory.watermark
        outputs.append(
            MonitorOutput(
                topic: pipeline.topics.retraining, key: request.model, value: try request.event().encoded()))
        try write(.retrain, reasons, of: episode, requestID: request.id)
    }

    private mutating func decideOnce(
        _ fingerprint: String, _ action: ReactionDecision.Action, _ reasons: [ReactionDecision.Reason]
    ) throws {
        guard let episode = memory.alerts[fingerprint], !episode.isDecided else { return }
        memory.alerts[fingerprint]?.isDecided = true
        try write(action, reasons, of: episode, requestID: nil)
    }

    private mutating func write(
        _ action: ReactionDecision.Action, _ reasons: [ReactionDecision.Reason], of episode: Episode,
        requestID: String?
    ) throws {
        memory.decisions += 1
        let time =
            episode.record.kind == .infrastructure
            ? episode.record.changedAt : EventTime(microseconds: memory.watermark)
        let decision = ReactionDecision(
            id: RecordIdentity.id([pipeline.name, "decision", String(memory.decisions)]), pipeline: pipeline.name,
            alertID: episode.record.id, alert: episode.record.name, action: action, decidedAt: time, reasons: reasons,
            requestID: requestID)
        let value = try decision.event().encoded()
        outputs.append(MonitorOutput(topic: pipeline.topics.alerts, key: episode.record.id, value: value))
        if action == .review {
            outputs.append(MonitorOutput(topic: pipeline.topics.review, key: episode.record.id, value: value))
        }
    }

    // MARK: - What became of a request

    mutating func take(_ event: ModelEvent) throws {
        let open = memory.requests.open
        let isAnswer = event.request != nil && event.request == open?.id
        if event.type == .registered, isAnswer { memory.requests.open?.version = event.version }
        let isOurs = isAnswer || open.flatMap(\.version) == event.version
        noteForRefinement(event, isOurs ? open : nil)
        switch event.type {
        case .promoted:
            memory.model = event.model
            memory.modelVersion = event.version
            if isOurs { memory.requests.failures = 0 }
        case .rolledBack:
            memory.model = event.model
            memory.modelVersion = event.version
        case .rejected:
            if isOurs { memory.requests.failures += 1 }
        // Mostly rows or classes were missing: time mends that, and the cooldown is time enough.
        case .retrainingFailed: break
        case .registered, .evaluated, .approved: return
        }
        guard isOurs else { return }
        memory.requests.open = nil
        try decideAgain()
    }

    /// A request that nobody answered counts as failed.
    mutating func giveUpStaleRequest() throws {
        guard let open = memory.requests.open,
            memory.watermark - open.at >= pipeline.reactions.requestMicrosecondsMax
        else { return }
        memory.requests.open = nil
        memory.requests.failures += 1
        try decideAgain()
    }

    private mutating func decideAgain() throws {
        for (fingerprint, episode) in memory.alerts.sorted(by: { $0.key < $1.key })
        where episode.record.state == .firing && Self.cause(of: episode.record) != nil {
            try decide(fingerprint)
        }
    }
}
