// Operators+Dense: products and normalisations.

import Tensor

extension Operators {
    /// `Gemm`: alpha * A * B + beta * C. With constant weights a dense layer, otherwise a general product.
    static func gemm(_ planner: Planner, _ node: PlanNode) throws {
        let transposesA = try node.int("transA", default: 0) != 0
        let transposesB = try node.int("transB", default: 0) != 0
        let alpha = try node.float("alpha", default: 1)
        let beta = try node.float("beta", default: 1)
        var left = try planner.operand(node, 0)
        guard left.shape.rank == 2 else {
            throw node.error(.invalidGraph, "its first input has rank \(left.shape.rank), 2 is needed")
        }
        if transposesA {
            guard !left.shape.isBatched else { throw mixing(node) }
            left = try transposed(planner, node, left)
        }
        if left.type == .float, case .constant(let weights) = try planner.value(node, 1), weights.type == .float,
            let draft = try denseDraft(planner, node, left, weights, isTransposed: transposesB)
        {
            if alpha != 1 { try draft.multiply(planner) { _ in alpha } }
            var shape = left.shape
            shape.dims[1] = draft.outputs
            let isAbsorbed = try addBias(planner, node, draft, beta: beta)
            let target = RuntimeValue(id: draft.target, shape: shape, type: .float)
            guard !isAbsorbed else { return try planner.bind(node, 0, .runtime(target)) }
            return try addGeneralBias(planner, node, target, beta: beta)
        }
        var right = try planner.operand(node, 1)
        guard right.type == left.type, right.shape.rank == 2 else {
            throw node.error(.invalidGraph, "operands of different types, or no matrices")
        }
        if transposesB { right = try transposed(planner, node, right) }
        var product = try self.product(planner, node, left, right)
        if alpha != 1 { product = try scaled(planner, node, product, alpha) }
        try addGeneralBias(planner, node, product, beta: beta)
    }

    /// Adds a constant bias by column to the draft; false when there is one that is not.
    private static func addBias(_ planner: Planner, _ node: PlanNode, _ draft: DenseDraft, beta: Float) throws -> Bool {
        guard node.hasInput(2) else { return true }
        guard let (bias, shape) = try planner.floatConstant(node, 2) else { return false }
        guard shape.drop(while: { $0 == 1 }).count <= 1, bias.count == 1 || bias.count == draft.outputs,
            bias.count == 1 || shape.last == draft.outputs
        else { return false }
        try draft.add(planner) { bias[$0 % bias.count] * beta }
        return true
    }

    private static func addGeneralBias(
        _ planner: Planner, _ node: PlanNode, _ product: RuntimeValue, beta: Float
    ) throws {
        guard node.hasInput(2) else { return try planner.bind(node, 0, .runtime(product)) }
        var bias = try planner.operand(node, 2)
        guard bias.type == product.type, Shape.broadcast(product.shape, bias.shape) == product.shape else {
            throw node.error(.invalidGraph, "a bias of shape \(bias.shape.text) for \(product.shape.text)")
        }
        if beta != 1 { bias = try scaled(planner, node, bias, beta) }
        try planner.bind(node, 0, .runtime(try combined(planner, node, "Add", product, bias)))
    }

    private static func scaled(
        _ planner: Planner, _ node: PlanNode, _ value: RuntimeValue, _ factor: Float
    ) throws -> RuntimeValue {
        let target = try planner.makeValue(node, value.shape, value.type)
        switch value.storage {
        case .float:
            planner.append(
                VectorStep(source: value.id, target: target.id, shape: value.shape, function: .affine, p: factor))
        case .double:
            planner.append(
                MapStep(source: value.id, target: target.id, shape: value.shape, name: "scale") { (x: Double) in
                    x * Double(factor)
                })
        case .integer:
            planner.append(
                MapStep(source: value.id, target: target.id, shape: value.shape, name: "scale") { (x: Int64) in
                    x &* Int64(factor)
                })
        }
        return target
    }

    private static func transposed(
        _ planner: Planner, _ node: PlanNode, _ value: RuntimeValue
    ) throws -> RuntimeValue {
        let shape = Shape(value.shape.dims.reversed(), batchAxis: value.shape.batchAxis.map { 1 - $0 })
        let target = try planner.makeValue(node, shape, value.type)
        try copy(planner, value, target, "transpose", [StridedAxis(axis: 1), StridedAxis(axis: 0)])
        return target
    }

    static func matrixProduct(_ planner: Planner, _ node: PlanNode) throws {
        let left = try planner.operand(node, 0)
        if left.type == .float, left.shape.rank >= 2, !left.shape.isBatch(left.shape.rank - 1),
            case .constant(let weights) = try planner.value(node, 1), weights.type == .float, weights.shape.count <= 2,
            let draft = try denseDraft(planner, node, left, weights, isTransposed: false)
        {
            var shape = left.shape
            shape.dims.removeLast()
            if weights.shape.count == 2 { shape.dims.append(draft.outputs) }
            return try planner.bind(
                node, 0, .runtime(RuntimeValue(id: draft.target, shape: shape, type: .float)))
        }
        let right = try planner.operand(node, 1)
        guard left.type == right.type else { throw node.error(.invalidGraph, "operands of different types") }
        try planner.bind(node, 0, .runtime(try product(planner, node, left, right)))
    }

