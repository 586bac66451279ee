// Operators+Elementwise: functions of one value and of two, with broadcasting and folding.

import Tensor

extension Operators {
    static func unary(_ planner: inout Planner, _ node: PlanNode) throws {
        guard node.operation != "Reciprocal" else {
            let one = try planner.constant(shape: [], floats: [1])
            try combine(&planner, node, .divide, .constant(one), try planner.input(node, 0), isLast: true)
            return
        }
        let operation = try function(planner, node)
        if case .constant(let constant) = try planner.input(node, 0) {
            let source = try planner.floats(of: constant, node, "input 0")
            let result = try planner.gathered(source, count: source.count) { $0 }
            result.withMutableSpan { operation.apply(&$0) }
            try planner.bind(
                node, 0, .constant(Constant(shape: constant.shape, type: .float, storage: .floats(result))))
            return
        }
        let (slot, value) = try planner.floatInput(node, 0)
        let target = try planner.writable(slot, width: value.width, node.place)
        if case .relu = operation, var dense = planner.kernels.last as? DenseKernel, dense.target == target,
            !dense.isRectified
        {
            dense.isRectified = true
            planner.kernels[planner.kernels.count - 1] = dense
        } else {
            planner.kernels.append(UnaryKernel(slot: target, width: value.width, operation: operation))
        }
        try planner.bind(
            node, 0, .runtime(RuntimeValue(slot: .float(target), rowShape: value.rowShape, type: .float)))
    }

    private static func function(_ planner: Planner, _ node: PlanNode) throws -> UnaryOperation {
        switch node.operation {
        case "Relu": return .relu
        case "LeakyRelu": return .leakyRelu(alpha: try node.float("alpha", default: 0.01))
        case "Elu": return .elu(alpha: try node.float("alpha", default: 1))
        case "Sigmoid": return .sigmoid
        case "Tanh": return .tanh
        case "Exp": return .exp
        case "Log": return .log
        case "Sqrt": return .squareRoot
        case "Abs": return .absolute
        case "Neg": return .affine(scale: -1, offset: 0)
        case "Clip":
            // Attributes before opset 11, inputs since.
            func bound(_ index: Int, _ attribute: String, _ value: Float) throws -> Float {
                guard node.opset >= 11 else { return try node.float(attribute, default: value) }
                guard planner.optionalInput(node, index) != nil else { return value }
                let (buffer, _) = try planner.floatConstant(node, index)
                guard buffer.count == 1 else {
                    throw node.error(.invalidGraph, "input \(index) must be a single number")
                }
                return buffer.withSpan { $0[0] }
            }
            return .clip(
                minimum: try bound(1, "min", -.greatestFiniteMagnitude),
                maximum: try bound(2, "max", .greatestFiniteMagnitude))
        default: throw node.error(.unknownOperator, "not a function of one value")
        }
    }

    /// `Add`, `Sub`, `Mul`, `Div`, `Pow` of two operands; `Max`, `Min` and `Sum` of any number.
    static func binary(_ planner: inout Planner, _ node: PlanNode) throws {
        let operation: BinaryOperation
        switch node.operation {
        case "Add", "Sum": operation = .add
        case "Sub": operation = .subtract
        case "Mul": operation = .multiply
        case "Div": operation = .divide
        case "Pow": operation = .power
        case "Max": operation = .maximum
        default: operation = .minimum
        }
        let isVariadic = ["Max", "Min", "Sum"].contains(node.operation)
        guard isVariadic ? !node.inputs.isEmpty : node.inputs.count == 2 else {
            throw node.error(.invalidGraph, "it has \(node.inputs.count) inputs")
        }
        guard node.inputs.count > 1 else { return try identity(&planner, node) }
        if node.inputs.count == 2 {
            try combine(
                &planner, node, operation, try planner.input(node, 0), try planner.input(node, 1), isLast: true)
            return
        }
        var result = try planner.input(node, 0)
        for index in 1..<node.inputs.count {
            result = try combine(
                &planner, node, operation, result, try planner.input(node, index),
                isLast: index == node.inputs.count - 1)
        }
    }

