// Operators+Move: transposing, joining, splitting, slicing, repeating.

import Tensor

extension Operators {
    static func transpose(_ planner: Planner, _ node: PlanNode) throws {
        let value = try planner.operand(node, 0)
        let rank = value.shape.rank
        let order = try planner.intList(node, "perm") ?? Array((0..<rank).reversed())
        guard order.sorted() == Array(0..<rank) else {
            throw node.error(.invalidGraph, "the permutation \(order) of rank \(rank)")
        }
        let shape = Shape(
            order.map { value.shape.dims[$0] }, batchAxis: value.shape.batchAxis.flatMap { order.firstIndex(of: $0) })
        // Nothing moves when only dimensions of size 1 change places.
        let moving = order.filter { value.shape.dims[$0] != 1 || value.shape.isBatch($0) }
        if moving == moving.sorted() { return try planner.alias(node, 0, shape: shape) }
        let target = try planner.makeValue(node, shape, value.type)
        try copy(planner, value, target, "transpose", order.map { StridedAxis(axis: $0) })
        try planner.bind(node, 0, .runtime(target))
    }

    static func concatenate(_ planner: Planner, _ node: PlanNode) throws {
        let isSizes = node.inputs.contains { if case .sizes = planner.values[$0] { true } else { false } }
        if isSizes {
            let sizes = try node.inputs.indices.flatMap { try symbolicSizes(planner, node, $0) }
            return try bindSizes(planner, node, sizes, isScalar: false)
        }
        var operands = try node.inputs.indices.map { try planner.operand(node, $0) }
        guard let first = operands.first else { throw node.error(.invalidGraph, "it has no inputs") }
        let axis = try resolve(try node.int("axis", default: 1), rank: first.shape.rank, node)
        // A constant of one row beside values of the batch is repeated for every row.
        let batched = operands.first { $0.shape.isBatched }
        for index in operands.indices where batched != nil && !operands[index].shape.isBatched {
            guard let batched, operands[index].shape.rank == batched.shape.rank,
                let batchAxis = batched.shape.batchAxis, operands[index].shape.dims[batchAxis] == 1
            else { throw node.error(.unsupported, "a constant of several rows beside the batch") }
            var shape = operands[index].shape
            shape.batchAxis = batchAxis
            shape.dims[batchAxis] = batched.shape.dims[batchAxis]
            let target = try planner.makeValue(node, shape, operands[index].type)
            try copy(
                planner, operands[index], target, "repeat",
                shape.dims.indices.map { StridedAxis(axis: $0 == batchAxis ? nil : $0) })
            operands[index] = target
        }
        try joined(planner, node, operands, axis: axis)
    }

    static func joined(_ planner: Planner, _ node: PlanNode, _ operands: [RuntimeValue], axis: Int) throws {
        var shape = operands[0].shape
        guard !shape.isBatch(axis) else { throw node.error(.unsupported, "it would append rows to the batch") }
        shape.dims[axis] = 0
        for operand in operands {
            var other = operand.shape
            guard other.rank == shape.rank, operand.type == operands[0].type else {
                throw node.error(.invalidGraph, "its inputs differ in rank or type")
            }
            let size = other.dims[axis]
            other.dims[axis] = shape.dims[axis]
            guard other == shape else {
                throw node.error(
                    .invalidGraph, "the shapes \(operands.map(\.shape.text)) do not fit along axis \(axis)")
            }
            shape.dims[axis] += size
        }
        let target = try planner.makeValue(node, shape, operands[0].type)
        let parts = try split(shape, at: axis, node)
        planner.append(
            JoinStep(
                parts: operands.map { .init(id: $0.id, width: $0.shape.dims[axis] * parts.inner) }, target: target.id,
                outer: parts.outer, isBatchOuter: parts.isBatchOuter, isBatchInner: parts.isBatchInner,
                elementSize: target.storage.byteCount))
        try planner.bind(node, 0, .runtime(target))
    }

    static func split(_ planner: Planner, _ node: PlanNode) throws {
        let value = try planner.operand(node, 0)
        let axis = try resolve(try node.int("axis", default: 0), rank: value.shape.rank, node)
        guard !value.shape.isBatch(axis) else { throw mixing(node) }
        let length = value.shape.dims[axis]
        let count = max(node.outputs.count, 1)
        let sizes: [Int]
        if node.opset < 13, let given = try planner.intList(node, "split") {
            sizes = given
        } else if node.opset >= 13, node.hasInput(1) {
            sizes = try planner.integers(node, 1)
        } else {
            let each = (length + count - 1) / count
            sizes = (0..<count).map { min(each, max(0, length - $0 * each)) }
        }
        guard sizes.count == count, sizes.allSatisfy({ $0 >= 0 }), sizes.reduce(0, +) == length else {
            throw node.error(.invalidGraph, "parts \(sizes) of \(length) elements for \(count) outputs")
        }
        var start = 0
        for (index, size) in sizes.enumerated() {
            var shape = value.shape
            shape.dims[axis] = size
            let target = try planner.makeValue(node, shape, value.type)
            try copy(
                planner, value, target, "split",
                shape.dims.indices.map { StridedAxis(axis: $0, start: $0 == axis ? start : 0) })
            try planner.bind(node, index, .runtime(target))
            start += size
        }
    }

