// ModelMetrics: how good the scores of a binary classifier are.

import Glibc

/// Metrics of scores against labels. Formulae: docs/training.md.
public struct ModelMetrics: Codable, Sendable, Equatable {
    /// Counts at the decision threshold: label 1 is predicted where the score is at or above it.
    public struct Confusion: Codable, Sendable, Equatable {
        public var truePositives = 0
        public var falsePositives = 0
        public var trueNegatives = 0
        public var falseNegatives = 0

        public init() {}
    }

    /// Bins of equal width of the calibration error.
    public static let calibrationBins = 10

    public var rows: Int
    public var positives: Int
    /// Nil when the labels have only one class.
    public var rocAUC: Double?
    /// Mean negative log-likelihood, in nats.
    public var logLoss: Double
    /// Mean squared difference of score and label.
    public var brier: Double
    public var accuracy: Double
    /// Expected calibration error, 0 ... 1.
    public var calibrationError: Double
    public var threshold: Double
    public var confusion: Confusion

    enum CodingKeys: String, CodingKey {
        case rows, positives, brier, accuracy, threshold, confusion
        case rocAUC = "roc_auc"
        case logLoss = "log_loss"
        case calibrationError = "calibration_error"
    }

    /// - Parameters:
    ///   - scores: probabilities of class 1, one per label; at least one.
    ///   - labels: 0 or 1.
    public init(scores: [Double], labels: [UInt8], threshold: Double) {
        precondition(scores.count == labels.count && !scores.isEmpty, "as many scores as labels, at least one")
        rows = scores.count
        positives = labels.count { $0 != 0 }
        rocAUC = Self.rocAUC(scores: scores, labels: labels)
        logLoss = Self.logLoss(scores: scores, labels: labels)
        brier = Self.mean(zip(scores, labels).map { ($0 - Double($1)) * ($0 - Double($1)) })
        calibrationError = Self.calibrationError(scores: scores, labels: labels)
        self.threshold = threshold
        confusion = Confusion()
        for (score, label) in zip(scores, labels) {
            switch (score >= threshold, label != 0) {
            case (true, true): confusion.truePositives += 1
            case (true, false): confusion.falsePositives += 1
            case (false, false): confusion.trueNegatives += 1
            case (false, true): confusion.falseNegatives += 1
            }
        }
        accuracy = Double(confusion.truePositives + confusion.trueNegatives) / Double(rows)
    }

    /// Area under the receiver operating characteristic: the probability that a random positive scores above a random
    /// negative, ties counting one half. Exact, by midranks (Mann and Whitney). Nil when one class is absent.
    ///
    /// - Parameters:
    ///   - scores: any monotonic score, finite.
    ///   - labels: 0 or 1, one per score.
    public static func rocAUC(scores: [Double], labels: [UInt8]) -> Double? {
        precondition(scores.count == labels.count, "as many scores as labels")
        let order = scores.indices.sorted { scores[$0] < scores[$1] }
        let positives = labels.count { $0 != 0 }
        let negatives = labels.count - positives
        guard positives > 0 && negatives > 0 else { return nil }
        // Twice the number of (positive, negative) pairs in the right order; an integer, so nothing rounds.
        var twicePairs = 0
        var negativesBelow = 0
        var start = 0
        while start < order.count {
            var end = start
            var tied = (positives: 0, negatives: 0)
            while end < order.count, scores[order[end]] == scores[order[start]] {
                if labels[order[end]] != 0 { tied.positives += 1 } else { tied.negatives += 1 }
                end += 1
            }
            // A NaN equals nothing, itself included.
            precondition(end > start, "a score is not a number")
            twicePairs += tied.positives * (2 * negativesBelow + tied.negatives)
            negativesBelow += tied.negatives
            start = end
        }
        return Double(twicePairs) / (2 * Double(positives) * Double(negatives))
    }

    /// Scores are kept away from 0 and 1 by the Float64 epsilon, as scikit-learn does.
    public static func logLoss(scores: [Double], labels: [UInt8]) -> Double {
        let epsilon = Double.ulpOfOne
        return mean(
            zip(scores, labels).map { score, label in
                let bounded = min(max(score, epsilon), 1 - epsilon)
                return label != 0 ? -log(bounded) : -log1p(-bounded)
            })
    }

    /// Mean over all rows of |mean score - share of positives| of the row's bin; bins of equal width over 0 ... 1.
    public static func calibrationError(scores: [Double], labels: [UInt8]) -> Double {
        var counts = [Double](repeating: 0, count: calibrationBins)
        var differences = counts
        for (score, label) in zip(scores, labels) {
            let bin = min(max(Int(score * Double(calibrationBins)), 0), calibrationBins - 1)
            counts[bin] += 1
            differences[bin] += score - Double(label)
        }
        return differences.reduce(0) { $0 + abs($1) } / max(counts.reduce(0, +), 1)
    }

    private static func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(max(values.count, 1)) }
}
