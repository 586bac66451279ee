// Operators+Shape: operators that move or rename values.

import Tensor

extension Operators {
    static func identity(_ planner: inout Planner, _ node: PlanNode) throws {
        try planner.bind(node, 0, try planner.input(node, 0))
    }

    static func dropout(_ planner: inout Planner, _ node: PlanNode) throws {
        guard !planner.isUsed(node, output: 1) else {
            throw node.error(.unsupported, "its mask is used: export the model for inference")
        }
        if node.opset >= 12, planner.optionalInput(node, 2) != nil {
            guard try planner.integerConstant(node, 2) == [0] else {
                throw node.error(.unsupported, "it is in training mode: export the model for inference")
            }
        }
        try identity(&planner, node)
    }

    static func constant(_ planner: inout Planner, _ node: PlanNode) throws {
        guard node.attributes.count == 1, let (name, attribute) = node.attributes.first else {
            throw node.error(.invalidGraph, "a constant has exactly one attribute, its value")
        }
        let value: Constant
        switch (name, attribute) {
        case ("value", .constant(let constant)): value = constant
        case ("value_float", .float(let number)): value = try planner.constant(shape: [], floats: [number])
        case ("value_floats", .floats(let buffer)):
            value = Constant(shape: [buffer.count], type: .float, storage: .floats(buffer))
        case ("value_int", .int(let number)):
            value = Constant(shape: [], type: .int64, storage: .integers([number]))
        case ("value_ints", .ints(let numbers)):
            value = Constant(shape: [numbers.count], type: .int64, storage: .integers(numbers))
        default: throw node.error(.unsupported, "a constant given as '\(name)'")
        }
        try planner.bind(node, 0, .constant(value))
    }

    static func cast(_ planner: inout Planner, _ node: PlanNode) throws {
        let number = try node.int("to", default: 0)
        guard let type = ONNXElementType(rawValue: number) else {
            throw node.error(.unsupported, "a cast to element type number \(number)")
        }
        let isToInteger = [.int64, .int32, .bool].contains(type)
        guard isToInteger || type == .float else {
            throw node.error(.unsupported, "a cast to \(type): this engine computes in float and int64")
        }
        switch try planner.input(node, 0) {
        case .constant(let constant):
            try planner.bind(node, 0, .constant(try castConstant(planner, node, constant, to: type)))
        case .runtime(var value):
            switch value.slot {
            case .float where !isToInteger: break
            case .float(let slot):
                let target = planner.acquireIntegers(value.width)
                planner.kernels.append(
                    FloatToIntegerKernel(source: slot, target: target, width: value.width, isTruth: type == .bool))
                value.slot = .integer(target)
            case .integer where isToInteger && (type != .bool || value.type == .bool): break
            case .integer(let slot) where !isToInteger:
                let target = try planner.acquireFloats(value.width, node.place)
                planner.kernels.append(IntegerToFloatKernel(source: slot, target: target, width: value.width))
                value.slot = .float(target)
            case .integer: throw node.error(.unsupported, "a cast from \(value.type) to \(type)")
            }
            value.type = type
            try planner.bind(node, 0, .runtime(value))
        }
    }

    private static func castConstant(
        _ planner: Planner, _ node: PlanNode, _ constant: Constant, to type: ONNXElementType
    ) throws -> Constant {
        let storage: Constant.Storage
        switch constant.storage {
        case .floats(let buffer) where type == .float: storage = .floats(buffer)
        case .floats(let buffer):
            storage = .integers(
                buffer.withSpan { values in
                    values.indices.map { index in
                        let value = values[index]
                        return type == .bool ? (value != 0 ? 1 : 0) : Int64(exactly: value.rounded(.towardZero)) ?? 0
                    }
                })
        case .integers(let values) where type == .float: storage = .floats(try planner.buffer(values.map { Float($0) }))
        case .integers(let values): storage = .integers(type == .bool ? values.map { $0 != 0 ? 1 : 0 } : values)
        case .strings: throw node.error(.unsupported, "a cast of texts")
        }
        return Constant(shape: constant.shape, type: type, storage: storage)
    }

    // MARK: Shapes

