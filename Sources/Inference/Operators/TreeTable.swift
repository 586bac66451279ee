// TreeTable: the nodes of a tree ensemble as the model gives them, checked and in one form for all versions.

import Tensor

/// A test of a node, by the numbers of `TreeEnsemble` (ai.onnx.ml 5).
enum BranchMode: Int, Sendable {
    case lessOrEqual = 0
    case less, greaterOrEqual, greater, equal, notEqual, member

    init?(name: String) {
        switch name {
        case "BRANCH_LEQ": self = .lessOrEqual
        case "BRANCH_LT": self = .less
        case "BRANCH_GTE": self = .greaterOrEqual
        case "BRANCH_GT": self = .greater
        case "BRANCH_EQ": self = .equal
        case "BRANCH_NEQ": self = .notEqual
        case "BRANCH_MEMBER": self = .member
        default: return nil
        }
    }
}

/// Trees of which every node is reached once: `yes` and `no` are indices of nodes.
struct TreeTable {
    struct Node: PlainValue {
        /// Nil for a leaf.
        var mode: BranchMode?
        var feature = 0
        var missingIsTrue = false
        var yes = 0
        var no = 0
        private var start = 0
        private var end = 0

        init(mode: BranchMode? = nil, feature: Int = 0, range: Range<Int> = 0..<0) {
            self.mode = mode
            self.feature = feature
            self.range = range
        }

        /// Of a leaf its weights, as a range of `weights`; of a member test its set, as a range of `members`.
        var range: Range<Int> {
            get { start..<end }
            set {
                start = newValue.lowerBound
                end = newValue.upperBound
            }
        }
    }

    /// Structure and thresholds stand in memory of the allocator, like the weights.
    var nodes: ModelArray<Node>
    var thresholds: ModelArray<Double>
    var roots: [Int]
    var weights: ModelArray<Double>
    var weightTargets: ModelArray<Int32>
    var members: ModelArray<Double>

    /// The nodes of a tree, parents first, and its depth. Refuses cycles and nodes with two parents.
    func order(root: Int, visited: inout [Bool], _ node: PlanNode) throws(ONNXError) -> (order: [Int], depth: Int) {
        var order: [Int] = []
        var stack = [(root, 0)]
        var deepest = 0
        while let (index, depth) = stack.popLast() {
            guard index >= 0, index < nodes.count else {
                throw node.error(.invalidGraph, "a branch leads to node \(index) of \(nodes.count)")
            }
            guard !visited[index] else { throw node.error(.invalidGraph, "two branches lead to one node: a cycle") }
            visited[index] = true
            order.append(index)
            deepest = max(deepest, depth)
            guard nodes[index].mode != nil else { continue }
            let steps = nodes[index].mode == BranchMode.member ? max(nodes[index].range.count, 1) : 1
            stack.append((nodes[index].no, depth + steps))
            stack.append((nodes[index].yes, depth + steps))
        }
        return (order, deepest)
    }
}

extension TreeTable {
    /// The attributes of `TreeEnsembleClassifier` and `TreeEnsembleRegressor`, whose weights start with `prefix`.
    static func read(_ planner: Planner, _ node: PlanNode, idName: String) throws -> TreeTable {
        func integers(_ name: String) throws -> ModelArray<Int64> {
            guard let values = try planner.integers(node, name) else {
                throw node.error(.invalidGraph, "'\(name)' is missing")
            }
            return values
        }
        let trees = try integers("nodes_treeids")
        let ids = try integers("nodes_nodeids")
        let features = try integers("nodes_featureids")
        let yes = try integers("nodes_truenodeids")
        let no = try integers("nodes_falsenodeids")
        let missing = try planner.integers(node, "nodes_missing_value_tracks_true")
        let modes = try node.strings("nodes_modes") ?? []
        let thresholds = try reals(planner, node, "nodes_values")
        let count = trees.count
        guard count > 0,
            [ids.count, features.count, yes.count, no.count, modes.count, thresholds.count].allSatisfy({ $0 == count }),
            missing.map({ $0.count == count || $0.count == 0 }) ?? true
        else { throw node.error(.invalidGraph, "the lists of its nodes are empty or differ in length") }
        var places: [NodeKey: Int] = [:]
        places.reserveCapacity(count)
        for index in 0..<count {
            guard places.updateValue(index, forKey: NodeKey(trees[index], ids[index])) == nil else {
                throw node.error(.invalidGraph, "node \(ids[index]) of tree \(trees[index]) stands there twice")
            }
        }
        let nodes = try ModelArray<Node>(count: count, planner.allocator)
        var isChild = [Bool](repeating: false, count: count)
        for index in 0..<count {
            var entry = Node()
            if modes[index] != "LEAF" {
                guard let mode = BranchMode(name: modes[index]), mode != .member else {
                    throw node.error(.unsupported, "the mode '\(modes[index])'")
                }
                guard let left = places[NodeKey(trees[index], yes[index])],
                    let right = places[NodeKey(trees[index], no[index])],
                    features[index] >= 0, features[index] <= Int64(Int32.max)
                else { throw node.error(.invalidGraph, "a branch of tree \(trees[index]) leads nowhere") }
                entry.mode = mode
                entry.feature = Int(features[index])
                entry.missingIsTrue = missing.map { $0.count > 0 && $0[index] != 0 } ?? false
                entry.yes = left
                entry.no = right
                isChild[left] = true
                isChild[right] = true
            }
            nodes[index] = entry
        }
        let table = try readWeights(planner, node, idName: idName, places: places, nodes: nodes)
        return TreeTable(
            nodes: nodes, thresholds: thresholds, roots: (0..<count).filter { !isChild[$0] }, weights: table.weights,
            weightTargets: table.targets, members: try ModelArray(count: 0, planner.allocator))
    }

