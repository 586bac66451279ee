// DriftMonitor+Labels: performance from predictions and the labels that come late.

import Drift
import EventContracts
import MonitorRuntime
import PipelineContract

extension DriftMonitor {
    mutating func takePredictions(_ batch: RecordBatch, isRebuilt: Bool) throws {
        for index in 0..<batch.count where batch.origins[index].topicIndex == Input.predictions {
            var reader = predictionReader
            let event: ScoredEvent? = batch.withBytes(batch.values[index]) { value in
                guard let value else { return nil }
                return try? reader.read(value)
            }
            predictionReader = reader
            guard let event else {
                memory.malformed += 1
                continue
            }
            if !isRebuilt { try noteServing(event) }
            if isRebuilt, event.eventTime < horizonStart { continue }
            let pending = PendingPrediction(
                eventTime: event.eventTime, version: memory.versions[versionIndex(event.modelVersion)].identifier,
                score: event.score, predicted: event.label, isRebuilt: isRebuilt)
            if let joined = join.take(event.eventID, pending) { try take(joined) }
        }
    }

    mutating func takeLabels(_ batch: RecordBatch, isRebuilt: Bool) throws {
        for index in 0..<batch.count where batch.origins[index].topicIndex == Input.labels {
            let record: LabelRecord? = batch.withBytes(batch.values[index]) { value in
                guard let value else { return nil }
                return try? LabelRecord(reading: value)
            }
            guard let record else {
                memory.malformed += 1
                continue
            }
            if !isRebuilt {
                memory.labelWatermark.advance(
                    partition: batch.origins[index].partition, eventTime: record.labelTime)
                memory.recordsAtLabel = memory.records
            }
            let joined = join.take(
                record.eventID, label: Int(record.label), labelTime: record.labelTime, isRebuilt: isRebuilt)
            if let joined { try take(joined) }
        }
    }

    private var horizonStart: Int64 {
        labelTime.map { $0 - pipeline.monitors.performance.labelHorizonMicroseconds } ?? .min
    }

    /// Follows which version serves. During a swap the versions of several instances mix: only a run of predictions by
    /// another version counts.
    private mutating func noteServing(_ event: ScoredEvent) throws {
        memory.model = event.model
        if memory.version.isEmpty { memory.version = event.modelVersion }
        guard event.modelVersion != memory.version else {
            memory.otherCount = 0
            return
        }
        memory.otherCount = event.modelVersion == memory.otherVersion ? memory.otherCount + 1 : 1
        memory.otherVersion = event.modelVersion
        guard memory.otherCount >= Self.switchPredictions else { return }
        memory.version = event.modelVersion
        memory.otherCount = 0
        try learnReference()
        let version = memory.versions[versionIndex(memory.version)]
        try emitPerformance(
            version, metrics: nil, "version \(memory.version) serves now; its baseline is being measured",
            sequence: "performance-serving-\(memory.generation)")
    }

    /// Place in `memory.versions`, which keeps the latest few.
    private mutating func versionIndex(_ version: String) -> Int {
        if let index = memory.versions.firstIndex(where: { $0.version == version }) { return index }
        if memory.versions.count >= Self.versionsMax { memory.versions.removeFirst() }
        memory.versions.append(VersionPerformance(version: version, identifier: memory.nextVersion))
        memory.nextVersion += 1
        return memory.versions.count - 1
    }

    private mutating func take(_ joined: JoinedLabel) throws {
        let time = joined.prediction.eventTime
        memory.coverage.joined += 1
        memory.coverage.everJoined += 1
        memory.labelTimes.append(time)
        if memory.labelTimes.count > 2_048 { memory.labelTimes.removeFirst(1_024) }
        try countForDrift(time)
        // A version that is no longer among the latest few is of no interest.
        guard let index = memory.versions.firstIndex(where: { $0.identifier == joined.prediction.version }) else {
            return
        }
        let outcome = memory.versions[index].take(
            ScoredLabel(score: joined.prediction.score, predicted: joined.prediction.predicted, label: joined.label),
            eventTime: time, settings: pipeline.monitors.performance)
        let version = memory.versions[index]
        let step = max(1, pipeline.reactions.labelsMin / 8)
        let isRefresh = version.level == .firing && version.labelsSinceChange.isMultiple(of: step)
        guard outcome.isWorthReporting || isRefresh else { return }
        let figures = outcome.closedWindow ?? ScoreMetrics(version.window)
        try emitPerformance(
            version, metrics: figures, Self.summary(version, figures),
            sequence: "performance-\(version.version)-\(version.labels)")
        if outcome.closedWindow != nil { memory.versions[index].beginWindow() }
    }

