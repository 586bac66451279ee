// DetectorBenchmark: false alarms, delays and cost of the drift detector on simulated streams.

import Drift
import Foundation

/// Simulated streams are normal and independent unless their name says otherwise. Every number comes from this run.
struct DetectorBenchmark {
    struct FalseAlarms: Encodable {
        var stream: String
        var threshold: Double
        var events: Int
        var alarms: Int
        var alarmsPerMillion: Double
        /// Of the mean, by the detector's theory: a million over the threshold.
        var boundPerMillion: Double
    }

    struct Delay: Encodable {
        var change: String
        var threshold: Double
        var runs: Int
        var median: Double
        var percentile90: Double
        /// Share of runs without an alarm within the limit.
        var missed: Double
    }

    struct Report: Encodable {
        var falseAlarms: [FalseAlarms] = []
        var delays: [Delay] = []
        var nanosecondsPerEventAndFeature = 0.0
    }

    private static let referenceRows = 10_000
    private static let delayRuns = 200
    private static let delayEventsMax = 6_000

    /// A stream of rows: called once per event.
    private typealias Source = (inout SeededGenerator) -> [Float]

    func run(isJSON: Bool) throws {
        var report = Report()
        for threshold in [1e4, 1e5, 1e6] {
            report.falseAlarms.append(try falseAlarms("1 feature", 1, threshold, events: 4_000_000))
        }
        report.falseAlarms.append(try falseAlarms("8 features, correlation 0.5", 8, 1e4, events: 1_000_000))
        report.falseAlarms.append(
            try falseAlarms(
                "1 feature, reference of 1,000 rows, threshold raised hundredfold", 1, 1e8, events: 4_000_000,
                rows: 1_000))
        for phi in [0.2, 0.5, 0.8] {
            report.falseAlarms.append(try falseAlarms("AR(1) of \(phi)", 1, 1e6, events: 2_000_000, phi: phi))
        }
        let changes: [(String, (Float) -> Float)] = [
            ("+0.25 sd", { $0 + 0.25 }), ("+0.5 sd", { $0 + 0.5 }), ("+1 sd", { $0 + 1 }), ("sd x 1.5", { $0 * 1.5 }),
            ("sd x 0.7", { $0 * 0.7 }),
        ]
        for threshold in [1e5, 1e6] {
            for (name, change) in changes { report.delays.append(try delay(name, threshold, change)) }
        }
        for (name, rate) in [("error rate 0.2 to 0.25", 0.25), ("error rate 0.2 to 0.4", 0.4)] {
            report.delays.append(errorDelay(name, rate))
        }
        report.falseAlarms.append(errorFalseAlarms())
        report.nanosecondsPerEventAndFeature = try cost()
        if isJSON { try Console.print(json: report) } else { show(report) }
    }

    private func profile(_ features: Int, rows: Int, phi: Double = 0, _ generator: inout SeededGenerator) throws
        -> ReferenceProfile
    {
        var builder = ProfileBuilder(names: (0..<features).map { "f\($0)" })
        let none = [UInt8](repeating: 0, count: features)
        var state = [Double](repeating: 0, count: features)
        for _ in 0..<rows {
            let row = Self.row(features, phi: phi, &state, &generator)
            builder.add(row.span, imputed: none.span, outlying: none.span)
        }
        var profile = try builder.profile(pipeline: "bench", contract: "0", rowsMin: 1)
        // Whether the simulated reference passes its own test is not what is measured here.
        for index in profile.features.indices { profile.features[index].isStationary = true }
        return profile
    }

    /// Features share half of their variance when there are several; each is an AR(1) process of coefficient `phi`.
    private static func row(
        _ features: Int, phi: Double, _ state: inout [Double], _ generator: inout SeededGenerator
    ) -> [Float] {
        let common = features > 1 ? generator.normal() : 0
        return (0..<features).map { feature in
            let own = generator.normal()
            let noise = features > 1 ? (common + own) / 2.0.squareRoot() : own
            guard phi > 0 else { return Float(noise) }
            state[feature] = phi * state[feature] + (1 - phi * phi).squareRoot() * noise
            return Float(state[feature])
        }
    }

    private func falseAlarms(
        _ name: String, _ features: Int, _ threshold: Double, events: Int, rows: Int = referenceRows, phi: Double = 0
    ) throws -> FalseAlarms {
        // Several references: the error of an estimated one is a part of the rate.
        let references = 4
        var alarms = 0
        let none = [UInt8](repeating: 0, count: features)
        for seed in 0..<references {
            var generator = SeededGenerator(seed: UInt64(1_000 + seed))
            var detector = DriftDetector(
                try profile(features, rows: rows, phi: phi, &generator), threshold: threshold)
            var state = [Double](repeating: 0, count: features)
            for _ in 0..<events / references {
                let row = Self.row(features, phi: phi, &state, &generator)
                if detector.take(row.span, missing: none.span) != nil {
                    alarms += 1
                    detector.reset()
                }
            }
        }
        return FalseAlarms(
            stream: name, threshold: threshold, events: events, alarms: alarms,
            alarmsPerMillion: Double(alarms) * 1e6 / Double(events), boundPerMillion: 1e6 / threshold)
    }

