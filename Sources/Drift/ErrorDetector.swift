// ErrorDetector: tells a rise of a model's error rate, with a bound on false alarms.

import Glibc

/// A mixture Shiryaev-Roberts e-detector on 0/1 errors. Its experts bet on error rates above `rate`; for every true rate at
/// or below it each bet loses in the mean, so that the mean number of labels up to a false alarm is at least the
/// threshold, for labels that are independent of each other.
public struct ErrorDetector: Sendable, Codable, Equatable {
    /// Odds of an error, as multiples of the tolerated odds, on which the experts bet.
    static let oddsFactors = [1.1, 1.2, 1.35, 1.6, 2, 2.7, 4, 8]

    /// The error rate that is still tolerated.
    public let rate: Double
    public let threshold: Double
    private var evidence: [Double]
    private var run: [Double]
    private var start: [Int]
    public private(set) var labels = 0
    /// Mean of the experts' evidence after the last label.
    public private(set) var value = 0.0

    /// - Parameter rate: 0 < rate < 1; clamped away from the ends.
    public init(toleratedRate rate: Double, threshold: Double) {
        self.rate = min(max(rate, 1e-4), 0.99)
        self.threshold = threshold
        evidence = Array(repeating: 0, count: Self.oddsFactors.count)
        run = Array(repeating: 1, count: Self.oddsFactors.count)
        start = Array(repeating: 0, count: Self.oddsFactors.count)
    }

    /// Takes one label. True when the evidence reaches the threshold; the caller then resets.
    public mutating func take(isError: Bool) -> Bool {
        labels += 1
        let odds = rate / (1 - rate)
        for (expert, factor) in Self.oddsFactors.enumerated() {
            let raised = odds * factor / (1 + odds * factor)
            let ratio = isError ? raised / rate : (1 - raised) / (1 - rate)
            if run[expert] < 1 {
                run[expert] = 1
                start[expert] = labels
            }
            run[expert] = min(run[expert] * ratio, 1e300)
            evidence[expert] = (evidence[expert] + 1) * ratio
        }
        value = evidence.reduce(0, +) / Double(evidence.count)
        return value >= threshold
    }

    /// Number of the label at which the rise most likely began, counted from 1 since the start or the last reset.
    public var changeLabel: Int {
        let strongest = evidence.indices.max { evidence[$0] < evidence[$1] } ?? 0
        return max(1, start[strongest])
    }

    public mutating func reset() { self = ErrorDetector(toleratedRate: rate, threshold: threshold) }
}
