// InferenceSession: a loaded model and the scratch memory to run it.

import Cryptography
import Synchronization
public import Tensor

/// A model that is ready to run. Any number of threads may run it at once: each run takes a workspace of its own. After
/// the first run of a thread, runs allocate nothing.
///
/// A row's result does not depend on the rows around it: its bits are the same in every batch.
public final class InferenceSession: Sendable {
    /// Nil when the session was made from bytes alone (tools).
    public let manifest: ModelManifest?
    public let isSealed: Bool
    /// Rows that the caller means to pass at once; larger counts are run as well.
    public let rowsMax: Int
    /// Converter's mistakes that were tolerated.
    public var warnings: [String] { plan.warnings }
    let plan: Plan
    private let information: ModelInformation
    private let allocator: any WeightAllocator
    /// Rows that pass through all steps together, so that what lies between stays in the cache.
    private let blockRows: Int
    private let first: Mutex<Workspace>
    private let others = Mutex<[Workspace]>([])

    /// Scratch of one run, at most.
    private static let scratchBytesMax = 1 << 30
    /// Intermediate values of a block of rows, about.
    private static let blockBytes = 2 << 20
    private static let blockRowsMax = 256

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
            let digest = source.verifiedDigest ?? SHA256.digest(of: bytes).hexadecimal
            guard digest == manifest.onnxSHA256 else {
                throw ModelLoadError(
                    .digestMismatch,
                    "\(source.place): the ONNX file's SHA-256 is \(digest), the manifest says \(manifest.onnxSHA256): "
                        + "the file was changed or belongs to another manifest")
            }
            return try InferenceSession(
                bytes, manifest: manifest, isSealed: source.isSealed, rowsMax: rowsMax, limits: limits,
                allocator: source.allocator, batching: .rows, files: source.files, place: source.place)
        }
        try session.check(manifest, place: source.place)
        return session
    }

    /// A session from ONNX bytes alone, without a manifest.
    ///
    /// - Parameters:
    ///   - batching: whether an input `[1, ...]` stands for one row of a batch.
    ///   - files: where external data may stand.
    public convenience init(
        _ bytes: RawSpan, rowsMax: Int = 256, limits: ONNXLimits = ONNXLimits(),
        allocator: any WeightAllocator = HeapWeightAllocator(), batching: Batching = .rows,
        files: (any ModelFileTable)? = nil
    ) throws {
        try self.init(
            bytes, manifest: nil, isSealed: false, rowsMax: rowsMax, limits: limits, allocator: allocator,
            batching: batching, files: files, place: "")
    }

    private init(
        _ bytes: RawSpan, manifest: ModelManifest?, isSealed: Bool, rowsMax: Int, limits: ONNXLimits,
        allocator: any WeightAllocator, batching: Batching, files: (any ModelFileTable)?, place: String
    ) throws {
        precondition(rowsMax > 0, "rowsMax must be positive")
        self.manifest = manifest
        self.isSealed = isSealed
        self.rowsMax = rowsMax
        self.allocator = allocator
        let plan: Plan
        do {
            let model = try ONNXReader(limits: limits).read(bytes)
            plan = try Planner.plan(
                model, bytes, limits: limits, allocator: allocator, batching: batching, files: files)
            information = ModelInformation(model, byteCount: bytes.byteCount)
        } catch let error as ONNXError {
            guard !place.isEmpty else { throw error }
            throw ONNXError(error.code, "\(place): \(error.message)")
        }
        self.plan = plan
        let perRow = plan.bytesPerRow
        guard perRow <= Self.scratchBytesMax, plan.memory.bytesFixed <= Self.scratchBytesMax else {
            throw ONNXError(
                .tooLarge,
                "one row needs \(perRow + plan.memory.bytesFixed) bytes of scratch, the limit is \(Self.scratchBytesMax)"
            )
        }
        let fitting = max(Self.blockBytes / max(perRow, 1), 16)
        blockRows = max(1, min(rowsMax, Self.blockRowsMax, fitting, Self.scratchBytesMax / max(perRow, 1)))
        first = Mutex(try Workspace(plan, rowsMax: blockRows, allocator: allocator))
    }

    private func check(_ manifest: ModelManifest, place: String) throws {
        let title = "\(place): model \(manifest.name) \(manifest.version)"
        guard manifest.features.count == inputWidth else {
            throw ModelLoadError(
                .featureMismatch,
                "\(title) takes \(inputWidth) features, its manifest names \(manifest.features.count): "
                    + "the manifest belongs to another model")
        }
        guard let score = plan.outputs.first(where: { $0.name == manifest.outputs.score }),
            score.value.type == .float || score.value.type == .double, score.isRows
        else {
            throw ModelLoadError(
                .outputMismatch,
                "\(title) has no float output '\(manifest.outputs.score)' for the score; it has "
                    + plan.outputs.map(\.name).joined(separator: ", "))
        }
        if let name = manifest.outputs.label {
            guard let label = plan.outputs.first(where: { $0.name == name }), label.value.storage == .integer,
                label.isRows, label.width == 1
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

    /// Floats of one input row: the widths of all inputs with rows, in their order.
    public var inputWidth: Int { plan.rowWidth }

    /// Runs the model on `count` rows.
    ///
    /// - Parameters:
    ///   - rows: row-major, `count * inputWidth` floats. A model with several inputs takes their columns from left to
    ///     right, converted to its types.
    ///   - outputs: overwritten; keeps its memory from run to run.
    public func run(_ rows: Span<Float>, count: Int, into outputs: inout InferenceOutputs) {
        precondition(count >= 0 && rows.count >= count * inputWidth, "fewer than \(count) rows of \(inputWidth) floats")
        prepare(&outputs, count: count)
        rows.withUnsafeBufferPointer { rows in
            withWorkspace { workspace in
                var start = 0
                while start < count {
                    let size = min(blockRows, count - start)
                    if let base = rows.baseAddress { bind(base + start * inputWidth, size, workspace) }
                    let frame = workspace.frame(rows: size)
                    for step in plan.steps { step.run(frame) }
                    collect(frame, &outputs)
                    start += size
                }
            }
        }
    }

    /// Runs the model on an array of rows.
    public func run(_ rows: [Float], count: Int) -> InferenceOutputs {
        var outputs = InferenceOutputs()
        run(rows.span, count: count, into: &outputs)
        return outputs
    }

    private func withWorkspace(_ body: (Workspace) -> Void) {
        if first.withLockIfAvailable({ body($0) }) != nil { return }
        let other = others.withLock { $0.popLast() } ?? (try? Workspace(plan, rowsMax: blockRows, allocator: allocator))
        guard let other else {
            // No memory for another one: wait for the first.
            first.withLock { body($0) }
            return
        }
        body(other)
        others.withLock { $0.append(other) }
    }

    private func prepare(_ outputs: inout InferenceOutputs, count: Int) {
        if outputs.owner != ObjectIdentifier(self) {
            outputs.owner = ObjectIdentifier(self)
            outputs.columns = plan.outputs.map {
                InferenceOutputs.Column(name: $0.name, width: $0.isRows ? $0.width : 0)
            }
        }
        outputs.rowCount = count
        for index in outputs.columns.indices {
            outputs.columns[index].floats.removeAll(keepingCapacity: true)
            outputs.columns[index].integers.removeAll(keepingCapacity: true)
        }
    }

    /// A single float input is read where it stands; otherwise columns are copied.
    private func bind(_ rows: UnsafePointer<Float>, _ count: Int, _ workspace: Workspace) {
        if plan.takesRowsDirectly {
            workspace.useInput(0, UnsafeRawPointer(rows))
            return
        }
        var offset = 0
        for (index, input) in plan.inputs.enumerated() where input.shape.isRowMajor && input.type != .string {
            let width = input.shape.unit
            for row in 0..<count {
                for column in 0..<width {
                    let value = rows[row * inputWidth + offset + column]
                    switch input.type.storage {
                    case .double: workspace.input(index, Double.self)[row * width + column] = Double(value)
                    case .integer:
                        workspace.input(index, Int64.self)[row * width + column] =
                            Operators.wrapped(Int64(exactly: value.rounded(.towardZero)) ?? 0, input.type)
                    default: workspace.input(index, Float.self)[row * width + column] = value
                    }
                }
            }
            offset += width
        }
    }

    private func collect(_ frame: Frame, _ outputs: inout InferenceOutputs) {
        for (index, output) in plan.outputs.enumerated() where output.isRows {
            let count = frame.rows * output.width
            switch output.value.storage {
            case .float:
                outputs.columns[index].floats.append(
                    contentsOf: UnsafeBufferPointer(start: frame.floats(output.value.id), count: count))
            case .double:
                let values = frame.pointer(output.value.id, Double.self)
                for position in 0..<count { outputs.columns[index].floats.append(Float(values[position])) }
            case .integer:
                outputs.columns[index].integers.append(
                    contentsOf: UnsafeBufferPointer(start: frame.integers(output.value.id), count: count))
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

    /// A workspace for a run of exactly these rows.
    func makeWorkspace(rows: Int) throws -> Workspace {
        let (bytes, overflow) = plan.bytesPerRow.multipliedReportingOverflow(by: rows)
        guard !overflow, bytes <= Self.scratchBytesMax else {
            throw ONNXError(.tooLarge, "\(rows) rows need more than \(Self.scratchBytesMax) bytes of scratch")
        }
        return try Workspace(plan, rowsMax: max(rows, 1), allocator: allocator)
    }

    public func describe() -> ModelDescription {
        let hasTexts = plan.outputs.contains { $0.value.type == .string }
        return ModelDescription(
            graph: information.graph, producer: information.producer, irVersion: information.irVersion,
            opsets: information.opsets,
            inputs: plan.inputs.map { input in
                .init(name: input.name, type: "\(input.type)", shape: input.shown)
            },
            outputs: plan.outputs.map { output in
                .init(name: output.name, type: "\(output.value.type)", shape: plan.shown(output.value.shape))
            },
            nodes: information.nodes, parameters: plan.parameterCount, bytes: information.byteCount,
            steps: plan.steps.map(\.summary), classes: hasTexts ? plan.texts : nil, metadata: information.metadata,
            warnings: plan.warnings)
    }
}

/// What is kept of the file for descriptions.
private struct ModelInformation: Sendable {
    var graph: String
    var producer: String
    var irVersion: Int64
    var opsets: [String: Int]
    var nodes: Int
    var byteCount: Int
    var metadata: [String: String]

    init(_ model: ONNXModel, byteCount: Int) {
        graph = model.graphName
        producer = model.producer
        irVersion = model.irVersion
        opsets = Dictionary(model.opsets.map { (PlanNode.shown($0.key), $0.value) }) { first, _ in first }
        nodes = model.nodes.count
        metadata = model.metadata
        self.byteCount = byteCount
    }
}

extension Plan {
    /// The whole input is one matrix of floats.
    var takesRowsDirectly: Bool { inputs.count == 1 && inputs[0].type == .float && inputs[0].shape.isRowMajor }

    var rowWidth: Int {
        inputs.reduce(0) { $0 + ($1.shape.isRowMajor && $1.type != .string ? $1.shape.unit : 0) }
    }

    /// Scratch and inputs of a row.
    var bytesPerRow: Int {
        memory.bytesPerRow + inputs.reduce(0) { $0 + $1.shape.unit * ($1.type.storage?.byteCount ?? 8) }
    }

    /// A shape with the batch under its name in the model.
    func shown(_ shape: Shape) -> [String] {
        let name = inputs.first { $0.shape.isBatched }?.batchName ?? "N"
        return shape.dims.indices.map { axis in
            guard shape.isBatch(axis) else { return "\(shape.dims[axis])" }
            return shape.dims[axis] == 1 ? name : "\(shape.dims[axis])*\(name)"
        }
    }
}

extension Plan.Input {
    /// The name that the model gives the batch dimension.
    var batchName: String? {
        guard let axis = shape.batchAxis, axis < declared.count else { return nil }
        guard case .free = declared[axis] else { return "N" }
        return declared[axis].description
    }

    var shown: [String] { shape.dims.indices.map { shape.isBatch($0) ? batchName ?? "N" : "\(shape.dims[$0])" } }
}

extension Plan.Output {
    /// It has the rows of the batch, one after another.
    var isRows: Bool { value.shape.isRowMajor }
    /// Elements per row.
    var width: Int { value.shape.unit }
}