    private func delay(_ name: String, _ threshold: Double, _ change: (Float) -> Float) throws -> Delay {
        var delays: [Double] = []
        var missed = 0
        let none: [UInt8] = [0]
        var state = [0.0]
        for seed in 0..<Self.delayRuns {
            var generator = SeededGenerator(seed: UInt64(seed))
            var detector = DriftDetector(
                try profile(1, rows: Self.referenceRows, &generator), threshold: threshold)
            for _ in 0..<1_000 {
                let row = Self.row(1, phi: 0, &state, &generator)
                if detector.take(row.span, missing: none.span) != nil { detector.reset() }
            }
            var found: Int?
            for event in 1...Self.delayEventsMax where found == nil {
                let row = Self.row(1, phi: 0, &state, &generator).map(change)
                if detector.take(row.span, missing: none.span) != nil { found = event }
            }
            if let found { delays.append(Double(found)) } else { missed += 1 }
        }
        return Self.delay(name, threshold, delays, missed)
    }

    private static func delay(_ name: String, _ threshold: Double, _ delays: [Double], _ missed: Int) -> Delay {
        let sorted = delays.sorted()
        func quantile(_ share: Double) -> Double {
            sorted.isEmpty ? .infinity : sorted[min(sorted.count - 1, Int(share * Double(sorted.count)))]
        }
        return Delay(
            change: name, threshold: threshold, runs: delays.count + missed, median: quantile(0.5),
            percentile90: quantile(0.9), missed: Double(missed) / Double(delays.count + missed))
    }

    private func errorDelay(_ name: String, _ rate: Double) -> Delay {
        var delays: [Double] = []
        var missed = 0
        for seed in 0..<Self.delayRuns {
            var generator = SeededGenerator(seed: UInt64(seed))
            var detector = ErrorDetector(toleratedRate: 0.2, threshold: 1e6)
            for _ in 0..<1_000 where detector.take(isError: generator.uniform() < 0.2) { detector.reset() }
            var found: Int?
            for event in 1...4_000 where found == nil {
                if detector.take(isError: generator.uniform() < rate) { found = event }
            }
            if let found { delays.append(Double(found)) } else { missed += 1 }
        }
        return Self.delay(name, 1e6, delays, missed)
    }

    private func errorFalseAlarms() -> FalseAlarms {
        let events = 10_000_000
        var generator = SeededGenerator(seed: 77)
        var detector = ErrorDetector(toleratedRate: 0.2, threshold: 1e6)
        var alarms = 0
        for _ in 0..<events where detector.take(isError: generator.uniform() < 0.2) {
            alarms += 1
            detector.reset()
        }
        return FalseAlarms(
            stream: "error rate of 0.2, tolerated 0.2", threshold: 1e6, events: events, alarms: alarms,
            alarmsPerMillion: Double(alarms) * 1e6 / Double(events), boundPerMillion: 1)
    }

    /// Binning included, on rows made beforehand.
    private func cost() throws -> Double {
        let features = 30
        var generator = SeededGenerator(seed: 5)
        var detector = DriftDetector(
            try profile(features, rows: Self.referenceRows, &generator), threshold: 1e12)
        var state = [Double](repeating: 0, count: features)
        let rows = (0..<10_000).flatMap { _ in Self.row(features, phi: 0, &state, &generator) }
        let none = [UInt8](repeating: 0, count: features)
        let rounds = 10
        let start = ContinuousClock.now
        for _ in 0..<rounds {
            for row in 0..<10_000 {
                _ = detector.take(
                    rows.span.extracting(row * features..<(row + 1) * features), missing: none.span)
            }
        }
        return start.duration(to: .now) / .nanoseconds(1) / Double(rounds * 10_000 * features)
    }

    private func show(_ report: Report) {
        var alarms = Table(
            .left("stream without change"), .right("threshold"), .right("events"), .right("alarms"),
            .right("per million"), .right("bound"))
        for row in report.falseAlarms {
            alarms.add(
                row.stream, Numbers.grouped(Int(row.threshold)), Numbers.grouped(row.events), String(row.alarms),
                Numbers.decimal(row.alarmsPerMillion, 2), Numbers.decimal(row.boundPerMillion, 2))
        }
        Console.print(alarms.text)
        var delays = Table(
            .left("change"), .right("threshold"), .right("runs"), .right("median delay"), .right("90 %"),
            .right("missed"))
        for row in report.delays {
            delays.add(
                row.change, Numbers.grouped(Int(row.threshold)), String(row.runs), Numbers.decimal(row.median, 0),
                Numbers.decimal(row.percentile90, 0), Numbers.decimal(row.missed * 100, 1) + " %")
        }
        Console.print(delays.text)
        Console.print(
            "\(Numbers.decimal(report.nanosecondsPerEventAndFeature, 1)) ns per event and feature, binning included")
    }
}

extension SeededGenerator {
    /// In (0, 1).
    fileprivate mutating func uniform() -> Double { (Double(next() >> 11) + 0.5) / 9_007_199_254_740_992 }

    /// Standard normal (Box, Muller 1958).
    fileprivate mutating func normal() -> Double {
        (-2 * log(uniform())).squareRoot() * cos(2 * Double.pi * uniform())
    }
}
