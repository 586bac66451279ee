// InferenceSession: a loaded model and the scratch memory to run it.

import Cryptography
public import Tensor

/// What a run gives: one column block per model output, row-major, reused from run to run.
public struct InferenceOutputs: Sendable {
    public struct Column: Sendable {
        public var name: String
        /// Elements per row.
        public var width: Int
        /// Probabilities and other numbers; empty for integer outputs.
        public fileprivate(set) var floats: [Float] = []
        /// Labels; empty for float outputs.
        public fileprivate(set) var integers: [Int64] = []
    }

    public fileprivate(set) var columns: [Column] = []
    public fileprivate(set) var rowCount = 0

    public init() {}

    public func column(named name: String) -> Column? { columns.first { $0.name == name } }
}

/// A model that is ready to run. One thread at a time uses a session; after the first run of the largest batch a run of
/// dense layers allocates nothing.
public final class InferenceSession {
    /// Nil when the session was made from bytes alone (tools).
    public let manifest: ModelManifest?
    public let isSealed: Bool
    /// Rows of one call; larger counts are run in several.
    public let rowsMax: Int
    private let plan: Plan
    private let model: ONNXModel
    private let workspace: Workspace
    private let byteCount: Int

    /// Scratch of one session, at most.
    private static let scratchBytesMax = 1 << 30

    /// Loads a model and checks it against its manifest: digest, input width, outputs.
    ///
    /// - Parameters:
    ///   - contractHash: of the pipeline's fitted features; a model made for another contract is refused. Nil skips the
    ///     check, for tools that run without a pipeline.
    ///   - rowsMax: rows that the scratch memory is made for.
    public static func load(
        _ source: some ModelSource, contractHash: UInt64?, rowsMax: Int = 256, limits: ONNXLimits = ONNXLimits()
    ) throws -> InferenceSession {
        let manifest = source.manifest
        if let contractHash, manifest.contractHash != contractHash {
            throw ModelLoadError(
                .contractMismatch,
                "\(source.place): model \(manifest.name) \(manifest.version) was trained for the feature contract "
                    + "\(manifest.contract), the pipeline's is \(ModelManifest.hexadecimal(contractHash)): "
                    + "train it again, or fit the pipeline with the reference data it was trained on")
        }
        let session = try source.withModelBytes { bytes in
            let digest = SHA256.digest(of: bytes).hexadecimal
            guard digest == manifest.onnxSHA256 else {
                throw ModelLoadError(
                    .digestMismatch,
                    "\(source.place): the ONNX file's SHA-256 is \(digest), the manifest says \(manifest.onnxSHA256): "
                        + "the file was changed or belongs to another manifest")
            }
            return try InferenceSession(
                bytes, manifest: manifest, isSealed: source.isSealed, rowsMax: rowsMax, limits: limits,
                allocator: source.allocator, place: source.place)
        }
        try session.check(manifest, place: source.place)
        return session
    }

    /// A session from ONNX bytes alone, without a manifest.
    public convenience init(
        _ bytes: RawSpan, rowsMax: Int = 256, limits: ONNXLimits = ONNXLimits(),
        allocator: any WeightAllocator = HeapWeightAllocator()
    ) throws {
        try self.init(
            bytes, manifest: nil, isSealed: false, rowsMax: rowsMax, limits: limits, allocator: allocator, place: "")
    }

    private init(
        _ bytes: RawSpan, manifest: ModelManifest?, isSealed: Bool, rowsMax: Int, limits: ONNXLimits,
        allocator: any WeightAllocator, place: String
    ) throws {
        precondition(rowsMax > 0, "rowsMax must be positive")
        BLAS.setThreads(1)
        self.manifest = manifest
        self.isSealed = isSealed
        byteCount = bytes.byteCount
        let plan: Plan
        do {
            model = try ONNXReader(limits: limits).read(bytes)
            plan = try Planner.plan(model, bytes, limits: limits, allocator: allocator)
        } catch let error as ONNXError {
            guard !place.isEmpty else { throw error }
            throw ONNXError(error.code, "\(place): \(error.message)")
        }
        self.plan = plan
        let width = plan.floatWidths.reduce(0, +) + 2 * plan.integerWidths.reduce(0, +)
        guard width <= Self.scratchBytesMax / 4 else {
            throw ONNXError(
                .tooLarge, "one row needs \(width * 4) bytes of scratch, the limit is \(Self.scratchBytesMax)")
        }
        let rows = max(1, min(rowsMax, Self.scratchBytesMax / (4 * max(width, 1))))
        self.rowsMax = rows
        workspace = Workspace(
            floats: try plan.floatWidths.enumerated().map {
                // Slot 0 is the caller's input.
                try allocator.allocate(count: $0.offset == 0 ? 0 : $0.element * rows)
            },
            integers: plan.integerWidths.map { IntegerBuffer(count: $0 * rows) })
    }

