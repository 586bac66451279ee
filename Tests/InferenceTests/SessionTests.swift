// SessionTests: manifests, loading, descriptions, scores.

import Foundation
import Inference
import Synchronization
import Tensor
import Testing

@Suite("A model is loaded only where it fits")
struct SessionTests {
    @Test("A manifest survives its file, with stable text")
    func manifestRoundTrip() throws {
        let manifest = ModelPackage.manifest()
        let text = try manifest.encoded()
        #expect(try ModelManifest.decode(text, path: "model.json") == manifest)
        #expect(try manifest.encoded() == text)
        #expect(manifest.contract == "0123456789abcdef" && manifest.contractHash == ModelPackage.contract)
    }

    @Test("A fitting model loads, warns that it is unsealed, and gives the expected probabilities")
    func loads() throws {
        let package = try ModelPackage.make()
        defer { package.remove() }
        var warnings: [String] = []
        let source = try UnsealedFileSource(manifestPath: package.manifestPath) { warnings.append($0) }
        #expect(warnings.count == 1 && warnings[0].contains("NOT SEALED"))
        let session = try InferenceSession.load(source, contractHash: ModelPackage.contract)
        #expect(!session.isSealed && session.manifest?.name == "test-model")
        let result = session.run([0, 0.5, 1, 1], count: 2)
        let probabilities = try #require(result.column(named: "probabilities")).floats
        #expect(abs(probabilities[0] - 0.5) < 1e-6 && abs(probabilities[1] - 0.880_797) < 1e-6)
    }

    @Test("Another contract, changed bytes, another width, absent outputs: each refuses with its own message")
    func mismatches() throws {
        func refusal(
            contract: UInt64 = ModelPackage.contract, _ edit: (inout ModelManifest) -> Void = { _ in }
        ) throws -> ModelLoadError {
            let package = try ModelPackage.make(edit)
            defer { package.remove() }
            let source = try package.source()
            return try #require(
                #expect(throws: ModelLoadError.self) { try InferenceSession.load(source, contractHash: contract) })
        }
        let contract = try refusal(contract: 7)
        #expect(contract.code == .contractMismatch && contract.message.contains("0000000000000007"))
        let digest = try refusal { $0.onnxSHA256 = String(repeating: "0", count: 64) }
        #expect(digest.code == .digestMismatch && digest.message.contains("model.onnx"))
        let features = try refusal { $0.features = ["a", "b", "c"] }
        #expect(features.code == .featureMismatch && features.message.contains("takes 2 features"))
        let score = try refusal { $0.outputs.score = "nothing" }
        #expect(score.code == .outputMismatch && score.message.contains("'nothing'"))
        let label = try refusal { $0.outputs.label = "probabilities" }
        #expect(label.code == .outputMismatch)
    }

