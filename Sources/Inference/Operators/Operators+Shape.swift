// Operators+Shape: constants, reshaping, moving and joining.

import Tensor

extension Operators {
    static func identity(_ planner: Planner, _ node: PlanNode) throws {
        if case .sizes = try planner.value(node, 0) { return try planner.bind(node, 0, try planner.value(node, 0)) }
        try planner.alias(node, 0, shape: try planner.operand(node, 0).shape)
    }

    /// At inference the identity; the mask, where it is read, keeps everything.
    static func dropout(_ planner: Planner, _ node: PlanNode) throws {
        if node.hasInput(2), let training = try planner.scalar(node, 2), training != 0 {
            throw node.error(.unsupported, "it is in training mode: export the model for inference")
        }
        try identity(planner, node)
        guard planner.isUsed(node, output: 1) else {
            if node.outputs.count > 1 { try planner.bind(node, 1, .sizes([], isScalar: false)) }
            return
        }
        let value = try planner.operand(node, 0)
        let mask = try planner.makeValue(node, value.shape, .bool)
        switch value.storage {
        case .float:
            planner.append(
                MapStep(source: value.id, target: mask.id, shape: value.shape, name: "mask") { (_: Float) in Int64(1) })
        default:
            planner.append(
                MapStep(source: value.id, target: mask.id, shape: value.shape, name: "mask") { (_: Int64) in Int64(1) })
        }
        try planner.bind(node, 1, .runtime(mask))
    }

    static func constant(_ planner: Planner, _ node: PlanNode) throws {
        guard node.attributes.count == 1, let (name, attribute) = node.attributes.first else {
            throw node.error(.invalidGraph, "it needs exactly one value")
        }
        let value: Constant
        switch (name, attribute) {
        case ("value", .tensor(let tensor)): value = try planner.constant(tensor)
        case ("value_float", .float(let number)):
            value = Constant(shape: [], type: .float, storage: .floats(try ModelArray([number], planner.allocator)))
        case ("value_floats", .floats):
            let numbers = try planner.floats(node, name) ?? ModelArray([], planner.allocator)
            value = Constant(shape: [numbers.count], type: .float, storage: .floats(numbers))
        case ("value_int", .int(let number)):
            value = Constant(shape: [], type: .int64, storage: .integers(try ModelArray([number], planner.allocator)))
        case ("value_ints", .ints):
            let numbers = try planner.integers(node, name) ?? ModelArray([], planner.allocator)
            value = Constant(shape: [numbers.count], type: .int64, storage: .integers(numbers))
        case ("value_string", .string(let text)):
            let number = Int64(planner.texts.number(text))
            value = Constant(shape: [], type: .string, storage: .integers(try ModelArray([number], planner.allocator)))
        case ("value_strings", .strings(let texts)):
            let numbers = texts.map { Int64(planner.texts.number($0)) }
            value = Constant(
                shape: [numbers.count], type: .string, storage: .integers(try ModelArray(numbers, planner.allocator)))
        default: throw node.error(.unsupported, "a constant given as '\(name)'")
        }
        try planner.bind(node, 0, .constant(value))
    }

    static func constantOfShape(_ planner: Planner, _ node: PlanNode) throws {
        let sizes = try symbolicSizes(planner, node, 0)
        var shape = Shape([])
        for (axis, size) in sizes.enumerated() {
            if size.batch != 0 {
                guard size.fixed == 0, size.batch > 0, shape.batchAxis == nil else {
                    throw node.error(.unsupported, "a size that is not a multiple of the batch")
                }
                shape.batchAxis = axis
            }
            shape.dims.append(size.batch != 0 ? size.batch : size.fixed)
        }
        try planner.check(shape, node.place)
        let fill =
            try planner.tensor(node, "value")
            ?? Constant(
                shape: [1], type: .float, storage: .floats(try ModelArray([0], planner.allocator)))
        guard fill.count == 1 else { throw node.error(.invalidGraph, "'value' must be one number") }
        let source = try planner.runtime(.constant(fill), node.place)
        let target = try planner.makeValue(node, shape, fill.type)
        try copy(planner, source, target, "fill", shape.dims.map { _ in StridedAxis() })
        try planner.bind(node, 0, .runtime(target))
    }

