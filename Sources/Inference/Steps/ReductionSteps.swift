// ReductionSteps: sums and their kin, arg-max, softmax, norms.

import Glibc
import Tensor

/// A reduction over some axes, sum by sum in row-major order.
struct ReduceStep<T: PlainValue & Comparable & Numeric>: Step {
    let source: RuntimeValue
    let target: RuntimeValue
    /// The result with every reduced axis kept as 1.
    let kept: Shape
    let name: String
    let start: T
    let combine: @Sendable (T, T) -> T
    /// Of the result and the number of elements that went into it.
    let finish: (@Sendable (T, Int) -> T)?

    var reads: [Int] { [source.id] }
    var writes: [Int] { [target.id] }
    var summary: String { "\(name) \(source.shape.text) -> \(target.shape.text)" }

    func run(_ frame: Frame) {
        let x = frame.pointer(source.id, T.self)
        let y = frame.pointer(target.id, T.self)
        let count = target.shape.count(frame.rows)
        let total = source.shape.count(frame.rows)
        for index in 0..<count { y[index] = start }
        let walk = Extents(broadcasting: kept, to: source.shape, rows: frame.rows)
        if total > 0 { walk.forEach { position, offset in y[offset] = combine(y[offset], x[position]) } }
        guard let finish else { return }
        let each = count > 0 ? total / count : 0
        for index in 0..<count { y[index] = finish(y[index], each) }
    }
}

/// log(sum(e^x)) over some axes, shifted by the maximum.
struct LogSumExpStep<T: BinaryFloatingPoint & PlainValue>: Step {
    let source: RuntimeValue
    let target: RuntimeValue
    let highest: Int
    let kept: Shape

    var reads: [Int] { [source.id] }
    var writes: [Int] { [target.id, highest] }
    var summary: String { "log-sum-exp \(source.shape.text)" }

    func run(_ frame: Frame) {
        let x = frame.pointer(source.id, T.self)
        let y = frame.pointer(target.id, T.self)
        let m = frame.pointer(highest, T.self)
        let count = target.shape.count(frame.rows)
        for index in 0..<count {
            y[index] = 0
            m[index] = -.infinity
        }
        let walk = Extents(broadcasting: kept, to: source.shape, rows: frame.rows)
        walk.forEach { position, offset in if x[position] > m[offset] { m[offset] = x[position] } }
        walk.forEach { position, offset in
            let shift = m[offset].isFinite ? m[offset] : 0
            y[offset] += T(Glibc.exp(Double(x[position] - shift)))
        }
        for index in 0..<count { y[index] = T(Glibc.log(Double(y[index]))) + (m[index].isFinite ? m[index] : 0) }
    }
}

/// Index of the largest or smallest element along one axis.
struct ArgStep<T: PlainValue & Comparable>: Step {
    let source: RuntimeValue
    let target: Int
    /// Blocks before the axis, its length, elements behind it.
    let outer: Int
    let length: Int
    let inner: Int
    let isBatchOuter: Bool
    let isBatchInner: Bool
    let isMinimum: Bool
    let selectsLast: Bool
    /// Class label of each index; nil: the index itself.
    let labels: [Int64]?

    var reads: [Int] { [source.id] }
    var writes: [Int] { [target] }
    var summary: String { "\(isMinimum ? "argmin" : "argmax") \(length)" }

    func run(_ frame: Frame) {
        let x = frame.pointer(source.id, T.self)
        let y = frame.integers(target)
        let outer = isBatchOuter ? self.outer * frame.rows : self.outer
        let inner = isBatchInner ? self.inner * frame.rows : self.inner
        for block in 0..<outer {
            for lane in 0..<inner {
                let start = block * length * inner + lane
                var best = 0
                var leader = x[start]
                for index in 1..<max(length, 1) {
                    let value = x[start + index * inner]
                    let isBetter = isMinimum ? value < leader : value > leader
                    if isBetter || (selectsLast && value == leader) {
                        best = index
                        leader = value
                    }
                }
                y[block * inner + lane] = labels.map { $0[best] } ?? Int64(best)
            }
        }
    }
}

/// Softmax, its logarithm or the hard maximum along one block of axes.
struct SoftmaxStep<T: BinaryFloatingPoint & PlainValue>: Step {
    enum Kind: String, Sendable { case softmax, logSoftmax, hardmax }