    static func slice(_ planner: Planner, _ node: PlanNode) throws {
        func list(_ name: String, _ index: Int) throws -> [Int]? {
            if node.opset < 10 { return try planner.intList(node, name) }
            return node.hasInput(index) ? try planner.integers(node, index) : nil
        }
        guard let starts = try list("starts", 1), let ends = try list("ends", 2) else {
            throw node.error(.invalidGraph, "it needs starts and ends")
        }
        let axes = try list("axes", 3) ?? Array(starts.indices)
        let steps = node.opset < 10 ? nil : try list("steps", 4)
        guard ends.count == starts.count, axes.count == starts.count, steps.map({ $0.count == starts.count }) ?? true
        else { throw node.error(.invalidGraph, "starts, ends, axes and steps differ in number") }
        if case .sizes(let sizes, _) = try planner.value(node, 0) {
            guard starts.count == 1 else { throw node.error(.invalidGraph, "axes of a vector") }
            let (first, count, step) = try range(starts[0], ends[0], steps?[0] ?? 1, length: sizes.count, node)
            return try bindSizes(planner, node, (0..<count).map { sizes[first + $0 * step] }, isScalar: false)
        }
        let value = try planner.operand(node, 0)
        var shape = value.shape
        var walk = shape.dims.indices.map { StridedAxis(axis: $0) }
        for (index, axis) in axes.enumerated() {
            let axis = try resolve(axis, rank: shape.rank, node)
            let step = steps?[index] ?? 1
            if shape.isBatch(axis) {
                guard starts[index] == 0, step == 1, ends[index] >= Int(Int32.max) else { throw mixing(node) }
                continue
            }
            let (first, count, _) = try range(starts[index], ends[index], step, length: value.shape.dims[axis], node)
            shape.dims[axis] = count
            walk[axis] = StridedAxis(axis: axis, start: first, step: step)
        }
        let target = try planner.makeValue(node, shape, value.type)
        try copy(planner, value, target, "slice", walk)
        try planner.bind(node, 0, .runtime(target))
    }

    /// First element, count and step of a slice of `length` elements.
    private static func range(
        _ start: Int, _ end: Int, _ step: Int, length: Int, _ node: PlanNode
    ) throws -> (Int, Int, Int) {
        guard step != 0, step > Int.min else { throw node.error(.invalidGraph, "a step of 0") }
        func clamped(_ value: Int, _ low: Int, _ high: Int) -> Int {
            min(max(value < 0 ? value + length : value, low), high)
        }
        if step > 0 {
            let (first, last) = (clamped(start, 0, length), clamped(end, 0, length))
            return (first, last > first ? (last - first - 1) / step + 1 : 0, step)
        }
        let (first, last) = (clamped(start, 0, length - 1), clamped(end, -1, length - 1))
        return (max(first, 0), first > last && length > 0 ? (first - last - 1) / -step + 1 : 0, step)
    }

    static func expand(_ planner: Planner, _ node: PlanNode) throws {
        let value = try planner.operand(node, 0)
        var wanted = Shape([])
        for (axis, size) in try symbolicSizes(planner, node, 1).enumerated() {
            guard size.batch >= 0, size.batch == 0 || (size.fixed == 0 && wanted.batchAxis == nil), size.fixed >= 0
            else { throw node.error(.unsupported, "a size that is not a multiple of the batch") }
            if size.batch != 0 { wanted.batchAxis = axis }
            wanted.dims.append(size.batch != 0 ? size.batch : size.fixed)
        }
        try planner.check(wanted, node.place)
        guard let shape = Shape.broadcast(value.shape, wanted) else {
            throw node.error(.invalidGraph, "\(value.shape.text) cannot be expanded to \(wanted.text)")
        }
        let target = try planner.makeValue(node, shape, value.type)
        let shift = shape.rank - value.shape.rank
        try copy(
            planner, value, target, "expand",
            shape.dims.indices.map { axis in
                let from = axis - shift
                let isRepeated = from < 0 || (value.shape.dims[from] == 1 && !value.shape.isBatch(from))
                return StridedAxis(axis: isRepeated ? nil : from)
            })
        try planner.bind(node, 0, .runtime(target))
    }

    static func tile(_ planner: Planner, _ node: PlanNode) throws {
        let value = try planner.operand(node, 0)
        let repeats = try planner.integers(node, 1)
        guard repeats.count == value.shape.rank, repeats.allSatisfy({ $0 >= 0 }),
            value.shape.batchAxis.map({ repeats[$0] == 1 }) ?? true
        else { throw node.error(.unsupported, "repeats \(repeats) of \(value.shape.text)") }
        var current = value
        for (axis, count) in repeats.enumerated() where count != 1 {
            var shape = current.shape
            let (size, overflow) = shape.dims[axis].multipliedReportingOverflow(by: count)
            guard !overflow, count <= planner.limits.tensorElementsMax else {
                throw node.error(.tooLarge, "repeats \(repeats)")
            }
            shape.dims[axis] = size
            let target = try planner.makeValue(node, shape, value.type)
            let parts = try split(current.shape, at: axis, node)
            planner.append(
                JoinStep(
                    parts: Array(repeating: .init(id: current.id, width: parts.length * parts.inner), count: count),
                    target: target.id, outer: parts.outer, isBatchOuter: parts.isBatchOuter,
                    isBatchInner: parts.isBatchInner, elementSize: value.storage.byteCount))
            current = target
        }
        if current.id == value.id { return try planner.alias(node, 0, shape: value.shape) }
        try planner.bind(node, 0, .runtime(current))
    }
}
