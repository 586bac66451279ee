// MonitorsReader: the sections `monitors` and `reactions` of pipeline.yaml.

import EventContracts

struct MonitorsReader {
    private static let example = "{ drift: { averageRunLength: 1000000 }, performance: { labelHorizon: 30d } }"

    let findings: Findings
    let directory: String

    /// Nil when a part is no mapping at all; an absent section gives the defaults.
    func monitors(_ node: LocatedNode?) -> MonitorSettings? {
        var settings = MonitorSettings()
        settings.drift.referencePath = PipelineLoader.path(settings.drift.referencePath, in: directory)
        guard let node else { return settings }
        let keys = ["drift", "quality", "performance", "infrastructure"]
        guard
            let reader = MappingReader(node, path: "monitors", keys: keys, example: Self.example, findings: findings)
        else { return nil }
        if let found = reader.value("drift") { read(found, into: &settings.drift) }
        if let found = reader.value("quality") { read(found, into: &settings.quality) }
        if let found = reader.value("performance") { read(found, into: &settings.performance) }
        if let found = reader.value("infrastructure") { read(found, into: &settings.infrastructure) }
        return settings
    }

    private func read(_ node: LocatedNode, into drift: inout MonitorSettings.Drift) {
        let keys = ["reference", "averageRunLength", "tolerance", "window", "recovery", "referenceRecords"]
        guard
            let reader = MappingReader(
                node, path: "monitors.drift", keys: keys, example: "{ averageRunLength: 1000000 }", findings: findings)
        else { return }
        if let path = reader.optionalString("reference", example: "artifacts/reference.json") {
            drift.referencePath = PipelineLoader.path(path, in: directory)
        }
        drift.averageRunLength = reader.integer(
            "averageRunLength", default: drift.averageRunLength, in: 100...1_000_000_000, example: "1000000")
        drift.tolerance = reader.number("tolerance", default: drift.tolerance, in: 0...0.5, example: "0.02")
        drift.recoveryRecords = reader.integer(
            "recovery", default: drift.recoveryRecords, in: 100...10_000_000, example: "2000")
        drift.referenceRecordsMin = reader.integer(
            "referenceRecords", default: drift.referenceRecordsMin, in: 200...10_000_000, example: "10000")
        if drift.referenceRecordsMin < drift.averageRunLength / 1_000 {
            findings.warning(
                .outOfRange, at: reader.position(of: "referenceRecords"),
                "`monitors.drift.referenceRecords` is \(drift.referenceRecordsMin): bins estimated from so few records "
                    + "raise the rate of false alarms above 1 per \(drift.averageRunLength) events",
                mend: "write at least \(drift.averageRunLength / 100) for the full bound, or a smaller averageRunLength"
            )
        }
        guard let found = reader.value("window"),
            let window = MappingReader(
                found, path: "monitors.drift.window", keys: ["records", "age"], example: "{ records: 1000, age: 30d }",
                findings: findings)
        else { return }
        drift.windowRecords = window.integer(
            "records", default: drift.windowRecords, in: 100...1_000_000, example: "1000")
        drift.windowMicroseconds =
            window.duration("age", default: drift.windowMicroseconds, from: "1s", to: "3650d") ?? 0
    }

    private func read(_ node: LocatedNode, into quality: inout MonitorSettings.Quality) {
        guard
            let reader = MappingReader(
                node, path: "monitors.quality", keys: ["imputedShare", "outOfRangeShare"],
                example: "{ imputedShare: 0.05, outOfRangeShare: 0.05 }", findings: findings)
        else { return }
        quality.imputedShareMax = reader.number(
            "imputedShare", default: quality.imputedShareMax, in: 0...1, example: "0.05")
        quality.outOfRangeShareMax = reader.number(
            "outOfRangeShare", default: quality.outOfRangeShareMax, in: 0...1, example: "0.05")
    }

    private func read(_ node: LocatedNode, into performance: inout MonitorSettings.Performance) {
        let keys = ["labelHorizon", "accuracyLoss", "averageRunLength", "baselineLabels", "windowLabels"]
        guard
            let reader = MappingReader(
                node, path: "monitors.performance", keys: keys, example: "{ labelHorizon: 30d, accuracyLoss: 0.02 }",
                findings: findings)
        else { return }
        performance.labelHorizonMicroseconds =
            reader.duration("labelHorizon", default: performance.labelHorizonMicroseconds, from: "1s", to: "3650d") ?? 0
        performance.accuracyLossMax = reader.number(
            "accuracyLoss", default: performance.accuracyLossMax, in: 0...0.5, example: "0.02")
        performance.averageRunLength = reader.integer(
            "averageRunLength", default: performance.averageRunLength, in: 100...1_000_000_000, example: "100000")
        performance.baselineLabels = reader.integer(
            "baselineLabels", default: performance.baselineLabels, in: 50...10_000_000, example: "1000")
        performance.windowLabels = reader.integer(
            "windowLabels", default: performance.windowLabels, in: 50...1_000_000, example: "500")
    }

    private func read(_ node: LocatedNode, into infrastructure: inout MonitorSettings.Infrastructure) {
        let keys = ["heartbeat", "lag", "lagRecords", "deadLetterShare", "postgresLatency", "interval"]
        guard
            let reader = MappingReader(
                node, path: "monitors.infrastructure", keys: keys, example: "{ heartbeat: 5s, lag: 60s }",
                findings: findings)
        else { return }
        let fallback = infrastructure
        infrastructure.heartbeatMicroseconds =
            reader.duration("heartbeat", default: fallback.heartbeatMicroseconds, from: "2s", to: "1h") ?? 0
        infrastructure.lagMicroseconds =
            reader.duration("lag", default: fallback.lagMicroseconds, from: "1s", to: "30d") ?? 0
        infrastructure.lagRecords = reader.integer(
            "lagRecords", default: fallback.lagRecords, in: 1...1_000_000_000, example: "100000")
        infrastructure.deadLetterShareMax = reader.number(
            "deadLetterShare", default: fallback.deadLetterShareMax, in: 0...1, example: "0.05")
        infrastructure.postgresMicroseconds =
            reader.duration("postgresLatency", default: fallback.postgresMicroseconds, from: "1ms", to: "1m") ?? 0
        infrastructure.intervalMicroseconds =
            reader.duration("interval", default: fallback.intervalMicroseconds, from: "100ms", to: "1m") ?? 0
    }

