// Operators+Reduce: softmax, arg-max, sums over axes, norms.

import Glibc
import Tensor

extension Operators {
    static func softmax(_ planner: Planner, _ node: PlanNode) throws {
        let value = try planner.operand(node, 0, .float, .double)
        let rank = value.shape.rank
        let parts: AxisSplit
        if node.opset >= 13 {
            parts = try split(value.shape, at: try resolve(try node.int("axis", default: -1), rank: rank, node), node)
        } else {
            // Up to opset 12 the function runs over all dimensions from the axis on.
            let axis = try resolve(try node.int("axis", default: 1), rank: max(rank, 2), node)
            guard axis <= rank, value.shape.batchAxis.map({ $0 < axis }) ?? true else { throw mixing(node) }
            parts = AxisSplit(
                outer: value.shape.dims[..<axis].reduce(1, *), length: value.shape.dims[axis...].reduce(1, *), inner: 1,
                isBatchOuter: value.shape.isBatched, isBatchInner: false)
        }
        let target = try planner.makeValue(node, value.shape, value.type)
        func append<T: BinaryFloatingPoint & PlainValue>(_ type: T.Type) {
            planner.append(
                SoftmaxStep<T>(
                    source: value.id, target: target.id, outer: parts.outer, length: parts.length, inner: parts.inner,
                    isBatchOuter: parts.isBatchOuter, isBatchInner: parts.isBatchInner,
                    kind: node.operation == "Softmax" ? .softmax : node.operation == "Hardmax" ? .hardmax : .logSoftmax)
            )
        }
        if value.type == .float { append(Float.self) } else { append(Double.self) }
        try planner.bind(node, 0, .runtime(target))
    }

    static func argExtreme(_ planner: Planner, _ node: PlanNode) throws {
        let value = try planner.operand(node, 0)
        let axis = try resolve(try node.int("axis", default: 0), rank: value.shape.rank, node)
        let parts = try split(value.shape, at: axis, node)
        guard parts.length > 0, value.type != .string else { throw node.error(.invalidGraph, "an empty axis or texts") }
        var shape = value.shape
        if try node.int("keepdims", default: 1) != 0 {
            shape.dims[axis] = 1
        } else {
            shape = try removing([axis], from: shape)
        }
        let target = try planner.makeValue(node, shape, .int64)
        let selectsLast = try node.int("select_last_index", default: 0) != 0
        func append<T: PlainValue & Comparable>(_ type: T.Type) {
            planner.append(
                ArgStep<T>(
                    source: value, target: target.id, outer: parts.outer, length: parts.length, inner: parts.inner,
                    isBatchOuter: parts.isBatchOuter, isBatchInner: parts.isBatchInner,
                    isMinimum: node.operation == "ArgMin", selectsLast: selectsLast, labels: nil))
        }
        switch value.storage {
        case .float: append(Float.self)
        case .double: append(Double.self)
        case .integer: append(Int64.self)
        }
        try planner.bind(node, 0, .runtime(target))
    }

    private static func removing(_ axes: Set<Int>, from shape: Shape) throws -> Shape {
        let rest = shape.dims.indices.filter { !axes.contains($0) }
        return Shape(rest.map { shape.dims[$0] }, batchAxis: shape.batchAxis.flatMap { rest.firstIndex(of: $0) })
    }

    static func reduce(_ planner: Planner, _ node: PlanNode) throws {
        let value = try planner.operand(node, 0)
        let given = try axes(planner, node, since: node.operation == "ReduceSum" ? 13 : 18)
        let isNothing = try node.int("noop_with_empty_axes", default: 0) != 0
        if (given ?? []).isEmpty && isNothing { return try planner.alias(node, 0, shape: value.shape) }
        let list = (given ?? []).isEmpty ? Array(0..<value.shape.rank) : given ?? []
        let gone = Set(try list.map { try resolve($0, rank: value.shape.rank, node) })
        if let batch = value.shape.batchAxis, gone.contains(batch) { throw mixing(node) }
        var kept = value.shape
        for axis in gone { kept.dims[axis] = 1 }
        let shape = try node.int("keepdims", default: 1) != 0 ? kept : removing(gone, from: value.shape)
        switch value.type {
        case .float: try reduced(planner, node, value, kept, shape, Float.self)
        case .double: try reduced(planner, node, value, kept, shape, Double.self)
        case .int32, .int64: try reducedIntegers(planner, node, value, kept, shape)
        default: throw node.error(.unsupported, "values of type \(value.type)")
        }
    }

