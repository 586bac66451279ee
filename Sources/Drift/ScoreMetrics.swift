// ScoreMetrics: accuracy, AUC and log-loss of scored and labelled events, with intervals.

import Glibc

/// One prediction whose label came.
public struct ScoredLabel: Sendable, Codable, Equatable {
    /// Probability of class 1.
    public var score: Float
    public var predicted: Int
    public var label: Int

    public init(score: Float, predicted: Int, label: Int) {
        self.score = score
        self.predicted = predicted
        self.label = label
    }
}

/// Figures of a window of labels, each with a 95 % interval.
public struct ScoreMetrics: Sendable, Equatable {
    public struct Figure: Sendable, Equatable {
        public var value: Double
        public var lower: Double
        public var upper: Double
    }

    public var count: Int
    public var accuracy: Figure
    /// Nil when only one class is there.
    public var auc: Figure?
    public var logLoss: Figure

    private static let z = 1.959963984540054

    /// Nil without labels.
    public init?(_ labels: [ScoredLabel]) {
        guard !labels.isEmpty else { return nil }
        count = labels.count
        let correct = BinomialInterval(successes: labels.count { $0.predicted == $0.label }, of: labels.count)
        accuracy = Figure(value: correct.estimate, lower: correct.lower, upper: correct.upper)
        auc = Self.auc(labels)
        logLoss = Self.logLoss(labels)
    }

    /// Mean negative log-likelihood in nats; scores are kept 1e-7 away from 0 and 1. Normal interval of the mean.
    private static func logLoss(_ labels: [ScoredLabel]) -> Figure {
        let losses = labels.map { label in
            let score = min(max(Double(label.score), 1e-7), 1 - 1e-7)
            return -log(label.label == 1 ? score : 1 - score)
        }
        let n = Double(losses.count)
        let mean = losses.reduce(0, +) / n
        let variance = losses.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / max(1, n - 1)
        let half = z * (variance / n).squareRoot()
        return Figure(value: mean, lower: max(0, mean - half), upper: mean + half)
    }

    /// Area under the ROC curve by mid-ranks, with DeLong's interval (DeLong, DeLong, Clarke-Pearson 1988).
    private static func auc(_ labels: [ScoredLabel]) -> Figure? {
        let positives = labels.filter { $0.label == 1 }.map(\.score)
        let negatives = labels.filter { $0.label != 1 }.map(\.score)
        guard !positives.isEmpty, !negatives.isEmpty else { return nil }
        let all = Stationarity.ranks(positives + negatives).map { $0 * Double(labels.count) + 0.5 }
        let own = (
            Stationarity.ranks(positives).map { $0 * Double(positives.count) + 0.5 },
            Stationarity.ranks(negatives).map { $0 * Double(negatives.count) + 0.5 }
        )
        // Share of the other class below each score: the structural components.
        let above = positives.indices.map { (all[$0] - own.0[$0]) / Double(negatives.count) }
        let below = negatives.indices.map {
            1 - (all[positives.count + $0] - own.1[$0]) / Double(positives.count)
        }
        let value = above.reduce(0, +) / Double(above.count)
        func variance(_ values: [Double]) -> Double {
            values.reduce(0) { $0 + ($1 - value) * ($1 - value) } / Double(max(1, values.count - 1))
        }
        let half =
            z * (variance(above) / Double(above.count) + variance(below) / Double(below.count)).squareRoot()
        return Figure(value: value, lower: max(0, value - half), upper: min(1, value + half))
    }
}
