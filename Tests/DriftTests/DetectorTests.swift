// DetectorTests: the e-detector against published tables, a plain recursion and known changes.

import Foundation
import Testing

@testable import Drift

@Suite("The drift detector")
struct DetectorTests {
    private struct Prototype: Decodable {
        struct Trace: Decodable {
            var bins: [Int]
            var sum_wR: [Double]
        }
        var L: [[Double]]
        var trace: Trace
    }

    /// Bins of exactly equal mass, nothing missing or outside.
    private static func equalBins() throws -> FeatureBins {
        var bins = try #require(FeatureBins(values: (0..<1_600).map { Float($0) }, missing: 0))
        for bin in 0..<FeatureBins.count { bins.probabilities[bin] = bin < 16 ? 1.0 / 16 : 0 }
        return bins
    }

    @Test("The tilts equal the reference tables")
    func tilts() throws {
        let expected = try Fixture.load(Prototype.self, "detector.json").L
        let found = ExpertTable.tilts(try Self.equalBins())
        #expect(found.count == expected.count)
        for (expert, (own, other)) in zip(found, expected).enumerated() {
            for bin in 0..<16 {
                #expect(abs(own[bin] - other[bin]) < 1e-9, "expert \(expert), bin \(bin): \(own[bin])")
            }
        }
    }

    @Test("The recursion over the tilts gives the reference trace")
    func trace() throws {
        let trace = try Fixture.load(Prototype.self, "detector.json").trace
        let tilts = ExpertTable.tilts(try Self.equalBins())
        var evidence = [Double](repeating: 0, count: tilts.count)
        for (bin, expected) in zip(trace.bins, trace.sum_wR) {
            for expert in tilts.indices { evidence[expert] = (1 + evidence[expert]) * tilts[expert][bin] }
            let mean = evidence.reduce(0, +) / Double(tilts.count)
            #expect(abs(mean - expected) < 1e-9 * max(1, expected))
        }
    }

