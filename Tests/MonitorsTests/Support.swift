// Support: streams of features, predictions and labels without a broker.

import Alerting
import Drift
import EventContracts
import Foundation
import MonitorRuntime
import Monitors
import PipelineContract
import StageRuntime
import Testing

/// SplitMix64 and Box-Muller: the same in every run.
struct Noise {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func uniform() -> Double {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return (Double((z ^ (z >> 31)) >> 11) + 0.5) / 9_007_199_254_740_992
    }

    mutating func normal() -> Double { (-2 * log(uniform())).squareRoot() * cos(2 * .pi * uniform()) }
}

enum World {
    static let names = ["a", "b", "c"]
    static let contract: UInt64 = 0x1234
    /// One event a minute.
    static let minute: Int64 = 60_000_000
    static let start: Int64 = 1_600_000_000_000_000

    static func pipeline() throws -> Pipeline {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        var pipeline = try PipelineLoader.load(path: root.appending(path: "topics/housing").path)
        pipeline.monitors.drift.windowRecords = 500
        pipeline.monitors.drift.recoveryRecords = 800
        pipeline.monitors.performance.baselineLabels = 300
        pipeline.monitors.performance.windowLabels = 200
        pipeline.monitors.performance.labelHorizonMicroseconds = 10_000 * minute
        pipeline.reactions = ReactionSettings()
        pipeline.reactions.labelsMin = 100
        return pipeline
    }

    static func profile(rows: Int = 3_000) throws -> ReferenceProfile {
        var noise = Noise(seed: 1)
        var builder = ProfileBuilder(names: names)
        let none: [UInt8] = [0, 0, 0]
        for _ in 0..<rows {
            let row = names.map { _ in Float(noise.normal()) }
            builder.add(row.span, imputed: none.span, outlying: none.span)
        }
        return try builder.profile(pipeline: "housing", contract: Hexadecimal.text(contract), rowsMin: 100)
    }

    static func time(_ event: Int) -> Int64 { start + Int64(event) * minute }
    static func eventID(_ event: Int) -> EventID {
        EventID(high: UInt64(time(event) / 1_000) << 16 | 0x8000, low: 0x8000_0000_0000_0000 | UInt64(event))
    }

    static func feature(_ event: Int, _ row: [Float], imputed: [UInt8] = [0, 0, 0]) -> [UInt8] {
        let prefix = RecordPrefix(
            kind: .features, eventID: eventID(event), eventTime: time(event), publishTime: time(event),
            ingestTime: time(event), stageTime: time(event), inputOffset: Int64(event), inputPartition: 0,
            payloadHash: 0, contractHash: contract, trace: nil, isIdentifiedByPublisher: false)
        var bytes: [UInt8] = []
        let empty: [UInt8] = []
        FeatureRecordEncoder(featureCount: names.count).append(
            prefix: prefix, source: empty.span.bytes, id: empty.span.bytes, values: row.span, imputed: imputed.span,
            outliers: [UInt8](repeating: 0, count: 3).span, to: &bytes)
        return bytes
    }

    static func prediction(_ event: Int, score: Float, version: String = "1") -> [UInt8] {
        let prefix = RecordPrefix(
            kind: .features, eventID: eventID(event), eventTime: time(event), publishTime: time(event),
            ingestTime: time(event), stageTime: time(event), inputOffset: Int64(event), inputPartition: 0,
            payloadHash: 0, contractHash: contract, trace: nil, isIdentifiedByPublisher: false)
        var bytes: [UInt8] = []
        let empty: [UInt8] = []
        PredictionWriter(model: "m", modelVersion: version).append(
            Prediction(score: score, label: score >= 0.5 ? 1 : 0, imputed: 0, outliers: 0), prefix: prefix,
            source: empty.span.bytes, id: empty.span.bytes, entity: nil, predictedAt: time(event), to: &bytes)
        return bytes
    }

    static func label(_ event: Int, _ label: Int32) -> [UInt8] {
        var bytes: [UInt8] = []
        LabelRecord(
            eventID: eventID(event), label: label, labelTime: time(event), publishTime: time(event),
            ingestTime: time(event), inputOffset: Int64(event), inputPartition: 0
        ).append(to: &bytes)
        return bytes
    }

    static func batch(_ records: [(topic: Int, value: [UInt8])], timestamp: Int64 = 0) -> RecordBatch {
        var batch = RecordBatch()
        for (index, record) in records.enumerated() {
            batch.append(
                origin: .init(topicIndex: record.topic, partition: 0, offset: Int64(index)),
                timestampMilliseconds: timestamp, key: nil, value: record.value.span.bytes)
        }
        batch.seal()
        return batch
    }
}

/// Drives a drift monitor with events and late labels.
struct Stream {
    var monitor: DriftMonitor
    var noise = Noise(seed: 7)
    var event = 0
    var reports: [CloudEvent<MonitoringReport>] = []

    init(_ pipeline: Pipeline, profile: ReferenceProfile?) {
        monitor = DriftMonitor(
            pipeline: pipeline, profile: profile, fault: nil, names: World.names, contractHash: World.contract)
    }

    /// - Parameters:
    ///   - shift: of the first feature, in standard deviations.
    ///   - errorRate: nil for events without labels.
    mutating func run(
        _ count: Int, shift: Double = 0, missing: Double = 0, errorRate: Double? = nil, version: String = "1"
    ) throws {
        for _ in 0..<count {
            let row = [Float(noise.normal() + shift), Float(noise.normal()), Float(noise.normal())]
            let imputed: [UInt8] = [0, noise.uniform() < missing ? 1 : 0, 0]
            let score = Float(noise.uniform())
            var records = [
                (0, World.feature(event, row, imputed: imputed)),
                (1, World.prediction(event, score: score, version: version)),
            ]
            if let errorRate {
                let isError = noise.uniform() < errorRate
                records.append((2, World.label(event, (score >= 0.5) == isError ? 0 : 1)))
            }
            try monitor.take(World.batch(records))
            event += 1
            try collect()
        }
    }

    mutating func collect() throws {
        for output in monitor.takeOutputs() {
            let event = try CloudEvent<MonitoringReport>.decode(output.value, types: MonitoringReport.types)
            reports.append(try #require(event))
        }
    }

    func levels(_ alert: String) -> [MonitoringReport.Level] {
        reports.filter { $0.data.alert == alert }.map(\.data.level)
    }
}
