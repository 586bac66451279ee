// ModelCommand: `penstock model` looks into a model, runs it on rows, measures it.

import ArgumentParser
import Foundation
import Inference
import Sealing

struct ModelCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "model",
        abstract: "Look into a model, run it on rows, measure it.",
        discussion: """
            MODEL is a manifest (model.json), which names the ONNX file beside it, or an ONNX file.

            Example: penstock model inspect topics/housing/artifacts/model.json
            Example: penstock model bench topics/housing/artifacts/model.json --batch 1,32,256
            """,
        subcommands: [
            Inspect.self, Run.self, Bench.self, Keygen.self, Seal.self, Verify.self, Register.self, Rewrap.self,
            Revoke.self, Hold.self, BenchUnseal.self, BenchStart.self, Audit.self,
            Decisions.self,
        ])

    /// A session for tools: of a manifest, or of an ONNX file alone.
    static func load(_ path: String) throws -> InferenceSession {
        if path.hasSuffix(".onnx") {
            guard let data = FileManager.default.contents(atPath: path) else {
                throw CommandFailure("cannot read \(path): name a manifest (model.json) or an ONNX file")
            }
            let bytes = Array(data)
            let session = try InferenceSession(bytes.span.bytes, rowsMax: 4_096)
            for warning in session.warnings { Console.note("warning: \(warning)") }
            return session
        }
        let source = try UnsealedFileSource(manifestPath: path) { Console.note("warning: \($0)") }
        return try InferenceSession.load(source, contractHash: nil, rowsMax: 4_096)
    }

    struct Inspect: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print what a model takes, gives and consists of.",
            discussion: "Example: penstock model inspect topics/housing/artifacts/model.json --output json")

        @Argument(help: "Manifest of the model.")
        var model: String

        @OptionGroup var output: OutputOption

        private struct Result: Encodable {
            var manifest: ModelManifest?
            var description: ModelDescription
            var isSealed: Bool
        }

        mutating func run() throws {
            if SealedContainer.isSealed(model) {
                let container = try SealedContainer(inspecting: model)
                return try SealedSummary(
                    header: container.header, digest: container.headerDigest, path: model,
                    recipients: container.recipients
                ).show(output)
            }
            let session = try ModelCommand.load(model)
            let result = Result(
                manifest: session.manifest, description: session.describe(), isSealed: session.isSealed)
            if output.isJSON { return try Console.print(json: result) }
            if let manifest = result.manifest {
                Console.print("model     \(manifest.name) version \(manifest.version)")
                Console.print("contract  \(manifest.contract)")
                Console.print("features  \(manifest.features.joined(separator: ", "))")
                Console.print("sha256    \(manifest.onnxSHA256)")
                for (name, value) in manifest.metrics.sorted(by: { $0.key < $1.key }) {
                    Console.print("metric    \(name) \(Numbers.decimal(value, name.hasSuffix(".rows") ? 0 : 4))")
                }
            }
            Console.print(result.description.text)
        }
    }
}