    /// A dense layer over the last dimension of a value, or nil when the shapes do not allow one.
    private static func denseDraft(
        _ planner: Planner, _ node: PlanNode, _ value: RuntimeValue, _ weights: Constant, isTransposed: Bool
    ) throws -> DenseDraft? {
        let dims = weights.shape.count == 1 ? [weights.shape[0], 1] : weights.shape
        guard dims.count == 2, dims[0] > 0, dims[1] > 0, value.shape.unit > 0 else { return nil }
        let (inputs, outputs) = isTransposed ? (dims[1], dims[0]) : (dims[0], dims[1])
        guard value.shape.dims.last == inputs else {
            throw node.error(
                .invalidGraph, "its input has \(value.shape.dims.last ?? 0) columns, its weights have \(inputs) rows")
        }
        let pointer: UnsafePointer<Float>
        let owner: Any
        switch weights.storage {
        case .view(let bytes):
            guard let base = bytes.baseAddress else { return nil }
            // Packing reads it byte by byte, whatever its alignment.
            pointer = base.assumingMemoryBound(to: Float.self)
            owner = bytes
        default:
            let array = try planner.floats(weights)
            pointer = UnsafePointer(array.pointer)
            owner = array
        }
        return try dense(
            planner, node, value, inputs: inputs, outputs: outputs, weights: pointer, owner: owner,
            inputStride: isTransposed ? 1 : outputs, outputStride: isTransposed ? inputs : 1)
    }

    /// Appends a dense layer, taking up a scaler that stands before it.
    static func dense(
        _ planner: Planner, _ node: PlanNode, _ value: RuntimeValue, inputs: Int, outputs: Int,
        weights: UnsafePointer<Float>, owner: Any, inputStride: Int, outputStride: Int
    ) throws -> DenseDraft {
        var shape = value.shape
        shape.dims[shape.rank - 1] = outputs
        let target = try planner.makeValue(node, shape, .float)
        let draft = DenseDraft(
            source: value, target: target.id, inputs: inputs, outputs: outputs, weights: weights, owner: owner,
            inputStride: inputStride, outputStride: outputStride)
        if case .scaler(let scaler)? = planner.soleDraft(node, 0), scaler.target == value.id, scaler.isFusable {
            planner.remove(draftOf: scaler.target)
            draft.absorb(scaler)
        }
        planner.append(.dense(draft))
        return draft
    }

    /// A product of two values of the run, by NumPy's rules for `matmul`.
    private static func product(
        _ planner: Planner, _ node: PlanNode, _ left: RuntimeValue, _ right: RuntimeValue
    ) throws -> RuntimeValue {
        var (a, b) = (left, right)
        guard a.shape.rank > 0, b.shape.rank > 0 else { throw node.error(.invalidGraph, "a scalar operand") }
        let isLeftVector = a.shape.rank == 1
        let isRightVector = b.shape.rank == 1
        if isLeftVector { a.shape = Shape([1] + a.shape.dims, batchAxis: a.shape.batchAxis.map { $0 + 1 }) }
        if isRightVector { b.shape = Shape(b.shape.dims + [1], batchAxis: b.shape.batchAxis) }
        let (aRank, bRank) = (a.shape.rank, b.shape.rank)
        let k = a.shape.dims[aRank - 1]
        guard !a.shape.isBatch(aRank - 1), !b.shape.isBatch(bRank - 2), !b.shape.isBatch(bRank - 1) else {
            throw mixing(node)
        }
        guard b.shape.dims[bRank - 2] == k else {
            throw node.error(.invalidGraph, "the shapes \(left.shape.text) and \(right.shape.text) do not fit")
        }
        let isBatchInRows = a.shape.isBatch(aRank - 2)
        func stack(_ shape: Shape) -> Shape {
            Shape(
                Array(shape.dims.dropLast(2)), batchAxis: shape.batchAxis.flatMap { $0 < shape.rank - 2 ? $0 : nil })
        }
        guard var shape = Shape.broadcast(stack(a.shape), stack(b.shape)), !(isBatchInRows && shape.isBatched) else {
            throw node.error(.invalidGraph, "the shapes \(left.shape.text) and \(right.shape.text) do not fit")
        }
        let (m, n) = (a.shape.dims[aRank - 2], b.shape.dims[bRank - 1])
        try planner.check(Shape(shape.dims + [m, n]), node.place)
        let (cost, overflow) = (shape.unit * m * n).multipliedReportingOverflow(by: max(k, 1))
        guard !overflow, cost <= planner.limits.multiplicationsMax else {
            throw node.error(
                .tooLarge, "the product exceeds the limit multiplicationsMax = \(planner.limits.multiplicationsMax)")
        }
        if isBatchInRows { shape.batchAxis = shape.rank }
        shape.dims += [m, n]
        let target = try planner.makeValue(node, shape, left.type)
        switch target.storage {
        case .float:
            planner.append(
                MatrixProductStep<Float>(
                    left: a, right: b, target: target, m: m, k: k, n: n, isBatchInRows: isBatchInRows))
        case .double:
            planner.append(
                MatrixProductStep<Double>(
                    left: a, right: b, target: target, m: m, k: k, n: n, isBatchInRows: isBatchInRows))
        case .integer: throw node.error(.unsupported, "products of integers")
        }
        var result = target
        if isRightVector { result.shape.dims.remove(at: result.shape.rank - 1) }
        if isLeftVector {
            result.shape.dims.remove(at: result.shape.rank - (isRightVector ? 1 : 2))
            if let axis = result.shape.batchAxis, axis >= result.shape.rank { result.shape.batchAxis = nil }
        }
        return result
    }

