// DriftMonitor+Features: drift and data quality from the features.

import Drift
import EventContracts
import Glibc
import MonitorRuntime
import PipelineContract

extension DriftMonitor {
    mutating func takeFeatures(_ batch: RecordBatch) throws {
        let (own, sources) = Self.records(of: Input.features, in: batch)
        guard !own.isEmpty else { return }
        columns.removeAll()
        var malformed: [MalformedRow] = []
        decoder.decode(own, into: &columns, malformed: &malformed)
        // They become dead letters in the inference stage; here they are only counted.
        memory.malformed += malformed.count
        // Taken out while rows are borrowed from it.
        let columns = columns
        for row in 0..<columns.rowCount {
            let range = row * names.count..<(row + 1) * names.count
            let partition = batch.origins[sources[columns.sources[row]]].partition
            let time = columns.prefixes[row].eventTime
            memory.records += 1
            memory.marks.note(record: memory.records, time: time)
            memory.watermark.advance(partition: partition, eventTime: time)
            memory.newestEvent = max(memory.newestEvent ?? .min, time)
            try takeRow(
                columns.values.span.extracting(range), imputed: columns.imputed.span.extracting(range),
                outliers: columns.outliers.span.extracting(range), time: time)
        }
        try expireLabels()
    }

    /// The records of one topic, and the index of each in the batch.
    static func records(of topic: Int, in batch: RecordBatch) -> (RecordBatch, [Int]) {
        var own = RecordBatch()
        var sources: [Int] = []
        for index in 0..<batch.count where batch.origins[index].topicIndex == topic {
            batch.withBytes(batch.values[index]) { value in
                own.append(
                    origin: batch.origins[index], timestampMilliseconds: batch.timestampsMilliseconds[index], key: nil,
                    value: value)
            }
            sources.append(index)
        }
        own.seal()
        return (own, sources)
    }

    private mutating func takeRow(
        _ row: Span<Float>, imputed: Span<UInt8>, outliers: Span<UInt8>, time: Int64
    ) throws {
        if memory.learning != nil { return try learn(row, imputed: imputed, outliers: outliers) }
        guard let reference else { return }
        memory.window?.take(row, imputed: imputed, outlying: outliers, time: time, profile: reference)
        try watch(row, imputed: imputed, reference: reference)
        guard let window = memory.window else { return }
        let settings = pipeline.monitors.drift
        let records = min(settings.windowRecords, Self.windowValuesMax / max(1, names.count))
        if window.records >= records || window.lastTime - window.firstTime >= settings.windowMicroseconds {
            try close(window, reference: reference)
        }
    }

    // MARK: - Drift

    private mutating func watch(_ row: Span<Float>, imputed: Span<UInt8>, reference: ReferenceProfile) throws {
        guard detector != nil else { return }
        try findFaults(row, imputed: imputed, reference: reference)
        let alarm = detector?.take(row, missing: imputed)
        if let alarm { return try takeAlarm(alarm) }
        guard let detector else { return }
        if memory.drift.level == .firing {
            memory.drift.recordsSinceAlarm += 1
            guard memory.drift.recordsSinceAlarm >= pipeline.monitors.drift.recoveryRecords else { return }
            memory.drift.level = .ok
            memory.drift.changeTime = nil
            return try emitDrift("no further alarm within \(memory.drift.recordsSinceAlarm) events")
        }
        if memory.drift.level == .ok, detector.evidence >= detector.threshold / 10 {
            memory.drift.level = .suspect
            memory.drift.featureEvidence = (0..<names.count).map { detector.evidence(of: $0) }
            try emitDrift("the evidence of drift reached a tenth of what an alarm needs")
        } else if memory.drift.level == .suspect, detector.evidence < detector.threshold / 100 {
            memory.drift.level = .ok
            try emitDrift("the evidence of drift is gone again")
        }
    }

