// Operators+Trees: tree ensembles of ai.onnx.ml.

import Tensor

extension Operators {
    /// How the values of the trees are put together.
    enum TreeAggregate: String {
        case average = "AVERAGE"
        case sum = "SUM"
        case minimum = "MIN"
        case maximum = "MAX"

        static let numbered: [TreeAggregate] = [.average, .sum, .minimum, .maximum]

        var forest: Forest.Aggregate {
            switch self {
            case .average, .sum: .sum
            case .minimum: .minimum
            case .maximum: .maximum
            }
        }
    }

    static func treeRegressor(_ planner: Planner, _ node: PlanNode) throws {
        let name = try node.string("aggregate_function", default: "SUM")
        guard let aggregate = TreeAggregate(rawValue: name) else {
            throw node.error(.invalidGraph, "aggregate_function '\(name)'")
        }
        let table = try TreeTable.read(planner, node, idName: "target")
        try regression(
            planner, node, table, targets: try node.int("n_targets", default: 1), aggregate: aggregate,
            transform: try transform(node))
    }

    static func treeEnsemble(_ planner: Planner, _ node: PlanNode) throws {
        let number = try node.int("aggregate_function", default: 1)
        let transform = try node.int("post_transform", default: 0)
        guard TreeAggregate.numbered.indices.contains(number), PostTransform.numbered.indices.contains(transform) else {
            throw node.error(.invalidGraph, "aggregate_function \(number), post_transform \(transform)")
        }
        try regression(
            planner, node, try TreeTable.readCombined(planner, node), targets: try node.int("n_targets", default: 1),
            aggregate: TreeAggregate.numbered[number], transform: PostTransform.numbered[transform])
    }

    private static func regression(
        _ planner: Planner, _ node: PlanNode, _ table: TreeTable, targets: Int, aggregate: TreeAggregate,
        transform: PostTransform
    ) throws {
        let base = try baseValues(planner, node)
        guard targets > 0, targets <= 65_536, base.isEmpty || base.count == targets else {
            throw node.error(.invalidGraph, "\(base.count) base values for \(targets) targets")
        }
        let (raw, value) = try forest(planner, node, table, targets: targets, aggregate: aggregate)
        let divisor = aggregate == .average ? Float(max(table.roots.count, 1)) : 1
        var scores = raw
        if divisor != 1 || !base.isEmpty || aggregate == .minimum || aggregate == .maximum {
            scores = try planner.makeValue(node, raw.shape, .float)
            planner.append(
                BaseValueStep(
                    rows: RowCount(value.shape), source: raw.id, target: scores.id, width: targets,
                    base: base.isEmpty ? Array(repeating: 0, count: targets) : base, divisor: divisor))
        }
        if transform != .none {
            let final = try planner.makeValue(node, raw.shape, .float)
            planner.append(
                TransformStep(
                    rows: RowCount(value.shape), source: scores.id, target: final.id, width: targets,
                    transform: transform))
            scores = final
        }
        if planner.isDouble(node) && node.operation == "TreeEnsemble" {
            scores = try converted(planner, node, scores, to: .double)
        }
        try planner.bind(node, 0, .runtime(scores))
    }

    private static func baseValues(_ planner: Planner, _ node: PlanNode) throws -> [Float] {
        if let tensor = try planner.tensor(node, "base_values_as_tensor") {
            return Array(try planner.floats(tensor))
        }
        return try planner.floats(node, "base_values").map { Array($0) } ?? []
    }

    /// `TreeEnsembleClassifier`, with ONNX Runtime's reading of the binary case.
    static func treeClassifier(_ planner: Planner, _ node: PlanNode) throws {
        let table = try TreeTable.read(planner, node, idName: "class")
        let transform = try transform(node)
        let (labels, type) = try classLabels(planner, node, "classlabels_int64s")
        let base = try baseValues(planner, node)
        let used = Set(table.weightTargets)
        let isPositive = table.weights.allSatisfy { $0 >= 0 }
        guard labels.count >= 1, used.allSatisfy({ Int($0) < labels.count }), base.count <= labels.count else {
            throw node.error(.invalidGraph, "class ids or base values beyond the \(labels.count) class labels")
        }
        // Two classes with the weights of one: the other's score follows.
        let isBinary = labels.count == 2 && used.count == 1 && base.count < 2
        let isOne = isBinary || labels.count == 1
        if isOne {
            let only = used.first ?? 0
            for index in 0..<table.weightTargets.count { table.weightTargets[index] = 0 }
            return try binary(
                planner, node, table, base: base.first ?? 0, labels: labels, type: type, transform: transform,
                isPositive: isPositive, isSecond: only == 1 && labels.count == 2)
        }
        let (raw, value) = try forest(planner, node, table, targets: labels.count, aggregate: .sum)
        let label = try planner.makeValue(node, rowShape(value, nil), type)
        var scores = raw
        if !base.isEmpty {
            scores = try planner.makeValue(node, raw.shape, .float)
            planner.append(
                BaseValueStep(
                    rows: RowCount(value.shape), source: raw.id, target: scores.id, width: labels.count,
                    base: base + Array(repeating: 0, count: labels.count - base.count), divisor: 1))
        }
        let final = try planner.makeValue(node, raw.shape, .float)
        planner.append(
            ClassScoreStep(
                rows: RowCount(value.shape), source: scores.id, scores: final.id, label: label.id,
                classes: labels.count, labels: labels, transform: transform))
        try planner.bind(node, 0, .runtime(label))
        try planner.bind(node, 1, .runtime(final))
    }