    /// One elementwise step; the last one of a node binds its output.
    @discardableResult
    static func combine(
        _ planner: inout Planner, _ node: PlanNode, _ operation: BinaryOperation, _ left: PlanValue,
        _ right: PlanValue, isLast: Bool
    ) throws -> PlanValue {
        let result: PlanValue
        switch (left, right) {
        case (.constant(let left), .constant(let right)):
            result = .constant(try fold(planner, node, operation, left, right))
        case (.runtime(let value), .constant(let constant)):
            result = .runtime(
                try withConstant(&planner, node, operation, value, constant, isConstantLeft: false, isLast: isLast))
        case (.constant(let constant), .runtime(let value)):
            result = .runtime(
                try withConstant(&planner, node, operation, value, constant, isConstantLeft: true, isLast: isLast))
        case (.runtime(let left), .runtime(let right)):
            result = .runtime(try ofBatch(&planner, node, operation, left, right, isLast: isLast))
        }
        if isLast { try planner.bind(node, 0, result) }
        return result
    }

    private static func fold(
        _ planner: Planner, _ node: PlanNode, _ operation: BinaryOperation, _ left: Constant, _ right: Constant
    ) throws -> Constant {
        guard let shape = Broadcasting.shape(left.shape, right.shape) else {
            throw node.error(.invalidGraph, "the shapes \(left.shape) and \(right.shape) do not fit")
        }
        try planner.checkWidth(shape, node.place)
        try planner.allocator.charge(2 * shape.reduce(1, *))
        let first = Broadcasting.map(from: left.shape, to: shape)
        let second = Broadcasting.map(from: right.shape, to: shape)
        let result = try planner.gathered(
            planner.floats(of: left, node, "input 0"), count: first.count
        ) { Int(first[$0]) }
        let other = try planner.gathered(
            planner.floats(of: right, node, "input 1"), count: second.count
        ) { Int(second[$0]) }
        result.withMutableSpan { values in other.withSpan { operation.apply(&values, $0) } }
        return Constant(shape: shape, type: .float, storage: .floats(result))
    }

    private static func withConstant(
        _ planner: inout Planner, _ node: PlanNode, _ operation: BinaryOperation, _ value: RuntimeValue,
        _ constant: Constant, isConstantLeft: Bool, isLast: Bool
    ) throws -> RuntimeValue {
        guard case .float(let slot) = value.slot else {
            throw node.error(.unsupported, "arithmetic on type \(value.type), float is needed")
        }
        let buffer = try planner.floats(of: constant, node, "the constant")
        // The constant may span the batch dimension only with size 1.
        var shape = constant.shape
        if shape.count == value.rowShape.count + 1 && shape.first == 1 { shape.removeFirst() }
        guard shape.count <= value.rowShape.count, let rowShape = Broadcasting.shape(shape, value.rowShape) else {
            throw node.error(
                .unsupported, "a constant of shape \(constant.shape) against the batch's rows of \(value.rowShape)")
        }
        try planner.checkWidth(rowShape, node.place)
        let width = rowShape.reduce(1, *)
        let target = try spread(&planner, node, slot, value.rowShape, to: rowShape, mayOverwrite: isLast)
        let row: FloatBuffer
        if buffer.count == 1 || shape == rowShape {
            row = buffer
        } else {
            try planner.allocator.charge(width)
            let map = Broadcasting.map(from: shape, to: rowShape)
            row = try planner.gathered(buffer, count: width) { Int(map[$0]) }
        }
        // The bias of a layer exported as MatMul and Add goes into the product.
        if operation == .add, row.count == width, var dense = planner.kernels.last as? DenseKernel,
            dense.target == target, dense.bias == nil, !dense.isRectified, dense.outputs == width
        {
            dense.bias = row
            planner.kernels[planner.kernels.count - 1] = dense
        } else {
            planner.kernels.append(
                ConstantKernel(
                    slot: target, width: width, operation: operation, constant: row, isConstantLeft: isConstantLeft))
        }
        return RuntimeValue(slot: .float(target), rowShape: rowShape, type: .float)
    }