    private mutating func takeAlarm(_ alarm: DriftDetector.Alarm) throws {
        let isNew = memory.drift.level != .firing
        memory.drift.alarms += 1
        memory.drift.recordsSinceAlarm = 0
        memory.drift.peak = isNew ? alarm.evidence : max(memory.drift.peak, alarm.evidence)
        let records = Int(detector?.records ?? 0)
        detector?.reset()
        // A fixed reference alarms again and again: one episode, told once, until it is well again.
        guard isNew else { return }
        memory.drift.level = .firing
        memory.drift.episodes += 1
        memory.drift.featureEvidence = alarm.featureEvidence
        memory.drift.changeTime = memory.marks.time(of: memory.records - records + Int(alarm.changeRecord))
        memory.drift.finder = FaultFinder(featureCount: names.count)
        memory.drift.faults = []
        let change = memory.drift.changeTime ?? .min
        memory.drift.labelsSinceChange = memory.labelTimes.count { $0 >= change }
        memory.drift.labelsReported = memory.drift.labelsSinceChange
        let strongest = strongestFeatures.prefix(3).map { names[$0] }.joined(separator: ", ")
        try emitDrift("the features no longer follow the reference; strongest: \(strongest)")
    }

    /// After an alarm: which features, from fresh evidence.
    private mutating func findFaults(_ row: Span<Float>, imputed: Span<UInt8>, reference: ReferenceProfile) throws {
        guard memory.drift.finder != nil else { return }
        var rows: [SIMD16<Double>] = []
        rows.reserveCapacity(names.count)
        for feature in 0..<names.count {
            let bin =
                imputed[feature] != 0
                ? FeatureBins.missing : reference.features[feature].bins.bin(of: row[feature])
            rows.append(tables[feature].ratios[bin])
        }
        memory.drift.finder?.take(rows)
        guard let finder = memory.drift.finder, finder.isComplete else { return }
        memory.drift.finder = nil
        memory.drift.faults = finder.discoveries.sorted()
        guard memory.drift.level == .firing else { return }
        let found = memory.drift.faults.map { names[$0] }.joined(separator: ", ")
        try emitDrift("features at fault: \(found.isEmpty ? "none stands out" : found)")
    }

    private var strongestFeatures: [Int] {
        memory.drift.featureEvidence.indices.sorted {
            memory.drift.featureEvidence[$0] > memory.drift.featureEvidence[$1]
        }
    }

    mutating func emitDrift(_ summary: String) throws {
        memory.drift.reports += 1
        var report = report(.drift, AlertCatalogue.dataDrift, memory.drift.level, summary)
        report.value = memory.drift.level == .firing ? memory.drift.peak : detector?.evidence
        report.threshold = detector?.threshold
        report.nullRate = "1 per \(pipeline.monitors.drift.averageRunLength) events"
        report.changeTime = memory.drift.changeTime.map { EventTime(microseconds: $0) }
        if memory.drift.level == .firing { report.labelsAvailable = memory.drift.labelsSinceChange }
        report.features = strongestFeatures.prefix(Self.reportedFeaturesMax).map { feature in
            MonitoringReport.Feature(
                name: names[feature],
                // Evidence may be 0 for a feature that is not watched, which has no logarithm.
                logEvidence: Self.logarithm(memory.drift.featureEvidence[feature]),
                isAtFault: memory.drift.faults.contains(feature), metrics: metrics(of: feature))
        }
        try emit(report, sequence: "drift-\(memory.generation)-\(memory.drift.reports)")
    }

    private static func logarithm(_ value: Double) -> Double { value > 1e-300 ? value.logarithm : -690 }

    private func metrics(of feature: Int) -> [MonitoringReport.Metric] {
        guard memory.lastComparisons.indices.contains(feature) else { return [] }
        let found = memory.lastComparisons[feature]
        return [
            .init("psi", found.psi, nullQuantile: found.psiNullQuantile),
            .init("ks", found.ks, nullQuantile: found.ksNullQuantile), .init("mean", found.mean),
            .init("standard_deviation", found.standardDeviation), .init("missing_share", found.missingShare),
            .init("out_of_range_share", found.outOfRangeShare), .init("outlier_share", found.outlierShare),
        ]
    }

    // MARK: - Windows and quality

