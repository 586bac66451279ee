// BinomialInterval: intervals of shares.

import Glibc

/// Wilson's score interval of a share (Wilson 1927).
public struct BinomialInterval: Sendable, Equatable {
    public var estimate: Double
    public var lower: Double
    public var upper: Double

    /// - Parameter z: normal quantile; 1.96 gives 95 %.
    public init(successes: Int, of count: Int, z: Double = 1.959963984540054) {
        let n = Double(max(1, count))
        let share = Double(successes) / n
        let square = z * z
        let centre = (share + square / (2 * n)) / (1 + square / n)
        let half = z / (1 + square / n) * (share * (1 - share) / n + square / (4 * n * n)).squareRoot()
        estimate = share
        lower = max(0, centre - half)
        upper = min(1, centre + half)
    }
}
