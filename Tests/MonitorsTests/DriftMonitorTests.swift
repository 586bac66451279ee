// DriftMonitorTests: what the drift monitor reports of known streams.

import Drift
import EventContracts
import Foundation
import MonitorRuntime
import Monitors
import PipelineContract
import StageRuntime
import Testing

@Suite("The drift monitor")
struct DriftMonitorTests {
    @Test("A stationary stream is reported window by window and never fires")
    func stationary() throws {
        var stream = Stream(try World.pipeline(), profile: try World.profile())
        try stream.run(2_000, errorRate: 0.2)
        #expect(stream.reports.allSatisfy { $0.data.level != .firing })
        #expect(stream.levels(AlertCatalogue.dataDrift).count >= 4)
        let window = try #require(stream.reports.last { $0.data.alert == AlertCatalogue.dataDrift }).data
        let metrics = try #require(window.features.first).metrics
        #expect(metrics.contains { $0.name == "psi" && ($0.nullQuantile ?? 0) > 0 })
        #expect(metrics.contains { $0.name == "ks" && ($0.nullQuantile ?? 0) > 0 })
        // Performance: accuracy with its interval around 80 %, and the AUC.
        let performance = try #require(stream.reports.last { $0.data.alert == AlertCatalogue.performanceLoss }).data
        let accuracy = try #require(performance.metrics.first { $0.name == "accuracy" })
        #expect((accuracy.lower ?? 1) < accuracy.value && (accuracy.upper ?? 0) > accuracy.value)
        #expect((0.7...0.9).contains(accuracy.value))
        #expect(performance.metrics.contains { $0.name == "auc" } && performance.modelVersion == "1")
    }

    @Test("A shift fires once, names the feature at fault and the time, counts labels, and ends when it is over")
    func shift() throws {
        var stream = Stream(try World.pipeline(), profile: try World.profile())
        try stream.run(600, errorRate: 0.2)
        try stream.run(700, shift: 1, errorRate: 0.2)
        let firing = stream.reports.filter { $0.data.alert == AlertCatalogue.dataDrift && $0.data.level == .firing }
        let first = try #require(firing.first).data
        #expect(first.features.first?.name == "a")
        #expect((first.value ?? 0) >= (first.threshold ?? .infinity))
        let change = try #require(first.changeTime).microseconds
        #expect(abs(change - World.time(600)) <= 120 * World.minute, "\(change - World.time(600))")
        let named = try #require(firing.first { $0.data.summary.contains("at fault") }).data
        #expect(named.features.filter(\.isAtFault).map(\.name) == ["a"])
        // Labels of the new regime are counted from the change on.
        #expect((firing.last?.data.labelsAvailable ?? 0) > 500)
        try stream.run(900)
        #expect(stream.levels(AlertCatalogue.dataDrift).last == .ok)
        // One way up and one way down.
        let levels = stream.levels(AlertCatalogue.dataDrift)
        let changes = zip(levels, levels.dropFirst()).filter { ($0 == .firing) != ($1 == .firing) }
        #expect(changes.count == 2)
        #expect(Set(stream.reports.map(\.id)).count == stream.reports.count)
    }

