// TrainCommand: `penstock train`, trains the model of a pipeline on reference data.

public import ArgumentParser
import EventContracts
import Foundation
import Inference
import PipelineContract
import Training
import Transforms

extension ModelKind: ExpressibleByArgument {}

/// `penstock train PIPELINE`: labelled reference rows and transform.json in, model.onnx and model.json out.
public struct TrainCommand: ParsableCommand {
    enum Output: String, ExpressibleByArgument, CaseIterable { case text, json }

    public static let configuration = CommandConfiguration(
        commandName: "train", abstract: "Train the model on labelled reference data.",
        discussion: """
            Applies the fitted transforms (see `penstock fit`) to the reference rows, splits them by time into training, \
            validation and test rows, trains, and writes model.onnx and model.json. `best` trains a logistic model and a \
            dense network and keeps the one with the better validation AUC. The same data, options and machine give the \
            same file.

            Example:
              penstock train topics/housing
              penstock train topics/housing --model dense --hidden 64,32 --seed 7 --output json
            """)

    @Argument(help: "Path of pipeline.yaml, or of the folder that holds it.")
    var pipeline: String

    @Option(
        help: ArgumentHelp(
            "Labelled reference rows (default: data/reference.csv beside pipeline.yaml).", valueName: "csv"))
    var reference: String?

    @Option(
        help: ArgumentHelp(
            "Column with the label, 0 or 1 (default: the only column that is no field of the event).",
            valueName: "column"))
    var label: String?

    @Option(
        help: ArgumentHelp("Column with the event time (default: as pipeline.yaml says).", valueName: "column"))
    var time: String?

    @Option(help: "Which model: dense, logistic or best.")
    var model = ModelKind.best

    @Option(help: ArgumentHelp("Sizes of the dense network's hidden layers.", valueName: "n,…"))
    var hidden = "128,64"

    @Option(help: "Weight of the penalty on the dense network's weights.")
    var l2: Float = 0.001

    @Option(help: "Share of hidden units switched off at random while training.")
    var dropout: Float = 0

    @Option(help: "Adam's learning rate at the start.")
    var learningRate: Float = 0.003

    @Option(help: "Rows of a training step.")
    var batchSize = 64

    @Option(help: "Epochs at most; training ends earlier when the validation loss stops falling.")
    var epochs = 200

    @Option(help: "Seed of all random numbers.")
    var seed: UInt64 = 1

    @Option(
        help: ArgumentHelp(
            "Folder of transform.json, model.onnx and model.json (default: PENSTOCK_ARTIFACTS, else as pipeline.yaml says).",
            valueName: "folder"))
    var artifacts: String?

    @Flag(help: "Seal the model: no plaintext model is written. Writes model.smc where model.json would stand.")
    var seal = false

    @Option(
        help: ArgumentHelp(
            "Folder of owner.pem and trainer.pem for --seal, made when absent (default: keys in the data directory).",
            valueName: "folder"))
    var keys: String?

    @Option(help: "Form of the result: text or json.")
    var output = Output.text

    public init() {}

    public func validate() throws {
        _ = try hiddenSizes()
        guard l2 >= 0, l2.isFinite else { throw ValidationError("--l2 is \(l2): it must be 0 or more") }
        guard (0..<1).contains(dropout) else { throw ValidationError("--dropout is \(dropout): choose from 0 up to 1") }
        guard learningRate > 0, learningRate.isFinite else {
            throw ValidationError("--learning-rate is \(learningRate): it must be positive")
        }
        guard (1...1_000_000).contains(batchSize) else { throw ValidationError("--batch-size must be at least 1") }
        guard (1...100_000).contains(epochs) else { throw ValidationError("--epochs must be at least 1") }
    }

    public func run() throws {
        let pipeline = try PipelineLoader.load(path: pipeline)
        let manifestPath = FitCommand.artifact(pipeline.model.manifestPath, override: artifacts)
        if !seal { try ModelExport.checkOwner(of: manifestPath, name: pipeline.model.name) }
        let transform = try FeatureTransform(
            loadingFor: pipeline, path: FitCommand.artifact(pipeline.features.transformPath, override: artifacts))
        guard let time = time ?? pipeline.input.eventTimeField else {
            throw ValidationError("the pipeline has no field with the event time: name the column by --time")
        }
        let table = try ReferenceTable(
            path: try FitCommand.referencePath(reference, of: pipeline), schema: pipeline.input.schema,
            features: pipeline.features, timeField: time, label: label.map { .named($0) } ?? .onlyOther)
        let settings = ModelTrainingSettings(
            kind: model, hidden: try hiddenSizes(), l2: l2, dropout: dropout, learningRate: learningRate,
            batchRows: batchSize, epochsMax: epochs, seed: seed)
        var display = TrainingDisplay()
        let outcome = try ModelTrainer.train(
            settings, table: table, transform: transform, threshold: pipeline.model.decisionThreshold
        ) { display.show($0, $1, $2) }
        display.finish()
        let exported = ModelExport.export(
            outcome, pipeline: pipeline, transform: transform, manifestPath: manifestPath)
        let paths: [String]
        if seal {
            let transformPath = FitCommand.artifact(pipeline.features.transformPath, override: artifacts)
            let profilePath = FitCommand.artifact(pipeline.monitors.drift.referencePath, override: artifacts)
            paths = [
                try TrainedModelSealing(keys: keys).seal(
                    exported, transform: transformPath, profile: profilePath, beside: manifestPath)
            ]
        } else {
            paths = [try ModelExport.write(exported, manifestPath: manifestPath), manifestPath]
        }
        switch output {
        case .text: Console.print(text(outcome, exported.manifest, paths: paths))
        case .json: Console.write(String(decoding: try exported.manifest.encoded(), as: UTF8.self), to: 1)
        }
    }