    /// `Flatten`, `Reshape`, `Squeeze`, `Unsqueeze`: the elements stay where they are.
    static func reshape(_ planner: inout Planner, _ node: PlanNode) throws {
        switch try planner.input(node, 0) {
        case .constant(var constant):
            constant.shape = try newShape(planner, node, constant.shape, isBatch: false)
            guard constant.shape.reduce(1, *) == constant.count else {
                throw node.error(.invalidGraph, "\(constant.count) elements do not fill the shape \(constant.shape)")
            }
            try planner.bind(node, 0, .constant(constant))
        case .runtime(var value):
            // The batch counts as a dimension of size 1 here, and must come out as the first one again.
            let shape = try newShape(planner, node, [1] + value.rowShape, isBatch: true)
            guard shape.first == 1, shape.reduce(1, *) == value.width else {
                throw node.error(.unsupported, "it would move elements between the rows of the batch")
            }
            value.rowShape = Array(shape.dropFirst())
            try planner.bind(node, 0, .runtime(value))
        }
    }

    private static func newShape(
        _ planner: Planner, _ node: PlanNode, _ shape: [Int], isBatch: Bool
    ) throws -> [Int] {
        switch node.operation {
        case "Flatten":
            var axis = try node.int("axis", default: 1)
            if axis < 0 { axis += shape.count }
            guard axis >= 0, axis <= shape.count, !isBatch || axis >= 1 else {
                throw node.error(.unsupported, "axis \(axis) of rank \(shape.count)")
            }
            return [shape[..<axis].reduce(1, *), shape[axis...].reduce(1, *)]
        case "Squeeze": return try squeezed(planner, node, shape, isBatch: isBatch)
        case "Unsqueeze":
            let axes = try self.axes(planner, node) ?? []
            let rank = shape.count + axes.count
            let resolved = Set(try axes.map { try resolve($0, rank: rank, node) })
            guard resolved.count == axes.count, !isBatch || !resolved.contains(0) else {
                throw node.error(.unsupported, "axes \(axes) of rank \(rank)")
            }
            var rest = shape[...]
            return (0..<rank).map { resolved.contains($0) ? 1 : rest.removeFirst() }
        default: return try reshaped(planner, node, shape, isBatch: isBatch)
        }
    }

    private static func squeezed(
        _ planner: Planner, _ node: PlanNode, _ shape: [Int], isBatch: Bool
    ) throws -> [Int] {
        guard let axes = try axes(planner, node) else {
            guard !isBatch else { throw node.error(.unsupported, "without axes it depends on the size of the batch") }
            return shape.filter { $0 != 1 }
        }
        let resolved = Set(try axes.map { try resolve($0, rank: shape.count, node) })
        guard !isBatch || !resolved.contains(0), resolved.allSatisfy({ shape[$0] == 1 }) else {
            throw node.error(.unsupported, "axes \(axes) of shape \(shape) are the batch or not of size 1")
        }
        return shape.indices.filter { !resolved.contains($0) }.map { shape[$0] }
    }

    /// An attribute before opset 13, an input since.
    private static func axes(_ planner: Planner, _ node: PlanNode) throws -> [Int64]? {
        guard node.opset >= 13 else { return try node.ints("axes") }
        return planner.optionalInput(node, 1) == nil ? nil : try planner.integerConstant(node, 1)
    }

    private static func resolve(_ axis: Int64, rank: Int, _ node: PlanNode) throws -> Int {
        let resolved = axis < 0 ? axis + Int64(rank) : axis
        guard axis >= -Int64(rank), resolved >= 0, resolved < Int64(rank) else {
            throw node.error(.invalidGraph, "axis \(axis) of rank \(rank)")
        }
        return Int(resolved)
    }

    /// 0 copies a dimension (unless `allowzero`), one -1 takes the rest.
    private static func reshaped(
        _ planner: Planner, _ node: PlanNode, _ shape: [Int], isBatch: Bool
    ) throws -> [Int] {
        let wanted = try planner.integerConstant(node, 1)
        guard wanted.count <= planner.limits.tensorRankMax else {
            throw node.error(.tooLarge, "the rank exceeds the limit tensorRankMax = \(planner.limits.tensorRankMax)")
        }
        let allowsZero = try node.int("allowzero", default: 0) != 0
        var result: [Int] = []
        var free: Int?
        var known = 1
        for (index, size) in wanted.enumerated() {
            switch size {
            case -1 where free == nil:
                free = index
                result.append(1)
            case 0 where !allowsZero && index < shape.count:
                result.append(shape[index])
                known = known &* shape[index]
            case 1...Int64(planner.limits.tensorElementsMax):
                if isBatch && index == 0 && !(size == 1 && planner.isBatchDeclaredOne) {
                    throw node.error(
                        .unsupported, "it fixes the batch to \(size): export it with a free first dimension")
                }
                result.append(Int(size))
                let (product, overflow) = known.multipliedReportingOverflow(by: Int(size))
                guard !overflow else { throw node.error(.invalidGraph, "the shape \(wanted) is too large") }
                known = product
            default: throw node.error(.invalidGraph, "the shape \(wanted)")
            }
        }
        if let free {
            let count = shape.reduce(1, *)
            guard known > 0, count % known == 0 else {
                throw node.error(.invalidGraph, "\(count) elements do not fill the shape \(wanted)")
            }
            result[free] = count / known
        }
        return result
    }

