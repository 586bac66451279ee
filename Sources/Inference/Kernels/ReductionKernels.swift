// ReductionKernels: softmax, arg-max, norms and casts.

import Tensor

/// Softmax or its logarithm along one axis of each row: `outer x length x inner` elements a row.
struct SoftmaxKernel: Kernel {
    let slot: Int
    let outer: Int
    let length: Int
    let inner: Int
    let isLogarithm: Bool

    var summary: String { "\(isLogarithm ? "log-softmax" : "softmax") \(length)" }

    func run(_ workspace: Workspace, input: Span<Float>, rows: Int) {
        workspace.write(slot, rows * outer * length * inner) { values in
            if inner == 1 {
                if isLogarithm {
                    Elementwise.logSoftmaxRows(&values, columns: length)
                } else {
                    Elementwise.softmaxRows(&values, columns: length)
                }
                return
            }
            for block in 0..<rows * outer {
                for lane in 0..<inner { softmax(&values, start: block * length * inner + lane) }
            }
        }
    }

    private func softmax(_ values: inout MutableSpan<Float>, start: Int) {
        var maximum = values[start]
        for index in 1..<max(length, 1) { maximum = max(maximum, values[start + index * inner]) }
        var sum: Float = 0
        for index in 0..<length {
            let shifted = values[start + index * inner] - maximum
            values[start + index * inner] = shifted
            sum += Elementwise.exponential(shifted)
        }
        let logarithm = Elementwise.logarithm(sum)
        for index in 0..<length {
            let shifted = values[start + index * inner]
            values[start + index * inner] =
                isLogarithm ? shifted - logarithm : Elementwise.exponential(shifted) / sum
        }
    }
}

/// Index of the largest element along one axis of each row, translated to class labels where there are some.
struct ArgMaxKernel: Kernel {
    let source: Int
    let target: Int
    let outer: Int
    let length: Int
    let inner: Int
    let selectsLast: Bool
    /// Class label of each index; nil: the index itself.
    let labels: [Int64]?

    var summary: String { "argmax \(length)" }

    func run(_ workspace: Workspace, input: Span<Float>, rows: Int) {
        workspace.read(source, rows * outer * length * inner, input: input) { source in
            workspace.writeIntegers(target) { target in
                for block in 0..<rows * outer {
                    for lane in 0..<inner {
                        let best = argmax(source, start: block * length * inner + lane)
                        target[block * inner + lane] = labels.map { $0[best] } ?? Int64(best)
                    }
                }
            }
        }
    }

    private func argmax(_ source: Span<Float>, start: Int) -> Int {
        var best = 0
        for index in 1..<max(length, 1) {
            let value = source[start + index * inner]
            let leader = source[start + best * inner]
            if value > leader || (selectsLast && value == leader) { best = index }
        }
        return best
    }
}

/// Class 1 where the single score of a binary classifier is over 0.
struct SignKernel: Kernel {
    let source: Int
    let target: Int
    let labels: [Int64]

    var summary: String { "sign" }

    func run(_ workspace: Workspace, input: Span<Float>, rows: Int) {
        workspace.read(source, rows, input: input) { source in
            workspace.writeIntegers(target) { target in
                for row in 0..<rows { target[row] = source[row] > 0 ? labels[1] : labels[0] }
            }
        }
    }
}

/// Scores of both classes from one raw score: `sigmoid(-s), sigmoid(s)`.
struct TwoClassKernel: Kernel {
    let source: Int
    let target: Int

    var summary: String { "two-class logistic" }

    func run(_ workspace: Workspace, input: Span<Float>, rows: Int) {
        workspace.read(source, rows, input: input) { source in
            workspace.write(target, rows * 2) { target in
                for row in 0..<rows {
                    target[2 * row] = -source[row]
                    target[2 * row + 1] = source[row]
                }
                Elementwise.sigmoid(&target)
            }
        }
    }
}

/// Divides each row by its norm; a row of norm 0 stays as it is.
struct NormalizeKernel: Kernel {
    enum Norm: String, Sendable {
        case largest = "MAX"
        case l1 = "L1"
        case l2 = "L2"
    }

    let slot: Int
    let width: Int
    let norm: Norm

    var summary: String { "normalise \(norm.rawValue) \(width)" }

    func run(_ workspace: Workspace, input: Span<Float>, rows: Int) {
        workspace.write(slot, rows * width) { values in
            for row in 0..<rows {
                let columns = row * width..<(row + 1) * width
                var size: Float = norm == .largest ? values[columns.lowerBound] : 0
                for index in columns {
                    switch norm {
                    case .largest: size = max(size, values[index])
                    case .l1: size += abs(values[index])
                    case .l2: size += values[index] * values[index]
                    }
                }
                if norm == .l2 { size = size.squareRoot() }
                guard size != 0 else { continue }
                for index in columns { values[index] /= size }
            }
        }
    }
}

/// Float to integer (towards zero; not a number and out of range give 0) or to truth (not 0).
struct FloatToIntegerKernel: Kernel {
    let source: Int
    let target: Int
    let width: Int
    let isTruth: Bool

    var summary: String { "cast to \(isTruth ? "bool" : "integer") \(width)" }

    func run(_ workspace: Workspace, input: Span<Float>, rows: Int) {
        workspace.read(source, rows * width, input: input) { source in
            workspace.writeIntegers(target) { target in
                for index in 0..<rows * width {
                    let value = source[index]
                    target[index] = isTruth ? (value != 0 ? 1 : 0) : Int64(exactly: value.rounded(.towardZero)) ?? 0
                }
            }
        }
    }
}

struct IntegerToFloatKernel: Kernel {
    let source: Int
    let target: Int
    let width: Int

    var summary: String { "cast to float \(width)" }

    func run(_ workspace: Workspace, input: Span<Float>, rows: Int) {
        workspace.readIntegers(source, rows * width) { source in
            workspace.write(target, rows * width) { target in
                for index in 0..<rows * width { target[index] = Float(source[index]) }
            }
        }
    }
}

/// `out[i] = table[in[i]]`: class labels by index. An index outside the table gives its last entry.
struct LookUpKernel: Kernel {
    let source: Int
    let target: Int
    let width: Int
    let table: [Int64]

    var summary: String { "look up \(table.count)" }

    func run(_ workspace: Workspace, input: Span<Float>, rows: Int) {
        for index in 0..<rows * width {
            let position = workspace.readIntegers(source, index + 1) { $0[index] }
            workspace.writeIntegers(target) { $0[index] = table[Int(min(max(position, 0), Int64(table.count - 1)))] }
        }
    }
}