    private static func binary(
        _ planner: Planner, _ node: PlanNode, _ table: TreeTable, base: Float, labels: [Int64],
        type: ONNXElementType, transform: PostTransform, isPositive: Bool, isSecond: Bool
    ) throws {
        var (scores, value) = try forest(planner, node, table, targets: 1, aggregate: .sum)
        if base != 0 {
            let shifted = try planner.makeValue(node, scores.shape, .float)
            planner.append(
                BaseValueStep(
                    rows: RowCount(value.shape), source: scores.id, target: shifted.id, width: 1, base: [base],
                    divisor: 1))
            scores = shifted
        }
        let label = try planner.makeValue(node, rowShape(value, nil), type)
        let hasTwo = labels.count == 2
        let final = try planner.makeValue(node, rowShape(value, hasTwo ? 2 : 1), .float)
        let second: TwoClassStep.Second = !hasTwo ? .none : isPositive ? .complement : .negative
        planner.append(
            TwoClassStep(
                rows: RowCount(value.shape), source: scores.id, scores: final.id, label: label.id, second: second,
                transform: transform, labels: hasTwo ? labels : [labels[0], labels[0]],
                threshold: isPositive ? 0.5 : 0))
        try planner.bind(node, 0, .runtime(label))
        try planner.bind(node, 1, .runtime(final))
    }

    // MARK: Building

    /// Appends the ensemble's sums; doubles are compared as doubles.
    private static func forest(
        _ planner: Planner, _ node: PlanNode, _ table: TreeTable, targets: Int, aggregate: TreeAggregate
    ) throws -> (scores: RuntimeValue, value: RuntimeValue) {
        if planner.isDouble(node) {
            let value = try planner.operand(node, 0)
            return try (walkingForest(planner, node, table, value, targets: targets, aggregate: aggregate), value)
        }
        let value = try rows(planner, node)
        let columns = value.shape.dims[1]
        var builder = try ForestBuilder(table, columns: columns, aggregate: aggregate.forest, targets: targets, node)
        let forest = try builder.build(planner)
        let target = try planner.makeValue(node, rowShape(value, targets), .float)
        let scratch = try planner.makeValue(node, Shape([forest.scratchCount]), .float)
        planner.append(
            ForestStep(
                rows: RowCount(value.shape), source: value.id, target: target.id, scratch: scratch.id, columns: columns,
                forest: forest))
        return (target, value)
    }

    private static func walkingForest(
        _ planner: Planner, _ node: PlanNode, _ table: TreeTable, _ value: RuntimeValue, targets: Int,
        aggregate: TreeAggregate
    ) throws -> RuntimeValue {
        guard value.shape.rank == 2, !value.shape.isBatch(1) else {
            throw node.error(.unsupported, "an input of shape \(value.shape.text)")
        }
        var visited = [Bool](repeating: false, count: table.nodes.count)
        for root in table.roots {
            let order = try table.order(root: root, visited: &visited, node).order
            for index in order where table.nodes[index].mode != nil && table.nodes[index].feature >= value.shape.dims[1]
            {
                throw node.error(.invalidGraph, "feature \(table.nodes[index].feature) of \(value.shape.dims[1])")
            }
        }
        guard table.weightTargets.allSatisfy({ Int($0) < targets }) else {
            throw node.error(.invalidGraph, "a target beyond \(targets)")
        }
        let target = try planner.makeValue(node, rowShape(value, targets), .float)
        let sums = try planner.makeValue(node, Shape([targets]), .double)
        planner.append(
            WalkingForestStep(
                rows: RowCount(value.shape), source: value.id, target: target.id, sums: sums.id,
                columns: value.shape.dims[1], targets: targets, table: table, aggregate: aggregate.forest))
        return target
    }
}

extension Planner {
    func isDouble(_ node: PlanNode) -> Bool {
        if case .runtime(let value) = values[node.inputs.first ?? ""] { return value.type == .double }
        if case .constant(let constant) = values[node.inputs.first ?? ""] { return constant.type == .double }
        return false
    }
}

extension TreeTable: @unchecked Sendable {}
