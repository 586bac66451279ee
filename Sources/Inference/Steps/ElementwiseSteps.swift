// ElementwiseSteps: functions of one, two or three elements.

import Tensor

/// A vector function of floats.
struct VectorStep: Step {
    let source: Int
    let target: Int
    let shape: Shape
    let function: VectorFunction
    var p: Float = 0
    var q: Float = 0

    var reads: [Int] { [source] }
    var writes: [Int] { [target] }
    var overwrites: Int? { source }
    var summary: String { "\(function) \(shape.text)" }

    func run(_ frame: Frame) {
        function.apply(frame.floats(source), frame.floats(target), count: shape.count(frame.rows), p, q)
    }
}

/// Any function of one element.
struct MapStep<T: PlainValue, R: PlainValue>: Step {
    let source: Int
    let target: Int
    let shape: Shape
    let name: String
    let function: @Sendable (T) -> R

    var reads: [Int] { [source] }
    var writes: [Int] { [target] }
    var overwrites: Int? { MemoryLayout<T>.size == MemoryLayout<R>.size ? source : nil }
    var summary: String { "\(name) \(shape.text)" }

    func run(_ frame: Frame) {
        let x = frame.pointer(source, T.self)
        let y = frame.pointer(target, R.self)
        for index in 0..<shape.count(frame.rows) { y[index] = function(x[index]) }
    }
}

/// Any function of a text's number that needs the text.
struct TextStep<T: PlainValue, R: PlainValue>: Step {
    let source: Int
    let target: Int
    let shape: Shape
    let name: String
    let function: @Sendable (T, RunTexts) -> R

    var reads: [Int] { [source] }
    var writes: [Int] { [target] }
    var summary: String { "\(name) \(shape.text)" }

    func run(_ frame: Frame) {
        let x = frame.pointer(source, T.self)
        let y = frame.pointer(target, R.self)
        for index in 0..<shape.count(frame.rows) { y[index] = function(x[index], frame.texts) }
    }
}

/// `+ - * /` of floats whose shapes are equal, or of which one repeats evenly along the other.
struct ArithmeticStep: Step {
    enum Operation: String, Sendable { case add, subtract, multiply, divide }

    let left: Int
    let right: Int
    let target: Int
    let shape: Shape
    let operation: Operation
    /// Elements after which the right operand repeats; nil when it has the full shape.
    let period: Int?
    /// The operands were swapped so that the repeated one stands right.
    let isSwapped: Bool

    var reads: [Int] { [left, right] }
    var writes: [Int] { [target] }
    var overwrites: Int? { left }
    var summary: String { "\(operation.rawValue) \(shape.text)" }

    func run(_ frame: Frame) {
        switch operation {
        case .add: combine(frame) { $0 + $1 }
        case .multiply: combine(frame) { $0 * $1 }
        case .subtract: if isSwapped { combine(frame) { $1 - $0 } } else { combine(frame) { $0 - $1 } }
        case .divide: if isSwapped { combine(frame) { $1 / $0 } } else { combine(frame) { $0 / $1 } }
        }
    }

    @inline(__always)
    private func combine(_ frame: Frame, _ function: (Float, Float) -> Float) {
        let count = shape.count(frame.rows)
        let a = frame.floats(left)
        let b = frame.floats(right)
        let c = frame.floats(target)
        guard let period, period > 0 else {
            for index in 0..<count { c[index] = function(a[index], b[index]) }
            return
        }
        if period == 1 {
            let other = b[0]
            for index in 0..<count { c[index] = function(a[index], other) }
            return
        }
        for block in 0..<count / period {
            let start = block &* period
            for index in 0..<period { c[start &+ index] = function(a[start &+ index], b[index]) }
        }
    }
}

/// Any function of two elements, broadcast to one shape.
struct ZipStep<T: PlainValue, R: PlainValue>: Step {
    let left: RuntimeValue
    let right: RuntimeValue
    let target: Int
    let shape: Shape
    let name: String
    let function: @Sendable (T, T) -> R

    var reads: [Int] { [left.id, right.id] }
    var writes: [Int] { [target] }
    var summary: String { "\(name) \(shape.text)" }

    func run(_ frame: Frame) {
        let a = frame.pointer(left.id, T.self)
        let b = frame.pointer(right.id, T.self)
        let c = frame.pointer(target, R.self)
        if left.shape == shape && right.shape == shape {
            for index in 0..<shape.count(frame.rows) { c[index] = function(a[index], b[index]) }
            return
        }
        let lefts = Extents(broadcasting: left.shape, to: shape, rows: frame.rows)
        let rights = Extents(broadcasting: right.shape, to: shape, rows: frame.rows)
        pairs(lefts, rights) { position, i, j in c[position] = function(a[i], b[j]) }
    }
}

/// Calls `body` with the position and both offsets of each element of the common shape.
@inline(__always)
func pairs(_ lefts: Extents, _ rights: Extents, _ body: (Int, Int, Int) -> Void) {
    let total = lefts.count
    guard total > 0 else { return }
    var index = InlineArray<8, Int>(repeating: 0)
    var i = 0
    var j = 0
    for position in 0..<total {
        body(position, i, j)
        var axis = lefts.rank - 1
        while axis >= 0 {
            index[axis] += 1
            i += lefts.strides[axis]
            j += rights.strides[axis]
            if index[axis] < lefts.sizes[axis] { break }
            i -= lefts.strides[axis] * lefts.sizes[axis]
            j -= rights.strides[axis] * rights.sizes[axis]
            index[axis] = 0
            axis -= 1
        }
    }
}

/// `condition ? left : right`, broadcast to one shape.
struct WhereStep<T: PlainValue>: Step {
    let condition: RuntimeValue
    let left: RuntimeValue
    let right: RuntimeValue
    let target: Int
    let shape: Shape

    var reads: [Int] { [condition.id, left.id, right.id] }
    var writes: [Int] { [target] }
    var summary: String { "where \(shape.text)" }

    func run(_ frame: Frame) {
        let test = frame.integers(condition.id)
        let a = frame.pointer(left.id, T.self)
        let b = frame.pointer(right.id, T.self)
        let c = frame.pointer(target, T.self)
        let tests = Extents(broadcasting: condition.shape, to: shape, rows: frame.rows)
        let lefts = Extents(broadcasting: left.shape, to: shape, rows: frame.rows)
        let rights = Extents(broadcasting: right.shape, to: shape, rows: frame.rows)
        pairs(tests, lefts) { position, i, j in if test[i] != 0 { c[position] = a[j] } }
        pairs(tests, rights) { position, i, j in if test[i] == 0 { c[position] = b[j] } }
    }
}