    @Test("Every expert's mean ratio under the reference is 1, with ties, missing values and powers at most 1")
    func fairBets() throws {
        var noise = Noise(seed: 3)
        let samples: [[Float]] = [
            (0..<2_000).map { _ in Float(noise.normal()) }, (0..<500).map { _ in Float(Int(noise.uniform() * 5)) },
            [1, 1, 1, 1, 2], [7],
        ]
        for sample in samples {
            for missing in [0, 100] {
                let bins = try #require(FeatureBins(values: sample, missing: missing))
                #expect(bins.fault == nil)
                for (power, tolerance) in [(1.0, 0.0), (0.4, 0), (1, 0.05)] {
                    let table = ExpertTable(bins, power: power, tolerance: tolerance)
                    for expert in 0..<ExpertTable.adaptiveExpert {
                        let mean = (0..<FeatureBins.count).reduce(0) {
                            $0 + bins.probabilities[$1] * table.ratios[$1][expert]
                        }
                        #expect(mean <= 1 + 1e-9, "expert \(expert) of \(sample.count) values")
                        if power == 1, tolerance == 0 { #expect(mean > 1 - 1e-9) }
                    }
                }
            }
        }
    }

    @Test("Within the tolerance no expert gains, whatever the change")
    func toleranceBand() throws {
        let bins = try Self.equalBins()
        let tolerance = 0.05
        let table = ExpertTable(bins, power: 1, tolerance: tolerance)
        // The worst change moves mass from the bins with the smallest ratio to the one with the largest.
        for expert in 0..<13 {
            let ratios = (0..<16).map { table.ratios[$0][expert] }
            let best = try #require(ratios.max())
            let worst = try #require(ratios.min())
            let mean = ratios.reduce(0, +) / 16
            #expect(mean + tolerance * (best - worst) <= 1 + 1e-9)
        }
    }

    @Test("The evidence equals that of a plain recursion, the learning expert included")
    func plainRecursion() throws {
        var stream = NormalStream(features: 3, seed: 5)
        let profile = try stream.profile(rows: 1_000, missing: 0.05)
        var detector = DriftDetector(profile, threshold: 1e12)
        var plain = PlainDetector(profile, halfLife: detector.halfLife)
        for index in 0..<400 {
            let row = stream.row(shift: index > 200 ? 0.4 : 0)
            let missing: [UInt8] = [0, index.isMultiple(of: 20) ? 1 : 0, 0]
            _ = detector.take(row.span, missing: missing.span)
            let expected = plain.take(row, missing)
            #expect(abs(detector.evidence - expected) < 1e-3 * max(1, expected), "record \(index)")
        }
    }

    @Test("A shift, a change of scale and missing values are told, with the time of the change")
    func changes() throws {
        let kinds: [(String, Double, Double, Double)] = [
            ("shift 1 sd", 1, 1, 0), ("scale 1.5", 0, 1.5, 0), ("scale 0.6", 0, 0.6, 0), ("missing 20 %", 0, 1, 0.2),
        ]
        for (name, shift, scale, missing) in kinds {
            var stream = NormalStream(features: 2, seed: 11)
            let profile = try stream.profile(rows: 4_000)
            var detector = DriftDetector(profile, threshold: 1e6)
            for _ in 0..<500 {
                let alarm = detector.take(stream.row())
                #expect(alarm == nil)
            }
            var alarm: DriftDetector.Alarm?
            for _ in 0..<600 where alarm == nil {
                let flag: UInt8 = stream.noise.uniform() < missing ? 1 : 0
                alarm = detector.take(stream.row(shift: shift, scale: scale).span, missing: [flag, 0].span)
            }
            let found = try #require(alarm, "\(name) is missed")
            #expect(found.featureEvidence[0] > found.featureEvidence[1])
            #expect((450...560).contains(Int(found.changeRecord)), "\(name): \(found.changeRecord)")
            #expect(detector.records < 900, "\(name): \(detector.records)")
        }
    }

    @Test("A snapshot goes on exactly where it was taken, and that of another model is refused")
    func snapshots() throws {
        var stream = NormalStream(features: 2, seed: 17)
        let profile = try stream.profile(rows: 1_000)
        var detector = DriftDetector(profile, threshold: 1e9)
        for _ in 0..<100 { _ = detector.take(stream.row(shift: 0.3)) }
        let bytes = try JSONEncoder().encode(detector.snapshot)
        var other = DriftDetector(profile, threshold: 1e9)
        let isRestored = other.restore(try JSONDecoder().decode(DriftDetector.Snapshot.self, from: bytes))
        #expect(isRestored)
        for _ in 0..<100 {
            let row = stream.row(shift: 0.3)
            _ = detector.take(row)
            _ = other.take(row)
        }
        #expect(detector.evidence == other.evidence)
        var wider = NormalStream(features: 3, seed: 1)
        var third = DriftDetector(try wider.profile(rows: 1_000), threshold: 1e9)
        let isRefused = !third.restore(detector.snapshot)
        #expect(isRefused)
    }

    @Test("Fresh evidence names the feature that changed and no other")
    func faults() throws {
        var stream = NormalStream(features: 6, seed: 23)
        let profile = try stream.profile(rows: 4_000)
        let tables = profile.features.map { ExpertTable($0.bins, power: $0.power, tolerance: 0) }
        var finder = FaultFinder(featureCount: 6)
        while !finder.isComplete {
            let row = stream.row(shift: 0.7, shifted: 2)
            finder.take(row.indices.map { tables[$0].ratios[profile.features[$0].bins.bin(of: row[$0])] })
        }
        #expect(finder.discoveries == [0, 1])
        #expect(FaultFinder.eBenjaminiHochberg([30, 1, 16, 0.5], rate: 0.1) == [])
        #expect(FaultFinder.eBenjaminiHochberg([40, 1, 20, 0.5], rate: 0.1) == [0, 2])
    }
}

/// The definition, one bin and one expert at a time.
private struct PlainDetector {
    let profile: ReferenceProfile
    let tables: [ExpertTable]
    let halfLife: Double
    var evidence: [[Double]]
    var learned: [[Double]]

    init(_ profile: ReferenceProfile, halfLife: Double) {
        self.profile = profile
        self.halfLife = halfLife
        tables = profile.features.map { ExpertTable($0.bins, power: $0.power, tolerance: 0) }
        evidence = profile.features.map { _ in Array(repeating: 0, count: 16) }
        learned = profile.features.map { $0.bins.probabilities.map { $0 * 200 } }
    }

    mutating func take(_ row: [Float], _ missing: [UInt8]) -> Double {
        var total = 0.0
        for feature in row.indices {
            let bins = profile.features[feature].bins
            let bin = missing[feature] == 1 ? FeatureBins.missing : bins.bin(of: row[feature])
            // Every earlier record fades by one step, then this one bets on what is left.
            let fade = exp2(-1 / halfLife)
            learned[feature] = learned[feature].map { $0 * fade }
            let share = learned[feature][bin] / learned[feature].reduce(0, +)
            for expert in 0..<16 {
                let ratio =
                    expert == 15
                    ? pow(0.5 + 0.5 * share / bins.probabilities[bin], profile.features[feature].power)
                    : tables[feature].ratios[bin][expert]
                evidence[feature][expert] = (evidence[feature][expert] + 1) * ratio
                total += ExpertTable.weights[expert] * evidence[feature][expert]
            }
            learned[feature][bin] += 1
        }
        return total / Double(row.count)
    }
}
