// StatisticsTests: distribution functions, distances, intervals and the error detector against independent results.

import Foundation
import Testing

@testable import Drift

@Suite("Statistics")
struct StatisticsTests {
    private struct Functions: Decodable {
        struct Kolmogorov: Decodable {
            var n: Double
            var m: Double
            var D: Double
            var p_kstwobign: Double
        }
        struct ChiSquared: Decodable {
            var x: Double
            var dof: Int
            var p: Double
        }
        struct Normal: Decodable {
            var z: Double
            var p: Double
        }
        var kolmogorov: [Kolmogorov]
        var chi2_sf: [ChiSquared]
        var norm_sf: [Normal]
    }

    private struct Samples: Decodable {
        struct Histogram: Decodable {
            var reference: [Double]
            var current: [Double]
            var psi: Double
            var jensenShannon: Double
            var hellinger: Double
        }
        struct Case: Decodable {
            var name: String
            var reference: [Double]
            var current: [Double]
            var ks: Double
            var histograms: [Histogram]
        }
        var cases: [Case]
    }

    /// Within `tolerance` of the expected value, relatively, or of nothing at all.
    private static func isClose(_ found: Double, _ expected: Double, _ tolerance: Double) -> Bool {
        abs(found - expected) <= tolerance * abs(expected) + 1e-15
    }

    @Test("Distribution functions equal SciPy's")
    func distributionFunctions() throws {
        let expected = try Fixture.load(Functions.self, "special_functions.json")
        for row in expected.kolmogorov {
            let found = TwoSample.kolmogorovSmirnovPValue(row.D, n: row.n, m: row.m)
            #expect(Self.isClose(found, row.p_kstwobign, 1e-6), "\(row)")
        }
        for row in expected.chi2_sf where row.p > 1e-12 {
            #expect(Self.isClose(SpecialFunctions.chiSquaredSF(row.x, degrees: row.dof), row.p, 1e-6), "\(row)")
        }
        for row in expected.norm_sf { #expect(Self.isClose(SpecialFunctions.normalSF(row.z), row.p, 1e-9), "\(row)") }
        for p in [1e-8, 0.001, 0.02, 0.3, 0.5, 0.9, 0.999] {
            #expect(Self.isClose(SpecialFunctions.normalCDF(SpecialFunctions.normalQuantile(p)), p, 1e-12))
            #expect(
                Self.isClose(
                    SpecialFunctions.chiSquaredSF(
                        SpecialFunctions.chiSquaredQuantile(exceededWith: p, degrees: 9), degrees: 9), p, 1e-9))
        }
    }

    @Test("Distances equal SciPy's")
    func distances() throws {
        for sample in try Fixture.load(Samples.self, "two_sample.json").cases {
            let found = TwoSample.kolmogorovSmirnov(sorted: sample.reference.sorted(), sorted: sample.current.sorted())
            #expect(Self.isClose(found, sample.ks, 1e-9), "\(sample.name)")
            for histogram in sample.histograms {
                let reference = histogram.reference.map { $0 / histogram.reference.reduce(0, +) }
                let current = histogram.current.map { $0 / histogram.current.reduce(0, +) }
                #expect(
                    Self.isClose(
                        TwoSample.populationStabilityIndex(reference: reference, current: current), histogram.psi, 1e-9
                    ), "\(sample.name)")
                #expect(
                    Self.isClose(
                        TwoSample.jensenShannon(reference: reference, current: current), histogram.jensenShannon, 1e-9),
                    "\(sample.name)")
                #expect(
                    Self.isClose(
                        TwoSample.hellinger(reference: reference, current: current), histogram.hellinger, 1e-9),
                    "\(sample.name)")
            }
        }
    }

    @Test("The distance to quantiles is that to the sample, to within their step")
    func quantileDistance() throws {
        for sample in try Fixture.load(Samples.self, "two_sample.json").cases where sample.reference.count > 100 {
            let sorted = sample.reference.sorted()
            let quantiles = (0...256).map { sorted[min(sorted.count - 1, sorted.count * $0 / 256)] }
            let current = sample.current.sorted()
            let exact = TwoSample.kolmogorovSmirnov(sorted: sorted, sorted: current)
            let found = TwoSample.kolmogorovSmirnov(sorted: current, quantiles: quantiles)
            #expect(abs(exact - found) < 2.0 / 256, "\(sample.name): \(exact) and \(found)")
        }
    }

    @Test("The PSI of equal distributions exceeds its null quantile in about one of twenty windows")
    func stabilityNull() throws {
        var noise = Noise(seed: 77)
        let limit = TwoSample.stabilityNullQuantile(exceededWith: 0.05, n: 2_000, m: 400, bins: 10)
        func shares(_ count: Int) -> [Double] {
            var counts = [Double](repeating: 0, count: 10)
            for _ in 0..<count { counts[Int(noise.uniform() * 10)] += 1 }
            return counts.map { $0 / Double(count) }
        }
        let exceeding = (0..<300).count { _ in
            TwoSample.populationStabilityIndex(reference: shares(2_000), current: shares(400)) > limit
        }
        // 300 windows: 15 expected; beyond 4 standard deviations would be a wrong quantile.
        #expect((2...30).contains(exceeding), "\(exceeding)")
    }

    @Test("Wilson's interval, AUC and log-loss of a case worked out by hand")
    func metrics() throws {
        let interval = BinomialInterval(successes: 8, of: 10)
        #expect(abs(interval.lower - 0.4902) < 1e-4 && abs(interval.upper - 0.9433) < 1e-4)
        let labels = [(0.1, 0), (0.4, 0), (0.35, 1), (0.8, 1)].map {
            ScoredLabel(score: Float($0.0), predicted: $0.0 >= 0.5 ? 1 : 0, label: $0.1)
        }
        let metrics = try #require(ScoreMetrics(labels))
        #expect(abs(metrics.accuracy.value - 0.75) < 1e-12)
        #expect(abs(try #require(metrics.auc).value - 0.75) < 1e-12)
        let loss = -(log(0.9) + log(0.6) + log(0.35) + log(0.8)) / 4
        #expect(abs(metrics.logLoss.value - loss) < 1e-6)
        #expect(ScoreMetrics([]) == nil)
        #expect(ScoreMetrics([ScoredLabel(score: 0.5, predicted: 1, label: 1)])?.auc == nil)
    }

    @Test("A rise of the error rate is told, a tolerated one is not")
    func errorRate() {
        var noise = Noise(seed: 5)
        var detector = ErrorDetector(toleratedRate: 0.22, threshold: 100_000)
        for _ in 0..<20_000 {
            let isAlarm = detector.take(isError: noise.uniform() < 0.2)
            #expect(!isAlarm)
        }
        detector.reset()
        var delay = 0
        while delay < 2_000 {
            delay += 1
            if detector.take(isError: noise.uniform() < 0.4) { break }
        }
        #expect(delay < 400, "\(delay)")
        #expect(detector.changeLabel < delay)
    }
}
