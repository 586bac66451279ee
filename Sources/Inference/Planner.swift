// Planner: compiles a model's graph into kernels over reused slots.

import Tensor

/// A value of the batch: `rows` times `rowShape`. The batch is always the first dimension, so a row's result depends on
/// that row alone; an operator that would mix rows is refused.
struct RuntimeValue {
    var slot: Slot
    var rowShape: [Int]
    var type: ONNXElementType

    var width: Int { rowShape.reduce(1, *) }
}

enum PlanValue {
    case constant(Constant)
    case runtime(RuntimeValue)
}

/// The compiled model: immutable, shared by sessions.
struct Plan: Sendable {
    struct Output: Sendable {
        var name: String
        var type: ONNXElementType
        var rowShape: [Int]
        var slot: Slot

        var width: Int { rowShape.reduce(1, *) }
    }

    var inputName: String
    var inputRowShape: [Int]
    var inputDimension: ONNXDimension
    var kernels: [any Kernel]
    /// Floats per row of each float slot; slot 0 is the input and has no buffer.
    var floatWidths: [Int]
    var integerWidths: [Int]
    var outputs: [Output]
    /// Names of the classes when the model's labels are texts; the label output then holds their indices.
    var classNames: [String]?
    var parameterCount: Int
}

struct Planner {
    let limits: ONNXLimits
    let allocator: AllocationBudget
    var values: [String: PlanValue] = [:]
    var kernels: [any Kernel] = []
    var classNames: [String]?
    /// The model fixes its batch at 1; reshapes may then name the batch by that number.
    var isBatchDeclaredOne = false

    private var uses: [String: Int] = [:]
    /// Reads of a slot that are still to come, over all names that share it.
    private var pending: [Slot: Int] = [:]
    private var touched: Set<Slot> = []
    private var freeFloats: [Int] = []
    private var freeIntegers: [Int] = []
    private var floatWidths: [Int] = [0]
    private var integerWidths: [Int] = []

    init(limits: ONNXLimits, allocator: any WeightAllocator) {
        self.limits = limits
        self.allocator = AllocationBudget(allocator, elementsMax: limits.weightElementsMax)
    }

