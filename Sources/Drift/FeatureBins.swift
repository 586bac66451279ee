// FeatureBins: the bins of one feature, of equal mass in the reference as far as ties allow, and three special ones.

/// Sixteen or fewer bins between the quantiles of the reference, and bins for missing values and for values outside the
/// range of the reference.
public struct FeatureBins: Sendable, Codable, Equatable {
    /// Bins for values within the reference's range, at most.
    public static let regularMax = 16
    public static let missing = 16
    public static let belowRange = 17
    public static let aboveRange = 18
    /// All bins, regular ones in front.
    public static let count = 19

    /// Upper bounds (included) of all regular bins but the last, rising; at most 15.
    public var edges: [Double]
    /// Smallest and largest value of the reference.
    public var minimum: Double
    public var maximum: Double
    /// Probability of each of the 19 bins in the reference. No bin that may be reached has probability 0.
    public var probabilities: [Double]
    /// Rows of the reference.
    public var rows: Int

    /// - Parameters:
    ///   - values: the feature in the reference, missing ones left out; finite.
    ///   - missing: rows without a value.
    /// Nil without any value.
    public init?(values: [Float], missing: Int) {
        let sorted = values.sorted()
        guard let first = sorted.first, let last = sorted.last else { return nil }
        minimum = Double(first)
        maximum = Double(last)
        rows = values.count + missing
        edges = []
        for index in 1..<Self.regularMax {
            let edge = Double(sorted[min(sorted.count - 1, sorted.count * index / Self.regularMax)])
            // A bound at the maximum would leave the last bin empty; ties give fewer, heavier bins.
            if edge > edges.last ?? -.infinity, edge < maximum { edges.append(edge) }
        }
        probabilities = []
        var counts = [Int](repeating: 0, count: Self.count)
        for value in sorted { counts[bin(of: value)] += 1 }
        counts[Self.missing] = missing
        probabilities = Self.probabilities(of: counts, regular: edges.count + 1)
    }

    /// Shares of the bins. A new value lies below the smallest of n with probability 1/(n+1), above the largest alike,
    /// whatever the distribution; 1/(n+2) leaves something for the others also when n is 1. The other bins are smoothed
    /// by half a record (Jeffreys).
    private static func probabilities(of counts: [Int], regular: Int) -> [Double] {
        let rows = Double(counts.reduce(0, +))
        let outside = 1 / (rows + 2)
        let missing = (Double(counts[missing]) + 0.5) / (rows + 2)
        let present = Double(counts[..<regular].reduce(0, +)) + 0.5 * Double(regular)
        let inside = 1 - 2 * outside - missing
        return (0..<count).map { bin in
            switch bin {
            case Self.missing: missing
            case belowRange, aboveRange: outside
            case ..<regular: inside * (Double(counts[bin]) + 0.5) / present
            default: 0
            }
        }
    }

    public var regularCount: Int { edges.count + 1 }

    /// Bin of a value that is there.
    @inline(__always)
    public func bin(of value: Float) -> Int {
        let value = Double(value)
        if value < minimum { return Self.belowRange }
        if value > maximum { return Self.aboveRange }
        // At most 15 bounds: halving takes four comparisons.
        var low = 0
        var high = edges.count
        while low < high {
            let middle = (low + high) / 2
            if value > edges[middle] { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// What is wrong with bins that were read from a file, or nil.
    var fault: String? {
        guard edges.count < Self.regularMax, zip(edges, edges.dropFirst()).allSatisfy({ $0 < $1 }) else {
            return "the bounds of its bins do not rise, or are more than \(Self.regularMax - 1)"
        }
        let areInside = edges.allSatisfy { $0 >= minimum && $0 < maximum }
        guard minimum.isFinite, maximum.isFinite, minimum <= maximum, areInside else {
            return "the bounds of its bins lie outside its range"
        }
        guard probabilities.count == Self.count, probabilities.allSatisfy({ $0 >= 0 && $0 <= 1 }),
            abs(probabilities.reduce(0, +) - 1) < 1e-9
        else { return "the probabilities of its bins are not \(Self.count) that add up to 1" }
        let reachable = Array(0..<regularCount) + [Self.missing, Self.belowRange, Self.aboveRange]
        guard reachable.allSatisfy({ probabilities[$0] > 0 }) else { return "a bin has probability 0" }
        return rows > 0 ? nil : "it has no rows"
    }
}