    /// `Transpose` of the dimensions after the batch.
    static func transpose(_ planner: inout Planner, _ node: PlanNode) throws {
        let source = try planner.input(node, 0)
        let shape: [Int]
        switch source {
        case .constant(let constant): shape = constant.shape
        case .runtime(let value): shape = [1] + value.rowShape
        }
        let order = try node.ints("perm")?.map { Int(clamping: $0) } ?? Array(shape.indices.reversed())
        guard order.sorted() == Array(shape.indices) else {
            throw node.error(.invalidGraph, "the permutation \(order) of rank \(shape.count)")
        }
        let transposed = order.map { shape[$0] }
        try planner.allocator.charge(shape.reduce(1, *))
        var strides = [Int](repeating: 1, count: shape.count)
        for axis in shape.indices.dropLast().reversed() { strides[axis] = strides[axis + 1] * shape[axis + 1] }
        switch source {
        case .constant(let constant):
            let buffer = try planner.floats(of: constant, node, "input 0")
            guard buffer.count > 0 else { throw node.error(.unsupported, "an empty constant") }
            let map = Broadcasting.map(shape: transposed, strides: order.map { strides[$0] })
            let result = try planner.gathered(buffer, count: buffer.count) { Int(map[$0]) }
            try planner.bind(
                node, 0, .constant(Constant(shape: transposed, type: .float, storage: .floats(result))))
        case .runtime:
            guard order.first == 0 else { throw node.error(.unsupported, "it would move the batch dimension") }
            let (slot, value) = try planner.floatInput(node, 0)
            let map = Broadcasting.map(shape: transposed, strides: order.map { strides[$0] })
            let target = try planner.acquireFloats(value.width, node.place)
            planner.kernels.append(
                GatherKernel(source: slot, target: target, sourceWidth: value.width, map: map))
            try planner.bind(
                node, 0,
                .runtime(
                    RuntimeValue(slot: .float(target), rowShape: Array(transposed.dropFirst()), type: .float)))
        }
    }

    /// `Concat` along a dimension after the batch; constants are repeated for every row.
    static func concatenate(_ planner: inout Planner, _ node: PlanNode) throws {
        var shapes: [[Int]] = []
        for index in node.inputs.indices {
            switch try planner.input(node, index) {
            case .constant(let constant): shapes.append(constant.shape)
            case .runtime(let value): shapes.append([1] + value.rowShape)
            }
        }
        let rank = shapes.first?.count ?? 0
        let axis = try resolve(Int64(node.int("axis", default: 0)), rank: rank, node)
        guard axis > 0 else { throw node.error(.unsupported, "it would append rows to the batch") }
        var joined = shapes[0]
        joined[axis] = 0
        for shape in shapes {
            guard shape.count == rank, (0..<rank).allSatisfy({ $0 == axis || shape[$0] == joined[$0] }) else {
                throw node.error(.invalidGraph, "the shapes \(shapes) do not fit along axis \(axis)")
            }
            joined[axis] += shape[axis]
        }
        guard joined[0] == 1 else { throw node.error(.unsupported, "a constant of \(joined[0]) rows") }
        let inner = joined[(axis + 1)...].reduce(1, *)
        let outer = joined[..<axis].reduce(1, *)
        try planner.checkWidth(Array(joined.dropFirst()), node.place)
        let target = try planner.acquireFloats(joined.reduce(1, *), node.place)
        var offset = 0
        for (index, shape) in shapes.enumerated() {
            let part: ConcatenateKernel.Part
            if case .constant(let constant) = try planner.input(node, index) {
                part = .constant(try planner.floats(of: constant, node, "input \(index)"))
            } else {
                part = .slot(try planner.floatInput(node, index).slot)
            }
            let width = shape[axis] * inner
            guard width > 0 else { throw node.error(.invalidGraph, "input \(index) is empty") }
            planner.kernels.append(
                ConcatenateKernel(
                    part: part, target: target, blocksPerRow: outer, blockWidth: width, offset: offset,
                    stride: joined[axis] * inner))
            offset += width
        }
        try planner.bind(
            node, 0,
            .runtime(RuntimeValue(slot: .float(target), rowShape: Array(joined.dropFirst()), type: .float)))
    }
}