    /// Input `index` as sizes, some of which may depend on the batch.
    static func symbolicSizes(_ planner: Planner, _ node: PlanNode, _ index: Int) throws -> [SymbolicSize] {
        if case .sizes(let sizes, _) = try planner.value(node, index) { return sizes }
        return try planner.integers(node, index).map { SymbolicSize(fixed: $0, batch: 0) }
    }

    /// Appends a strided copy.
    static func copy(
        _ planner: Planner, _ source: RuntimeValue, _ target: RuntimeValue, _ name: String, _ axes: [StridedAxis]
    ) throws {
        func append<T: PlainValue>(_ type: T.Type) {
            planner.append(
                StridedCopyStep<T>(source: source, target: target.id, shape: target.shape, name: name, axes: axes))
        }
        switch target.storage {
        case .float: append(Float.self)
        case .double: append(Double.self)
        case .integer: append(Int64.self)
        }
    }

    // MARK: Shapes as values

    static func shape(_ planner: Planner, _ node: PlanNode) throws {
        let shape = try planner.operand(node, 0).shape
        func bound(_ value: Int) -> Int { min(max(value < 0 ? value + shape.rank : value, 0), shape.rank) }
        let start = bound(try node.int("start", default: 0))
        let end = bound(try node.int("end", default: shape.rank))
        let sizes = (start..<max(start, end)).map { axis in
            shape.isBatch(axis)
                ? SymbolicSize(fixed: 0, batch: shape.dims[axis]) : SymbolicSize(fixed: shape.dims[axis], batch: 0)
        }
        try bindSizes(planner, node, sizes, isScalar: false)
    }

    static func size(_ planner: Planner, _ node: PlanNode) throws {
        let shape = try planner.operand(node, 0).shape
        let size =
            shape.isBatched
            ? SymbolicSize(fixed: 0, batch: shape.unit) : SymbolicSize(fixed: shape.unit, batch: 0)
        try bindSizes(planner, node, [size], isScalar: true)
    }

    /// Sizes that are all known are an ordinary constant.
    static func bindSizes(_ planner: Planner, _ node: PlanNode, _ sizes: [SymbolicSize], isScalar: Bool) throws {
        guard sizes.allSatisfy({ $0.batch == 0 }) else {
            return try planner.bind(node, 0, .sizes(sizes, isScalar: isScalar))
        }
        let numbers = try ModelArray(sizes.map { Int64($0.fixed) }, planner.allocator)
        try planner.bind(
            node, 0,
            .constant(Constant(shape: isScalar ? [] : [sizes.count], type: .int64, storage: .integers(numbers))))
    }

    // MARK: Elements that stay where they are

    /// `Flatten`, `Reshape`, `Squeeze`, `Unsqueeze`.
    static func reshape(_ planner: Planner, _ node: PlanNode) throws {
        if case .sizes(let sizes, _) = try planner.value(node, 0) {
            // A vector of one becomes a scalar and back; longer ones stay as they are.
            return try planner.bind(
                node, 0, .sizes(sizes, isScalar: node.operation == "Squeeze" && sizes.count == 1))
        }
        let shape = try planner.operand(node, 0).shape
        let result: Shape
        switch node.operation {
        case "Flatten": result = try flattened(shape, node)
        case "Squeeze": result = try squeezed(shape, try axes(planner, node), node)
        case "Unsqueeze": result = try unsqueezed(shape, try axes(planner, node) ?? [], node)
        default: result = try reshaped(planner, node, shape)
        }
        try checkOrder(shape, result, node)
        try planner.alias(node, 0, shape: result)
    }

    /// A reshaped value has its elements in the same order for every size of the batch: as many before the batch.
    private static func checkOrder(_ old: Shape, _ new: Shape, _ node: PlanNode) throws {
        guard old.unit == new.unit, old.isBatched == new.isBatched, !old.isBatched || old.outer == new.outer else {
            throw node.error(
                .unsupported, "from \(old.text) to \(new.text) it would move elements between the rows of the batch")
        }
    }

    private static func flattened(_ shape: Shape, _ node: PlanNode) throws -> Shape {
        var axis = try node.int("axis", default: 1)
        if axis < 0 { axis += shape.rank }
        guard axis >= 0, axis <= shape.rank else {
            throw node.error(.invalidGraph, "axis \(axis) of rank \(shape.rank)")
        }
        return Shape(
            [shape.dims[..<axis].reduce(1, *), shape.dims[axis...].reduce(1, *)],
            batchAxis: shape.batchAxis.map { $0 < axis ? 0 : 1 })
    }

