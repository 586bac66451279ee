// TimeSplit: rows for training, validation and test, apart in time.

/// Three disjoint sets of rows in the order of time: every row of a later set is later than every row of an earlier
/// one, so that nothing of the future helps to predict the past. Rows of one time are never separated.
public struct TimeSplit: Sendable, Equatable {
    /// Rows below which nothing can be learned or judged.
    public static let rowsMin = 30

    public var train: [Int]
    public var validation: [Int]
    public var test: [Int]

    /// - Parameters:
    ///   - times: one per row, in any order; rows of equal time keep their order.
    ///   - fractions: shares of training and validation; the rest is the test set.
    public init(
        times: [Int64], fractions: (train: Double, validation: Double) = (0.6, 0.2)
    ) throws(TrainingError) {
        precondition(
            fractions.train > 0 && fractions.validation > 0 && fractions.train + fractions.validation < 1,
            "the fractions leave no test set")
        guard times.count >= Self.rowsMin else {
            throw TrainingError(
                .unsuitableData, "\(times.count) rows are too few to train, validate and test: \(Self.rowsMin) at least"
            )
        }
        let order = times.indices.sorted { (times[$0], $0) < (times[$1], $1) }
        func boundary(_ fraction: Double) -> Int {
            var index = Int((Double(order.count) * fraction).rounded())
            while index < order.count, index > 0, times[order[index]] == times[order[index - 1]] { index += 1 }
            return index
        }
        let first = boundary(fractions.train)
        let second = max(first, boundary(fractions.train + fractions.validation))
        train = Array(order[..<first])
        validation = Array(order[first..<second])
        test = Array(order[second...])
        guard !validation.isEmpty && !test.isEmpty else {
            throw TrainingError(
                .unsuitableData,
                "too many rows have the same time to split them by it: give the rows their own event times")
        }
    }
}
