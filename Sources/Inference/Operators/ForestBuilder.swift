// ForestBuilder: from a model's trees to the layout of the kernels.

import Tensor

/// Lays trees out with every test as `x <= threshold` or `x == threshold`. Each rewriting is exact:
///
///     x <  t    x <= the float before t
///     x >= t    not x < t: the sides change places
///     x >  t    not x <= t, likewise; x != t as not x == t
///     member    a chain of equalities whose `yes` sides are one node
struct ForestBuilder {
    private let table: TreeTable
    private let aggregate: Forest.Aggregate
    private let targets: Int
    private let node: PlanNode
    private var featureIndex: [Int: Int] = [:]
    private var features: [Int32] = []
    private var orders: [[Int]] = []
    private var depths: [Int] = []

    init(_ table: TreeTable, columns: Int, aggregate: Forest.Aggregate, targets: Int, _ node: PlanNode) throws {
        self.table = table
        self.aggregate = aggregate
        self.targets = targets
        self.node = node
        var visited = [Bool](repeating: false, count: table.nodes.count)
        for root in table.roots {
            let (order, depth) = try table.order(root: root, visited: &visited, node)
            orders.append(order)
            depths.append(depth)
            for index in order where table.nodes[index].mode != nil {
                let feature = table.nodes[index].feature
                guard feature < columns else {
                    throw node.error(.invalidGraph, "feature \(feature) of an input with \(columns) columns")
                }
                if featureIndex[feature] == nil {
                    featureIndex[feature] = features.count
                    features.append(Int32(feature))
                }
            }
        }
        guard !orders.isEmpty, visited.allSatisfy({ $0 }) else {
            throw node.error(.invalidGraph, "it has no tree, or nodes that no tree reaches: a cycle")
        }
        guard table.weightTargets.allSatisfy({ Int($0) < targets }) else {
            throw node.error(.invalidGraph, "a leaf adds to a target beyond \(targets)")
        }
    }

    /// Inner nodes that a node becomes.
    private func width(_ index: Int) -> Int {
        switch table.nodes[index].mode {
        case nil: 0
        case .member: max(table.nodes[index].range.count, 1)
        default: 1
        }
    }

    private func targetList(_ order: [Int]) -> [Int32] {
        var found: Set<Int32> = []
        for index in order where table.nodes[index].mode == nil {
            for at in table.nodes[index].range { found.insert(table.weightTargets[at]) }
        }
        return found.sorted()
    }

    mutating func build(_ planner: Planner) throws -> Forest {
        var sizes: [Forest.TreeSize] = []
        for (order, depth) in zip(orders, depths) {
            let inner = order.reduce(0) { $0 + width($1) }
            let leaves = order.reduce(0) { $0 + (table.nodes[$1].mode == nil ? 1 : 0) }
            let hasEqual = order.contains { index in
                switch table.nodes[index].mode {
                case .equal, .notEqual, .member: true
                default: false
                }
            }
            sizes.append(
                Forest.TreeSize(
                    inner: inner, leaves: leaves, targets: targetList(order), depth: depth, hasEqual: hasEqual))
        }
        let forest = try Forest(
            features: features, sizes: sizes, targetCount: targets, aggregate: aggregate, allocator: planner.allocator)
        for (tree, order) in orders.enumerated() { place(order, tree, sizes[tree], in: forest) }
        return forest
    }

    private func place(_ order: [Int], _ tree: Int, _ size: Forest.TreeSize, in forest: Forest) {
        var position: [Int: Int] = [:]
        var nextInner = 0
        var nextLeaf = 0
        for index in order {
            if table.nodes[index].mode == nil {
                position[index] = size.inner + nextLeaf
                nextLeaf += 1
            } else {
                position[index] = nextInner
                nextInner += width(index)
            }
        }
        for index in order {
            let entry = table.nodes[index]
            guard let at = position[index] else { continue }
            guard let mode = entry.mode else {
                setLeaf(entry, tree, leaf: at - size.inner, size, in: forest)
                continue
            }
            guard let yes = position[entry.yes], let no = position[entry.no], let feature = featureIndex[entry.feature]
            else { continue }
            let threshold = Float(table.thresholds[index])
            let before = threshold.nextDown
            func set(_ threshold: Float, isEqual: Bool, missing: Bool, _ yes: Int, _ no: Int) {
                forest.setNode(
                    tree: tree, at, feature: feature, threshold: threshold, isEqual: isEqual, missingIsYes: missing,
                    yes: yes, no: no)
            }
            switch mode {
            case .lessOrEqual: set(threshold, isEqual: false, missing: entry.missingIsTrue, yes, no)
            // Nothing is less than minus infinity; the comparison with NaN never holds.
            case .less:
                set(threshold == -.infinity ? .nan : before, isEqual: false, missing: entry.missingIsTrue, yes, no)
            case .greaterOrEqual:
                set(threshold == -.infinity ? .nan : before, isEqual: false, missing: !entry.missingIsTrue, no, yes)
            case .greater: set(threshold, isEqual: false, missing: !entry.missingIsTrue, no, yes)
            case .equal: set(threshold, isEqual: true, missing: entry.missingIsTrue, yes, no)
            // A missing value differs from every number.
            case .notEqual: set(threshold, isEqual: true, missing: false, no, yes)
            case .member: setMembers(entry, tree, at, feature, yes: yes, no: no, in: forest)
            }
        }
    }

    private func setMembers(
        _ entry: TreeTable.Node, _ tree: Int, _ start: Int, _ feature: Int, yes: Int, no: Int, in forest: Forest
    ) {
        guard !entry.range.isEmpty else {
            forest.setNode(
                tree: tree, start, feature: feature, threshold: .nan, isEqual: true, missingIsYes: entry.missingIsTrue,
                yes: yes, no: no)
            return
        }
        for (step, at) in entry.range.enumerated() {
            forest.setNode(
                tree: tree, start + step, feature: feature, threshold: Float(table.members[at]), isEqual: true,
                missingIsYes: entry.missingIsTrue, yes: yes,
                no: step + 1 == entry.range.count ? no : start + step + 1)
        }
    }

    private func setLeaf(
        _ entry: TreeTable.Node, _ tree: Int, leaf: Int, _ size: Forest.TreeSize, in forest: Forest
    ) {
        for (position, target) in size.targets.enumerated() {
            var value: Float =
                switch aggregate {
                case .sum: 0
                case .minimum: .infinity
                case .maximum: -.infinity
                }
            for at in entry.range where table.weightTargets[at] == target {
                let weight = Float(table.weights[at])
                switch aggregate {
                case .sum: value += weight
                case .minimum: value = min(value, weight)
                case .maximum: value = max(value, weight)
                }
            }
            forest.setValue(tree: tree, target: position, leaf: leaf, value)
        }
    }
}
