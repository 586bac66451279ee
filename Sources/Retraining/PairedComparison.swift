// PairedComparison: two models on the same rows, with confidence intervals of their differences.

public import EventContracts
import Glibc
import Training

/// Compares the scores of a candidate with those of the model in production, row by row. Positive differences mean that
/// the candidate is better.
public enum PairedComparison {
    /// Two-sided; so the lower limit holds with 95 %.
    public static let confidence = 0.90
    /// Quantile of the standard normal distribution for `confidence`.
    private static let quantile = 1.644_853_626_951_472_2

    /// Mean log-loss of production minus candidate, with the normal interval of the mean of the paired differences.
    ///
    /// - Parameters:
    ///   - candidate, production: probabilities of class 1, one per label; at least two.
    ///   - labels: 0 or 1.
    public static func logLoss(
        candidate: [Double], production: [Double], labels: [UInt8]
    ) -> ModelEvent.Comparison.Difference {
        precondition(
            candidate.count == labels.count && production.count == labels.count && labels.count > 1,
            "as many scores as labels, two at least")
        let differences = labels.indices.map { row in
            loss(production[row], labels[row]) - loss(candidate[row], labels[row])
        }
        return interval(mean(differences), variance: variance(differences) / Double(labels.count))
    }

    /// AUC of candidate minus production, with the interval of DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988),
    /// whose variance takes the pairing into account. Nil when one class has fewer than two rows.
    public static func rocAUC(
        candidate: [Double], production: [Double], labels: [UInt8]
    ) -> ModelEvent.Comparison.Difference? {
        precondition(candidate.count == labels.count && production.count == labels.count, "as many scores as labels")
        let positives = labels.indices.filter { labels[$0] != 0 }
        let negatives = labels.indices.filter { labels[$0] == 0 }
        guard positives.count > 1, negatives.count > 1 else { return nil }
        let (own, other) = (
            components(candidate, positives, negatives), components(production, positives, negatives)
        )
        let ofPositives = zip(own.positives, other.positives).map { $0 - $1 }
        let ofNegatives = zip(own.negatives, other.negatives).map { $0 - $1 }
        return interval(
            mean(ofPositives),
            variance: variance(ofPositives) / Double(positives.count)
                + variance(ofNegatives) / Double(negatives.count))
    }

    /// For each positive the share of negatives that score below it, for each negative the share of positives that score
    /// above it; ties count one half. By midranks (Sun and Xu, IEEE Signal Processing Letters 21, 2014).
    private static func components(
        _ scores: [Double], _ positives: [Int], _ negatives: [Int]
    ) -> (positives: [Double], negatives: [Double]) {
        let all = midranks((positives + negatives).map { scores[$0] })
        let amongPositives = midranks(positives.map { scores[$0] })
        let amongNegatives = midranks(negatives.map { scores[$0] })
        let (m, n) = (positives.count, negatives.count)
        return (
            (0..<m).map { (all[$0] - amongPositives[$0]) / Double(n) },
            (0..<n).map { 1 - (all[m + $0] - amongNegatives[$0]) / Double(m) }
        )
    }

    private static func midranks(_ values: [Double]) -> [Double] {
        let order = values.indices.sorted { values[$0] < values[$1] }
        var ranks = [Double](repeating: 0, count: values.count)
        var start = 0
        while start < order.count {
            var end = start + 1
            while end < order.count, values[order[end]] == values[order[start]] { end += 1 }
            // Ranks start + 1 ... end share their mean.
            for place in start..<end { ranks[order[place]] = Double(start + 1 + end) / 2 }
            start = end
        }
        return ranks
    }

    private static func loss(_ score: Double, _ label: UInt8) -> Double {
        let bounded = min(max(score, Double.ulpOfOne), 1 - Double.ulpOfOne)
        return label != 0 ? -log(bounded) : -log1p(-bounded)
    }

    private static func interval(_ estimate: Double, variance: Double) -> ModelEvent.Comparison.Difference {
        let half = quantile * variance.squareRoot()
        return .init(estimate: estimate, lower: estimate - half, upper: estimate + half)
    }

    private static func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }

    /// Unbiased.
    private static func variance(_ values: [Double]) -> Double {
        let center = mean(values)
        return values.reduce(0) { $0 + ($1 - center) * ($1 - center) } / Double(max(values.count - 1, 1))
    }
}
