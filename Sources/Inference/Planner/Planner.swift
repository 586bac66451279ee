// Planner: compiles a model's graph into steps over places in memory.

import Tensor

/// How the first dimension of an input without a free dimension is taken.
public enum Batching: Sendable {
    /// An input `[1, ...]` stands for one row of a batch: the streaming data path.
    case rows
    /// Shapes are taken as they are declared.
    case asDeclared
}

/// Where a value stands at run time.
struct Place {
    enum Kind {
        case input(Int)
        /// Memory of the allocator, filled while planning.
        case constant(UnsafeMutableRawPointer, owner: Any)
        case computed
    }

    var kind: Kind
    var storage: StorageKind
    var shape: Shape
}

/// Walks the graph once. Each operator's builder looks at its inputs, appends steps and binds its outputs. A node whose
/// inputs are all constants is run at once (constant folding). Dense layers and scalers stay drafts until the end, so
/// that what follows can be fused into them.
final class Planner {
    let limits: ONNXLimits
    let allocator: AllocationBudget
    let batching: Batching
    let files: (any ModelFileTable)?
    let reader: ONNXReader
    var values: [String: PlanValue] = [:]
    var places: [Place] = []
    var drafts: [StepDraft] = []
    var texts = TextTable()
    var warnings: [String] = []
    /// The model declares its batch as 1; reshapes may then name the batch by that number.
    var isBatchDeclaredOne = false
    var parameterCount = 0
    /// Valid while `plan` runs.
    private let file: UnsafeRawBufferPointer
    var uses: [String: Int] = [:]
    /// Places with more than one name and more than one reader.
    var shared: Set<Int> = []
    /// Draft that writes a place.
    var producers: [Int: Int] = [:]
    var materialized: [String: RuntimeValue] = [:]

    init(
        _ file: UnsafeRawBufferPointer, limits: ONNXLimits, allocator: any WeightAllocator, batching: Batching,
        files: (any ModelFileTable)?
    ) {
        self.file = file
        self.limits = limits
        self.batching = batching
        self.files = files
        self.allocator = AllocationBudget(allocator, elementsMax: limits.weightElementsMax)
        reader = ONNXReader(limits: limits)
    }

