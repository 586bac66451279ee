// Operators+Gather: selecting by index, one-hot vectors.

import Tensor

extension Operators {
    static func gather(_ planner: Planner, _ node: PlanNode) throws {
        if case .sizes(let sizes, _) = try planner.value(node, 0) {
            let indices = try planner.integers(node, 1)
            let isScalar: Bool
            if case .constant(let constant) = try planner.value(node, 1) {
                isScalar = constant.shape.isEmpty
            } else {
                isScalar = false
            }
            let picked = try indices.map { sizes[try resolve($0, rank: sizes.count, node)] }
            return try bindSizes(planner, node, picked, isScalar: isScalar)
        }
        let data = try planner.operand(node, 0)
        let indices = try planner.operand(node, 1, .int32, .int64)
        let axis = try resolve(try node.int("axis", default: 0), rank: data.shape.rank, node)
        try gathered(planner, node, data, indices, axis: axis)
    }

    static func gathered(
        _ planner: Planner, _ node: PlanNode, _ data: RuntimeValue, _ indices: RuntimeValue, axis: Int
    ) throws {
        let parts = try split(data.shape, at: axis, node)
        guard parts.length > 0 else { throw node.error(.invalidGraph, "an empty axis") }
        guard !data.shape.isBatched || !indices.shape.isBatched else {
            throw node.error(.unsupported, "both the data and the indices depend on the batch")
        }
        var shape = Shape(
            Array(data.shape.dims[..<axis]) + indices.shape.dims + Array(data.shape.dims[(axis + 1)...]))
        if let batch = data.shape.batchAxis { shape.batchAxis = batch < axis ? batch : batch - 1 + indices.shape.rank }
        if let batch = indices.shape.batchAxis { shape.batchAxis = axis + batch }
        let target = try planner.makeValue(node, shape, data.type)
        func append<T: PlainValue>(_ type: T.Type) {
            planner.append(
                GatherStep<T>(
                    data: data, indices: indices, target: target.id, outer: parts.outer, length: parts.length,
                    inner: parts.inner, isBatchOuter: parts.isBatchOuter, isBatchInner: parts.isBatchInner))
        }
        switch data.storage {
        case .float: append(Float.self)
        case .double: append(Double.self)
        case .integer: append(Int64.self)
        }
        try planner.bind(node, 0, .runtime(target))
    }

    static func gatherElements(_ planner: Planner, _ node: PlanNode) throws {
        let data = try planner.operand(node, 0)
        let indices = try planner.operand(node, 1, .int32, .int64)
        let axis = try resolve(try node.int("axis", default: 0), rank: data.shape.rank, node)
        let others = data.shape.dims.indices.filter { $0 != axis }
        guard indices.shape.rank == data.shape.rank, !data.shape.isBatch(axis), data.shape.dims[axis] > 0,
            data.shape.batchAxis == indices.shape.batchAxis,
            others.allSatisfy({ indices.shape.dims[$0] <= data.shape.dims[$0] })
        else { throw node.error(.unsupported, "indices of shape \(indices.shape.text) for \(data.shape.text)") }
        let target = try planner.makeValue(node, indices.shape, data.type)
        func append<T: PlainValue>(_ type: T.Type) {
            planner.append(GatherElementsStep<T>(data: data, indices: indices, target: target.id, axis: axis))
        }
        switch data.storage {
        case .float: append(Float.self)
        case .double: append(Double.self)
        case .integer: append(Int64.self)
        }
        try planner.bind(node, 0, .runtime(target))
    }

    static func oneHot(_ planner: Planner, _ node: PlanNode) throws {
        let source = try planner.operand(node, 0)
        guard let depthValue = try planner.scalar(node, 1), let depth = Int(exactly: depthValue), depth > 0 else {
            throw node.error(.invalidGraph, "the depth must be a positive integer")
        }
        guard case .constant(let values) = try planner.value(node, 2), values.count == 2 else {
            throw node.error(.unsupported, "'values' must be two constants")
        }
        let axis = try resolve(try node.int("axis", default: -1), rank: source.shape.rank + 1, node)
        var shape = source.shape
        shape.dims.insert(depth, at: axis)
        if let batch = source.shape.batchAxis, batch >= axis { shape.batchAxis = batch + 1 }
        let target = try planner.makeValue(node, shape, values.type)
        let inner = source.shape.dims[axis...].reduce(1, *)
        let isBatchInner = source.shape.batchAxis.map { $0 >= axis } ?? false
        let position = try position(source, node, depth: depth)
        func append<T: PlainValue>(_ off: T, _ on: T) {
            planner.append(
                OneHotStep(
                    source: source.id, shape: source.shape, target: target.id, depth: depth, inner: max(inner, 1),
                    isBatchInner: isBatchInner, off: off, on: on, position: position))
        }
        switch values.storage {
        case .view, .floats:
            let floats = try planner.floats(values)
            append(floats[0], floats[1])
        case .doubles(let numbers): append(numbers[0], numbers[1])
        case .integers(let numbers): append(numbers[0], numbers[1])
        }
        try planner.bind(node, 0, .runtime(target))
    }

    private static func position(
        _ source: RuntimeValue, _ node: PlanNode, depth: Int
    ) throws -> @Sendable (UnsafeMutableRawPointer, Int) -> Int {
        @Sendable func clamp(_ value: Double) -> Int {
            guard value.isFinite, value >= -Double(depth), value < Double(depth) else { return -1 }
            return Int(value < 0 ? value + Double(depth) : value)
        }
        switch source.storage {
        case .float: return { clamp(Double($0.assumingMemoryBound(to: Float.self)[$1])) }
        case .double: return { clamp($0.assumingMemoryBound(to: Double.self)[$1]) }
        case .integer: return { clamp(Double($0.assumingMemoryBound(to: Int64.self)[$1])) }
        }
    }
}