    private func hiddenSizes() throws -> [Int] {
        let parts = hidden.split(separator: ",", omittingEmptySubsequences: false)
        let sizes = parts.compactMap { Int($0.trimmingCharacters(in: .whitespaces)) }
        guard sizes.count == parts.count, sizes.count <= 16, sizes.allSatisfy({ (1...16_384).contains($0) }) else {
            throw ValidationError("--hidden is '\(hidden)': write sizes such as 64,32")
        }
        return sizes
    }

    private func text(_ outcome: TrainingOutcome, _ manifest: ModelManifest, paths: [String]) -> String {
        var rows = [["model", "rows", "of", "AUC", "log-loss", "Brier", "accuracy", "ECE"]]
        func add(_ name: String, _ set: String, _ metrics: ModelMetrics) {
            rows.append(
                [name, set, "\(metrics.rows)", metrics.rocAUC.map { Self.digits($0) } ?? "-"]
                    + [metrics.logLoss, metrics.brier, metrics.accuracy, metrics.calibrationError].map(Self.digits))
        }
        for candidate in outcome.candidates {
            add(candidate.kind.rawValue, "training", candidate.training)
            add("", "validation", candidate.validation)
            add("", "test", candidate.test)
        }
        add("share of positives", "test", outcome.baseline)
        let confusion = outcome.model.test.confusion
        let days = [outcome.trainingTimes, outcome.validationTimes, outcome.testTimes].map {
            "\(RFC3339.text($0.lowerBound).prefix(10)) to \(RFC3339.text($0.upperBound).prefix(10))"
        }
        let trained = outcome.model.trained
        return """
            \(FitCommand.aligned(rows))

            training \(days[0]), validation \(days[1]), test \(days[2])\(rejected(outcome))
            chosen    \(outcome.model.algorithm), epoch \(trained.bestEpoch) of \(trained.epochs.count)
            test      at \(manifest.threshold): \(confusion.truePositives) true and \(confusion.falsePositives) false \
            positives, \(confusion.trueNegatives) true and \(confusion.falseNegatives) false negatives
            model     \(manifest.name) \(manifest.version), contract \(manifest.contract), seed \(outcome.seed)
            written   \(paths.joined(separator: ", "))
            """
    }

    private func rejected(_ outcome: TrainingOutcome) -> String {
        outcome.rejectedRows == 0 ? "" : "; \(outcome.rejectedRows) rows rejected by the transform"
    }

    private static func digits(_ value: Double) -> String { String(format: "%.4f", value) }
}

/// Progress on standard error: one live line on a terminal, a plain line now and then elsewhere.
private struct TrainingDisplay {
    private static let plainEpochs = 20
    private static let barWidth = 24
    private let isLive = isatty(2) == 1
    private var last: (kind: ModelKind, settings: TrainingSettings, epoch: Epoch)?
    private var best = 0.0

    mutating func show(_ kind: ModelKind, _ settings: TrainingSettings, _ epoch: Epoch) {
        if let last, last.kind != kind { finish() }
        if epoch.isBest { best = epoch.validationLoss }
        last = (kind, settings, epoch)
        if isLive {
            let filled = Self.barWidth * epoch.number / settings.epochsMax
            let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: Self.barWidth - filled)
            write("\r\u{1b}[K\(kind.rawValue) \(bar) \(line(settings, epoch))")
        } else if epoch.number % Self.plainEpochs == 0 {
            write("\(kind.rawValue): \(line(settings, epoch))\n")
        }
    }

    /// Ends the line of the model shown last.
    mutating func finish() {
        guard let (kind, settings, epoch) = last else { return }
        last = nil
        if isLive {
            write("\r\u{1b}[K\(kind.rawValue): \(line(settings, epoch))\n")
        } else if epoch.number % Self.plainEpochs != 0 {
            write("\(kind.rawValue): \(line(settings, epoch))\n")
        }
    }

    private func line(_ settings: TrainingSettings, _ epoch: Epoch) -> String {
        String(
            format: "epoch %d of at most %d, loss %.4f, validation loss %.4f (best %.4f)", epoch.number,
            settings.epochsMax, epoch.trainingLoss, epoch.validationLoss, best)
    }

    private func write(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }
}