    func withBytes<R, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
        try body(RawSpan(_unsafeBytes: file))
    }

    func fileBytes(_ range: Range<Int>) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: file[range]) }

    static func plan(
        _ model: ONNXModel, _ bytes: RawSpan, limits: ONNXLimits, allocator: any WeightAllocator, batching: Batching,
        files: (any ModelFileTable)?
    ) throws -> Plan {
        try checkOpsets(model)
        return try bytes.withUnsafeBytes { file in
            try Planner(file, limits: limits, allocator: allocator, batching: batching, files: files).plan(model)
        }
    }

    private static func checkOpsets(_ model: ONNXModel) throws(ONNXError) {
        guard !model.opsets.isEmpty else { throw ONNXError(.malformed, "the model imports no opset") }
        if let version = model.opsets[""], !(7...22).contains(version) {
            throw ONNXError(
                .unsupported, "the model uses opset \(version) of ai.onnx, this engine knows 7 to 22: export it again")
        }
        if let version = model.opsets["ai.onnx.ml"], !(1...5).contains(version) {
            throw ONNXError(
                .unsupported, "the model uses opset \(version) of ai.onnx.ml, this engine knows 1 to 5: export it again"
            )
        }
    }

    private func plan(_ model: ONNXModel) throws -> Plan {
        for node in model.nodes {
            // Class labels come first, so that a label's number is its class's.
            if case .strings(let names) = node.attributes["classlabels_strings"] { _ = names.map { texts.number($0) } }
        }
        for tensor in model.initializers {
            values[tensor.name] = .constant(try constant(tensor))
            parameterCount += tensor.count
        }
        let inputs = try bindInputs(model)
        for node in model.nodes {
            for name in node.inputs where !name.isEmpty { uses[name, default: 0] += 1 }
        }
        for output in model.outputs { uses[output.name, default: 0] += 1 }
        for node in model.nodes {
            try add(
                PlanNode(
                    name: node.name, operation: node.operation, domain: node.domain,
                    opset: model.opsets[node.domain] ?? 0, inputs: node.inputs, outputs: node.outputs,
                    attributes: node.attributes))
        }
        let outputs = try collectOutputs(model)
        let steps = try drafts.compactMap { try $0.finished(self) }
        return Plan(
            inputs: inputs, outputs: outputs, steps: steps,
            memory: MemoryPlan(places: places, steps: steps, kept: outputs.map(\.value.id)), texts: texts.all,
            warnings: warnings, parameterCount: parameterCount)
    }

    private func bindInputs(_ model: ONNXModel) throws(ONNXError) -> [Plan.Input] {
        // Before IR version 4 initialisers are listed among the inputs.
        let inputs = model.inputs.filter { values[$0.name] == nil }
        guard !inputs.isEmpty || batching == .asDeclared else {
            throw ONNXError(.unsupported, "the model has no inputs")
        }
        let hasFree = inputs.contains { $0.shape?.contains { if case .free = $0 { true } else { false } } ?? false }
        isBatchDeclaredOne = !hasFree && batching == .rows
        var bound: [Plan.Input] = []
        for input in inputs {
            guard let type = input.type, type.storage != nil else {
                throw ONNXError(.unsupported, "input '\(input.name)' is not a tensor of a type this engine computes in")
            }
            guard let declared = input.shape, batching == .asDeclared || !declared.isEmpty else {
                throw ONNXError(.unsupported, "input '\(input.name)' declares no shape: export it with [N, features]")
            }
            var shape = Shape([])
            for (axis, dimension) in declared.enumerated() {
                switch dimension {
                case .fixed(let size):
                    if axis == 0 && isBatchDeclaredOne {
                        guard size == 1 else {
                            throw ONNXError(
                                .unsupported,
                                "input '\(input.name)' fixes the batch to \(size): export it with a free first dimension"
                            )
                        }
                        shape.batchAxis = 0
                    }
                    shape.dims.append(size)
                case .free(let name):
                    guard shape.batchAxis == nil else {
                        throw ONNXError(
                            .unsupported,
                            "dimension \(axis) ('\(name)') of input '\(input.name)' is free beside the batch: fix its size"
                        )
                    }
                    shape.batchAxis = axis
                    shape.dims.append(1)
                }
            }
            try check(shape, "input '\(input.name)'")
            let id = makePlace(.input(bound.count), type, shape)
            values[input.name] = .runtime(RuntimeValue(id: id, shape: shape, type: type))
            bound.append(Plan.Input(name: input.name, type: type, shape: shape, declared: declared))
        }
        return bound
    }

    private func collectOutputs(_ model: ONNXModel) throws -> [Plan.Output] {
        guard !model.outputs.isEmpty else { throw ONNXError(.invalidGraph, "the model has no outputs") }
        return try model.outputs.map { output in
            guard let value = values[output.name] else {
                throw ONNXError(.invalidGraph, "no node produces the output '\(output.name)'")
            }
            let runtime = try self.runtime(value, "output '\(output.name)'")
            if let declared = output.shape, !agrees(declared, runtime.shape) {
                warnings.append(
                    "output '\(output.name)' is declared as [\(declared.map(\.description).joined(separator: ", "))], "
                        + "it is \(runtime.shape.text): a converter's mistake, the true shape is used")
            }
            if let type = output.type, type != runtime.type {
                warnings.append("output '\(output.name)' is declared as \(type), it is \(runtime.type)")
            }
            return Plan.Output(name: output.name, value: runtime)
        }
    }

    private func agrees(_ declared: [ONNXDimension], _ shape: Shape) -> Bool {
        declared.count == shape.rank
            && zip(declared, shape.dims.indices).allSatisfy { dimension, axis in
                guard case .fixed(let size) = dimension else { return true }
                return shape.isBatch(axis) ? isBatchDeclaredOne && size == shape.dims[axis] : size == shape.dims[axis]
            }
    }

    private func add(_ node: PlanNode) throws {
        guard let builder = Operators.builder(node) else {
            throw ONNXError(
                .unknownOperator,
                "\(node.place): this engine has no such operator\(node.opset == 0 ? ", and the model does not import its domain" : "") (docs/models.md lists those it has)"
            )
        }
        let firstDraft = drafts.count
        let firstPlace = places.count
        let isConstant =
            node.inputs.allSatisfy {
                if $0.isEmpty { return true }
                if case .constant = values[$0] { return true }
                return false
            } && !node.inputs.isEmpty
        try builder(self, node)
        for name in node.outputs where !name.isEmpty && values[name] == nil {
            throw node.error(.unsupported, "its output '\(name)' is not implemented")
        }
        if isConstant { try fold(node, drafts: firstDraft, places: firstPlace) }
    }

    /// Runs the steps of a node whose inputs are constants and keeps the results.
    private func fold(_ node: PlanNode, drafts first: Int, places firstPlace: Int) throws {
        let steps = try drafts[first...].compactMap { try $0.finished(self) }
        drafts.removeSubrange(first...)
        for index in firstPlace..<places.count {
            guard case .computed = places[index].kind else { continue }
            let place = places[index]
            let memory = try ModelArray<UInt64>(count: (place.shape.unit * place.storage.byteCount + 7) / 8, allocator)
            places[index].kind = .constant(UnsafeMutableRawPointer(memory.pointer), owner: memory)
        }
        let runTexts = RunTexts(texts)
        Frame.withPointers(places) { pointers in
            let frame = Frame(rows: 1, pointers: pointers, texts: runTexts)
            for step in steps { step.run(frame) }
        }
        texts = runTexts.table
        for name in node.outputs where !name.isEmpty {
            guard case .runtime(let value) = values[name],
                case .constant(let pointer, let owner) = places[value.id].kind
            else { continue }
            values[name] = .constant(try constant(at: pointer, owner: owner, value))
            producers[value.id] = nil
        }
    }

    private func constant(at pointer: UnsafeMutableRawPointer, owner: Any, _ value: RuntimeValue) throws -> Constant {
        let count = value.shape.unit
        func copy<T: BitwiseCopyable>(_ type: T.Type) throws -> ModelArray<T> {
            let array = try ModelArray<T>(count: count, allocator)
            array.pointer.update(from: pointer.assumingMemoryBound(to: T.self), count: count)
            return array
        }
        let storage: Constant.Storage =
            switch value.storage {
            case .float: .floats(try copy(Float.self))
            case .double: .doubles(try copy(Double.self))
            case .integer: .integers(try copy(Int64.self))
            }
        withExtendedLifetime(owner) {}
        return Constant(shape: value.shape.dims, type: value.type, storage: storage)
    }
}
