// Stationarity: autocorrelation of a reference, the power it asks for, and whether the reference stands still.

import Glibc

/// Facts about the order of a reference's rows, from ranks, so that they do not depend on the feature's scale.
public struct Stationarity: Sendable, Codable, Equatable {
    /// Autocorrelation of the ranks at lag 1.
    public var autocorrelation: Double
    /// `1 / (1 + 2 Σ ρ_k)`, the share of independent records among the rows; likelihood ratios are raised to it. For an
    /// AR(1) process it is `(1 - φ) / (1 + φ)`.
    public var power: Double
    /// Smallest p value of the two tests for a change of level and of spread somewhere within the rows.
    public var pValue: Double

    /// A reference whose rows are so dependent that less than one in fifty counts is not one distribution.
    public static let powerMin = 0.02
    /// Below this p value, divided by the number of features, a reference counts as moving.
    public static let significance = 0.001

    /// - Parameter values: one feature in the order of time.
    public init(_ values: [Float]) {
        let ranks = Self.ranks(values)
        let mean = 0.5
        let centred = ranks.map { $0 - mean }
        let spread = Self.centred(ranks.map { abs($0 - mean) })
        let correlations = Self.autocorrelations(centred, lagMax: min(100, values.count / 10))
        autocorrelation = correlations.first ?? 0
        // The sum stops at the first lag within the noise: later ones would only add noise.
        let noise = 2 / Double(max(1, values.count)).squareRoot()
        let sum = correlations.prefix { $0 > noise }.reduce(0, +)
        power = max(Self.powerMin, min(1, 1 / (1 + 2 * sum)))
        pValue = min(Self.changePValue(centred), Self.changePValue(spread))
    }

    /// Mid-ranks in (0, 1).
    static func ranks(_ values: [Float]) -> [Double] {
        let order = values.indices.sorted { values[$0] < values[$1] }
        var ranks = [Double](repeating: 0.5, count: values.count)
        var first = 0
        while first < order.count {
            var last = first
            while last + 1 < order.count, values[order[last + 1]] == values[order[first]] { last += 1 }
            let rank = (Double(first + last) / 2 + 0.5) / Double(values.count)
            for place in first...last { ranks[order[place]] = rank }
            first = last + 1
        }
        return ranks
    }

    private static func centred(_ values: [Double]) -> [Double] {
        guard !values.isEmpty else { return [] }
        let mean = values.reduce(0, +) / Double(values.count)
        return values.map { $0 - mean }
    }

    static func autocorrelations(_ centred: [Double], lagMax: Int) -> [Double] {
        let variance = centred.reduce(0) { $0 + $1 * $1 }
        guard variance > 0, lagMax >= 1 else { return [] }
        return (1...lagMax).map { lag in
            var sum = 0.0
            for index in lag..<centred.count { sum += centred[index] * centred[index - lag] }
            return sum / variance
        }
    }

    /// p value of the largest cumulative deviation: under stationarity `max |S_k| / (σ sqrt(n))` has Kolmogorov's
    /// distribution, σ² being the long-run variance (Newey-West, bandwidth n^(1/3)).
    static func changePValue(_ centred: [Double]) -> Double {
        let count = centred.count
        guard count >= 50 else { return 1 }
        let variance = centred.reduce(0) { $0 + $1 * $1 } / Double(count)
        guard variance > 0 else { return 1 }
        let bandwidth = Int(pow(Double(count), 1.0 / 3))
        var longRun = variance
        for (index, correlation) in autocorrelations(centred, lagMax: bandwidth).enumerated() {
            longRun += 2 * variance * correlation * (1 - Double(index + 1) / Double(bandwidth + 1))
        }
        longRun = max(longRun, variance * 0.01)
        var sum = 0.0
        var largest = 0.0
        for value in centred {
            sum += value
            largest = max(largest, abs(sum))
        }
        return SpecialFunctions.kolmogorovSF(largest / (longRun * Double(count)).squareRoot())
    }
}
