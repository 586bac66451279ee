// Planner+Values: places, names and drafts while the graph is walked.

import Tensor

extension Planner {
    func makePlace(_ kind: Place.Kind, _ type: ONNXElementType, _ shape: Shape) -> Int {
        places.append(Place(kind: kind, storage: type.storage ?? .float, shape: shape))
        return places.count - 1
    }

    func check(_ shape: Shape, _ what: String) throws(ONNXError) {
        guard shape.rank <= min(limits.tensorRankMax, Extents.rankMax) else {
            throw ONNXError(
                .tooLarge, "\(what): rank \(shape.rank) is over the limit tensorRankMax = \(limits.tensorRankMax)")
        }
        var count = 1
        for size in shape.dims {
            let (product, overflow) = count.multipliedReportingOverflow(by: max(size, 1))
            guard size >= 0, !overflow, product <= limits.tensorElementsMax else {
                throw ONNXError(
                    .tooLarge,
                    "\(what): the shape \(shape.text) is over the limit tensorElementsMax = \(limits.tensorElementsMax)"
                )
            }
            count = product
        }
    }

    /// A new place for a result.
    func makeValue(_ node: PlanNode, _ shape: Shape, _ type: ONNXElementType) throws(ONNXError) -> RuntimeValue {
        guard type.storage != nil else { throw node.error(.unsupported, "results of type \(type)") }
        try check(shape, node.place)
        return RuntimeValue(id: makePlace(.computed, type, shape), shape: shape, type: type)
    }

    func bind(_ node: PlanNode, _ index: Int, _ value: PlanValue) throws(ONNXError) {
        guard index < node.outputs.count, !node.outputs[index].isEmpty else { return }
        let name = node.outputs[index]
        guard values[name] == nil else { throw node.error(.invalidGraph, "the value '\(name)' is produced twice") }
        values[name] = value
    }

    func isUsed(_ node: PlanNode, output index: Int) -> Bool {
        index < node.outputs.count && !node.outputs[index].isEmpty && uses[node.outputs[index]] != nil
    }

    func append(_ step: any Step) { append(.ready(step)) }

    func append(_ draft: StepDraft) {
        drafts.append(draft)
        for id in draft.writes { producers[id] = drafts.count - 1 }
    }

    /// The draft that makes input `index` when nothing else reads its result, so that it may be changed.
    func soleDraft(_ node: PlanNode, _ index: Int) -> StepDraft? {
        guard index < node.inputs.count, uses[node.inputs[index]] == 1,
            case .runtime(let value) = values[node.inputs[index]], !shared.contains(value.id),
            let draft = producers[value.id]
        else { return nil }
        return drafts[draft]
    }

    /// Takes a draft out again; its place is not written any more.
    func remove(draftOf id: Int) {
        guard let index = producers.removeValue(forKey: id) else { return }
        drafts[index] = .removed
    }

    /// Gives input `index` another shape (and name) without moving an element.
    func alias(_ node: PlanNode, _ index: Int, output: Int = 0, shape: Shape, type: ONNXElementType? = nil) throws {
        var value = try operand(node, index)
        if uses[node.inputs[index], default: 0] > 1 { shared.insert(value.id) }
        try check(shape, node.place)
        value.shape = shape
        if let type { value.type = type }
        try bind(node, output, .runtime(value))
    }

    func value(_ node: PlanNode, _ index: Int) throws(ONNXError) -> PlanValue {
        guard node.hasInput(index) else { throw node.error(.invalidGraph, "input \(index) is missing") }
        guard let value = values[node.inputs[index]] else {
            throw node.error(
                .invalidGraph,
                "input '\(node.inputs[index])' is not produced by an earlier node, an input or an initialiser")
        }
        return value
    }

    /// Input `index` as memory at run time; a constant is copied there once.
    func operand(_ node: PlanNode, _ index: Int) throws -> RuntimeValue {
        let value = try value(node, index)
        if case .constant = value, let known = materialized[node.inputs[index]] { return known }
        let result = try runtime(value, node.place)
        if case .constant = value { materialized[node.inputs[index]] = result }
        return result
    }

    /// Input `index`, which must be of one of the types.
    func operand(_ node: PlanNode, _ index: Int, _ types: ONNXElementType...) throws -> RuntimeValue {
        let value = try operand(node, index)
        guard types.contains(value.type) else {
            throw node.error(.unsupported, "input \(index) of type \(value.type)")
        }
        return value
    }

    /// Input `index` as Float32, whatever number it is.
    func floatOperand(_ node: PlanNode, _ index: Int) throws -> RuntimeValue {
        let value = try operand(node, index)
        if value.type == .float { return value }
        guard value.type != .string else { throw node.error(.unsupported, "input \(index) holds texts") }
        return try Operators.converted(self, node, value, to: .float)
    }

    func runtime(_ value: PlanValue, _ what: String) throws -> RuntimeValue {
        switch value {
        case .runtime(let value): return value
        case .sizes:
            throw ONNXError(.unsupported, "\(what): sizes that depend on the batch are used as values of the model")
        case .constant(let constant):
            let (pointer, owner) = try memory(of: constant)
            let shape = Shape(constant.shape)
            return RuntimeValue(
                id: makePlace(.constant(pointer, owner: owner), constant.type, shape), shape: shape, type: constant.type
            )
        }
    }

    private func memory(of constant: Constant) throws -> (UnsafeMutableRawPointer, Any) {
        switch constant.storage {
        case .view:
            let floats = try self.floats(constant)
            return (UnsafeMutableRawPointer(floats.pointer), floats)
        case .floats(let array): return (UnsafeMutableRawPointer(array.pointer), array)
        case .doubles(let array): return (UnsafeMutableRawPointer(array.pointer), array)
        case .integers(let array): return (UnsafeMutableRawPointer(array.pointer), array)
        }
    }
}
