// InferenceProcessorTests: features in, predictions or dead letters out.

import EventContracts
import Foundation
import Inference
import InferenceStage
import Observability
import PipelineContract
import StageRuntime
import Testing

@Suite("The inference stage")
struct InferenceProcessorTests {
    private let context = ProcessingContext(nowMicroseconds: 1_700_000_000_000_000, clusterID: "test")

    /// Adds a `features` record with `row` as its place in the input.
    private func append(
        _ values: [Float], key: String, row: Int, contract: UInt64 = ModelPackage.contract, to batch: inout RecordBatch
    ) {
        let prefix = RecordPrefix(
            kind: .features, eventID: EventID(high: 0x8000, low: UInt64(row) | 1 << 63), eventTime: 1, publishTime: 2,
            ingestTime: 3, stageTime: 4, inputOffset: Int64(row), inputPartition: 3, payloadHash: 5,
            contractHash: contract, trace: nil, isIdentifiedByPublisher: true)
        var bytes: [UInt8] = []
        FeatureRecordEncoder(featureCount: values.count).append(
            prefix: prefix, source: Array("/test".utf8).span.bytes, id: Array("id-\(row)".utf8).span.bytes,
            values: values.span, imputed: [UInt8](repeating: 1, count: values.count).span,
            outliers: [UInt8](repeating: 0, count: values.count).span, to: &bytes)
        append(bytes: bytes, key: key, row: row, to: &batch)
    }

    private func append(bytes: [UInt8], key: String, row: Int, to batch: inout RecordBatch) {
        batch.append(
            origin: .init(topicIndex: 0, partition: 3, offset: Int64(row)), timestampMilliseconds: 1,
            key: Array(key.utf8).span.bytes, value: bytes.span.bytes)
    }

    private func processor(
        version: String = "1", isTwoClass: Bool = false, computeSeconds: Histogram? = nil
    ) throws -> InferenceProcessor {
        InferenceProcessor(
            model: try model(version: version, isTwoClass: isTwoClass), contractHash: ModelPackage.contract,
            computeSeconds: computeSeconds)
    }

    private func model(version: String, isTwoClass: Bool = false) throws -> LoadedModel {
        let package = try ModelPackage.make(isTwoClass: isTwoClass) { $0.version = version }
        defer { package.remove() }
        return try LoadedModel.load(
            try package.source(), contractHash: ModelPackage.contract, threshold: 0.5, recordsMax: 64)
    }

    private func predictions(_ output: OutputBatch) throws -> [[String: Any]] {
        try output.emissions.map { emission in
            let bytes = output.arena[emission.value.start..<emission.value.start + emission.value.length]
            return try #require(JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])
        }
    }

    @Test("Each record gets one prediction in input order, named by model, version and contract")
    func order() throws {
        for isTwoClass in [false, true] {
            var batch = RecordBatch()
            for row in 0..<300 { append([Float(row) / 100, -1], key: "k\(row % 7)", row: row, to: &batch) }
            batch.seal()
            let computes = MetricsRegistry().histogram(
                MetricNames.inferenceComputeSeconds, "inference", "test-model")
            var processor = try processor(isTwoClass: isTwoClass, computeSeconds: computes)
            var output = processor.makeOutput()
            try processor.process(batch, context: context, into: &output)
            #expect(output.firstWithoutSingleOutcome(count: batch.count) == nil)
            #expect(output.emissions.map(\.source) == Array(0..<300) && output.deadLetters.isEmpty)
            #expect(output.emissions.allSatisfy { $0.topicIndex == 0 })
            #expect(computes.snapshot.count == 1 && computes.snapshot.sum > 0)
            for (row, prediction) in try predictions(output).enumerated() {
                let expected = 1 / (1 + exp(-(Double(row) / 100 - 3)))
                let score = try #require(prediction["score"] as? Double)
                #expect(abs(score - expected) < 1e-5)
                #expect(prediction["label"] as? Int == (expected >= 0.5 ? 1 : 0) || abs(expected - 0.5) < 1e-5)
                #expect(prediction["entity"] as? String == "k\(row % 7)")
                #expect(prediction["id"] as? String == "id-\(row)" && prediction["source"] as? String == "/test")
                #expect(prediction["model"] as? String == "test-model" && prediction["model_version"] as? String == "1")
                #expect(prediction["contract"] as? String == "0123456789abcdef")
                #expect(prediction["imputed"] as? Int == 2 && prediction["outliers"] as? Int == 0)
                #expect(prediction["input_offset"] as? Int == row)
            }
        }
    }