    private struct NodeKey: Hashable {
        var tree: Int64
        var node: Int64

        init(_ tree: Int64, _ node: Int64) {
            self.tree = tree
            self.node = node
        }
    }

    /// Groups the weights by leaf.
    private static func readWeights(
        _ planner: Planner, _ node: PlanNode, idName: String, places: [NodeKey: Int],
        nodes: ModelArray<Node>
    ) throws -> (weights: ModelArray<Double>, targets: ModelArray<Int32>) {
        let list = idName
        guard let trees = try planner.integers(node, "\(list)_treeids"),
            let ids = try planner.integers(node, "\(list)_nodeids"),
            let targets = try planner.integers(node, "\(list)_ids")
        else { throw node.error(.invalidGraph, "the lists of its leaf weights are missing") }
        let weights = try reals(planner, node, "\(list)_weights")
        guard trees.count == weights.count, ids.count == weights.count, targets.count == weights.count else {
            throw node.error(.invalidGraph, "the lists of its leaf weights differ in length")
        }
        var leaves: [Int] = []
        leaves.reserveCapacity(weights.count)
        var counts = [Int](repeating: 0, count: nodes.count)
        for index in 0..<weights.count {
            guard let leaf = places[NodeKey(trees[index], ids[index])], nodes[leaf].mode == nil else {
                throw node.error(.invalidGraph, "a weight belongs to no leaf")
            }
            leaves.append(leaf)
            counts[leaf] += 1
        }
        var start = 0
        for index in 0..<nodes.count where nodes[index].mode == nil {
            nodes[index].range = start..<start
            start += counts[index]
        }
        let sorted = try ModelArray<Double>(count: weights.count, planner.allocator)
        let sortedTargets = try ModelArray<Int32>(count: weights.count, planner.allocator)
        for index in 0..<weights.count {
            let at = nodes[leaves[index]].range.upperBound
            guard targets[index] >= 0, targets[index] <= 65_535 else {
                throw node.error(.invalidGraph, "the target \(targets[index])")
            }
            sorted[at] = weights[index]
            sortedTargets[at] = Int32(targets[index])
            nodes[leaves[index]].range = nodes[leaves[index]].range.lowerBound..<at + 1
        }
        return (sorted, sortedTargets)
    }

    /// Real numbers given as floats or, since ai.onnx.ml 3, as a tensor.
    private static func reals(_ planner: Planner, _ node: PlanNode, _ name: String) throws -> ModelArray<Double> {
        if let tensor = try planner.tensor(node, "\(name)_as_tensor") { return try doubles(planner, tensor) }
        guard let floats = try planner.floats(node, name) else {
            throw node.error(.invalidGraph, "'\(name)' is missing")
        }
        let wide = try ModelArray<Double>(count: floats.count, planner.allocator)
        for index in 0..<floats.count { wide[index] = Double(floats[index]) }
        return wide
    }

    static func doubles(_ planner: Planner, _ constant: Constant) throws -> ModelArray<Double> {
        if case .doubles(let array) = constant.storage { return array }
        let wide = try ModelArray<Double>(count: constant.count, planner.allocator)
        if case .integers(let values) = constant.storage {
            for index in 0..<values.count { wide[index] = Double(values[index]) }
        } else {
            let floats = try planner.floats(constant)
            for index in 0..<floats.count { wide[index] = Double(floats[index]) }
        }
        return wide
    }