    @Test("A wrong manifest is explained by its field")
    func badManifests() throws {
        func message(_ edit: (inout [String: Any]) -> Void) throws -> String {
            let text = try ModelPackage.manifest().encoded()
            var object = try #require(JSONSerialization.jsonObject(with: Data(text)) as? [String: Any])
            edit(&object)
            let json = Array(try JSONSerialization.data(withJSONObject: object))
            let error = #expect(throws: ModelLoadError.self) { try ModelManifest.decode(json, path: "model.json") }
            return try #require(error).message
        }
        #expect(try message { $0["name"] = nil }.contains("'name' is missing"))
        #expect(try message { $0["features"] = 3 }.contains("'features' has the wrong type"))
        #expect(try message { $0["contract"] = "xyz" }.contains("16 lower-case hexadecimal digits"))
        #expect(try message { $0["onnx"] = "../other.onnx" }.contains("file name beside the manifest"))
        #expect(try message { $0["format"] = 2 }.contains("upgrade"))
        #expect(try message { $0["features"] = ["a", "a"] }.contains("twice"))
        let broken = #expect(throws: ModelLoadError.self) { try ModelManifest.decode([0x7b], path: "model.json") }
        #expect(broken?.message == "model.json: not a model manifest: it is not valid JSON")
        let absent = #expect(throws: ModelLoadError.self) {
            try UnsealedFileSource(manifestPath: "/nonexistent/model.json") { _ in }
        }
        #expect(absent?.code == .unreadable && absent?.message.contains("/nonexistent/model.json") == true)
    }

    @Test("A description names inputs, outputs, opsets and steps, and encodes to JSON")
    func description() throws {
        let description = try makeSession(ModelPackage.bytes(isTwoClass: true)).describe()
        #expect(description.inputs.map(\.name) == ["features"] && description.inputs.map(\.type) == ["float"])
        #expect(description.inputs.map(\.shape) == [["N", "2"]])
        #expect(description.outputs.map(\.name) == ["label", "probabilities"])
        #expect(description.outputs.map(\.shape) == [["N"], ["N", "2"]])
        #expect(description.opsets == ["ai.onnx": 17] && description.parameters == 6)
        #expect(description.steps.first == "dense 2x2 + bias")
        #expect(description.metadata == ["made_by": "a test"])
        #expect(description.text.contains("features: float [N, 2]"))
        let json = try JSONEncoder().encode(description)
        #expect(try JSONDecoder().decode(ModelDescription.self, from: json) == description)
    }

    @Test("The score is the positive class's probability; the label follows from the threshold")
    func binaryScores() throws {
        for isTwoClass in [false, true] {
            let session = try makeSession(ModelPackage.bytes(isTwoClass: isTwoClass))
            let result = session.run([0, 0, 2, 1], count: 2)
            for (threshold, labels) in [(0.5, [0, 1]), (0.2, [1, 1]), (0.99, [0, 0])] {
                var seen: [Int] = []
                Scoring(ModelPackage.manifest(isTwoClass: isTwoClass).outputs, threshold: threshold)
                    .forEach(result) { row, score, label in
                        #expect(abs(score - [0.268_941, 0.952_574][row]) < 1e-5)
                        seen.append(label)
                    }
                #expect(seen == labels)
            }
        }
    }

    @Test("With more classes the score is that of the predicted class, and NaN is not hidden")
    func severalClasses() throws {
        var writer = ONNXWriter(graphName: "identity")
        writer.addInput("x", shape: [.free("N"), .fixed(3)])
        writer.addNode("Identity", ["x"], ["p"])
        writer.addOutput("p", shape: [.free("N"), .fixed(3)])
        let result = try makeSession(writer.encoded()).run([0.1, 0.2, 0.7, 0.6, 0.3, 0.1, 0.5, .nan, 0.5], count: 3)
        var seen: [(Float, Int)] = []
        Scoring(.init(score: "p", positiveClass: nil), threshold: 0.5).forEach(result) { seen.append(($1, $2)) }
        #expect(seen[0] == (0.7, 2) && seen[1] == (0.6, 0))
        #expect(seen[2].0.isNaN)
    }

    @Test("Weights and scratch come from the given allocator, and all of it is given back")
    func allocator() throws {
        let counting = CountingAllocator()
        do {
            let session = try InferenceSession(ModelPackage.bytes().span.bytes, allocator: counting)
            _ = session.run([1, 2], count: 1)
            #expect(counting.live.withLock { $0 } > 0)
        }
        #expect(counting.live.withLock { $0 } == 0)
    }

    @Test("A benchmark measures each batch size")
    func benchmark() throws {
        let result = SessionBenchmark.run(
            try makeSession(ModelPackage.bytes()), batchSizes: [1, 32], duration: .milliseconds(1))
        #expect(result.results.map(\.batch) == [1, 32])
        #expect(result.results.allSatisfy { $0.medianMicroseconds > 0 && $0.calls >= 20 })
    }
}

/// Counts the buffers that live.
final class CountingAllocator: WeightAllocator {
    let live = Mutex(0)

    func allocate(count: Int) throws -> FloatBuffer {
        live.withLock { $0 += 1 }
        let base = UnsafeMutablePointer<Float>.allocate(capacity: max(count, 1))
        base.initialize(repeating: 0, count: max(count, 1))
        return FloatBuffer(adopting: base, count: count) { pointer in
            pointer.deallocate()
            self.live.withLock { $0 -= 1 }
        }
    }
}
