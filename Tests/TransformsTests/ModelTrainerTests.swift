// ModelTrainerTests: from the housing reference rows to the two files of a model.

import EventContracts
import Foundation
import Inference
import PipelineContract
import Testing
import Training
import Transforms

@Suite("Training the model of a pipeline")
struct ModelTrainerTests {
    private let folder: Folder
    private let pipeline: Pipeline
    private let table: ReferenceTable
    private let transform: FeatureTransform

    init() throws {
        folder = try Folder()
        pipeline = try housing()
        table = try ReferenceTable(
            path: "\(pipeline.directory)/data/reference.csv", schema: pipeline.input.schema,
            features: pipeline.features, timeField: "timestamp", label: .onlyOther)
        transform = try FeatureTransform(
            try TransformFitter.fit(table, for: pipeline).transform, schema: pipeline.input.schema)
    }

    private func train(_ kind: ModelKind, hidden: [Int] = [16]) throws -> TrainingOutcome {
        let settings = ModelTrainingSettings(kind: kind, hidden: hidden, epochsMax: 6)
        return try ModelTrainer.train(settings, table: table, transform: transform, threshold: 0.5)
    }

    @Test("The better of two models is chosen by validation AUC; both beat the share of positives")
    func best() throws {
        #expect(table.labelName == "clf_target")
        let outcome = try train(.best)
        #expect(outcome.candidates.map(\.kind) == [.logistic, .dense])
        let aucs = outcome.candidates.map { $0.validation.rocAUC ?? 0 }
        #expect(outcome.model.validation.rocAUC == aucs.max())
        #expect(outcome.baseline.rocAUC == 0.5)
        for candidate in outcome.candidates {
            #expect((candidate.test.rocAUC ?? 0) > 0.75)
            #expect(
                candidate.training.rows == 3_499 && candidate.validation.rows == 1_167 && candidate.test.rows == 1_166)
        }
        #expect(outcome.trainingTimes.upperBound < outcome.validationTimes.lowerBound)
        #expect(outcome.validationTimes.upperBound < outcome.testTimes.lowerBound)
    }

    @Test("The written pair loads in the inference engine, which gives the metrics of the manifest")
    func written() throws {
        let outcome = try train(.dense)
        let path = folder.file("artifacts/model.json")
        let exported = ModelExport.export(outcome, pipeline: pipeline, transform: transform, manifestPath: path)
        #expect(try ModelExport.write(exported, manifestPath: path) == folder.file("artifacts/model.onnx"))
        let manifest = try ModelManifest.decode(Array(Data(contentsOf: URL(fileURLWithPath: path))), path: path)
        #expect(manifest == exported.manifest)
        #expect(manifest.name == "housing-dense" && manifest.onnxSHA256.hasPrefix(manifest.version))
        #expect(manifest.contractHash == transform.contractHash && manifest.features == transform.featureNames)

        let session = try InferenceSession(exported.onnx.span.bytes)
        var features = transform.makeColumns()
        var rejections: [FeatureRejection] = []
        transform.apply(table, into: &features, rejections: &rejections)
        let outputs = session.run(features.values, count: features.rowCount)
        let floats = try #require(outputs.column(named: manifest.outputs.score)).floats
        // The file's rows are in the order of time: the last 1,166 are the test set.
        let scores = (4_666..<5_832).map { Double(floats[2 * $0 + 1]) }
        let metrics = ModelMetrics(scores: scores, labels: Array(table.labels[4_666...]), threshold: 0.5)
        #expect(abs((metrics.rocAUC ?? 0) - (manifest.metrics["test.roc_auc"] ?? 1)) < 1e-5)
        #expect(abs(metrics.logLoss - (manifest.metrics["test.log_loss"] ?? 1)) < 1e-5)
    }

    @Test("The same data and seed give the same version; the rows' order in the file does not matter")
    func versions() throws {
        func version(_ table: ReferenceTable) throws -> String {
            let settings = ModelTrainingSettings(kind: .logistic, epochsMax: 2)
            let outcome = try ModelTrainer.train(settings, table: table, transform: transform, threshold: 0.5)
            return ModelExport.export(outcome, pipeline: pipeline, transform: transform, manifestPath: "m.json")
                .manifest.version
        }
        let first = try version(table)
        #expect(try version(table) == first && first.count == 12)
        #expect(try version(table.selecting(Array((0..<table.rowCount).reversed()))) == first)
    }

    @Test("A manifest of another model, or a file that is none, is never overwritten")
    func foreignManifest() throws {
        let path = folder.file("model.json")
        let exported = ModelExport.export(
            try train(.logistic), pipeline: pipeline, transform: transform, manifestPath: path)
        try ModelExport.write(exported, manifestPath: path)
        try ModelExport.write(exported, manifestPath: path)
        let found = message { try ModelExport.checkOwner(of: path, name: "other-model") }
        #expect(found.contains("belongs to the model 'housing-dense', not 'other-model': name another folder"))
        try folder.write("{}", to: "model.json")
        #expect(message { try ModelExport.write(exported, manifestPath: path) }.contains("is no model manifest"))
        try folder.write("", to: "blocked")
        let blocked = message { try ModelExport.write(exported, manifestPath: folder.file("blocked/model.json")) }
        #expect(blocked.contains("cannot write") && !blocked.contains("\n"), "\(blocked)")
    }

    @Test("Rows of one class cannot train a model")
    func oneClass() throws {
        let positives = (0..<table.rowCount).filter { table.labels[$0] == 1 }
        let found = message {
            _ = try ModelTrainer.train(
                ModelTrainingSettings(), table: table.selecting(positives), transform: transform, threshold: 0.5)
        }
        #expect(found.contains("the training rows of") && found.contains("have only one class of clf_target"))
    }
}