    /// `BatchNormalization` at inference: one scale and one offset per channel, within the dense layer before it where
    /// there is one.
    static func batchNormalization(_ planner: Planner, _ node: PlanNode) throws {
        guard try node.int("training_mode", default: 0) == 0 else {
            throw node.error(.unsupported, "it is in training mode: export the model for inference")
        }
        for index in 1..<max(node.outputs.count, 1) where planner.isUsed(node, output: index) {
            throw node.error(.unsupported, "output \(index) exists in training only")
        }
        for index in 1..<max(node.outputs.count, 1) { try planner.bind(node, index, .sizes([], isScalar: false)) }
        let value = try planner.operand(node, 0, .float)
        guard value.shape.rank >= 2, !value.shape.isBatch(1) else {
            throw node.error(.invalidGraph, "its input has no channels: rank 2 or more is needed")
        }
        let channels = value.shape.dims[1]
        let epsilon = try node.float("epsilon", default: 1e-5)
        let parameters = try (1...4).map { index -> ModelArray<Float> in
            guard let (values, _) = try planner.floatConstant(node, index), values.count == channels else {
                throw node.error(.unsupported, "input \(index) must be \(channels) constants")
            }
            return values
        }
        let scale = try ModelArray<Float>(count: channels, planner.allocator)
        let shift = try ModelArray<Float>(count: channels, planner.allocator)
        for index in 0..<channels {
            let factor = Double(parameters[0][index]) / (Double(parameters[3][index]) + Double(epsilon)).squareRoot()
            scale[index] = Float(factor)
            shift[index] = Float(Double(parameters[1][index]) - Double(parameters[2][index]) * factor)
        }
        if value.shape.rank == 2, case .dense(let draft)? = planner.soleDraft(node, 0), draft.acceptsColumns {
            try draft.multiply(planner) { scale[$0] }
            try draft.add(planner) { shift[$0] }
            return try planner.alias(node, 0, shape: value.shape)
        }
        func operand(_ values: ModelArray<Float>) throws -> RuntimeValue {
            let constant = Constant(
                shape: [channels] + Array(repeating: 1, count: value.shape.rank - 2), type: .float,
                storage: .floats(values))
            return try planner.runtime(.constant(constant), node.place)
        }
        let product = try combined(planner, node, "Mul", value, try operand(scale))
        try planner.bind(node, 0, .runtime(try combined(planner, node, "Add", product, try operand(shift))))
    }

    static func layerNormalization(_ planner: Planner, _ node: PlanNode) throws {
        let value = try planner.operand(node, 0, .float)
        let axis = try resolve(try node.int("axis", default: -1), rank: value.shape.rank, node)
        guard value.shape.batchAxis.map({ $0 < axis }) ?? true else { throw mixing(node) }
        let width = value.shape.dims[axis...].reduce(1, *)
        guard width > 0, let (scale, _) = try planner.floatConstant(node, 1), scale.count == width || scale.count == 1
        else { throw node.error(.unsupported, "a scale that is not \(width) constants") }
        var bias: ModelArray<Float>?
        if node.hasInput(2) {
            guard let (values, _) = try planner.floatConstant(node, 2), values.count == width || values.count == 1
            else {
                throw node.error(.unsupported, "a bias that is not \(width) constants")
            }
            bias = values
        }
        let target = try planner.makeValue(node, value.shape, .float)
        let outer = Shape(Array(value.shape.dims[..<axis]), batchAxis: value.shape.batchAxis)
        // Mean and inverse deviation have the reduced dimensions as 1.
        let kept = Shape(outer.dims + value.shape.dims[axis...].map { _ in 1 }, batchAxis: outer.batchAxis)
        let mean = try planner.makeValue(node, kept, .float)
        let factor = try planner.makeValue(node, kept, .float)
        planner.append(
            LayerNormalizationStep(
                source: value.id, target: target.id, mean: mean.id, factor: factor.id, outer: outer, width: width,
                epsilon: try node.float("epsilon", default: 1e-5), scale: scale, bias: bias))
        try planner.bind(node, 0, .runtime(target))
        try planner.bind(node, 1, .runtime(mean))
        try planner.bind(node, 2, .runtime(factor))
    }
}
