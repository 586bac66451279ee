// ModelTrainer: from labelled reference rows to a chosen model and what is to be said about it.

import Cryptography
import EventContracts
public import Transforms

/// Which models are trained.
public enum ModelKind: String, Sendable, CaseIterable, Codable {
    case logistic, dense
    /// Both; the one with the better validation AUC is chosen.
    case best
}

/// How the models of a pipeline are trained.
public struct ModelTrainingSettings: Sendable {
    public var kind: ModelKind
    public var logistic: TrainingSettings
    public var dense: TrainingSettings
    /// Shares of training and validation rows, in the order of time; the rest tests.
    public var fractions: (train: Double, validation: Double)

    public init(
        kind: ModelKind = .best, hidden: [Int] = [128, 64], l2: Float = 1e-3, dropout: Float = 0,
        learningRate: Float = 3e-3,
        batchRows: Int = 64, epochsMax: Int = 200, seed: UInt64 = 1,
        fractions: (train: Double, validation: Double) = (0.6, 0.2)
    ) {
        self.kind = kind
        dense = TrainingSettings(
            hidden: hidden, l2: l2, dropout: dropout, learningRate: learningRate, batchRows: batchRows,
            epochsMax: epochsMax, seed: seed)
        // A convex problem with few parameters needs hardly any penalty.
        logistic = TrainingSettings(
            hidden: [], l2: 1e-4, learningRate: learningRate, batchRows: batchRows, epochsMax: epochsMax, seed: seed)
        self.fractions = fractions
    }
}

/// One trained model with its metrics.
public struct CandidateModel: Sendable {
    public var kind: ModelKind
    public var trained: TrainedNetwork
    public var training: ModelMetrics
    public var validation: ModelMetrics
    public var test: ModelMetrics

    /// Such as `dense 8-64-32-1, relu, adam`.
    public var algorithm: String {
        let network = trained.network
        let sizes = ([network.inputs] + network.hidden + [1]).map(String.init).joined(separator: "-")
        return "\(kind.rawValue) \(sizes)\(network.hidden.isEmpty ? "" : ", relu"), adam"
    }
}

/// Everything that a training brought.
public struct TrainingOutcome: Sendable {
    public var candidates: [CandidateModel]
    /// Index of the candidate with the best validation AUC.
    public var chosen: Int
    /// What a model that knows only the share of positives among the training rows scores on the test rows.
    public var baseline: ModelMetrics
    /// First and last event time of each set, microseconds since the Unix epoch.
    public var trainingTimes: ClosedRange<Int64>
    public var validationTimes: ClosedRange<Int64>
    public var testTimes: ClosedRange<Int64>
    /// Rows that the transform rejected and that took no part.
    public var rejectedRows: Int
    public var dataSHA256: String
    public var seed: UInt64

    public var model: CandidateModel { candidates[chosen] }
}

/// Trains the models of a pipeline on reference rows that went through the pipeline's own fitted transform.
public enum ModelTrainer {
    /// - Parameters:
    ///   - table: with labels and times.
    ///   - threshold: score at or above which label 1 is predicted.
    ///   - progress: called after every epoch with the kind of model and its settings.
    public static func train(
        _ settings: ModelTrainingSettings, table: ReferenceTable, transform: FeatureTransform, threshold: Double,
        progress: (ModelKind, TrainingSettings, Epoch) -> Void = { _, _, _ in }
    ) throws(TrainingError) -> TrainingOutcome {
        precondition(table.labels.count == table.rowCount && table.times.count == table.rowCount, "no labels or times")
        var features = transform.makeColumns()
        var rejections: [FeatureRejection] = []
        transform.apply(table, into: &features, rejections: &rejections)
        let times = features.sources.map { table.times[$0] }
        let rows = LabelledRows(
            featureCount: transform.featureCount, features: features.values,
            labels: features.sources.map { table.labels[$0] })
        let split = try TimeSplit(times: times, fractions: settings.fractions)
        let sets = [split.train, split.validation, split.test].map { rows.selecting($0) }
        for (set, name) in zip(sets, ["training", "validation", "test"]) {
            guard set.labels.contains(0) && set.labels.contains(1) else {
                throw TrainingError(
                    .unsuitableData,
                    "the \(name) rows of \(table.path) have only one class of \(table.labelName ?? "the label"): give "
                        + "reference data with both over the whole time")
            }
        }

        var candidates: [CandidateModel] = []
        for kind in settings.kind == .best ? [.logistic, .dense] : [settings.kind] {
            let own = kind == .logistic ? settings.logistic : settings.dense
            let trained = try NetworkTrainer.train(own, training: sets[0], validation: sets[1]) {
                progress(kind, own, $0)
            }
            let metrics = sets.map { set in
                ModelMetrics(
                    scores: trained.network.probabilities(set.features, count: set.count), labels: set.labels,
                    threshold: threshold)
            }
            candidates.append(
                CandidateModel(
                    kind: kind, trained: trained, training: metrics[0], validation: metrics[1], test: metrics[2]))
        }
        let chosen = candidates.indices.max {
            (candidates[$0].validation.rocAUC ?? 0) < (candidates[$1].validation.rocAUC ?? 0)
        }
        let share = Double(sets[0].labels.count { $0 != 0 }) / Double(sets[0].count)
        func range(_ rows: [Int]) -> ClosedRange<Int64> {
            let first = rows.first.map { times[$0] } ?? 0
            return first...max(first, rows.last.map { times[$0] } ?? 0)
        }
        return TrainingOutcome(
            candidates: candidates, chosen: chosen ?? 0,
            baseline: ModelMetrics(
                scores: [Double](repeating: share, count: sets[2].count), labels: sets[2].labels, threshold: threshold),
            trainingTimes: range(split.train), validationTimes: range(split.validation), testTimes: range(split.test),
            rejectedRows: rejections.count, dataSHA256: table.digest.hexadecimal, seed: settings.dense.seed)
    }
}
