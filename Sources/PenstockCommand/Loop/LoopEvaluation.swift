// LoopEvaluation: the live pipeline beside the frozen base model and the best in hindsight. Pure but for reading files.

import EventContracts
import Foundation
import Inference
import PipelineContract
import Training
import Transforms

/// One stretch of the stream, judged by labels that came later.
struct WindowQuality: Encodable, Sendable, Equatable {
    struct Side: Encodable, Sendable, Equatable {
        /// Nil when the window has one class.
        var auc: Double?
        var logLoss: Double
    }

    var from: String
    var to: String
    var rows: Int
    var live: Side
    var frozen: Side
    var hindsight: Side
}

/// Scores of every live event by the three: same rows, same order.
struct LoopScores: Sendable {
    var times: [Int64]
    var labels: [UInt8]
    var live: [Double]
    var frozen: [Double]
    var hindsight: [Double]

    func quality(of rows: [Int]) -> WindowQuality? {
        guard let first = rows.first, let last = rows.last else { return nil }
        let labels = rows.map { self.labels[$0] }
        func side(_ scores: [Double]) -> WindowQuality.Side {
            let own = rows.map { scores[$0] }
            return .init(
                auc: ModelMetrics.rocAUC(scores: own, labels: labels),
                logLoss: ModelMetrics.logLoss(scores: own, labels: labels))
        }
        return WindowQuality(
            from: RFC3339.text(times[first]), to: RFC3339.text(times[last]), rows: rows.count, live: side(live),
            frozen: side(frozen), hindsight: side(hindsight))
    }

    /// Windows of `size` events, in the order of time; a short rest joins the last one.
    func windows(of size: Int) -> [WindowQuality] {
        let count = max(1, times.count / size)
        return (0..<count).compactMap { window in
            quality(of: Array(window * size..<(window == count - 1 ? times.count : (window + 1) * size)))
        }
    }

    /// Windows by calendar month of the event time.
    func months() -> [WindowQuality] {
        let months = times.map { String(RFC3339.text($0).prefix(7)) }
        return Set(months).sorted().compactMap { month in quality(of: times.indices.filter { months[$0] == month }) }
    }
}

enum LoopEvaluation {
    /// Rows of one regime are scored by a network that has learned the other half of them: the best that could have been
    /// had if all labels had been there from the start, without having seen the row itself.
    static let hindsightFolds = 2

    /// Features and labels of the live events.
    static func rows(
        _ stream: HousingStream, contract: Pipeline, transform: FeatureTransform, folder: String
    ) throws -> LabelledRows {
        let path = "\(folder)/live.csv"
        try Data(stream.liveCSV.utf8).write(to: URL(filePath: path))
        let table = try ReferenceTable(
            path: path, schema: contract.input.schema, features: contract.features, label: .named("clf_target"))
        var features = transform.makeColumns()
        var rejections: [FeatureRejection] = []
        transform.apply(table, into: &features, rejections: &rejections)
        guard rejections.isEmpty else {
            throw CommandFailure("\(rejections.count) live rows have no features: the stream does not fit the pipeline")
        }
        return LabelledRows(
            featureCount: transform.featureCount, features: features.values, labels: stream.live.map(\.label))
    }

    /// How the demonstration's base model is trained, by `penstock train` and again here.
    static let baseSettings = ModelTrainingSettings(kind: .dense, hidden: [64, 32], seed: 1)
    static let baseArguments = ["--model", "dense", "--hidden", "64,32", "--seed", "1"]

    /// The base model, trained once more from the same rows: only the inference and the retraining consumer ever open a
    /// model, and the same rows and settings give the same one.
    /// - Returns: its scores of the live rows, and its version, to be compared with the registry's.
    static func frozen(
        _ rows: LabelledRows, contract: Pipeline, transform: FeatureTransform, reference: String
    ) throws -> (scores: [Double], version: String) {
        let table = try ReferenceTable(
            path: reference, schema: contract.input.schema, features: contract.features,
            timeField: contract.input.eventTimeField, label: .onlyOther)
        let outcome = try ModelTrainer.train(
            baseSettings, table: table, transform: transform, threshold: contract.model.decisionThreshold)
        let exported = ModelExport.export(
            outcome, pipeline: contract, transform: transform, manifestPath: contract.model.manifestPath)
        return (
            outcome.model.trained.network.probabilities(rows.features, count: rows.count), exported.manifest.version
        )
    }

    /// - Parameter regimes: ranges of rows within which nothing changes.
    static func hindsightScores(_ rows: LabelledRows, regimes: [Range<Int>], seed: UInt64) throws -> [Double] {
        var scores = [Double](repeating: 0.5, count: rows.count)
        for regime in regimes {
            for fold in 0..<hindsightFolds {
                let scored = regime.filter { $0 % hindsightFolds == fold }
                let learned = regime.filter { $0 % hindsightFolds != fold }
                // Every fifth of the learned rows chooses the epoch.
                let validation = stride(from: 0, to: learned.count, by: 5).map { learned[$0] }
                let training = learned.indices.filter { $0 % 5 != 0 }.map { learned[$0] }
                let trained = try NetworkTrainer.train(
                    TrainingSettings(hidden: [64, 32], l2: 1e-3, learningRate: 3e-3, seed: seed),
                    training: rows.selecting(training), validation: rows.selecting(validation))
                let found = trained.network.probabilities(rows.selecting(scored).features, count: scored.count)
                for (place, row) in scored.enumerated() { scores[row] = found[place] }
            }
        }
        return scores
    }
}