    private static func squeezed(_ shape: Shape, _ axes: [Int]?, _ node: PlanNode) throws -> Shape {
        let removed: Set<Int>
        if let axes {
            removed = Set(try axes.map { try resolve($0, rank: shape.rank, node) })
            guard removed.allSatisfy({ shape.dims[$0] == 1 && !shape.isBatch($0) }) else {
                throw node.error(.unsupported, "axes \(axes) of \(shape.text) are the batch or not of size 1")
            }
        } else {
            removed = Set(shape.dims.indices.filter { shape.dims[$0] == 1 && !shape.isBatch($0) })
        }
        let rest = shape.dims.indices.filter { !removed.contains($0) }
        return Shape(rest.map { shape.dims[$0] }, batchAxis: shape.batchAxis.flatMap { rest.firstIndex(of: $0) })
    }

    private static func unsqueezed(_ shape: Shape, _ axes: [Int], _ node: PlanNode) throws -> Shape {
        let rank = shape.rank + axes.count
        guard rank <= Extents.rankMax else { throw node.error(.tooLarge, "rank \(rank)") }
        let added = Set(try axes.map { try resolve($0, rank: rank, node) })
        guard added.count == axes.count else { throw node.error(.invalidGraph, "axes \(axes) name one twice") }
        var result = Shape([])
        var from = 0
        for axis in 0..<rank {
            if added.contains(axis) {
                result.dims.append(1)
            } else {
                if shape.isBatch(from) { result.batchAxis = axis }
                result.dims.append(shape.dims[from])
                from += 1
            }
        }
        return result
    }

    /// An attribute before opset 13, an input since.
    static func axes(_ planner: Planner, _ node: PlanNode, since opset: Int = 13) throws -> [Int]? {
        guard node.opset >= opset else { return try planner.intList(node, "axes") }
        return node.hasInput(1) ? try planner.integers(node, 1) : nil
    }

    /// 0 copies a dimension (unless `allowzero`), one -1 takes the rest; the batch goes where its factor is left.
    private static func reshaped(_ planner: Planner, _ node: PlanNode, _ shape: Shape) throws -> Shape {
        let wanted = try symbolicSizes(planner, node, 1)
        guard wanted.count <= Extents.rankMax else { throw node.error(.tooLarge, "rank \(wanted.count)") }
        let allowsZero = try node.int("allowzero", default: 0) != 0
        var result = Shape([])
        var free: Int?
        var known = 1
        for (axis, size) in wanted.enumerated() {
            var dimension = size.fixed
            if size.batch != 0 {
                guard size.fixed == 0, size.batch > 0, result.batchAxis == nil else {
                    throw node.error(.unsupported, "a size that is not a multiple of the batch")
                }
                result.batchAxis = axis
                dimension = size.batch
            } else if dimension == 0 && !allowsZero {
                guard axis < shape.rank else { throw node.error(.invalidGraph, "a 0 beyond the rank of the input") }
                dimension = shape.dims[axis]
                if shape.isBatch(axis) { result.batchAxis = axis }
            } else if dimension == -1 {
                guard free == nil else { throw node.error(.invalidGraph, "two sizes of -1") }
                free = axis
                dimension = 1
            }
            guard dimension >= 0 else { throw node.error(.invalidGraph, "the size \(dimension)") }
            result.dims.append(dimension)
            let (product, overflow) = known.multipliedReportingOverflow(by: dimension)
            guard !overflow else { throw node.error(.tooLarge, "the shape is too large") }
            known = product
        }
        if let free {
            guard known > 0, shape.unit % known == 0 else {
                throw node.error(.invalidGraph, "\(shape.text) does not fill the shape")
            }
            result.dims[free] = shape.unit / known
            if shape.isBatched && result.batchAxis == nil { result.batchAxis = free }
        } else if shape.isBatched && result.batchAxis == nil {
            guard planner.isBatchDeclaredOne, result.dims.first == 1 else {
                throw node.error(.unsupported, "it fixes the batch: export it with a free first dimension")
            }
            result.batchAxis = 0
        }
        return result
    }

    // MARK: Elements that move

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