    private static func reduced<T: BinaryFloatingPoint & PlainValue>(
        _ planner: Planner, _ node: PlanNode, _ value: RuntimeValue, _ kept: Shape, _ shape: Shape, _ type: T.Type
    ) throws {
        let target = try planner.makeValue(node, shape, value.type)
        if node.operation == "ReduceLogSumExp" {
            let highest = try planner.makeValue(node, shape, value.type)
            planner.append(LogSumExpStep<T>(source: value, target: target, highest: highest.id, kept: kept))
            return try planner.bind(node, 0, .runtime(target))
        }
        var start: T = 0
        let combine: @Sendable (T, T) -> T
        var finish: (@Sendable (T, Int) -> T)?
        switch node.operation {
        case "ReduceSum": combine = { $0 + $1 }
        case "ReduceMean":
            combine = { $0 + $1 }
            finish = { $0 / T($1) }
        case "ReduceL1": combine = { $0 + abs($1) }
        case "ReduceL2":
            combine = { $0 + $1 * $1 }
            finish = { sum, _ in sum.squareRoot() }
        case "ReduceSumSquare": combine = { $0 + $1 * $1 }
        case "ReduceLogSum":
            combine = { $0 + $1 }
            finish = { sum, _ in T(Glibc.log(Double(sum))) }
        case "ReduceProd":
            start = 1
            combine = { $0 * $1 }
        case "ReduceMax":
            start = -.infinity
            combine = { $0 > $1 || $0.isNaN ? $0 : $1 }
        default:
            start = .infinity
            combine = { $0 < $1 || $0.isNaN ? $0 : $1 }
        }
        planner.append(
            ReduceStep<T>(
                source: value, target: target, kept: kept, name: node.operation, start: start, combine: combine,
                finish: finish))
        try planner.bind(node, 0, .runtime(target))
    }

    private static func reducedIntegers(
        _ planner: Planner, _ node: PlanNode, _ value: RuntimeValue, _ kept: Shape, _ shape: Shape
    ) throws {
        let target = try planner.makeValue(node, shape, value.type)
        let type = value.type
        var start: Int64 = 0
        let combine: @Sendable (Int64, Int64) -> Int64
        var finish: (@Sendable (Int64, Int) -> Int64)?
        switch node.operation {
        case "ReduceSum": combine = { wrapped($0 &+ $1, type) }
        case "ReduceMean":
            combine = { $0 &+ $1 }
            finish = { $1 == 0 ? 0 : $0 / Int64($1) }
        case "ReduceL1": combine = { wrapped($0 &+ ($1 < 0 ? 0 &- $1 : $1), type) }
        case "ReduceSumSquare": combine = { wrapped($0 &+ $1 &* $1, type) }
        case "ReduceProd":
            start = 1
            combine = { wrapped($0 &* $1, type) }
        case "ReduceMax":
            start = type == .int32 ? Int64(Int32.min) : .min
            combine = { max($0, $1) }
        case "ReduceMin":
            start = type == .int32 ? Int64(Int32.max) : .max
            combine = { min($0, $1) }
        default: throw node.error(.unsupported, "integers")
        }
        planner.append(
            ReduceStep<Int64>(
                source: value, target: target, kept: kept, name: node.operation, start: start, combine: combine,
                finish: finish))
        try planner.bind(node, 0, .runtime(target))
    }

    /// `LpNormalization` along one axis.
    static func lpNormalization(_ planner: Planner, _ node: PlanNode) throws {
        let value = try planner.operand(node, 0, .float)
        let axis = try resolve(try node.int("axis", default: -1), rank: value.shape.rank, node)
        guard axis == value.shape.rank - 1, !value.shape.isBatch(axis) else {
            throw node.error(.unsupported, "along axis \(axis) of \(value.shape.text)")
        }
        let target = try planner.makeValue(node, value.shape, .float)
        planner.append(
            NormalizeStep(
                source: value.id, target: target.id, shape: value.shape, width: value.shape.dims[axis],
                norm: try node.int("p", default: 2) == 1 ? .l1 : .l2))
        try planner.bind(node, 0, .runtime(target))
    }
}
