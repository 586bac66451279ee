// FeatureWindow: counters of a tumbling window, and the distances from the reference when it closes.

import Glibc

/// What one window saw of every feature. All counters add, so that windows of partitions merge exactly.
public struct FeatureWindow: Sendable, Codable, Equatable {
    /// Shares of windows without drift that exceed the printed null quantiles.
    public static let nullShare = 0.05

    /// Count of each bin, 19 per feature.
    public private(set) var counts: [Int]
    public private(set) var outliers: [Int]
    private var means: [Double]
    private var squares: [Double]
    /// Values that are there, for the Kolmogorov-Smirnov distance.
    private var values: [[Float]]
    public private(set) var records = 0
    public private(set) var firstTime: Int64 = .max
    public private(set) var lastTime: Int64 = .min

    public init(featureCount: Int) {
        counts = Array(repeating: 0, count: featureCount * FeatureBins.count)
        outliers = Array(repeating: 0, count: featureCount)
        means = Array(repeating: 0, count: featureCount)
        squares = Array(repeating: 0, count: featureCount)
        values = Array(repeating: [], count: featureCount)
    }

    public mutating func take(
        _ row: Span<Float>, imputed: Span<UInt8>, outlying: Span<UInt8>, time: Int64, profile: ReferenceProfile
    ) {
        records += 1
        firstTime = min(firstTime, time)
        lastTime = max(lastTime, time)
        for feature in outliers.indices {
            outliers[feature] += Int(outlying[feature])
            guard imputed[feature] == 0 else {
                counts[feature * FeatureBins.count + FeatureBins.missing] += 1
                continue
            }
            let value = row[feature]
            counts[feature * FeatureBins.count + profile.features[feature].bins.bin(of: value)] += 1
            values[feature].append(value)
            // Welford's update.
            let difference = Double(value) - means[feature]
            means[feature] += difference / Double(values[feature].count)
            squares[feature] += difference * (Double(value) - means[feature])
        }
    }

    /// Adds another window of the same features.
    public mutating func merge(_ other: FeatureWindow) {
        for index in counts.indices { counts[index] += other.counts[index] }
        for feature in outliers.indices {
            outliers[feature] += other.outliers[feature]
            let (n, m) = (Double(values[feature].count), Double(other.values[feature].count))
            if m > 0 {
                let difference = other.means[feature] - means[feature]
                means[feature] += difference * m / (n + m)
                squares[feature] += other.squares[feature] + difference * difference * n * m / (n + m)
            }
            values[feature] += other.values[feature]
        }
        records += other.records
        firstTime = min(firstTime, other.firstTime)
        lastTime = max(lastTime, other.lastTime)
    }

    /// Figures of one feature against the reference.
    public struct Comparison: Sendable, Codable, Equatable {
        public var psi: Double
        public var psiNullQuantile: Double
        public var ks: Double
        public var ksNullQuantile: Double
        public var mean: Double
        public var standardDeviation: Double
        public var missingShare: Double
        public var outOfRangeShare: Double
        public var outlierShare: Double
    }

    public func comparison(_ feature: Int, with profile: ReferenceProfile) -> Comparison {
        let reference = profile.features[feature]
        let own = counts[feature * FeatureBins.count..<(feature + 1) * FeatureBins.count]
        let total = Double(max(1, records))
        let shares = own.map { Double($0) / total }
        // Dependent records count as fewer independent ones.
        let n = max(1, Double(reference.bins.rows) * reference.power)
        let m = max(1, total * reference.power)
        let sorted = values[feature].sorted().map(Double.init)
        let present = Double(sorted.count)
        let eps = 1 / Double(ReferenceProfile.quantileSteps)
        let outside = own[own.startIndex + FeatureBins.belowRange] + own[own.startIndex + FeatureBins.aboveRange]
        return Comparison(
            psi: TwoSample.populationStabilityIndex(reference: reference.bins.probabilities, current: shares),
            psiNullQuantile: TwoSample.stabilityNullQuantile(
                exceededWith: Self.nullShare, n: n, m: m, bins: reference.bins.regularCount + 3),
            ks: sorted.isEmpty ? 0 : TwoSample.kolmogorovSmirnov(sorted: sorted, quantiles: reference.quantiles),
            ksNullQuantile: eps
                + TwoSample.kolmogorovSmirnovNullQuantile(exceededWith: Self.nullShare, n: n, m: m),
            mean: means[feature],
            standardDeviation: present > 1 ? (squares[feature] / (present - 1)).squareRoot() : 0,
            missingShare: shares[FeatureBins.missing], outOfRangeShare: Double(outside) / total,
            outlierShare: Double(outliers[feature]) / total)
    }
}