    static func plan(
        _ model: ONNXModel, _ bytes: RawSpan, limits: ONNXLimits, allocator: any WeightAllocator
    ) throws -> Plan {
        try checkOpsets(model)
        var planner = Planner(limits: limits, allocator: allocator)
        let reader = ONNXReader(limits: limits)
        var parameters = 0
        for tensor in model.initializers {
            planner.values[tensor.name] = .constant(try planner.constant(tensor, bytes, reader))
            parameters += tensor.count
        }
        let input = try planner.bindInput(model)
        for node in model.nodes {
            for name in node.inputs where !name.isEmpty { planner.uses[name, default: 0] += 1 }
        }
        for output in model.outputs { planner.uses[output.name, default: 0] += 1 }
        planner.pending[.float(0)] = planner.uses[input.name] ?? 0
        for node in model.nodes {
            let node = try planner.decoded(node, model.opsets, bytes, reader)
            // The classical operators carry their weights in attributes.
            for case .floats(let weights) in node.attributes.values { parameters += weights.count }
            try planner.add(node)
        }
        let outputs = try planner.collectOutputs(model)
        return Plan(
            inputName: input.name, inputRowShape: input.rowShape, inputDimension: input.dimension,
            kernels: planner.kernels, floatWidths: planner.floatWidths, integerWidths: planner.integerWidths,
            outputs: outputs, classNames: planner.classNames, parameterCount: parameters)
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

    private mutating func bindInput(
        _ model: ONNXModel
    ) throws(ONNXError) -> (name: String, rowShape: [Int], dimension: ONNXDimension) {
        // Before IR version 4 initialisers are listed among the inputs.
        let inputs = model.inputs.filter { values[$0.name] == nil }
        guard inputs.count == 1, let input = inputs.first else {
            throw ONNXError(
                .unsupported,
                "the model has \(inputs.count) inputs (\(inputs.map(\.name).joined(separator: ", "))), "
                    + "one tensor [N, features] is needed: export it with a single input")
        }
        guard input.type == .float else {
            throw ONNXError(
                .unsupported,
                "the input '\(input.name)' is of type \(input.type.map { "\($0)" } ?? "not a tensor"), float is needed: "
                    + "export it with float32 inputs")
        }
        guard let shape = input.shape, let first = shape.first, shape.count >= 2 else {
            throw ONNXError(
                .unsupported, "the input '\(input.name)' has no declared shape [N, features]: export it with one")
        }
        var rowShape: [Int] = []
        for dimension in shape.dropFirst() {
            guard case .fixed(let size) = dimension else {
                throw ONNXError(
                    .unsupported, "the input '\(input.name)' has a free dimension other than the first: fix its size")
            }
            rowShape.append(size)
        }
        if case .fixed(let size) = first {
            guard size == 1 else {
                throw ONNXError(
                    .unsupported,
                    "the input '\(input.name)' is fixed to batches of \(size): export it with a free first dimension")
            }
            isBatchDeclaredOne = true
        }
        try checkWidth(rowShape, "the input '\(input.name)'")
        floatWidths[0] = rowShape.reduce(1, *)
        values[input.name] = .runtime(RuntimeValue(slot: .float(0), rowShape: rowShape, type: .float))
        return (input.name, rowShape, first)
    }

    private func collectOutputs(_ model: ONNXModel) throws(ONNXError) -> [Plan.Output] {
        guard !model.outputs.isEmpty else { throw ONNXError(.invalidGraph, "the model has no outputs") }
        var outputs: [Plan.Output] = []
        for info in model.outputs {
            switch values[info.name] {
            case .runtime(let value):
                outputs.append(
                    Plan.Output(name: info.name, type: value.type, rowShape: value.rowShape, slot: value.slot))
            case .constant:
                throw ONNXError(.unsupported, "the output '\(info.name)' does not depend on the input")
            case nil: throw ONNXError(.invalidGraph, "nothing produces the output '\(info.name)'")
            }
        }
        return outputs
    }

    private mutating func add(_ node: PlanNode) throws {
        guard let build = Operators.builder(node) else {
            throw ONNXError(
                .unknownOperator,
                "node '\(node.name.isEmpty ? node.outputs.first ?? "" : node.name)': the operator \(node.operation) of "
                    + "\(PlanNode.shown(node.domain)), opset \(node.opset), is not implemented")
        }
        touched.removeAll(keepingCapacity: true)
        for name in node.inputs where !name.isEmpty {
            guard let value = values[name] else {
                throw node.error(.invalidGraph, "it reads '\(name)', which nothing before it produces")
            }
            guard case .runtime(let runtime) = value else { continue }
            pending[runtime.slot, default: 0] -= 1
            touched.insert(runtime.slot)
        }
        try build(&self, node)
        // Sorted, because slot numbers must not depend on a set's order.
        for slot in touched.sorted(by: Self.precedes) where pending[slot, default: 0] == 0 {
            switch slot {
            case .float(0): break
            case .float(let index): freeFloats.append(index)
            case .integer(let index): freeIntegers.append(index)
            }
        }
    }

    private static func precedes(_ left: Slot, _ right: Slot) -> Bool {
        switch (left, right) {
        case (.float(let a), .float(let b)), (.integer(let a), .integer(let b)): a < b
        case (.float, .integer): true
        case (.integer, .float): false
        }
    }

    // MARK: For operators

    /// The value of input `index`; an error when it is absent.
    func input(_ node: PlanNode, _ index: Int) throws(ONNXError) -> PlanValue {
        guard let value = optionalInput(node, index) else {
            throw node.error(.invalidGraph, "input \(index) is missing")
        }
        return value
    }

    func optionalInput(_ node: PlanNode, _ index: Int) -> PlanValue? {
        guard index < node.inputs.count, !node.inputs[index].isEmpty else { return nil }
        return values[node.inputs[index]]
    }

    /// The float slot and shape of input `index`, which must be a float value of the batch.
    func floatInput(_ node: PlanNode, _ index: Int) throws(ONNXError) -> (slot: Int, value: RuntimeValue) {
        guard case .runtime(let value) = try input(node, index) else {
            throw node.error(.unsupported, "input \(index) is a constant, a value of the batch is needed")
        }
        guard case .float(let slot) = value.slot else {
            throw node.error(.unsupported, "input \(index) is of type \(value.type), float is needed")
        }
        return (slot, value)
    }

    /// Input `index` as constant floats.
    func floatConstant(_ node: PlanNode, _ index: Int) throws(ONNXError) -> (buffer: FloatBuffer, shape: [Int]) {
        guard case .constant(let constant) = try input(node, index) else {
            throw node.error(.unsupported, "input \(index) must be a constant")
        }
        return (try floats(of: constant, node, "input \(index)"), constant.shape)
    }

    func floats(of constant: Constant, _ node: PlanNode, _ what: String) throws(ONNXError) -> FloatBuffer {
        guard case .floats(let buffer) = constant.storage, constant.type == .float else {
            throw node.error(.unsupported, "\(what) is of type \(constant.type), float is needed: export with float32")
        }
        return buffer
    }

    /// Input `index` as constant integers: shapes and axes.
    func integerConstant(_ node: PlanNode, _ index: Int) throws(ONNXError) -> [Int64] {
        guard case .constant(let constant) = try input(node, index), case .integers(let values) = constant.storage
        else {
            throw node.error(.unsupported, "input \(index) must be constant integers")
        }
        return values
    }

    /// Names output `index`. Several names may share a slot: a reshape moves nothing.
    mutating func bind(_ node: PlanNode, _ index: Int, _ value: PlanValue) throws(ONNXError) {
        guard index < node.outputs.count, !node.outputs[index].isEmpty else {
            if case .runtime(let value) = value { touched.insert(value.slot) }
            return
        }
        let name = node.outputs[index]
        guard values[name] == nil else { throw node.error(.invalidGraph, "'\(name)' is produced twice") }
        if case .runtime(let value) = value {
            try checkWidth(value.rowShape, node.place)
            pending[value.slot, default: 0] += uses[name] ?? 0
            touched.insert(value.slot)
        }
        values[name] = value
    }

    func isUsed(_ node: PlanNode, output index: Int) -> Bool {
        index < node.outputs.count && !node.outputs[index].isEmpty && uses[node.outputs[index], default: 0] > 0
    }

    func checkWidth(_ rowShape: [Int], _ place: String) throws(ONNXError) {
        var width = 1
        for size in rowShape {
            guard size > 0 else { throw ONNXError(.invalidGraph, "\(place): a dimension of size 0") }
            let (product, overflow) = width.multipliedReportingOverflow(by: size)
            guard !overflow, product <= limits.tensorElementsMax / 16 else {
                throw ONNXError(
                    .tooLarge, "\(place): a row of shape \(rowShape) exceeds the limit tensorElementsMax / 16")
            }
            width = product
        }
        guard rowShape.count < limits.tensorRankMax else {
            throw ONNXError(.tooLarge, "\(place): the rank exceeds the limit tensorRankMax = \(limits.tensorRankMax)")
        }
    }

    /// A float slot for `width` floats a row; freed ones first.
    mutating func acquireFloats(_ width: Int, _ place: String) throws(ONNXError) -> Int {
        try checkWidth([width], place)
        let best = freeFloats.indices.max { floatWidths[freeFloats[$0]] < floatWidths[freeFloats[$1]] }
        guard let best else {
            floatWidths.append(width)
            return floatWidths.count - 1
        }
        let slot = freeFloats.remove(at: best)
        floatWidths[slot] = max(floatWidths[slot], width)
        return slot
    }

    mutating func acquireIntegers(_ width: Int) -> Int {
        guard let slot = freeIntegers.popLast() else {
            integerWidths.append(width)
            return integerWidths.count - 1
        }
        integerWidths[slot] = max(integerWidths[slot], width)
        return slot
    }

    /// A slot that holds the value and may be overwritten: its own when this was its last reader, else a copy.
    mutating func writable(_ slot: Int, width: Int, _ place: String) throws(ONNXError) -> Int {
        if isLastReader(slot) { return slot }
        let target = try acquireFloats(width, place)
        kernels.append(CopyKernel(source: slot, target: target, width: width))
        return target
    }

    /// Whether nothing after the current node reads the slot, so that it may be overwritten.
    func isLastReader(_ slot: Int) -> Bool { slot != 0 && pending[.float(slot), default: 0] == 0 }
}
