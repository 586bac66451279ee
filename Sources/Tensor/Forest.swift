// Forest: tree ensembles in the layout of the C kernels.

import CVectorKernels

/// A tree ensemble laid out for batches: see `forest_template.h`. All of it stands in memory of the allocator.
@safe public final class Forest: Sendable {
    public enum Aggregate: Int32, Sendable {
        case sum = 0
        case minimum, maximum
    }

    /// Sizes of one tree, known before it is written.
    public struct TreeSize: Sendable {
        public var inner: Int
        public var leaves: Int
        /// Targets that its leaves add to.
        public var targets: [Int32]
        public var depth: Int
        public var hasEqual: Bool

        public init(inner: Int, leaves: Int, targets: [Int32], depth: Int, hasEqual: Bool) {
            self.inner = inner
            self.leaves = leaves
            self.targets = targets
            self.depth = depth
            self.hasEqual = hasEqual
        }

        var tableLength: Int {
            var length = 16
            while length < leaves { length *= 2 }
            return length
        }
    }

    /// Leaves of a tree up to which all its nodes are evaluated at once.
    public static let leavesMax = Int(PK_FOREST_LEAVES_MAX)
    /// Rows that are evaluated together.
    public static let blockRows = Int(PK_FOREST_ROWS)

    public let targetCount: Int
    public let treeCount: Int
    public let nodeCount: Int
    private let featureCount: Int
    private let aggregate: Aggregate
    private let level: VectorKernels.Level
    private let nodes: FloatBuffer
    private let trees: FloatBuffer
    private let targets: FloatBuffer
    private let values: FloatBuffer
    private let features: FloatBuffer

    /// - Parameters:
    ///   - features: input columns that the trees use; nodes name them by their index here.
    ///   - sizes: of the trees, in the order in which their values are added up.
    public init(
        features columns: [Int32], sizes: [TreeSize], targetCount: Int, aggregate: Aggregate,
        allocator: any WeightAllocator, level: VectorKernels.Level = VectorKernels.level
    ) throws {
        self.level = level
        self.targetCount = targetCount
        self.aggregate = aggregate
        featureCount = columns.count
        treeCount = sizes.count
        nodeCount = sizes.reduce(0) { $0 + $1.inner + $1.leaves }
        let floats = MemoryLayout<Float>.size
        nodes = try allocator.allocate(count: nodeCount * MemoryLayout<pk_node>.stride / floats)
        trees = try allocator.allocate(count: sizes.count * MemoryLayout<pk_tree>.stride / floats)
        targets = try allocator.allocate(count: sizes.reduce(0) { $0 + $1.targets.count })
        values = try allocator.allocate(count: sizes.reduce(0) { $0 + $1.targets.count * $1.tableLength })
        features = try allocator.allocate(count: columns.count)
        var nodeStart = 0
        var targetStart = 0
        var valueStart = 0
        for (index, size) in sizes.enumerated() {
            unsafe treePointer[index] = pk_tree(
                node_start: nodeStart, inner_count: Int32(size.inner), leaf_count: Int32(size.leaves),
                depth: Int32(size.depth), has_equal: size.hasEqual ? 1 : 0, target_count: Int32(size.targets.count),
                table_length: Int32(size.tableLength), target_start: targetStart, value_start: valueStart)
            for target in size.targets {
                precondition(target >= 0 && Int(target) < targetCount, "a target that the forest lacks")
                unsafe targetPointer[targetStart] = target
                targetStart += 1
            }
            nodeStart += size.inner + size.leaves
            valueStart += size.targets.count * size.tableLength
            // Leaves lead to themselves until they are told otherwise.
            for leaf in 0..<size.leaves {
                let at = size.inner + leaf
                var node = pk_node()
                node.ordinal = UInt32(leaf)
                node.next = (Int32(at), Int32(at))
                unsafe nodePointer[nodeStart - size.leaves + leaf] = node
            }
        }
        for (index, column) in columns.enumerated() { unsafe featurePointer[index] = column }
    }

    // The buffers are raw memory to the kernels; each pointer stays inside the buffer that `init` made for its type, and
    // the buffers live as long as the forest.
    private var nodePointer: UnsafeMutablePointer<pk_node> {
        unsafe UnsafeMutableRawPointer(nodes.pointer).assumingMemoryBound(to: pk_node.self)
    }
    private var treePointer: UnsafeMutablePointer<pk_tree> {
        unsafe UnsafeMutableRawPointer(trees.pointer).assumingMemoryBound(to: pk_tree.self)
    }
    private var targetPointer: UnsafeMutablePointer<Int32> {
        unsafe UnsafeMutableRawPointer(targets.pointer).assumingMemoryBound(to: Int32.self)
    }
    private var featurePointer: UnsafeMutablePointer<Int32> {
        unsafe UnsafeMutableRawPointer(features.pointer).assumingMemoryBound(to: Int32.self)
    }

    /// Writes inner node `index` of a tree. `yes` and `no` are indices in the tree: inner nodes, then leaves.
    public func setNode(
        tree: Int, _ index: Int, feature: Int, threshold: Float, isEqual: Bool, missingIsYes: Bool, yes: Int, no: Int
    ) {
        let header = unsafe treePointer[tree]
        let total = Int32(header.inner_count + header.leaf_count)
        precondition(tree < treeCount && index < header.inner_count, "a node outside its tree")
        precondition(feature < featureCount && Int32(yes) < total && Int32(no) < total, "a link outside the tree")
        precondition(yes > index && no > index, "a child stands before its parent")
        var node = pk_node()
        node.threshold = threshold
        node.feature = UInt32(feature) | (isEqual ? PK_EQUAL : 0) | (missingIsYes ? PK_MISSING_YES : 0)
        node.next = (Int32(no), Int32(yes))
        unsafe nodePointer[header.node_start + index] = node
    }

    /// Sets what a leaf adds to the tree's target of that index.
    public func setValue(tree: Int, target: Int, leaf: Int, _ value: Float) {
        let header = unsafe treePointer[tree]
        precondition(tree < treeCount && target < header.target_count && leaf < header.leaf_count, "outside the tree")
        unsafe values.pointer[header.value_start + target * Int(header.table_length) + leaf] = value
    }

    private var view: pk_forest {
        unsafe pk_forest(
            nodes: nodePointer, trees: treePointer, targets: targetPointer, values: values.pointer,
            features: featurePointer, tree_count: treeCount, feature_count: featureCount, target_count: targetCount,
            node_count: nodeCount, aggregate: aggregate.rawValue, level: level.rawValue)
    }

    /// Floats of scratch that a run needs; 64-byte aligned.
    public var scratchCount: Int {
        var view = unsafe view
        return unsafe pk_forest_scratch(&view)
    }

    /// Aggregates over the trees: `rows` rows of `targetCount` floats, without base values.
    ///
    /// - Parameter columns: floats of an input row.
    @unsafe @inline(__always)
    public func run(
        _ input: UnsafePointer<Float>, columns: Int, rows: Int, output: UnsafeMutablePointer<Float>,
        scratch: UnsafeMutablePointer<Float>
    ) {
        var view = unsafe view
        unsafe pk_forest_run(&view, input, columns, rows, output, scratch)
    }
}
