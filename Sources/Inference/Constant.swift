// Constant: a value known when the model is loaded.

import Tensor

/// An initialiser or the result of folding. Floats live in memory of the weight allocator.
struct Constant: Sendable {
    enum Storage: Sendable {
        case floats(FloatBuffer)
        case integers([Int64])
        case strings([String])
    }

    var shape: [Int]
    /// As declared: a double constant is stored as Float32 and must be cast before it is used.
    var type: ONNXElementType
    var storage: Storage

    var count: Int { shape.reduce(1, *) }
}

/// Shapes by NumPy's rules (https://numpy.org/doc/stable/user/basics.broadcasting.html).
enum Broadcasting {
    /// The common shape, or nil when the shapes do not fit.
    static func shape(_ left: [Int], _ right: [Int]) -> [Int]? {
        var result: [Int] = []
        for index in 0..<max(left.count, right.count) {
            let a = index < left.count ? left[left.count - 1 - index] : 1
            let b = index < right.count ? right[right.count - 1 - index] : 1
            guard a == b || a == 1 || b == 1 else { return nil }
            result.append(a == 1 ? b : a)
        }
        return result.reversed()
    }

    /// For each element of `target`, row-major, the index of the element of `source` that stands there.
    static func map(from source: [Int], to target: [Int]) -> [Int32] {
        let padded = Array(repeating: 1, count: target.count - source.count) + source
        var strides = [Int](repeating: 0, count: target.count)
        var stride = 1
        for axis in padded.indices.reversed() {
            strides[axis] = padded[axis] == 1 ? 0 : stride
            stride *= padded[axis]
        }
        return map(shape: target, strides: strides)
    }

    /// Walks `shape` row-major and gives the sum of index times stride of each element.
    static func map(shape: [Int], strides: [Int]) -> [Int32] {
        var result: [Int32] = []
        result.reserveCapacity(shape.reduce(1, *))
        var index = [Int](repeating: 0, count: shape.count)
        var offset = 0
        while true {
            result.append(Int32(offset))
            var axis = shape.count - 1
            while axis >= 0 {
                index[axis] += 1
                offset += strides[axis]
                if index[axis] < shape[axis] { break }
                offset -= strides[axis] * shape[axis]
                index[axis] = 0
                axis -= 1
            }
            if axis < 0 { return result }
        }
    }
}
