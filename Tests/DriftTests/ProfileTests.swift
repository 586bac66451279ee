// ProfileTests: bins, stationarity and windows of the reference profile.

import Foundation
import Testing

@testable import Drift

@Suite("The reference profile")
struct ProfileTests {
    @Test("Independent rows keep their full weight; dependent ones are powered down")
    func dependence() throws {
        var noise = Noise(seed: 1)
        let independent = Stationarity((0..<4_000).map { _ in Float(noise.normal()) })
        #expect(independent.power > 0.9)
        #expect(independent.pValue > 0.001)
        var value = 0.0
        let correlated = Stationarity(
            (0..<8_000).map { _ in
                value = 0.5 * value + noise.normal()
                return Float(value)
            })
        // (1 - 0.5) / (1 + 0.5) for the values; ranks are a little less correlated.
        #expect((0.28...0.42).contains(correlated.power), "\(correlated.power)")
        #expect(correlated.pValue > 0.001)
    }

    @Test("A reference whose level or spread moves is flagged, by the feature's name")
    func moving() throws {
        let none: [UInt8] = [0, 0, 0]
        var noise = Noise(seed: 4)
        var builder = ProfileBuilder(names: ["still", "level", "spread"])
        for row in 0..<3_000 {
            let level = row < 1_500 ? 0.0 : 0.5
            let spread = row < 2_000 ? 1.0 : 2.0
            let values = [Float(noise.normal()), Float(noise.normal() + level), Float(noise.normal() * spread)]
            builder.add(values.span, imputed: none.span, outlying: none.span)
        }
        let profile = try builder.profile(pipeline: "p", contract: "00", rowsMin: 1_000)
        #expect(profile.movingFeatures == ["level", "spread"])
        // A feature that moves is left out of the detector: it neither alarms nor dilutes the others.
        var detector = DriftDetector(profile, threshold: 1e4)
        for _ in 0..<300 { _ = detector.take([Float(noise.normal()), 50, 50]) }
        #expect(detector.evidence < 1e4)
    }

    @Test("A profile survives storage; a damaged one and too few rows are refused with the mend")
    func storage() throws {
        var stream = NormalStream(features: 2, seed: 9)
        let profile = try stream.profile(rows: 500)
        let data = try profile.encoded()
        #expect(try ReferenceProfile.decode(data, path: "p.json") == profile)
        #expect(profile.identity.count == 16)
        var other = profile
        other.features[0].bins.probabilities[0] += 0.1
        let damaged = try other.encoded()
        let error = #expect(throws: ProfileError.self) { try ReferenceProfile.decode(damaged, path: "p.json") }
        #expect(error?.message.contains("add up to 1") == true)
        let few = #expect(throws: ProfileError.self) {
            try ProfileBuilder(names: ["a"]).profile(pipeline: "p", contract: "0", rowsMin: 10)
        }
        #expect(few?.message.contains("referenceRecords") == true)
    }

    @Test("Windows of partitions merge into the window of all records")
    func merging() throws {
        var stream = NormalStream(features: 2, seed: 31)
        let profile = try stream.profile(rows: 2_000)
        let none: [UInt8] = [0, 0]
        var whole = FeatureWindow(featureCount: 2)
        var parts = [FeatureWindow(featureCount: 2), FeatureWindow(featureCount: 2)]
        for index in 0..<600 {
            let row = stream.row(shift: 0.5)
            let imputed: [UInt8] = [0, index.isMultiple(of: 10) ? 1 : 0]
            whole.take(row.span, imputed: imputed.span, outlying: none.span, time: Int64(index), profile: profile)
            parts[index % 2].take(
                row.span, imputed: imputed.span, outlying: none.span, time: Int64(index), profile: profile)
        }
        parts[0].merge(parts[1])
        #expect(parts[0].counts == whole.counts)
        #expect(parts[0].firstTime == 0 && parts[0].lastTime == 599)
        for feature in 0..<2 {
            let merged = parts[0].comparison(feature, with: profile)
            let expected = whole.comparison(feature, with: profile)
            #expect(abs(merged.mean - expected.mean) < 1e-9)
            #expect(abs(merged.standardDeviation - expected.standardDeviation) < 1e-9)
            #expect(merged.ks == expected.ks && merged.psi == expected.psi)
        }
        // The shifted feature stands out, the other stays below what no drift would give; a tenth is missing.
        let shifted = whole.comparison(0, with: profile)
        let still = whole.comparison(1, with: profile)
        #expect(shifted.psi > shifted.psiNullQuantile && shifted.ks > shifted.ksNullQuantile)
        #expect(still.ks < still.ksNullQuantile)
        #expect(abs(still.missingShare - 0.1) < 1e-9)
    }
}
