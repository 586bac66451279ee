// DriftDetector: the mixture Shiryaev-Roberts e-detector, per feature and for the model as a whole.

import Glibc

/// Watches all features of a model, one record after the other.
///
/// Each expert m of a feature keeps `R_m <- (1 + R_m) L_m[bin]`; the feature's evidence is the weighted mean of its
/// experts, the model's evidence M the mean over its features. Under the reference `M_t - t` is a supermartingale, in
/// whatever way the features depend on each other, so that the mean number of records up to a false alarm `M >= A` is at
/// least A (Shin, Ramdas, Rinaldo: E-detectors, 2023; docs/drift.md).
public struct DriftDetector: Sendable {
    /// Records over which the learning expert forgets half of what it saw, at most.
    public static let halfLifeMax = 1_000.0
    /// Independent reference rows per record of the half-life, at least. An expert that remembers longer would learn how the
    /// estimated reference differs from the true one, and win by it without any change (docs/drift.md).
    static let rowsPerHalfLife = 26.0
    /// Records' worth of the reference that it starts from.
    static let priorRecords: Float = 200

    /// State of one feature: 332 bytes.
    struct FeatureState: Sendable {
        var evidence = SIMD16<Double>(repeating: 0)
        /// Likelihood ratio since the most likely start of a change, per expert.
        var run = SIMD16<Float>(repeating: 1)
        /// That start: number of the record.
        var start = SIMD16<UInt32>(repeating: 0)
    }

    /// What an alarm tells.
    public struct Alarm: Sendable, Equatable {
        /// Evidence of the model, at least the threshold.
        public var evidence: Double
        /// Number of the record at which the change most likely began, counted as `records` counts.
        public var changeRecord: UInt32
        /// Evidence of each feature, by its index.
        public var featureEvidence: [Double]
    }

    public let threshold: Double
    /// Records over which the learning expert forgets half of what it saw.
    public let halfLife: Double
    /// Makes an earlier record weigh half after `halfLife` records, by letting each new one weigh more.
    private let growth: Float
    private let bins: [FeatureBins]
    private let tables: [SIMD16<Double>]
    private let powers: [Double]
    /// Features whose reference is fit for it.
    private let isWatched: [Bool]
    private let watchedCount: Int
    var states: [FeatureState]
    /// Weights of the bins for the learning expert, 19 per feature, in units of `increment`.
    var learned: [Float]
    var learnedSum: [Float]
    var increment: Float = 1
    /// Records seen since the start or the last reset.
    public private(set) var records: UInt32 = 0
    /// The model's evidence after the last record.
    public private(set) var evidence = 0.0

    /// - Parameters:
    ///   - threshold: records between false alarms, in the mean at least.
    ///   - tolerance: total-variation distance that never fires.
    public init(_ profile: ReferenceProfile, threshold: Double, tolerance: Double = 0) {
        self.threshold = threshold
        let watched = profile.features.filter(\.isStationary)
        let rows = watched.map { Double($0.bins.rows) * $0.power }.min() ?? 0
        halfLife = min(Self.halfLifeMax, max(10, rows / Self.rowsPerHalfLife))
        growth = Float(exp2(1 / halfLife))
        bins = profile.features.map(\.bins)
        isWatched = profile.features.map(\.isStationary)
        watchedCount = max(1, isWatched.count { $0 })
        powers = profile.features.map(\.power)
        tables = profile.features.flatMap {
            ExpertTable($0.bins, power: $0.power, tolerance: tolerance).ratios
        }
        states = Array(repeating: FeatureState(), count: bins.count)
        learned = []
        learnedSum = []
        reset()
    }

    public var featureCount: Int { bins.count }

    /// Whether any feature is watched.
    public var isActive: Bool { isWatched.contains(true) }

    /// Evidence of one feature.
    public func evidence(of feature: Int) -> Double { (states[feature].evidence * ExpertTable.weights).sum() }

    /// Starts again, as after an alarm.
    public mutating func reset() {
        for feature in states.indices { states[feature] = FeatureState() }
        learned = bins.flatMap { $0.probabilities.map { Float($0) * Self.priorRecords } }
        learnedSum = bins.indices.map { _ in Self.priorRecords }
        increment = 1
        records = 0
        evidence = 0
    }

