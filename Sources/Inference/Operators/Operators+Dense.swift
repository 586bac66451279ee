// Operators+Dense: products with constant weights and batch normalisation.

import Tensor

extension Operators {
    /// `Gemm`: alpha * A * B + beta * C with a value of the batch as A and constants as B and C.
    static func dense(_ planner: inout Planner, _ node: PlanNode) throws {
        let (slot, value) = try planner.floatInput(node, 0)
        guard try node.int("transA", default: 0) == 0 else {
            throw node.error(.unsupported, "transA would mix the rows of the batch")
        }
        guard value.rowShape.count == 1 else {
            throw node.error(.invalidGraph, "its first input has rank \(value.rowShape.count + 1), 2 is needed")
        }
        let (weights, shape) = try planner.floatConstant(node, 1)
        guard shape.count == 2 else {
            throw node.error(.invalidGraph, "the weights have rank \(shape.count), 2 is needed")
        }
        let isTransposed = try node.int("transB", default: 0) != 0
        let (inputs, outputs) = isTransposed ? (shape[1], shape[0]) : (shape[0], shape[1])
        let alpha = try node.float("alpha", default: 1)
        let packed = try pack(
            planner, weights, inputs: inputs, outputs: outputs, isTransposed: isTransposed, scale: alpha)
        var bias: FloatBuffer?
        if planner.optionalInput(node, 2) != nil {
            let (buffer, biasShape) = try planner.floatConstant(node, 2)
            guard Broadcasting.shape(biasShape, [1, outputs]) == [1, outputs] else {
                throw node.error(.unsupported, "a bias of shape \(biasShape), [\(outputs)] is needed")
            }
            let beta = try node.float("beta", default: 1)
            let count = buffer.count
            bias = try planner.gathered(buffer, count: outputs) { count == 1 ? 0 : $0 }
            bias?.withMutableSpan { if beta != 1 { Elementwise.affine(&$0, scale: beta, offset: 0) } }
        }
        try product(
            &planner, node, slot, value, inputs: inputs, outputs: outputs, weights: packed, bias: bias,
            rowShape: [outputs])
    }

    /// `MatMul` with a constant on the right.
    static func matrixProduct(_ planner: inout Planner, _ node: PlanNode) throws {
        let (slot, value) = try planner.floatInput(node, 0)
        let (weights, shape) = try planner.floatConstant(node, 1)
        guard !value.rowShape.isEmpty, shape.count == 1 || shape.count == 2 else {
            throw node.error(.unsupported, "weights of rank \(shape.count), 1 or 2 is needed")
        }
        let outputs = shape.count == 2 ? shape[1] : 1
        let packed = try pack(
            planner, weights, inputs: shape[0], outputs: outputs, isTransposed: false, scale: 1)
        try product(
            &planner, node, slot, value, inputs: shape[0], outputs: outputs, weights: packed, bias: nil,
            rowShape: value.rowShape.dropLast() + (shape.count == 2 ? [outputs] : []))
    }

    /// Weights as `inputs x outputs`, multiplied by `scale`; the initialiser itself when nothing changes.
    static func pack(
        _ planner: Planner, _ weights: FloatBuffer, inputs: Int, outputs: Int, isTransposed: Bool, scale: Float
    ) throws -> FloatBuffer {
        if !isTransposed && scale == 1 { return weights }
        let packed = try planner.gathered(weights, count: inputs * outputs) {
            isTransposed ? $0 % outputs * inputs + $0 / outputs : $0
        }
        packed.withMutableSpan { if scale != 1 { Elementwise.affine(&$0, scale: scale, offset: 0) } }
        return packed
    }

    private static func product(
        _ planner: inout Planner, _ node: PlanNode, _ slot: Int, _ value: RuntimeValue, inputs: Int, outputs: Int,
        weights: FloatBuffer, bias: FloatBuffer?, rowShape: [Int]
    ) throws {
        guard inputs > 0, outputs > 0, value.rowShape.last == inputs else {
            throw node.error(
                .invalidGraph, "its input has \(value.rowShape.last ?? 0) columns, its weights have \(inputs) rows")
        }
        try planner.checkWidth(rowShape, node.place)
        let vectors = value.width / inputs
        let target = try planner.acquireFloats(vectors * outputs, node.place)
        planner.kernels.append(
            DenseKernel(
                source: slot, target: target, inputs: inputs, outputs: outputs, vectorsPerRow: vectors,
                weights: weights, bias: bias))
        try planner.bind(
            node, 0, .runtime(RuntimeValue(slot: .float(target), rowShape: rowShape, type: .float)))
    }

    /// `BatchNormalization` at inference: one scale and one offset per channel.
    static func batchNormalization(_ planner: inout Planner, _ node: PlanNode) throws {
        guard try node.int("training_mode", default: 0) == 0 else {
            throw node.error(.unsupported, "it is in training mode: export the model for inference")
        }
        for index in 1..<max(node.outputs.count, 1) where planner.isUsed(node, output: index) {
            throw node.error(.unsupported, "output \(index) exists in training only")
        }
        let (slot, value) = try planner.floatInput(node, 0)
        guard let channels = value.rowShape.first else {
            throw node.error(.invalidGraph, "its input has no channels: rank 2 or more is needed")
        }
        let epsilon = try node.float("epsilon", default: 1e-5)
        var parameters: [FloatBuffer] = []
        for index in 1...4 {
            let (buffer, _) = try planner.floatConstant(node, index)
            guard buffer.count == channels else {
                throw node.error(.invalidGraph, "input \(index) has \(buffer.count) elements for \(channels) channels")
            }
            parameters.append(buffer)
        }
        let perChannel = value.width / channels
        let scale = try planner.allocator.allocate(count: value.width)
        let offset = try planner.allocator.allocate(count: value.width)
        for index in 0..<value.width {
            let channel = index / perChannel
            let factor =
                parameters[0].withSpan { $0[channel] }
                / (parameters[3].withSpan { $0[channel] } + epsilon).squareRoot()
            scale.withMutableSpan { $0[index] = factor }
            let shift = parameters[1].withSpan { $0[channel] } - parameters[2].withSpan { $0[channel] } * factor
            offset.withMutableSpan { $0[index] = shift }
        }
        let target = try planner.writable(slot, width: value.width, node.place)
        planner.kernels.append(
            ConstantKernel(
                slot: target, width: value.width, operation: .multiply, constant: scale, isConstantLeft: false))
        planner.kernels.append(
            ConstantKernel(slot: target, width: value.width, operation: .add, constant: offset, isConstantLeft: false))
        try planner.bind(
            node, 0, .runtime(RuntimeValue(slot: .float(target), rowShape: value.rowShape, type: .float)))
    }
}