    /// Nil when the section is no mapping at all; an absent one gives the defaults.
    func reactions(_ node: LocatedNode?) -> ReactionSettings? {
        var settings = ReactionSettings()
        guard let node else { return settings }
        guard
            let reader = MappingReader(
                node, path: "reactions", keys: ["modality", "retrain", "promote", "resolveAfter", "severities"],
                example: "{ modality: tabular, retrain: { on: [performance, drift], labels: 168, cooldown: 7d } }",
                findings: findings)
        else { return nil }
        settings.modality = reader.choice("modality", default: settings.modality)
        settings.resolveAfterMicroseconds =
            reader.duration("resolveAfter", default: settings.resolveAfterMicroseconds, from: "0s", to: "3650d") ?? 0
        if let found = reader.value("retrain") { read(found, into: &settings) }
        if let found = reader.value("promote") { settings.promotion = promotion(found) }
        if let found = reader.value("severities") { settings.severities = severities(found) }
        if settings.modality == .vision, reader.value("retrain")?.entries?.contains(where: { $0.key == "on" }) == true,
            !settings.retrainOn.isEmpty
        {
            findings.warning(
                .noEffect, at: reader.position(of: "retrain"),
                "`reactions.retrain.on` has no effect: a vision pipeline is never retrained automatically",
                mend: "write `on: []`, or `modality: tabular`")
        }
        return settings
    }

    private func read(_ node: LocatedNode, into settings: inout ReactionSettings) {
        guard
            let reader = MappingReader(
                node, path: "reactions.retrain", keys: ["on", "labels", "refine", "cooldown", "backOff", "giveUp"],
                example: "{ on: [performance, drift], labels: 168, cooldown: 7d }", findings: findings)
        else { return }
        if let found = reader.value("on") { settings.retrainOn = causes(found, reader) }
        settings.labelsMin = reader.integer("labels", default: settings.labelsMin, in: 1...100_000_000, example: "168")
        settings.refineFactor = reader.integer("refine", default: settings.refineFactor, in: 0...1_000, example: "3")
        if settings.refineFactor == 1 {
            findings.error(
                .outOfRange, at: reader.position(of: "refine"),
                "`reactions.retrain.refine` of 1 would train again without any further label",
                mend: "write the growth of labels after which it is worth it, such as 3, or 0 for never")
        }
        settings.cooldownMicroseconds =
            reader.duration("cooldown", default: settings.cooldownMicroseconds, from: "0s", to: "3650d") ?? 0
        settings.backOffMicrosecondsMax =
            reader.duration("backOff", default: settings.backOffMicrosecondsMax, from: "0s", to: "3650d") ?? 0
        settings.requestMicrosecondsMax =
            reader.duration("giveUp", default: settings.requestMicrosecondsMax, from: "1s", to: "3650d") ?? 0
        if settings.backOffMicrosecondsMax < settings.cooldownMicroseconds {
            findings.error(
                .outOfRange, at: reader.position(of: reader.has("backOff") ? "backOff" : "cooldown"),
                "`reactions.retrain.backOff` is shorter than `reactions.retrain.cooldown`",
                mend: "write the longest wait after refused candidates, at least the cooldown")
        }
    }

    private func promotion(_ node: LocatedNode) -> ReactionSettings.Promotion {
        var settings = ReactionSettings.Promotion()
        guard
            let reader = MappingReader(
                node, path: "reactions.promote", keys: ["decision", "rows", "logLossGain", "aucLoss", "latencyRatio"],
                example: "{ decision: automatic, rows: 40, aucLoss: 0.005 }", findings: findings)
        else { return settings }
        settings.decision = reader.choice("decision", default: settings.decision)
        settings.rowsMin = reader.integer("rows", default: settings.rowsMin, in: 20...10_000_000, example: "40")
        settings.logLossGainMin = reader.number(
            "logLossGain", default: settings.logLossGainMin, in: 0...10, example: "0.0")
        settings.aucLossMax = reader.number("aucLoss", default: settings.aucLossMax, in: 0...1, example: "0.005")
        settings.latencyRatioMax = reader.number(
            "latencyRatio", default: settings.latencyRatioMax, in: 0.1...1_000, example: "2.0")
        return settings
    }

    private func causes(_ node: LocatedNode, _ reader: MappingReader) -> Set<ReactionSettings.Cause> {
        guard let items = node.elements else {
            reader.wrongType(node, "on", "a list", example: "[performance, drift]")
            return []
        }
        return Set(items.compactMap { reader.choice($0, "on", ReactionSettings.Cause.self) })
    }

    private func severities(_ node: LocatedNode) -> [String: AlertRecord.Severity] {
        guard
            let reader = MappingReader(
                node, path: "reactions.severities", keys: AlertCatalogue.names, example: "{ DataDrift: warning }",
                findings: findings)
        else { return [:] }
        var severities: [String: AlertRecord.Severity] = [:]
        for name in AlertCatalogue.names {
            guard let found = reader.value(name) else { continue }
            severities[name] = reader.choice(found, name, AlertRecord.Severity.self)
        }
        return severities
    }
}