    private func check(_ manifest: ModelManifest, place: String) throws {
        let title = "\(place): model \(manifest.name) \(manifest.version)"
        guard manifest.features.count == inputWidth else {
            throw ModelLoadError(
                .featureMismatch,
                "\(title) takes \(inputWidth) features, its manifest names \(manifest.features.count): "
                    + "the manifest belongs to another model")
        }
        guard let score = plan.outputs.first(where: { $0.name == manifest.outputs.score }), case .float = score.slot
        else {
            throw ModelLoadError(
                .outputMismatch,
                "\(title) has no float output '\(manifest.outputs.score)' for the score; it has "
                    + plan.outputs.map(\.name).joined(separator: ", "))
        }
        if let name = manifest.outputs.label {
            guard let label = plan.outputs.first(where: { $0.name == name }), case .integer = label.slot,
                label.width == 1
            else {
                throw ModelLoadError(.outputMismatch, "\(title) has no output '\(name)' with one integer label a row")
            }
        }
        guard manifest.outputs.positiveClass == nil || score.width <= 2 else {
            throw ModelLoadError(
                .outputMismatch,
                "\(title) has \(score.width) classes, its manifest names a positive class as if it had two")
        }
    }

    /// Floats of one input row.
    public var inputWidth: Int { plan.floatWidths[0] }

    /// Runs the model on `count` rows.
    ///
    /// - Parameters:
    ///   - rows: row-major, `count * inputWidth` floats.
    ///   - outputs: overwritten; keeps its memory from run to run.
    public func run(_ rows: Span<Float>, count: Int, into outputs: inout InferenceOutputs) {
        precondition(count >= 0 && rows.count >= count * inputWidth, "fewer than \(count) rows of \(inputWidth) floats")
        prepare(&outputs, count: count)
        var start = 0
        while start < count {
            let size = min(rowsMax, count - start)
            let input = rows.extracting(start * inputWidth..<(start + size) * inputWidth)
            for kernel in plan.kernels { kernel.run(workspace, input: input, rows: size) }
            for index in plan.outputs.indices { collect(index, input, size, into: &outputs) }
            start += size
        }
    }

    /// Runs the model on an array of rows.
    public func run(_ rows: [Float], count: Int) -> InferenceOutputs {
        var outputs = InferenceOutputs()
        run(rows.span, count: count, into: &outputs)
        return outputs
    }

    private func prepare(_ outputs: inout InferenceOutputs, count: Int) {
        if outputs.columns.count != plan.outputs.count
            || !zip(outputs.columns, plan.outputs).allSatisfy({ $0.name == $1.name && $0.width == $1.width })
        {
            outputs.columns = plan.outputs.map { InferenceOutputs.Column(name: $0.name, width: $0.width) }
        }
        outputs.rowCount = count
        for index in outputs.columns.indices {
            outputs.columns[index].floats.removeAll(keepingCapacity: true)
            outputs.columns[index].integers.removeAll(keepingCapacity: true)
        }
    }

    private func collect(_ index: Int, _ input: Span<Float>, _ rows: Int, into outputs: inout InferenceOutputs) {
        let output = plan.outputs[index]
        let count = rows * output.width
        switch output.slot {
        case .float(let slot):
            workspace.read(slot, count, input: input) { values in
                values.withUnsafeBufferPointer { outputs.columns[index].floats.append(contentsOf: $0) }
            }
        case .integer(let slot):
            workspace.readIntegers(slot, count) { values in
                values.withUnsafeBufferPointer { outputs.columns[index].integers.append(contentsOf: $0) }
            }
        }
    }

    /// Runs each shape on zeros, so that no later batch pays for first-time work.
    public func warmUp(batchSizes: [Int]) {
        var outputs = InferenceOutputs()
        for size in batchSizes where size > 0 {
            let rows = [Float](repeating: 0, count: size * inputWidth)
            run(rows.span, count: size, into: &outputs)
        }
    }

    public func describe() -> ModelDescription {
        let label = plan.inputDimension == .fixed(1) ? "N" : plan.inputDimension.description
        return ModelDescription(
            graph: model.graphName, producer: model.producer, irVersion: model.irVersion,
            opsets: Dictionary(uniqueKeysWithValues: model.opsets.map { (PlanNode.shown($0.key), $0.value) }),
            inputs: [
                .init(
                    name: plan.inputName, type: "\(ONNXElementType.float)",
                    shape: [label] + plan.inputRowShape.map { "\($0)" })
            ],
            outputs: plan.outputs.map {
                .init(name: $0.name, type: "\($0.type)", shape: [label] + $0.rowShape.map { "\($0)" })
            },
            nodes: model.nodes.count, parameters: plan.parameterCount, bytes: byteCount,
            steps: plan.kernels.map(\.summary), classes: plan.classNames, metadata: model.metadata)
    }
}