    let source: Int
    let target: Int
    let outer: Int
    let length: Int
    let inner: Int
    let isBatchOuter: Bool
    let isBatchInner: Bool
    let kind: Kind

    var reads: [Int] { [source] }
    var writes: [Int] { [target] }
    var overwrites: Int? { source }
    var summary: String { "\(kind.rawValue) \(length)" }

    func run(_ frame: Frame) {
        let outer = isBatchOuter ? self.outer * frame.rows : self.outer
        let inner = isBatchInner ? self.inner * frame.rows : self.inner
        guard length > 0 else { return }
        if kind == .softmax && inner == 1 && T.self == Float.self {
            VectorRows.softmax(frame.floats(source), frame.floats(target), rows: outer, columns: length)
            return
        }
        let x = frame.pointer(source, T.self)
        let y = frame.pointer(target, T.self)
        for block in 0..<outer {
            for lane in 0..<inner {
                let start = block * length * inner + lane
                run(x + start, y + start, stride: inner)
            }
        }
    }

    private func run(_ x: UnsafeMutablePointer<T>, _ y: UnsafeMutablePointer<T>, stride: Int) {
        var highest = x[0]
        var best = 0
        for index in 1..<max(length, 1) where x[index * stride] > highest {
            highest = x[index * stride]
            best = index
        }
        if kind == .hardmax {
            for index in 0..<length { y[index * stride] = index == best ? 1 : 0 }
            return
        }
        var sum: T = 0
        for index in 0..<length {
            let shifted = x[index * stride] - highest
            let power = T(Glibc.exp(Double(shifted)))
            sum += power
            y[index * stride] = kind == .softmax ? power : shifted
        }
        let logarithm = T(Glibc.log(Double(sum)))
        for index in 0..<length {
            if kind == .softmax { y[index * stride] /= sum } else { y[index * stride] -= logarithm }
        }
    }
}

/// Divides each row by its norm; a row of norm 0 stays as it is.
struct NormalizeStep: Step {
    enum Norm: String, Sendable {
        case largest = "MAX"
        case l1 = "L1"
        case l2 = "L2"
    }

    let source: Int
    let target: Int
    let shape: Shape
    let width: Int
    let norm: Norm

    var reads: [Int] { [source] }
    var writes: [Int] { [target] }
    var overwrites: Int? { source }
    var summary: String { "normalise \(norm.rawValue) \(width)" }

    func run(_ frame: Frame) {
        let x = frame.floats(source)
        let y = frame.floats(target)
        guard width > 0 else { return }
        for row in 0..<shape.count(frame.rows) / width {
            let start = row * width
            var size: Float = norm == .largest ? x[start] : 0
            for index in start..<start + width {
                switch norm {
                case .largest: size = max(size, x[index])
                case .l1: size += abs(x[index])
                case .l2: size += x[index] * x[index]
                }
            }
            if norm == .l2 { size = size.squareRoot() }
            for index in start..<start + width { y[index] = size == 0 ? x[index] : x[index] / size }
        }
    }
}

/// Mean and variance over the last elements of each block, then scale and offset (`LayerNormalization`).
struct LayerNormalizationStep: Step {
    let source: Int
    let target: Int
    let mean: Int
    /// Inverse standard deviation.
    let factor: Int
    let outer: Shape
    let width: Int
    let epsilon: Float
    let scale: ModelArray<Float>
    let bias: ModelArray<Float>?

    var reads: [Int] { [source] }
    var writes: [Int] { [target, mean, factor] }
    var overwrites: Int? { source }
    var summary: String { "layer normalisation \(width)" }

    func run(_ frame: Frame) {
        let x = frame.floats(source)
        let y = frame.floats(target)
        let means = frame.floats(mean)
        let factors = frame.floats(factor)
        for row in 0..<outer.count(frame.rows) {
            let start = row * width
            var sum: Float = 0
            for index in start..<start + width { sum += x[index] }
            let mean = sum / Float(width)
            var squares: Float = 0
            for index in start..<start + width { squares += (x[index] - mean) * (x[index] - mean) }
            let factor = 1 / (squares / Float(width) + epsilon).squareRoot()
            means[row] = mean
            factors[row] = factor
            for column in 0..<width {
                y[start + column] =
                    (x[start + column] - mean) * factor * scale[column % scale.count]
                    + (bias.map { $0[column % $0.count] } ?? 0)
            }
        }
    }
}