    private static func ofBatch(
        _ planner: inout Planner, _ node: PlanNode, _ operation: BinaryOperation, _ left: RuntimeValue,
        _ right: RuntimeValue, isLast: Bool
    ) throws -> RuntimeValue {
        guard case .float(let leftSlot) = left.slot, case .float(let rightSlot) = right.slot else {
            throw node.error(.unsupported, "arithmetic on types \(left.type) and \(right.type), float is needed")
        }
        // With different ranks the batch of one would meet another dimension of the other.
        guard left.rowShape.count == right.rowShape.count,
            let rowShape = Broadcasting.shape(left.rowShape, right.rowShape)
        else {
            throw node.error(
                .unsupported, "rows of \(left.rowShape) and \(right.rowShape) would mix the batch or do not fit")
        }
        try planner.checkWidth(rowShape, node.place)
        let width = rowShape.reduce(1, *)
        let other: Int
        if right.rowShape == rowShape {
            other = rightSlot
        } else {
            other = try spread(&planner, node, rightSlot, right.rowShape, to: rowShape, mayOverwrite: false)
        }
        let target = try spread(
            &planner, node, leftSlot, left.rowShape, to: rowShape, mayOverwrite: isLast && leftSlot != other)
        planner.kernels.append(
            BinaryKernel(slot: target, other: other, width: width, operation: operation, isOtherLeft: false))
        return RuntimeValue(slot: .float(target), rowShape: rowShape, type: .float)
    }

    /// A slot that holds the value repeated to `rowShape` and may be overwritten.
    private static func spread(
        _ planner: inout Planner, _ node: PlanNode, _ slot: Int, _ from: [Int], to rowShape: [Int], mayOverwrite: Bool
    ) throws -> Int {
        let width = rowShape.reduce(1, *)
        if from == rowShape {
            if mayOverwrite { return try planner.writable(slot, width: width, node.place) }
            let target = try planner.acquireFloats(width, node.place)
            planner.kernels.append(CopyKernel(source: slot, target: target, width: width))
            return target
        }
        let target = try planner.acquireFloats(width, node.place)
        try planner.allocator.charge(width)
        planner.kernels.append(
            GatherKernel(
                source: slot, target: target, sourceWidth: from.reduce(1, *),
                map: Broadcasting.map(from: from, to: rowShape)))
        return target
    }

    static func softmax(_ planner: inout Planner, _ node: PlanNode) throws {
        let (slot, value) = try planner.floatInput(node, 0)
        let rank = value.rowShape.count + 1
        var axis = try node.int("axis", default: node.opset < 13 ? 1 : -1)
        if axis < 0 { axis += rank }
        guard axis >= 1, axis < rank else {
            throw node.error(.unsupported, "axis \(axis) of rank \(rank) is the batch or does not exist")
        }
        let before = value.rowShape[..<(axis - 1)].reduce(1, *)
        let after = value.rowShape[axis...].reduce(1, *)
        let length = value.rowShape[axis - 1]
        let target = try planner.writable(slot, width: value.width, node.place)
        // Before opset 13 the input is flattened to two dimensions at the axis.
        planner.kernels.append(
            SoftmaxKernel(
                slot: target, outer: before, length: node.opset < 13 ? length * after : length,
                inner: node.opset < 13 ? 1 : after, isLogarithm: node.operation == "LogSoftmax"))
        try planner.bind(
            node, 0, .runtime(RuntimeValue(slot: .float(target), rowShape: value.rowShape, type: .float)))
    }

    static func argMax(_ planner: inout Planner, _ node: PlanNode) throws {
        let (slot, value) = try planner.floatInput(node, 0)
        let rank = value.rowShape.count + 1
        var axis = try node.int("axis", default: 0)
        if axis < 0 { axis += rank }
        guard axis >= 1, axis < rank else {
            throw node.error(.unsupported, "axis \(axis) of rank \(rank) is the batch or does not exist")
        }
        let before = value.rowShape[..<(axis - 1)].reduce(1, *)
        let after = value.rowShape[axis...].reduce(1, *)
        let target = planner.acquireIntegers(before * after)
        planner.kernels.append(
            ArgMaxKernel(
                source: slot, target: target, outer: before, length: value.rowShape[axis - 1], inner: after,
                selectsLast: try node.int("select_last_index", default: 0) != 0, labels: nil))
        var rowShape = value.rowShape
        if try node.int("keepdims", default: 1) != 0 { rowShape[axis - 1] = 1 } else { rowShape.remove(at: axis - 1) }
        try planner.bind(
            node, 0, .runtime(RuntimeValue(slot: .integer(target), rowShape: rowShape, type: .int64)))
    }
}
