// ForestSteps: tree ensembles at run time.

import Tensor

struct ForestStep: Step {
    let rows: RowCount
    let source: Int
    let target: Int
    let scratch: Int
    let columns: Int
    let forest: Forest

    var reads: [Int] { [source] }
    var writes: [Int] { [target, scratch] }
    var summary: String { "forest of \(forest.treeCount) trees, \(forest.nodeCount) nodes" }

    func run(_ frame: Frame) {
        forest.run(
            frame.floats(source), columns: columns, rows: rows.count(frame), output: frame.floats(target),
            scratch: frame.floats(scratch))
    }
}

/// Trees over doubles, walked row by row: what exporters write for double inputs.
struct WalkingForestStep: Step {
    let rows: RowCount
    let source: Int
    let target: Int
    let sums: Int
    let columns: Int
    let targets: Int
    let table: TreeTable
    let aggregate: Forest.Aggregate

    var reads: [Int] { [source] }
    var writes: [Int] { [target, sums] }
    var summary: String { "walk of \(table.roots.count) trees over doubles" }

    func run(_ frame: Frame) {
        let x = frame.pointer(source, Double.self)
        let y = frame.floats(target)
        let sums = frame.pointer(self.sums, Double.self)
        let neutral: Double = aggregate == .sum ? 0 : aggregate == .minimum ? .infinity : -.infinity
        for row in 0..<rows.count(frame) {
            for index in 0..<targets { sums[index] = neutral }
            for root in table.roots {
                for at in table.nodes[leaf(root, x + row * columns)].range {
                    let index = Int(table.weightTargets[at])
                    switch aggregate {
                    case .sum: sums[index] += table.weights[at]
                    case .minimum: sums[index] = min(sums[index], table.weights[at])
                    case .maximum: sums[index] = max(sums[index], table.weights[at])
                    }
                }
            }
            for index in 0..<targets { y[row * targets + index] = Float(sums[index]) }
        }
    }

    private func leaf(_ root: Int, _ row: UnsafeMutablePointer<Double>) -> Int {
        var index = root
        while let mode = table.nodes[index].mode {
            let entry = table.nodes[index]
            let value = row[entry.feature]
            let threshold = table.thresholds[index]
            var isYes: Bool
            switch mode {
            case .lessOrEqual: isYes = value <= threshold
            case .less: isYes = value < threshold
            case .greaterOrEqual: isYes = value >= threshold
            case .greater: isYes = value > threshold
            case .equal: isYes = value == threshold
            case .notEqual: isYes = value != threshold
            case .member: isYes = entry.range.contains { table.members[$0] == value }
            }
            if value.isNaN && entry.missingIsTrue { isYes = true }
            index = isYes ? entry.yes : entry.no
        }
        return index
    }
}

/// Mean over the trees and base values; a target that no tree adds to counts as 0.
struct BaseValueStep: Step {
    let rows: RowCount
    let source: Int
    let target: Int
    let width: Int
    let base: [Float]
    let divisor: Float

    var reads: [Int] { [source] }
    var writes: [Int] { [target] }
    var overwrites: Int? { source }
    var summary: String { "base values" }

    func run(_ frame: Frame) {
        let x = frame.floats(source)
        let y = frame.floats(target)
        for row in 0..<rows.count(frame) {
            for index in 0..<width {
                let score = x[row * width + index]
                y[row * width + index] = (score.isFinite ? score / divisor : 0) + base[index]
            }
        }
    }
}
