// FeatureStatistics: what the reference rows say about one feature.

/// Statistics of the values present in the reference rows, before any transform.
public struct FeatureStatistics: Codable, Sendable, Equatable {
    /// Values present, and rows without one.
    public var count: Int
    public var missing: Int
    public var min: Double
    public var max: Double
    public var mean: Double
    /// Population standard deviation (divisor `count`).
    public var std: Double

    /// - Parameter values: at least one, all finite.
    init(values: [Double], missing: Int) {
        count = values.count
        self.missing = missing
        min = values.min() ?? 0
        max = values.max() ?? 0
        (mean, std) = Moments.meanAndDeviation(values)
    }
}

/// Formulae of docs/transforms.md. Their results do not depend on the platform: only IEEE 754 operations, in a fixed
/// order, without fused multiply-add.
public enum Moments {
    /// Sum with Neumaier's compensation (https://en.wikipedia.org/wiki/Kahan_summation_algorithm).
    public static func sum(_ values: some Sequence<Double>) -> Double {
        var sum = 0.0
        var compensation = 0.0
        for value in values {
            let next = sum + value
            compensation += abs(sum) >= abs(value) ? (sum - next) + value : (value - next) + sum
            sum = next
        }
        return sum + compensation
    }

    /// Mean and population standard deviation, in two passes; (0, 0) without values.
    public static func meanAndDeviation(_ values: [Double]) -> (mean: Double, std: Double) {
        guard let first = values.first else { return (0, 0) }
        // Exact for a constant column, whose sum may round.
        guard values.contains(where: { $0 != first }) else { return (first, 0) }
        let count = Double(values.count)
        let mean = sum(values) / count
        return (mean, (sum(values.lazy.map { ($0 - mean) * ($0 - mean) }) / count).squareRoot())
    }

    /// Quantile by linear interpolation between order statistics (Hyndman and Fan's type 7, numpy's default).
    ///
    /// - Parameters:
    ///   - sorted: ascending, not empty.
    ///   - probability: 0 ... 1.
    public static func quantile(_ sorted: [Double], _ probability: Double) -> Double {
        precondition(!sorted.isEmpty && (0...1).contains(probability), "a quantile of nothing, or none")
        let position = probability * Double(sorted.count - 1)
        let lower = Int(position)
        guard lower + 1 < sorted.count else { return sorted[sorted.count - 1] }
        let (a, b) = (sorted[lower], sorted[lower + 1])
        let weight = position - Double(lower)
        // From the nearer end, so that the result is monotonic and exact at both.
        return weight < 0.5 ? a + (b - a) * weight : b - (b - a) * (1 - weight)
    }
}
