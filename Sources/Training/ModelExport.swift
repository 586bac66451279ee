// ModelExport: the ONNX file and the manifest of a trained network.

import Cryptography
public import Inference
public import PipelineContract
public import Transforms

/// A model as it is written: two files that belong together.
public struct ExportedModel: Sendable {
    public var manifest: ModelManifest
    public var onnx: [UInt8]
}

/// Writes trained networks as ONNX.
public enum ModelExport {
    /// Digits of the version, taken from the SHA-256 of the ONNX file: the same content has the same version.
    private static let versionDigits = 12
    private static let manifestBytesMax = 4 << 20

    /// Dense layers with ReLU, then softmax: input `features` `[N, F]`, outputs `probabilities` `[N, 2]` and `label` `[N]`.
    ///
    /// The logit z of the network becomes the pair (0, z), whose softmax is (1 - p, p) with p = 1 / (1 + e^-z).
    public static func onnx(_ network: DenseNetwork, graphName: String, metadata: [(String, String)] = []) -> [UInt8] {
        var writer = ONNXWriter(graphName: graphName)
        writer.addInput("features", shape: [.free("N"), .fixed(network.inputs)])
        var current = "features"
        for (index, layer) in network.layers.enumerated() {
            let isLast = index == network.layers.count - 1
            var weights = layer.weights
            var biases = layer.biases
            if isLast {
                weights = weights.flatMap { [0, $0] }
                biases = biases.flatMap { [0, $0] }
            }
            writer.addInitializer("weights_\(index)", dims: [layer.inputs, biases.count], floats: weights)
            writer.addInitializer("biases_\(index)", dims: [biases.count], floats: biases)
            let sums = isLast ? "logits" : "sums_\(index)"
            writer.addNode("Gemm", [current, "weights_\(index)", "biases_\(index)"], [sums])
            guard !isLast else { break }
            writer.addNode("Relu", [sums], ["hidden_\(index)"])
            current = "hidden_\(index)"
        }
        writer.addNode("Softmax", ["logits"], ["probabilities"], attributes: [("axis", .int(1))])
        writer.addNode("ArgMax", ["logits"], ["label"], attributes: [("axis", .int(1)), ("keepdims", .int(0))])
        writer.addOutput("probabilities", shape: [.free("N"), .fixed(2)])
        writer.addOutput("label", type: .int64, shape: [.free("N")])
        for (key, value) in metadata { writer.addMetadata(key, value) }
        return writer.encoded()
    }

    /// The version of a model with this content.
    public static func version(of onnx: [UInt8]) -> String {
        String(SHA256.digest(of: onnx).hexadecimal.prefix(versionDigits))
    }

    /// The chosen model of a training.
    /// - Parameter manifestPath: where the manifest will stand; the ONNX file has the same name with `.onnx`.
    public static func export(
        _ outcome: TrainingOutcome, pipeline: Pipeline, transform: FeatureTransform, manifestPath: String
    ) -> ExportedModel {
        let model = outcome.model
        let contract = transform.contractHash
        let onnx = onnx(
            model.trained.network, graphName: pipeline.model.name,
            metadata: [
                ("penstock.pipeline", pipeline.name),
                ("penstock.features", transform.featureNames.joined(separator: ",")),
            ])
        let manifest = ModelManifest(
            name: pipeline.model.name, version: version(of: onnx),
            contract: contract, features: transform.featureNames, onnx: onnxName(manifestPath), onnxBytes: onnx,
            outputs: .init(score: "probabilities", label: "label", positiveClass: 1),
            threshold: pipeline.model.decisionThreshold, metrics: metrics(of: outcome),
            training: .init(
                algorithm: model.algorithm, seed: outcome.seed, rows: model.training.rows,
                data: "sha256:\(outcome.dataSHA256)"))
        return ExportedModel(manifest: manifest, onnx: onnx)
    }

    /// Writes the ONNX file, then the manifest that names its digest, each atomically. A reader between the two sees a
    /// digest that does not match and refuses the pair. A manifest of another model is never overwritten.
    /// - Returns: the path of the ONNX file.
    @discardableResult
    public static func write(_ model: ExportedModel, manifestPath: String) throws -> String {
        try checkOwner(of: manifestPath, name: model.manifest.name)
        let folder = AtomicFile.folder(of: manifestPath)
        let onnxPath = folder == "." ? model.manifest.onnx : "\(folder)/\(model.manifest.onnx)"
        try AtomicFile.write(model.onnx, to: onnxPath)
        try AtomicFile.write(try model.manifest.encoded(), to: manifestPath)
        return onnxPath
    }

    /// Whether `manifestPath` is free or belongs to the model `name` already; to be asked before a long training.
    public static func checkOwner(of manifestPath: String, name: String) throws {
        guard let bytes = try AtomicFile.existing(manifestPath, bytesMax: manifestBytesMax) else { return }
        let mend = "name another folder by --artifacts, or remove the file first"
        guard let other = try? ModelManifest.decode(bytes, path: manifestPath) else {
            throw TrainingError(.otherModel, "\(manifestPath) exists and is no model manifest: \(mend)")
        }
        guard other.name == name else {
            throw TrainingError(
                .otherModel, "\(manifestPath) belongs to the model '\(other.name)', not '\(name)': \(mend)")
        }
    }

    static func onnxName(_ manifestPath: String) -> String {
        let name = AtomicFile.name(of: manifestPath)
        return (name.hasSuffix(".json") ? String(name.dropLast(5)) : name) + ".onnx"
    }

    /// Names such as `test.roc_auc`.
    private static func metrics(of outcome: TrainingOutcome) -> [String: Double] {
        let model = outcome.model
        var result: [String: Double] = [:]
        let sets = [
            ("train", model.training), ("validation", model.validation), ("test", model.test),
            ("baseline", outcome.baseline),
        ]
        for (name, metrics) in sets {
            result["\(name).rows"] = Double(metrics.rows)
            result["\(name).roc_auc"] = metrics.rocAUC
            result["\(name).log_loss"] = metrics.logLoss
            result["\(name).brier"] = metrics.brier
            result["\(name).accuracy"] = metrics.accuracy
            result["\(name).calibration_error"] = metrics.calibrationError
        }
        return result
    }
}