    /// Takes one record.
    /// - Parameters:
    ///   - row: one value per feature.
    ///   - missing: 1 where the value is not the publisher's own, else 0.
    /// Returns an alarm when the evidence reaches the threshold; the caller then resets.
    @inline(__always)
    public mutating func take(_ row: Span<Float>, missing: Span<UInt8>) -> Alarm? {
        var total = 0.0
        increment *= growth
        records &+= 1
        for feature in 0..<bins.count where isWatched[feature] {
            let bin = missing[feature] != 0 ? FeatureBins.missing : bins[feature].bin(of: row[feature])
            total += update(feature, bin)
        }
        if increment > 1e12 { rescale() }
        evidence = total / Double(watchedCount)
        return evidence >= threshold ? alarm() : nil
    }

    @inline(__always)
    private mutating func update(_ feature: Int, _ bin: Int) -> Double {
        var ratios = tables[feature * FeatureBins.count + bin]
        let place = feature * FeatureBins.count + bin
        // The learning expert bets half of its wealth on what it has learned before this record.
        let learnedShare = Double(learned[place] / learnedSum[feature])
        let ratio = 0.5 + 0.5 * learnedShare / bins[feature].probabilities[bin]
        ratios[ExpertTable.adaptiveExpert] = powers[feature] == 1 ? ratio : pow(ratio, powers[feature])
        learned[place] += increment
        learnedSum[feature] += increment

        let isNewStart = states[feature].run .< 1
        states[feature].start.replace(with: records, where: isNewStart)
        states[feature].run.replace(with: 1, where: isNewStart)
        states[feature].run *= SIMD16<Float>(ratios)
        // Only the sign of its logarithm matters beyond this.
        states[feature].run.replace(with: 1e30, where: states[feature].run .> 1e30)
        states[feature].evidence = (states[feature].evidence + 1) * ratios
        return (states[feature].evidence * ExpertTable.weights).sum()
    }

    private mutating func rescale() {
        let factor = 1 / increment
        for index in learned.indices { learned[index] *= factor }
        for index in learnedSum.indices { learnedSum[index] *= factor }
        increment = 1
    }

    private func alarm() -> Alarm {
        let featureEvidence = bins.indices.map { isWatched[$0] ? evidence(of: $0) : 0 }
        let strongest = featureEvidence.indices.max { featureEvidence[$0] < featureEvidence[$1] } ?? 0
        let weighted = states[strongest].evidence * ExpertTable.weights
        let expert = (0..<ExpertTable.count).max { weighted[$0] < weighted[$1] } ?? 0
        return Alarm(
            evidence: evidence, changeRecord: max(1, states[strongest].start[expert]), featureEvidence: featureEvidence)
    }
}

extension DriftDetector {
    /// Everything that changes while it runs, for a snapshot.
    public struct Snapshot: Sendable, Codable, Equatable {
        var evidence: [[Double]]
        var run: [[Float]]
        var start: [[UInt32]]
        var learned: [Float]
        var learnedSum: [Float]
        var increment: Float
        var records: UInt32
        var total: Double
    }

    public var snapshot: Snapshot {
        Snapshot(
            evidence: states.map { state in (0..<16).map { state.evidence[$0] } },
            run: states.map { state in (0..<16).map { state.run[$0] } },
            start: states.map { state in (0..<16).map { state.start[$0] } },
            learned: learned, learnedSum: learnedSum, increment: increment, records: records, total: evidence)
    }

    /// Goes on where the snapshot was taken. False, and nothing done, when it is of another set of features.
    public mutating func restore(_ snapshot: Snapshot) -> Bool {
        let count = states.count
        guard snapshot.evidence.count == count, snapshot.run.count == count, snapshot.start.count == count,
            snapshot.learned.count == learned.count, snapshot.learnedSum.count == learnedSum.count,
            snapshot.evidence.allSatisfy({ $0.count == 16 }), snapshot.run.allSatisfy({ $0.count == 16 }),
            snapshot.start.allSatisfy({ $0.count == 16 })
        else { return false }
        for feature in 0..<count {
            states[feature].evidence = SIMD16(snapshot.evidence[feature])
            states[feature].run = SIMD16(snapshot.run[feature])
            states[feature].start = SIMD16(snapshot.start[feature])
        }
        learned = snapshot.learned
        learnedSum = snapshot.learnedSum
        increment = snapshot.increment
        records = snapshot.records
        evidence = snapshot.total
        return true
    }
}