    @Test(
        "Malformed records, another contract and scores that are not finite become dead letters, the rest predictions")
    func deadLetters() throws {
        var batch = RecordBatch()
        append([1, 1], key: "a", row: 0, to: &batch)
        append([1, 1], key: "b", row: 1, contract: 99, to: &batch)
        append([1, 2, 3, 4], key: "c", row: 2, to: &batch)
        append(bytes: Array("nonsense".utf8), key: "d", row: 3, to: &batch)
        append([3e38, 3e38], key: "e", row: 4, to: &batch)
        append([-2, 3], key: "f", row: 5, to: &batch)
        batch.seal()
        // Inputs that are finite still overflow this model: infinity less infinity is not a number.
        var writer = ONNXWriter(graphName: "overflow")
        writer.addInput("x", shape: [.free("N"), .fixed(2)])
        writer.addInitializer("w", dims: [2, 1], floats: [1, 1])
        writer.addNode("MatMul", ["x", "w"], ["s"])
        writer.addNode("Sub", ["s", "s"], ["z"])
        writer.addNode("Sigmoid", ["z"], ["probabilities"])
        writer.addOutput("probabilities", shape: [.free("N"), .fixed(1)])
        let bytes = writer.encoded()
        let package = try ModelPackage.make {
            $0 = ModelManifest(
                name: "overflow", version: "1", contract: ModelPackage.contract, features: ["a", "b"],
                onnx: "model.onnx", onnxBytes: bytes, outputs: .init(score: "probabilities"))
        }
        defer { package.remove() }
        try Data(bytes).write(to: URL(filePath: package.onnxPath))
        var processor = InferenceProcessor(
            model: try LoadedModel.load(
                try package.source(), contractHash: ModelPackage.contract, threshold: 0.5, recordsMax: 8),
            contractHash: ModelPackage.contract)
        var output = processor.makeOutput()
        try processor.process(batch, context: context, into: &output)
        #expect(output.firstWithoutSingleOutcome(count: batch.count) == nil)
        #expect(output.emissions.map(\.source) == [0, 5])
        let codes = Dictionary(uniqueKeysWithValues: output.deadLetters.map { ($0.source, $0.code) })
        #expect(codes == [1: .contractMismatch, 2: .malformedRecord, 3: .malformedRecord, 4: .nonFinitePrediction])
        #expect(output.deadLetters.last?.message.contains("overflow 1") == true)
    }

    @Test("A model of another name, with other features or in another order is refused for a pipeline")
    func pipelineMismatch() throws {
        let root = Fixture.directory.deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let pipeline = try PipelineLoader.load(path: root.appending(path: "topics/housing/pipeline.yaml").path)
        func load(_ edit: (inout ModelManifest) -> Void) throws -> String {
            let package = try ModelPackage.make {
                $0.name = "housing-dense"
                edit(&$0)
            }
            defer { package.remove() }
            let source = try package.source()
            let error = #expect(throws: ModelLoadError.self) {
                try InferenceProcessor.load(
                    source, for: pipeline, contractHash: ModelPackage.contract, registry: MetricsRegistry())
            }
            return try #require(error).message
        }
        #expect(try load { $0.name = "other" }.contains("serves 'housing-dense'"))
        #expect(try load { $0.features = ["MedInc", "AveRooms"] }.contains("feature 2 of the model is 'AveRooms'"))
        #expect(try load { $0.features = ["MedInc", "HouseAge"] }.contains("the pipeline makes 8"))
    }

    @Test("A batch of bad records alone never reaches the model")
    func nothingToDo() throws {
        var batch = RecordBatch()
        append([], key: "a", row: 0, to: &batch)
        batch.seal()
        let computes = MetricsRegistry().histogram(MetricNames.inferenceComputeSeconds, "inference", "test-model")
        var processor = try processor(computeSeconds: computes)
        var output = processor.makeOutput()
        try processor.process(batch, context: context, into: &output)
        #expect(output.deadLetters.count == 1 && computes.snapshot.count == 0)
    }

    @Test("A successor takes over at the next batch, and a rollback brings the previous model back")
    func swap() throws {
        var processor = try processor(version: "1")
        func version() throws -> String? {
            var batch = RecordBatch()
            append([0, 0], key: "a", row: 0, to: &batch)
            batch.seal()
            var output = processor.makeOutput()
            try processor.process(batch, context: context, into: &output)
            return try predictions(output).first?["model_version"] as? String
        }
        #expect(try version() == "1")
        let hadPrevious = processor.models.rollBack()
        #expect(!hadPrevious)
        processor.models.offer(try model(version: "2"))
        #expect(processor.models.current.manifest.version == "1")
        #expect(try version() == "2")
        #expect(processor.models.previous?.manifest.version == "1")
        let rolledBack = processor.models.rollBack()
        #expect(rolledBack)
        #expect(try version() == "1")
        #expect(processor.models.previous?.manifest.version == "2")
    }

    @Test(
        "What another thread puts in the mailbox serves from the next batch on; a warm model comes back without loading"
    )
    func mailbox() throws {
        var processor = try processor(version: "1")
        let mailbox = processor.mailbox
        func versions() throws -> Set<String> {
            var batch = RecordBatch()
            for row in 0..<300 { append([0, 0], key: "a", row: row, to: &batch) }
            batch.seal()
            var output = processor.makeOutput()
            try processor.process(batch, context: context, into: &output)
            return Set(try predictions(output).compactMap { $0["model_version"] as? String })
        }
        #expect(try versions() == ["1"])
        #expect(!mailbox.rollBack(to: "1") && !mailbox.rollBack(to: "2"))
        mailbox.serve(try model(version: "2"))
        #expect(mailbox.current == "1")
        #expect(try versions() == ["2"])
        #expect(mailbox.current == "2")
        #expect(mailbox.rollBack(to: "1"))
        #expect(try versions() == ["1"])
        // An order that was withdrawn in time is not carried out; a later one replaces an earlier one.
        mailbox.serve(try model(version: "3"))
        mailbox.keep()
        #expect(try versions() == ["1"])
        mailbox.serve(try model(version: "4"))
        mailbox.serve(try model(version: "5"))
        #expect(try versions() == ["5"])
        #expect(mailbox.rollBack(to: "1") && !mailbox.rollBack(to: "4"))
    }
}
