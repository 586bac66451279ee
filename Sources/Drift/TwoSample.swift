// TwoSample: distances between two distributions, with the size that they have without any drift.

import Glibc

/// Two-sample distances. Formulae and cross-checks: docs/drift.md.
public enum TwoSample {
    /// Shares of 0 count as this in the population stability index.
    public static let shareMin = 1e-4

    /// Population stability index `Σ (q - p) ln(q / p)` of two vectors of shares.
    public static func populationStabilityIndex(reference: [Double], current: [Double]) -> Double {
        zip(reference, current).reduce(0) { sum, pair in
            let p = max(pair.0, shareMin)
            let q = max(pair.1, shareMin)
            return sum + (q - p) * log(q / p)
        }
    }

    /// The value that the index of equal distributions exceeds with probability `p`:
    /// `(1/n + 1/m) χ²` with one degree less than bins (Yurdakul 2018). `n` and `m` are independent records.
    public static func stabilityNullQuantile(exceededWith p: Double, n: Double, m: Double, bins: Int) -> Double {
        (1 / n + 1 / m) * SpecialFunctions.chiSquaredQuantile(exceededWith: p, degrees: max(1, bins - 1))
    }

    /// Jensen-Shannon distance (square root of the divergence, natural logarithm).
    public static func jensenShannon(reference: [Double], current: [Double]) -> Double {
        func part(_ p: Double, _ middle: Double) -> Double { p > 0 ? p * log(p / middle) : 0 }
        let divergence = zip(reference, current).reduce(0) { sum, pair in
            let middle = (pair.0 + pair.1) / 2
            return sum + (part(pair.0, middle) + part(pair.1, middle)) / 2
        }
        return max(0, divergence).squareRoot()
    }

    /// Hellinger distance.
    public static func hellinger(reference: [Double], current: [Double]) -> Double {
        let sum = zip(reference, current).reduce(0) { sum, pair in
            let difference = pair.0.squareRoot() - pair.1.squareRoot()
            return sum + difference * difference
        }
        return (sum / 2).squareRoot()
    }

    /// Largest difference of the two empirical distribution functions (Kolmogorov-Smirnov). Both sorted, not empty.
    public static func kolmogorovSmirnov(sorted x: [Double], sorted y: [Double]) -> Double {
        var (i, j) = (0, 0)
        var largest = 0.0
        while i < x.count, j < y.count {
            let value = min(x[i], y[j])
            while i < x.count, x[i] <= value { i += 1 }
            while j < y.count, y[j] <= value { j += 1 }
            largest = max(largest, abs(Double(i) / Double(x.count) - Double(j) / Double(y.count)))
        }
        return largest
    }

    /// Asymptotic two-sided p value of a Kolmogorov-Smirnov distance.
    public static func kolmogorovSmirnovPValue(_ distance: Double, n: Double, m: Double) -> Double {
        SpecialFunctions.kolmogorovSF(distance * (n * m / (n + m)).squareRoot())
    }

    /// The distance that equal distributions exceed with probability `p`.
    public static func kolmogorovSmirnovNullQuantile(exceededWith p: Double, n: Double, m: Double) -> Double {
        SpecialFunctions.kolmogorovQuantile(exceededWith: p) * ((n + m) / (n * m)).squareRoot()
    }

    /// Distance of sorted values to the reference's quantiles. The quantiles know the reference's distribution function
    /// to within `1 / steps`, which a test must add to its threshold.
    public static func kolmogorovSmirnov(sorted values: [Double], quantiles: [Double]) -> Double {
        let steps = Double(quantiles.count - 1)
        var largest = 0.0
        var below = 0
        var place = 0
        while place < values.count {
            let value = values[place]
            var end = place
            while end + 1 < values.count, values[end + 1] == value { end += 1 }
            // Share of quantiles below and up to the value: the reference's distribution function from both sides.
            while below < quantiles.count, quantiles[below] < value { below += 1 }
            var through = below
            while through < quantiles.count, quantiles[through] == value { through += 1 }
            let left = share(below, quantiles, value, steps)
            let right = through > below ? min(1, Double(through) / (steps + 1)) : left
            largest = max(largest, abs(Double(place) / Double(values.count) - left))
            largest = max(largest, abs(Double(end + 1) / Double(values.count) - right))
            place = end + 1
        }
        return largest
    }

    /// Share of the reference below `value`, interpolated between the quantiles around it.
    private static func share(_ below: Int, _ quantiles: [Double], _ value: Double, _ steps: Double) -> Double {
        guard below > 0 else { return 0 }
        guard below < quantiles.count else { return 1 }
        let lower = quantiles[below - 1]
        let upper = quantiles[below]
        let part = upper > lower ? (value - lower) / (upper - lower) : 0
        return (Double(below - 1) + part) / steps
    }
}
