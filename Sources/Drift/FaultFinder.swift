// FaultFinder: which features changed, from fresh evidence after an alarm.

/// One e-process per feature, begun at the alarm. A Shiryaev-Roberts value is not itself an e-value (its mean grows with
/// time), so the features at fault are told from what comes after the alarm: the weighted mean of the experts' products
/// of likelihood ratios has mean at most 1 under the reference at every time. The e-BH procedure over the features keeps
/// the false discovery rate below `rate` under any dependence (Wang, Ramdas: False discovery rate control with e-values).
public struct FaultFinder: Sendable, Codable {
    public static let rate = 0.1
    /// Records after the alarm from which the features are told.
    public static let recordsMax = 200

    private var wealth: [[Double]]
    public private(set) var records = 0

    public init(featureCount: Int) {
        wealth = Array(repeating: Array(repeating: 1, count: ExpertTable.adaptiveExpert), count: featureCount)
    }

    public var isComplete: Bool { records >= Self.recordsMax }

    /// Takes one record's ratios: `row[feature]` is the row of `ExpertTable.ratios` for the feature's bin.
    public mutating func take(_ rows: [SIMD16<Double>]) {
        guard !isComplete else { return }
        records += 1
        for feature in wealth.indices {
            for expert in wealth[feature].indices { wealth[feature][expert] *= rows[feature][expert] }
        }
    }

    /// The e-values by feature.
    public var evidence: [Double] {
        let weights = ExpertTable.weights
        let total = (0..<ExpertTable.adaptiveExpert).reduce(0) { $0 + weights[$1] }
        return wealth.map { experts in
            experts.indices.reduce(0) { $0 + weights[$1] / total * experts[$1] }
        }
    }

    /// The features at fault.
    public var discoveries: Set<Int> { Self.eBenjaminiHochberg(evidence, rate: Self.rate) }

    /// Indices of the hypotheses that e-BH rejects: the k largest e-values, k being the largest number for which the
    /// k-th largest is at least n / (k rate).
    public static func eBenjaminiHochberg(_ values: [Double], rate: Double) -> Set<Int> {
        let order = values.indices.sorted { values[$0] > values[$1] }
        let count = Double(values.count)
        let last = order.indices.last { values[order[$0]] >= count / (Double($0 + 1) * rate) }
        return Set(order.prefix(last.map { $0 + 1 } ?? 0))
    }
}
