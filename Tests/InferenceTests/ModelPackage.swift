// ModelPackage: a small model with its manifest in a folder of its own, removed after the test.

import Foundation
import Inference
import Tensor

/// `score = sigmoid(x0 + 2 x1 - 1)`; with `isTwoClass`, `softmax([0, x0 + 2 x1 - 1])` and an integer label.
struct ModelPackage {
    let directory: URL
    var manifestPath: String { directory.appending(path: "model.json").path }
    var onnxPath: String { directory.appending(path: "model.onnx").path }

    static let contract: UInt64 = 0x0123_4567_89ab_cdef

    static func bytes(isTwoClass: Bool = false) -> [UInt8] {
        var writer = ONNXWriter(graphName: "test")
        writer.addInput("features", shape: [.free("N"), .fixed(2)])
        if isTwoClass {
            writer.addInitializer("w", Matrix(rows: 2, columns: 2, elements: [0, 1, 0, 2]))
            writer.addInitializer("b", dims: [2], floats: [0, -1])
            writer.addNode("Gemm", ["features", "w", "b"], ["logits"])
            writer.addNode("Softmax", ["logits"], ["probabilities"], attributes: [("axis", .int(1))])
            writer.addNode(
                "ArgMax", ["logits"], ["label"], attributes: [("axis", .int(1)), ("keepdims", .int(0))])
            writer.addOutput("label", type: .int64, shape: [.free("N")])
            writer.addOutput("probabilities", shape: [.free("N"), .fixed(2)])
        } else {
            writer.addInitializer("w", Matrix(rows: 2, columns: 1, elements: [1, 2]))
            writer.addInitializer("b", dims: [1], floats: [-1])
            writer.addNode("Gemm", ["features", "w", "b"], ["logit"])
            writer.addNode("Sigmoid", ["logit"], ["probabilities"])
            writer.addOutput("probabilities", shape: [.free("N"), .fixed(1)])
        }
        writer.addMetadata("made_by", "a test")
        return writer.encoded()
    }

    static func manifest(
        version: String = "1", isTwoClass: Bool = false, features: [String] = ["a", "b"]
    ) -> ModelManifest {
        ModelManifest(
            name: "test-model", version: version, contract: contract, features: features, onnx: "model.onnx",
            onnxBytes: bytes(isTwoClass: isTwoClass),
            outputs: .init(score: "probabilities", label: isTwoClass ? "label" : nil, positiveClass: 1),
            metrics: ["auc": 0.75], training: .init(algorithm: "none", seed: 1, rows: 10, data: "test"))
    }

    /// Writes both files; `edit` may change the manifest first.
    static func make(
        isTwoClass: Bool = false, _ edit: (inout ModelManifest) -> Void = { _ in }
    ) throws -> ModelPackage {
        let directory = FileManager.default.temporaryDirectory.appending(path: "penstock-model-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let package = ModelPackage(directory: directory)
        var manifest = manifest(isTwoClass: isTwoClass)
        edit(&manifest)
        try Data(manifest.encoded()).write(to: URL(filePath: package.manifestPath))
        try Data(bytes(isTwoClass: isTwoClass)).write(to: URL(filePath: package.onnxPath))
        return package
    }

    func source() throws -> UnsealedFileSource { try UnsealedFileSource(manifestPath: manifestPath) { _ in } }

    func remove() { try? FileManager.default.removeItem(at: directory) }
}
