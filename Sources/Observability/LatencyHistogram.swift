// LatencyHistogram: latencies with percentiles exact to under one per cent, in bounded memory.

/// A histogram of non-negative integers (microseconds, by custom) whose buckets are linear within each power of two, as
/// in HdrHistogram: 128 buckets per power of two keep every reported value within 0.8 % of the recorded one. A value
/// type for one thread; merge copies from several.
public struct LatencyHistogram: Sendable {
    private static let subBucketBits = 7
    private static let subBuckets = 1 << subBucketBits
    /// Values at or above this are counted in the last bucket: 2^40 microseconds are twelve days.
    private static let exponentMax = 40

    private var counts: [UInt64]
    public private(set) var count: UInt64 = 0
    public private(set) var sum: UInt64 = 0
    public private(set) var minimum: UInt64 = .max
    public private(set) var maximum: UInt64 = 0

    public init() {
        counts = Array(repeating: 0, count: (Self.exponentMax - Self.subBucketBits + 1) * Self.subBuckets)
    }

    public var isEmpty: Bool { count == 0 }

    public var mean: Double { isEmpty ? 0 : Double(sum) / Double(count) }

    /// Records a value. Negative ones (clocks of two machines may disagree) count as 0.
    public mutating func record(_ value: Int64, count times: UInt64 = 1) {
        let value = UInt64(max(0, value))
        counts[Self.bucket(of: value)] += times
        count += times
        sum &+= value &* times
        minimum = min(minimum, value)
        maximum = max(maximum, value)
    }

    public mutating func merge(_ other: LatencyHistogram) {
        for index in counts.indices { counts[index] += other.counts[index] }
        count += other.count
        sum &+= other.sum
        minimum = min(minimum, other.minimum)
        maximum = max(maximum, other.maximum)
    }

    /// The smallest recorded value (to the bucket's width) that at least this share of all values does not exceed; 0 when
    /// empty.
    ///
    /// - Parameter percentile: 0 ... 100.
    public func value(atPercentile percentile: Double) -> UInt64 {
        guard !isEmpty else { return 0 }
        let share = min(max(percentile, 0), 100) / 100
        let rank = max(1, UInt64((share * Double(count)).rounded(.up)))
        var seen: UInt64 = 0
        for (index, bucketCount) in counts.enumerated() where bucketCount > 0 {
            seen += bucketCount
            if seen >= rank { return min(max(Self.upperValue(of: index), minimum), maximum) }
        }
        return maximum
    }

    private static func bucket(of value: UInt64) -> Int {
        guard value >= subBuckets else { return Int(value) }
        let exponent = 63 - value.leadingZeroBitCount
        guard exponent < exponentMax else { return (exponentMax - subBucketBits + 1) * subBuckets - 1 }
        let shift = exponent - subBucketBits
        return (shift + 1) * subBuckets + Int(value >> UInt64(shift)) - subBuckets
    }

    /// The largest value of a bucket.
    private static func upperValue(of index: Int) -> UInt64 {
        guard index >= subBuckets else { return UInt64(index) }
        let shift = index / subBuckets - 1
        let base = UInt64(index % subBuckets + subBuckets)
        return ((base + 1) << UInt64(shift)) - 1
    }
}