    private static func summary(_ version: VersionPerformance, _ metrics: ScoreMetrics?) -> String {
        let accuracy = metrics.map { "accuracy \(percent($0.accuracy.value)) over \($0.count) labels" } ?? "no labels"
        let baseline = version.baselineErrorRate.map { ", \(percent(1 - $0)) in its baseline" } ?? ""
        return version.level == .firing
            ? "version \(version.version) lost accuracy: \(accuracy)\(baseline)"
            : "version \(version.version): \(accuracy)\(baseline)"
    }

    private static func percent(_ share: Double) -> String {
        let tenths = Int((share * 1_000).rounded())
        return "\(tenths / 10).\(tenths % 10) %"
    }

    /// Drift that fires tells now and then how many labels of the new regime there are.
    private mutating func countForDrift(_ time: Int64) throws {
        guard memory.drift.level == .firing, time >= memory.drift.changeTime ?? .max else { return }
        memory.drift.labelsSinceChange += 1
        let step = max(1, pipeline.reactions.labelsMin / 8)
        guard memory.drift.labelsSinceChange - memory.drift.labelsReported >= step else { return }
        memory.drift.labelsReported = memory.drift.labelsSinceChange
        try emitDrift("\(memory.drift.labelsSinceChange) labels since the change")
    }

    private mutating func emitPerformance(
        _ version: VersionPerformance, metrics: ScoreMetrics?, _ summary: String, sequence: String
    ) throws {
        // The signal is that of the serving version; figures of others are told, their level is not.
        let isServing = version.version == memory.version
        var report = report(
            .performance, AlertCatalogue.performanceLoss, isServing ? version.level : .warmup, summary)
        if !isServing { report.labels["model_version"] = version.version }
        report.modelVersion = version.version
        report.value = version.level == .firing ? version.peak : version.detector?.value
        report.threshold = version.detector?.threshold
        report.nullRate = "1 per \(pipeline.monitors.performance.averageRunLength) labels"
        report.changeTime = version.changeTime.map { EventTime(microseconds: $0) }
        report.labelsAvailable = version.level == .firing ? version.labelsSinceChange : version.labels
        if let metrics {
            func metric(_ name: String, _ figure: ScoreMetrics.Figure) -> MonitoringReport.Metric {
                .init(name, figure.value, lower: figure.lower, upper: figure.upper, count: metrics.count)
            }
            report.metrics = [metric("accuracy", metrics.accuracy), metric("log_loss", metrics.logLoss)]
            if let auc = metrics.auc { report.metrics.append(metric("auc", auc)) }
            report.window = .init(
                from: EventTime(microseconds: version.windowFrom), to: EventTime(microseconds: version.windowTo),
                records: metrics.count)
        }
        if let baseline = version.baselineErrorRate { report.metrics.append(.init("baseline_accuracy", 1 - baseline)) }
        try emit(report, sequence: sequence)
    }

    // MARK: - Coverage

    mutating func expireLabels() throws {
        guard let watermark = labelTime else { return }
        memory.coverage.expired +=
            join.expire(
                watermark: watermark, horizon: pipeline.monitors.performance.labelHorizonMicroseconds
            ).count
        let due = memory.coverage.joined + memory.coverage.expired
        guard due >= pipeline.monitors.performance.windowLabels else { return }
        let coverage = Double(memory.coverage.joined) / Double(due)
        memory.coverage.last = coverage
        memory.coverage.joined = 0
        memory.coverage.expired = 0
        // A pipeline that never had labels does not lack them.
        let level: MonitoringReport.Level =
            memory.coverage.everJoined == 0 ? .warmup : coverage < Self.coverageMin ? .firing : .ok
        guard level != memory.coverage.level else { return }
        memory.coverage.level = level
        memory.coverage.reports += 1
        var report = report(
            .performance, AlertCatalogue.labelsMissing, level,
            "\(Self.percent(coverage)) of \(due) predictions got a label within the horizon")
        report.value = coverage
        report.threshold = Self.coverageMin
        try emit(report, sequence: "coverage-\(memory.coverage.reports)")
    }

    /// Share of labels below which performance says little.
    private static let coverageMin = 0.5
}
