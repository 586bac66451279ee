// InferenceSession+Tensors: runs on tensors of any type and shape, for tools and tests.

extension InferenceSession {
    /// Names and types of the inputs, in their order.
    public var inputs: [(name: String, type: ONNXElementType, shape: [String])] {
        plan.inputs.map { ($0.name, $0.type, $0.shown) }
    }

    /// Runs the model on one tensor per input.
    ///
    /// - Returns: the outputs in their order, by name.
    /// - Throws: `ONNXError` when an input is missing, or its type or shape is not the model's.
    public func run(_ inputs: [String: TensorValue]) throws -> [(name: String, value: TensorValue)] {
        var rows: Int?
        for input in plan.inputs {
            guard let value = inputs[input.name] else {
                throw ONNXError(
                    .invalidGraph,
                    "the input '\(input.name)' is missing: the model takes \(plan.inputs.map(\.name).joined(separator: ", "))"
                )
            }
            try check(value, input, &rows)
        }
        let workspace = try makeWorkspace(rows: rows ?? 1)
        workspace.texts.reset()
        for (index, input) in plan.inputs.enumerated() {
            if let value = inputs[input.name] { copy(value, index, workspace) }
        }
        let frame = workspace.frame(rows: rows ?? 1)
        for step in plan.steps { step.run(frame) }
        return plan.outputs.map { ($0.name, value(of: $0, frame)) }
    }

    private func check(_ value: TensorValue, _ input: Plan.Input, _ rows: inout Int?) throws(ONNXError) {
        let shown = "input '\(input.name)' must be \(input.type) [\(input.shown.joined(separator: ", "))]"
        guard value.type == input.type, value.shape.count == input.shape.rank else {
            throw ONNXError(.invalidGraph, "\(shown), it is \(value.type) \(value.shape)")
        }
        for (axis, size) in value.shape.enumerated() {
            let unit = input.shape.dims[axis]
            guard input.shape.isBatch(axis) else {
                guard size == unit else { throw ONNXError(.invalidGraph, "\(shown), it is \(value.shape)") }
                continue
            }
            guard rows ?? size == size else {
                throw ONNXError(.invalidGraph, "the inputs have \(rows ?? 0) and \(size) rows")
            }
            rows = size
        }
    }

    private func copy(_ value: TensorValue, _ index: Int, _ workspace: Workspace) {
        switch value.elements {
        case .floats(let values): workspace.input(index, Float.self).update(from: values, count: values.count)
        case .doubles(let values): workspace.input(index, Double.self).update(from: values, count: values.count)
        case .integers(let values): workspace.input(index, Int64.self).update(from: values, count: values.count)
        case .texts(let texts):
            let numbers = workspace.input(index, Int64.self)
            for (position, text) in texts.enumerated() { numbers[position] = workspace.texts.number(text) }
        }
    }

    private func value(of output: Plan.Output, _ frame: Frame) -> TensorValue {
        let shape = output.value.shape
        let sizes = shape.dims.indices.map { shape.size($0, frame.rows) }
        let count = shape.count(frame.rows)
        let elements: TensorValue.Elements
        switch output.value.storage {
        case .float: elements = .floats(Array(UnsafeBufferPointer(start: frame.floats(output.value.id), count: count)))
        case .double:
            elements = .doubles(
                Array(UnsafeBufferPointer(start: frame.pointer(output.value.id, Double.self), count: count)))
        case .integer:
            let numbers = UnsafeBufferPointer(start: frame.integers(output.value.id), count: count)
            elements =
                output.value.type == .string ? .texts(numbers.map { frame.texts.text($0) }) : .integers(Array(numbers))
        }
        return TensorValue(type: output.value.type, shape: sizes, elements: elements)
    }
}

extension InferenceSession {
    /// Operators of a model's nodes, in their order.
    public static func operators(of bytes: RawSpan, limits: ONNXLimits = ONNXLimits()) throws -> [String] {
        try ONNXReader(limits: limits).read(bytes).nodes.map(\.operation)
    }
}