    private mutating func close(_ window: FeatureWindow, reference: ReferenceProfile) throws {
        memory.windows += 1
        memory.lastComparisons = (0..<names.count).map { window.comparison($0, with: reference) }
        memory.window = FeatureWindow(featureCount: names.count)
        try judgeQuality(window, reference: reference)
        guard memory.drift.level != .warmup else { return }
        if memory.drift.featureEvidence.isEmpty || memory.drift.level != .firing {
            memory.drift.featureEvidence = (0..<names.count).map { detector?.evidence(of: $0) ?? 0 }
        }
        let beyond = memory.lastComparisons.count { $0.psi > $0.psiNullQuantile }
        try emitDrift(
            "window of \(window.records) events: \(beyond) of \(names.count) features beyond the PSI of no drift")
    }

    private mutating func judgeQuality(_ window: FeatureWindow, reference: ReferenceProfile) throws {
        let settings = pipeline.monitors.quality
        var atFault: [MonitoringReport.Feature] = []
        var largest = 0.0
        for feature in 0..<names.count {
            let counts = window.counts[feature * FeatureBins.count..<(feature + 1) * FeatureBins.count]
            let missing = counts[counts.startIndex + FeatureBins.missing]
            let outside =
                counts[counts.startIndex + FeatureBins.belowRange] + counts[counts.startIndex + FeatureBins.aboveRange]
            let excess = (
                // Only what is beyond doubt: the lower end of the interval.
                BinomialInterval(successes: missing, of: window.records).lower
                    - reference.features[feature].missingShare,
                BinomialInterval(successes: outside, of: window.records).lower
            )
            largest = max(largest, excess.0 / max(1e-9, settings.imputedShareMax))
            largest = max(largest, excess.1 / max(1e-9, settings.outOfRangeShareMax))
            if excess.0 > settings.imputedShareMax || excess.1 > settings.outOfRangeShareMax {
                atFault.append(
                    .init(name: names[feature], logEvidence: 0, isAtFault: true, metrics: metrics(of: feature)))
            }
        }
        let level: MonitoringReport.Level = atFault.isEmpty ? .ok : .firing
        guard level == .firing || level != memory.quality.level else { return }
        memory.quality.level = level
        memory.quality.reports += 1
        let list = atFault.map(\.name).joined(separator: ", ")
        var report = report(
            .quality, AlertCatalogue.dataQuality, level,
            atFault.isEmpty
                ? "missing values and values out of range are as in the reference"
                : "more missing values or values out of range than in the reference: \(list)")
        report.value = largest
        report.threshold = 1
        report.features = Array(atFault.prefix(Self.reportedFeaturesMax))
        report.window = .init(
            from: EventTime(microseconds: window.firstTime), to: EventTime(microseconds: window.lastTime),
            records: window.records)
        try emit(report, sequence: "quality-\(memory.quality.reports)")
    }

    // MARK: - A new reference

    /// The serving model changed: what it was made of is not known here, so its reference is what comes now.
    mutating func learnReference() throws {
        memory.learning = Learning()
        memory.generation += 1
        memory.learnedReference = nil
        useReference()
        memory.drift.finder = nil
        memory.drift.faults = []
        memory.drift.changeTime = nil
        memory.drift.featureEvidence = []
        try emitDrift("the model was replaced by version \(memory.version): its reference is being learned")
    }

    private mutating func learn(_ row: Span<Float>, imputed: Span<UInt8>, outliers: Span<UInt8>) throws {
        for feature in 0..<names.count {
            memory.learning?.rows.append(row[feature])
            memory.learning?.imputed.append(imputed[feature])
            memory.learning?.outliers.append(outliers[feature])
        }
        let wanted = min(pipeline.monitors.drift.referenceRecordsMin, Self.windowValuesMax / max(1, names.count))
        guard let learning = memory.learning, learning.rows.count >= wanted * names.count else { return }
        var builder = ProfileBuilder(names: names)
        for start in stride(from: 0, to: learning.rows.count, by: names.count) {
            let range = start..<start + names.count
            builder.add(
                learning.rows.span.extracting(range), imputed: learning.imputed.span.extracting(range),
                outlying: learning.outliers.span.extracting(range))
        }
        memory.learning = nil
        // A feature without any value keeps the monitor waiting for the next model; the report says so.
        memory.learnedReference = try? builder.profile(pipeline: pipeline.name, contract: contract, rowsMin: 1)
        useReference()
    }
}

extension Double {
    fileprivate var logarithm: Double { log(self) }
}
