// KernelTests: the C kernels of every instruction set against plain code.

import Foundation
import Tensor
import Testing

@Suite("Kernels of every instruction set give the same")
struct KernelTests {
    private static let levels = VectorKernels.Level.allCases.filter { $0 <= VectorKernels.detected }

    @Test(
        "A dense layer equals the sum of products, row by row the same bits, for odd shapes and activations",
        arguments: levels, [(30, 64), (7, 1), (130, 77), (300, 3), (1, 17), (65, 129)])
    func dense(_ level: VectorKernels.Level, _ shape: (Int, Int)) throws {
        let (inputs, outputs) = shape
        var random = SeededGenerator(seed: UInt64(inputs * 1_000 + outputs))
        func numbers(_ count: Int) -> [Float] { (0..<count).map { _ in Float.random(in: -1...1, using: &random) } }
        let weights = numbers(inputs * outputs)
        let bias = numbers(outputs)
        let rows = 19
        let x = numbers(rows * inputs)
        for activation in [DenseLayer.Activation.none, .relu, .leakyRelu(alpha: 0.1)] {
            let layer = try DenseLayer(
                weights: weights, inputStride: outputs, outputStride: 1, inputs: inputs, outputs: outputs, bias: bias,
                activation: activation, allocator: HeapWeightAllocator(), level: level)
            var y = [Float](repeating: 0, count: rows * outputs)
            layer.run(x, rows: rows, output: &y)
            for row in 0..<rows {
                var single = [Float](repeating: 0, count: outputs)
                layer.run(Array(x[row * inputs..<(row + 1) * inputs]), rows: 1, output: &single)
                #expect(single.map(\.bitPattern) == y[row * outputs..<(row + 1) * outputs].map(\.bitPattern))
                for output in 0..<outputs {
                    var sum = Double(bias[output])
                    for input in 0..<inputs {
                        sum += Double(x[row * inputs + input] * weights[input * outputs + output])
                    }
                    if sum < 0 { sum *= activation == .none ? 1 : activation == .relu ? 0 : 0.1 }
                    #expect(abs(sum - Double(y[row * outputs + output])) < 1e-5 * Double(inputs).squareRoot())
                }
            }
        }
    }

    /// A random tree as plain nodes: a leaf has no feature.
    private indirect enum Tree {
        case leaf([Float])
        case node(feature: Int, threshold: Float, isEqual: Bool, missingIsYes: Bool, yes: Tree, no: Tree)

        var leaves: Int {
            switch self {
            case .leaf: 1
            case .node(_, _, _, _, let yes, let no): yes.leaves + no.leaves
            }
        }

        var depth: Int {
            switch self {
            case .leaf: 0
            case .node(_, _, _, _, let yes, let no): 1 + max(yes.depth, no.depth)
            }
        }

        func values(_ row: ArraySlice<Float>) -> [Float] {
            switch self {
            case .leaf(let values): return values
            case .node(let feature, let threshold, let isEqual, let missingIsYes, let yes, let no):
                let x = row[row.startIndex + feature]
                let isYes = x.isNaN ? missingIsYes : isEqual ? x == threshold : x <= threshold
                return (isYes ? yes : no).values(row)
            }
        }
    }

    private func tree(
        depth: Int, features: Int, targets: Int, hasEqual: Bool, _ random: inout SeededGenerator
    ) -> Tree {
        guard depth > 0, Int.random(in: 0..<10, using: &random) > 0 else {
            return .leaf((0..<targets).map { _ in Float.random(in: -1...1, using: &random) })
        }
        return .node(
            feature: Int.random(in: 0..<features, using: &random),
            threshold: Float(Int.random(in: -4...4, using: &random)) / 2,
            isEqual: hasEqual && Bool.random(using: &random), missingIsYes: Bool.random(using: &random),
            yes: tree(depth: depth - 1, features: features, targets: targets, hasEqual: hasEqual, &random),
            no: tree(depth: depth - 1, features: features, targets: targets, hasEqual: hasEqual, &random))
    }

    private func place(_ tree: Tree, _ index: Int, in forest: Forest, targets: Int) {
        var inner = 0
        var leaf = 0
        let innerCount = tree.leaves - 1
        // Numbers are given on the way down, so that parents stand before their children.
        func number(_ tree: Tree) -> Int {
            if case .leaf(let values) = tree {
                for target in 0..<targets { forest.setValue(tree: index, target: target, leaf: leaf, values[target]) }
                leaf += 1
                return innerCount + leaf - 1
            }
            inner += 1
            return inner - 1
        }
        func walk(_ tree: Tree, at: Int) {
            guard case .node(let feature, let threshold, let isEqual, let missingIsYes, let yes, let no) = tree else {
                return
            }
            let left = number(yes)
            let right = number(no)
            forest.setNode(
                tree: index, at, feature: feature, threshold: threshold, isEqual: isEqual, missingIsYes: missingIsYes,
                yes: left, no: right)
            walk(yes, at: left)
            walk(no, at: right)
        }
        walk(tree, at: number(tree))
    }

    @Test(
        "A forest equals a plain walk: small and large trees, missing values, equalities, all aggregates, all batches",
        arguments: levels, [(3, 1, false), (6, 2, false), (6, 1, true), (9, 1, false)])
    func forest(_ level: VectorKernels.Level, _ kind: (depth: Int, targets: Int, hasEqual: Bool)) throws {
        var random = SeededGenerator(seed: UInt64(kind.depth * 10 + kind.targets))
        let features = 5
        for aggregate in [Forest.Aggregate.sum, .minimum, .maximum] {
            let trees = (0..<13).map { _ in
                tree(depth: kind.depth, features: features, targets: kind.targets, hasEqual: kind.hasEqual, &random)
            }
            let forest = try Forest(
                features: [4, 3, 2, 1, 0],
                sizes: trees.map {
                    Forest.TreeSize(
                        inner: $0.leaves - 1, leaves: $0.leaves, targets: (0..<kind.targets).map { Int32($0) },
                        depth: $0.depth, hasEqual: kind.hasEqual)
                }, targetCount: kind.targets, aggregate: aggregate, allocator: HeapWeightAllocator(), level: level)
            for (index, tree) in trees.enumerated() { place(tree, index, in: forest, targets: kind.targets) }
            let scratch = try HeapWeightAllocator().allocate(count: forest.scratchCount)
            for rows in [1, 5, 16, 17, 40, 200, 256, 300] {
                let x = (0..<rows * features).map { _ in
                    Int.random(in: 0..<9, using: &random) == 0
                        ? .nan : Float(Int.random(in: -9...9, using: &random)) / 4
                }
                var y = [Float](repeating: 0, count: rows * kind.targets)
                forest.run(x, columns: features, rows: rows, output: &y, scratch: scratch.pointer)
                for row in 0..<rows {
                    // Feature f of the trees is column 4 - f.
                    let own = ArraySlice(x[row * features..<(row + 1) * features].reversed())
                    var expected = [Float](
                        repeating: aggregate == .sum ? 0 : aggregate == .minimum ? .infinity : -.infinity,
                        count: kind.targets)
                    for tree in trees {
                        for (target, value) in tree.values(own).enumerated() {
                            switch aggregate {
                            case .sum: expected[target] += value
                            case .minimum: expected[target] = min(expected[target], value)
                            case .maximum: expected[target] = max(expected[target], value)
                            }
                        }
                    }
                    #expect(
                        Array(y[row * kind.targets..<(row + 1) * kind.targets]) == expected, "\(rows) rows, row \(row)")
                }
            }
        }
    }
}
