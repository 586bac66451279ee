// LayoutSteps: moving elements without computing: transposing, slicing, joining, gathering.

import Tensor

/// Copies elements of a source, walked with strides, to consecutive places: transpositions, expansions, slices.
struct StridedCopyStep<T: PlainValue>: Step {
    let source: RuntimeValue
    let target: Int
    let shape: Shape
    let name: String
    /// For each axis of the result the source's axis (nil: repeated), the first element and the step along it.
    let axes: [StridedAxis]

    var reads: [Int] { [source.id] }
    var writes: [Int] { [target] }
    var summary: String { "\(name) \(source.shape.text) -> \(shape.text)" }

    func run(_ frame: Frame) {
        let own = Extents(source.shape, rows: frame.rows)
        var walk = Extents(shape, rows: frame.rows)
        var start = 0
        for (index, axis) in axes.enumerated() {
            if let from = axis.axis {
                walk.strides[index] = own.strides[from] * axis.step
                start += own.strides[from] * axis.start
            } else {
                walk.strides[index] = 0
            }
        }
        let x = frame.pointer(source.id, T.self)
        let y = frame.pointer(target, T.self)
        walk.forEach { position, offset in y[position] = x[start + offset] }
    }
}

/// Joins values along an axis: `outer` blocks, each with every part's `width` elements.
struct JoinStep: Step {
    struct Part: Sendable {
        var id: Int
        /// Elements of a block, of each row when the batch lies within it.
        var width: Int
    }

    let parts: [Part]
    let target: Int
    let outer: Int
    let isBatchOuter: Bool
    let isBatchInner: Bool
    let elementSize: Int

    var reads: [Int] { parts.map(\.id) }
    var writes: [Int] { [target] }
    var summary: String { "concatenate \(parts.map { "\($0.width)" }.joined(separator: "+"))" }

    func run(_ frame: Frame) {
        let blocks = isBatchOuter ? outer * frame.rows : outer
        let factor = (isBatchInner ? frame.rows : 1) * elementSize
        var total = 0
        for part in parts { total += part.width * factor }
        var offset = 0
        for part in parts {
            let width = part.width * factor
            let from = frame.pointers[part.id]
            let to = frame.pointers[target] + offset
            for block in 0..<blocks {
                (to + block * total).copyMemory(from: from + block * width, byteCount: width)
            }
            offset += width
        }
    }
}

/// `Gather` along an axis, with indices known at run time only: embeddings and class labels.
struct GatherStep<T: PlainValue>: Step {
    let data: RuntimeValue
    let indices: RuntimeValue
    let target: Int
    /// Blocks before the axis, length of the axis, elements behind it; the indices lie between the first two.
    let outer: Int
    let length: Int
    let inner: Int
    let isBatchOuter: Bool
    let isBatchInner: Bool

    var reads: [Int] { [data.id, indices.id] }
    var writes: [Int] { [target] }
    var summary: String { "gather \(length)x\(inner)" }

    func run(_ frame: Frame) {
        let x = frame.pointer(data.id, T.self)
        let y = frame.pointer(target, T.self)
        let index = frame.integers(indices.id)
        let outer = isBatchOuter ? self.outer * frame.rows : self.outer
        let inner = isBatchInner ? self.inner * frame.rows : self.inner
        let count = indices.shape.count(frame.rows)
        let last = Int64(length - 1)
        for block in 0..<outer {
            for position in 0..<count {
                // An index outside the axis has no meaning in ONNX; it reads the nearest element rather than memory.
                let wanted = index[position] < 0 ? index[position] &+ Int64(length) : index[position]
                let at = Int(min(max(wanted, 0), last))
                (y + (block * count + position) * inner).update(from: x + (block * length + at) * inner, count: inner)
            }
        }
    }
}

/// `GatherElements` along an axis.
struct GatherElementsStep<T: PlainValue>: Step {
    let data: RuntimeValue
    let indices: RuntimeValue
    let target: Int
    let axis: Int

    var reads: [Int] { [data.id, indices.id] }
    var writes: [Int] { [target] }
    var summary: String { "gather elements" }

    func run(_ frame: Frame) {
        let x = frame.pointer(data.id, T.self)
        let y = frame.pointer(target, T.self)
        let index = frame.integers(indices.id)
        let own = Extents(data.shape, rows: frame.rows)
        var walk = Extents(indices.shape, rows: frame.rows)
        for axis in 0..<walk.rank { walk.strides[axis] = axis == self.axis ? 0 : own.strides[axis] }
        let length = own.sizes[axis]
        let stride = own.strides[axis]
        guard length > 0 else { return }
        walk.forEach { position, offset in
            let wanted = index[position] < 0 ? index[position] &+ Int64(length) : index[position]
            y[position] = x[offset + Int(min(max(wanted, 0), Int64(length - 1))) * stride]
        }
    }
}

/// `OneHot` and `OneHotEncoder`: a vector of `depth` elements for each element of the source.
struct OneHotStep<T: PlainValue>: Step {
    let source: Int
    let shape: Shape
    let target: Int
    let depth: Int
    /// Elements behind the new axis, and whether the batch lies there.
    let inner: Int
    let isBatchInner: Bool
    let off: T
    let on: T
    /// Which element is on; a number outside `0..<depth` gives none.
    let position: @Sendable (UnsafeMutableRawPointer, Int) -> Int

    var reads: [Int] { [source] }
    var writes: [Int] { [target] }
    var summary: String { "one-hot \(depth)" }

    func run(_ frame: Frame) {
        let y = frame.pointer(target, T.self)
        let count = shape.count(frame.rows)
        let inner = isBatchInner ? self.inner * frame.rows : self.inner
        for index in 0..<count * depth { y[index] = off }
        for index in 0..<count {
            let hot = position(frame.pointers[source], index)
            guard hot >= 0, hot < depth else { continue }
            y[(index / inner * depth + hot) * inner + index % inner] = on
        }
    }
}

/// How an axis of a result walks along its source.
struct StridedAxis: Sendable {
    /// The source's axis; nil: every element is the same.
    var axis: Int?
    var start = 0
    var step = 1
}
