// Operators+Shape: constants, sizes as values, reshaping.

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
}