    @Test("A loss of accuracy is confirmed from labels, a tolerated one is not")
    func performance() throws {
        var stream = Stream(try World.pipeline(), profile: try World.profile())
        try stream.run(2_000, errorRate: 0.2)
        #expect(!stream.levels(AlertCatalogue.performanceLoss).contains(.firing))
        try stream.run(600, errorRate: 0.45)
        let firing = try #require(
            stream.reports.last { $0.data.alert == AlertCatalogue.performanceLoss && $0.data.level == .firing })
        #expect(firing.data.summary.contains("lost accuracy"))
        #expect((firing.data.labelsAvailable ?? 0) > 100)
        #expect(firing.data.labels["model_version"] == nil)
    }

    @Test("Missing values are a matter of quality")
    func quality() throws {
        var stream = Stream(try World.pipeline(), profile: try World.profile())
        try stream.run(1_000)
        #expect(!stream.levels(AlertCatalogue.dataQuality).contains(.firing))
        try stream.run(1_000, missing: 0.3)
        let report = try #require(stream.reports.last { $0.data.alert == AlertCatalogue.dataQuality }).data
        #expect(report.level == .firing && report.features.map(\.name) == ["b"])
        try stream.run(1_000)
        #expect(stream.levels(AlertCatalogue.dataQuality).last == .ok)
    }

    @Test("A new model version begins a new reference and a new baseline")
    func newVersion() throws {
        var stream = Stream(try World.pipeline(), profile: try World.profile())
        try stream.run(300, errorRate: 0.2)
        try stream.run(500, shift: 1, errorRate: 0.2)
        #expect(stream.levels(AlertCatalogue.dataDrift).last == .firing)
        try stream.run(1_600, shift: 1, errorRate: 0.2, version: "2")
        let drift = stream.reports.filter { $0.data.alert == AlertCatalogue.dataDrift }
        let replaced = try #require(drift.firstIndex { $0.data.summary.contains("replaced by version 2") })
        #expect(drift[replaced].data.level == .warmup)
        // The shifted stream is the new normal.
        #expect(drift[replaced...].allSatisfy { $0.data.level != .firing })
        #expect(drift.last?.data.level == .ok)
        #expect(drift[replaced].data.reference != drift[0].data.reference)
    }

    @Test("Without a usable reference the monitor says so, and still watches performance")
    func noReference() throws {
        var stream = Stream(try World.pipeline(), profile: nil)
        try stream.run(700, errorRate: 0.2)
        let report = try #require(stream.reports.first { $0.data.alert == AlertCatalogue.referenceUnusable }).data
        #expect(report.level == .firing && report.summary.contains("penstock fit"))
        #expect(stream.levels(AlertCatalogue.performanceLoss).contains(.ok))
    }

    @Test("A process killed anywhere goes on from its snapshot: the same reports, no pair of labels counted twice")
    func restart() throws {
        let pipeline = try World.pipeline()
        let profile = try World.profile()
        var whole = Stream(pipeline, profile: profile)
        var part = Stream(pipeline, profile: profile)
        try whole.run(500, errorRate: 0.2)
        try whole.run(400, shift: 0.8, errorRate: 0.3)
        try part.run(430, errorRate: 0.2)
        // Snapshot, then records that the killed process took and never made durable.
        let snapshot = try JSONEncoder().encode(part.monitor.state)
        let (noise, event, reports) = (part.noise, part.event, part.reports)
        try part.run(70, errorRate: 0.2)
        part.noise = noise
        part.event = event
        part.reports = reports
        part.monitor = DriftMonitor(
            pipeline: pipeline, profile: profile, fault: nil, names: World.names, contractHash: World.contract)
        try part.monitor.restore(try JSONDecoder().decode(DriftMonitor.State.self, from: snapshot))
        // The topics before the snapshot are read again for the join.
        for number in 0..<430 {
            try part.monitor.rebuild(
                World.batch([(1, World.prediction(number, score: 0.1)), (2, World.label(number, 1))]))
        }
        try part.collect()
        try part.run(70, errorRate: 0.2)
        try part.run(400, shift: 0.8, errorRate: 0.3)
        #expect(part.reports.map(\.id) == whole.reports.map(\.id))
        #expect(part.reports.map(\.data) == whole.reports.map(\.data))
    }

    @Test("A label may come before its prediction, and much later")
    func labelOrder() throws {
        var stream = Stream(try World.pipeline(), profile: nil)
        var joined = 0
        for number in 0..<250 {
            try stream.monitor.take(World.batch([(2, World.label(number, 1))]))
            try stream.monitor.take(
                World.batch([
                    (0, World.feature(number, [0, 0, 0])), (1, World.prediction(number, score: 0.9)),
                ]))
        }
        for number in 250..<500 {
            try stream.monitor.take(
                World.batch([(0, World.feature(number, [0, 0, 0])), (1, World.prediction(number, score: 0.9))]))
        }
        for number in (250..<500).reversed() {
            try stream.monitor.take(World.batch([(2, World.label(number, 1))]))
        }
        try stream.collect()
        joined =
            stream.reports.filter { $0.data.alert == AlertCatalogue.performanceLoss }
            .compactMap { $0.data.metrics.first { $0.name == "accuracy" }?.count }.max() ?? 0
        // 500 labels: a baseline of 300, two whole windows of 200.
        #expect(joined == 200)
        #expect(stream.levels(AlertCatalogue.performanceLoss).contains(.ok))
    }
}
