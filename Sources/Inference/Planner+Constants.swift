// Planner+Constants: initialisers and attributes into memory of the weight allocator.

import Tensor

extension Planner {
    func constant(_ tensor: ONNXTensor, _ bytes: RawSpan, _ reader: ONNXReader) throws -> Constant {
        let storage: Constant.Storage
        switch tensor.type {
        case .float, .double:
            let buffer = try allocator.allocate(count: tensor.count)
            try buffer.withMutableSpan { target throws(ONNXError) in try reader.floats(tensor, bytes, into: &target) }
            storage = .floats(buffer)
        case .float16:
            throw ONNXError(.unsupported, "tensor '\(tensor.name)' is float16: convert the model to float32")
        case .string: storage = .strings(try reader.strings(tensor, bytes))
        default: storage = .integers(try reader.integers(tensor, bytes))
        }
        return Constant(shape: tensor.dims, type: tensor.type, storage: storage)
    }

    func constant(shape: [Int], floats: [Float]) throws -> Constant {
        Constant(shape: shape, type: .float, storage: .floats(try buffer(floats)))
    }

    func buffer(_ floats: [Float]) throws -> FloatBuffer {
        let buffer = try allocator.allocate(count: floats.count)
        buffer.withMutableSpan { target in
            for index in floats.indices { target[index] = floats[index] }
        }
        return buffer
    }

    /// A new buffer with `count` elements, element i of it being element `map(i)` of `source`.
    func gathered(_ source: FloatBuffer, count: Int, _ map: (Int) -> Int) throws -> FloatBuffer {
        let buffer = try allocator.allocate(count: count)
        source.withSpan { source in
            buffer.withMutableSpan { target in
                for index in 0..<count { target[index] = source[map(index)] }
            }
        }
        return buffer
    }

    func decoded(
        _ node: ONNXNode, _ opsets: [String: Int], _ bytes: RawSpan, _ reader: ONNXReader
    ) throws -> PlanNode {
        var result = PlanNode(
            name: node.name, operation: node.operation, domain: node.domain, opset: opsets[node.domain] ?? 0,
            inputs: node.inputs, outputs: node.outputs, attributes: [:])
        for (name, attribute) in node.attributes {
            result.attributes[name] =
                switch attribute {
                case .float(let value): .float(value)
                case .int(let value): .int(value)
                case .string(let value): .string(value)
                case .ints(let values): .ints(values)
                case .strings(let values): .strings(values)
                case .tensor(let tensor): .constant(try constant(tensor, bytes, reader))
                case .floats(let repeated): .floats(try buffer(repeated, bytes, reader))
                case .unsupported: .unsupported
                }
        }
        return result
    }

    private func buffer(_ repeated: ONNXRepeated, _ bytes: RawSpan, _ reader: ONNXReader) throws -> FloatBuffer {
        let buffer = try allocator.allocate(count: reader.count(repeated, bytes))
        try buffer.withMutableSpan { target throws(ONNXError) in try reader.floats(repeated, bytes, into: &target) }
        return buffer
    }
}