    /// The attributes of `TreeEnsemble` (ai.onnx.ml 5): inner nodes and leaves stand in lists of their own.
    static func readCombined(_ planner: Planner, _ node: PlanNode) throws -> TreeTable {
        func integers(_ name: String) throws -> ModelArray<Int64> {
            guard let values = try planner.integers(node, name) else {
                throw node.error(.invalidGraph, "'\(name)' is missing")
            }
            return values
        }
        guard let modeTensor = try planner.tensor(node, "nodes_modes"), case .integers(let modes) = modeTensor.storage,
            let splitTensor = try planner.tensor(node, "nodes_splits"),
            let weightTensor = try planner.tensor(node, "leaf_weights")
        else { throw node.error(.invalidGraph, "'nodes_modes', 'nodes_splits' or 'leaf_weights' is missing") }
        let splits = try doubles(planner, splitTensor)
        let weights = try doubles(planner, weightTensor)
        let targets = try integers("leaf_targetids")
        let features = try integers("nodes_featureids")
        let (yes, no) = (try integers("nodes_truenodeids"), try integers("nodes_falsenodeids"))
        let (yesLeaf, noLeaf) = (try integers("nodes_trueleafs"), try integers("nodes_falseleafs"))
        let missing = try planner.integers(node, "nodes_missing_value_tracks_true")
        let count = features.count
        guard count > 0,
            [modes.count, splits.count, yes.count, no.count, yesLeaf.count, noLeaf.count].allSatisfy({ $0 == count }),
            missing.map({ $0.count == count || $0.count == 0 }) ?? true, targets.count == weights.count
        else { throw node.error(.invalidGraph, "the lists of its nodes differ in length") }
        let (members, sets) = try memberSets(planner, node, modes)
        // Each side that is a leaf gets a node of its own after the inner ones.
        var leafCount = 0
        for index in 0..<count { leafCount += (yesLeaf[index] != 0 ? 1 : 0) + (noLeaf[index] != 0 ? 1 : 0) }
        let nodes = try ModelArray<Node>(count: count + leafCount, planner.allocator)
        var next = count
        func side(_ isLeaf: Bool, _ id: Int64) throws -> Int {
            guard isLeaf else { return Int(clamping: id) }
            guard id >= 0, id < Int64(weights.count) else {
                throw node.error(.invalidGraph, "leaf \(id) of \(weights.count)")
            }
            nodes[next] = Node(range: Int(id)..<Int(id) + 1)
            next += 1
            return next - 1
        }
        for index in 0..<count {
            guard let mode = BranchMode(rawValue: Int(clamping: modes[index])), features[index] >= 0,
                features[index] <= Int64(Int32.max)
            else { throw node.error(.invalidGraph, "node \(index)") }
            var entry = Node(mode: mode, feature: Int(features[index]))
            entry.missingIsTrue = missing.map { $0.count > 0 && $0[index] != 0 } ?? false
            entry.range = sets[index] ?? 0..<0
            entry.yes = try side(yesLeaf[index] != 0, yes[index])
            entry.no = try side(noLeaf[index] != 0, no[index])
            nodes[index] = entry
        }
        let weightTargets = try ModelArray<Int32>(count: targets.count, planner.allocator)
        for index in 0..<targets.count {
            guard targets[index] >= 0, targets[index] <= 65_535 else {
                throw node.error(.invalidGraph, "target \(targets[index])")
            }
            weightTargets[index] = Int32(targets[index])
        }
        let roots = try integers("tree_roots").map { Int(clamping: $0) }
        return TreeTable(
            nodes: nodes, thresholds: splits, roots: roots, weights: weights, weightTargets: weightTargets,
            members: members)
    }

    /// The sets of the member tests, one after another in the order of the nodes, each ended by a NaN.
    private static func memberSets(
        _ planner: Planner, _ node: PlanNode, _ modes: ModelArray<Int64>
    ) throws -> (ModelArray<Double>, [Int: Range<Int>]) {
        guard let tensor = try planner.tensor(node, "membership_values") else {
            guard !modes.contains(Int64(BranchMode.member.rawValue)) else {
                throw node.error(.invalidGraph, "'membership_values' is missing")
            }
            return (try ModelArray(count: 0, planner.allocator), [:])
        }
        let members = try doubles(planner, tensor)
        var sets: [Int: Range<Int>] = [:]
        var at = 0
        for index in 0..<modes.count where modes[index] == Int64(BranchMode.member.rawValue) {
            let start = at
            while at < members.count && !members[at].isNaN { at += 1 }
            sets[index] = start..<at
            at += 1
        }
        return (members, sets)
    }
}
