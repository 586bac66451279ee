// BadArtifactTests: transforms and models that are missing or do not fit, each refused with one clear message.

import Foundation
import TestSupport
import Testing

@Suite("A transform or model that does not fit is refused with one clear message")
struct BadArtifactTests {
    private func infer(_ copy: PipelineCopy) async throws -> Outcome {
        try await Program.run(
            "inference-consumer",
            [
                "--pipeline", copy.path, "--bootstrap-servers", "127.0.0.1:1", "--start-timeout", "1",
                "--allow-unsealed-model",
            ])
    }

    @Test("What is missing is named, with the command that makes it")
    func missing() async throws {
        let copy = try PipelineCopy()
        let manifest = "\(copy.artifacts)/model.json"
        let transform = "\(copy.artifacts)/transform.json"
        for outcome in [
            try await infer(copy), try await Program.run("penstock", ["up", "--pipeline", copy.path]),
            try await Program.run("penstock", ["train", copy.path]),
        ] { expectMessage(outcome, exit: 1, transform, "penstock fit \(copy.path)") }
        try await copy.fit()
        for outcome in [
            try await infer(copy),
            try await Program.run("penstock", ["up", "--unsealed-model", "--pipeline", copy.path]),
        ] { expectMessage(outcome, exit: 1, manifest, "penstock train") }
        expectMessage(
            try await Program.run("penstock", ["up", "--pipeline", copy.path]), exit: 1, "\(copy.artifacts)/model.smc",
            "penstock train --seal")
        try await copy.train()
        try FileManager.default.removeItem(atPath: "\(copy.artifacts)/model.onnx")
        expectMessage(try await infer(copy), exit: 1, "\(copy.artifacts)/model.onnx")
        expectMessage(
            try await Program.run("penstock", ["model", "inspect", manifest]), exit: 1, "\(copy.artifacts)/model.onnx")
    }

    @Test("A model of another contract, altered bytes and a model of another width are refused")
    func misfits() async throws {
        let copy = try PipelineCopy()
        try await copy.fit()
        try await copy.train()
        let model = "\(copy.artifacts)/model.onnx"
        let contract = try copy.member("contract", of: "model.json")
        let other = String(contract.reversed())

        try copy.edit("artifacts/model.json") { $0.replacingOccurrences(of: contract, with: other) }
        expectMessage(try await infer(copy), exit: 1, model, contract, other)
        try copy.edit("artifacts/model.json") { $0.replacingOccurrences(of: other, with: contract) }

        let bytes = try Data(contentsOf: URL(fileURLWithPath: model))
        try (bytes + [0]).write(to: URL(fileURLWithPath: model))
        expectMessage(try await infer(copy), exit: 1, model, "SHA-256")
        try bytes.write(to: URL(fileURLWithPath: model))

        // The manifest of a narrower model over the wider ONNX file.
        try copy.edit("artifacts/model.json") {
            $0.replacingOccurrences(of: #",\s*"Longitude""#, with: "", options: .regularExpression)
        }
        let narrow = try await infer(copy)
        expectMessage(narrow, exit: 1, model, "takes 8 features, its manifest names 7")
    }

    @Test("A model of a pipeline with other features is refused")
    func otherFeatures() async throws {
        let wide = try PipelineCopy()
        try await wide.fit()
        try await wide.train()
        let narrow = try PipelineCopy { text in
            text.split(separator: "\n", omittingEmptySubsequences: false).filter { !$0.contains("name: Longitude") }
                .joined(separator: "\n")
        }
        try await narrow.fit()
        for file in ["model.json", "model.onnx"] {
            try FileManager.default.copyItem(
                atPath: "\(wide.artifacts)/\(file)", toPath: "\(narrow.artifacts)/\(file)")
        }
        expectMessage(try await infer(narrow), exit: 1, "\(narrow.artifacts)/model.", "contract")
        let contract = try wide.member("contract", of: "model.json")
        let own = try narrow.member("contract", of: "transform.json")
        try narrow.edit("artifacts/model.json") { $0.replacingOccurrences(of: contract, with: own) }
        expectMessage(
            try await infer(narrow), exit: 1, "\(narrow.artifacts)/model.", "takes 8 features, the pipeline makes 7",
            "train the model again")
    }

    @Test("A transform that was changed by hand is refused")
    func changedTransform() async throws {
        let copy = try PipelineCopy()
        try await copy.fit()
        try copy.edit("artifacts/transform.json") { $0.replacingOccurrences(of: "MedInc", with: "MedInk") }
        expectMessage(
            try await Program.run(
                "transform-consumer", ["--pipeline", copy.path, "--bootstrap-servers", "127.0.0.1:1"]), exit: 1,
            "\(copy.artifacts)/transform.json")
    }
}
