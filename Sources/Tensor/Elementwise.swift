// Elementwise: functions of each element, in place, and row-wise reductions.

import Glibc

/// In-place functions of every element of a span; NaN stays NaN unless said otherwise.
public enum Elementwise {
    @inline(__always)
    private static func map(
        _ values: inout MutableSpan<Float>, _ function: (SIMD16<Float>) -> SIMD16<Float>
    ) {
        let count = values.count
        // Loads and stores stay below `count`; the pointer lives for the closure only.
        unsafe values.withUnsafeMutableBytes { bytes in
            var index = 0
            while index &+ 16 <= count {
                let lanes = unsafe bytes.loadUnaligned(fromByteOffset: index &* 4, as: SIMD16<Float>.self)
                unsafe bytes.storeBytes(of: function(lanes), toByteOffset: index &* 4, as: SIMD16<Float>.self)
                index &+= 16
            }
            guard index < count else { return }
            // The rest goes through the same lanes, so that a value's result does not depend on its place.
            var lanes = SIMD16<Float>.zero
            for lane in 0..<count - index {
                lanes[lane] = unsafe bytes.loadUnaligned(fromByteOffset: (index + lane) &* 4, as: Float.self)
            }
            lanes = function(lanes)
            for lane in 0..<count - index {
                unsafe bytes.storeBytes(of: lanes[lane], toByteOffset: (index + lane) &* 4, as: Float.self)
            }
        }
    }

    public static func relu(_ values: inout MutableSpan<Float>) {
        map(&values) { $0.replacing(with: 0, where: $0 .< 0) }
    }

    public static func leakyRelu(_ values: inout MutableSpan<Float>, alpha: Float) {
        map(&values) { $0.replacing(with: $0 * alpha, where: $0 .< 0) }
    }

    /// `alpha * (e^x - 1)` below 0.
    public static func elu(_ values: inout MutableSpan<Float>, alpha: Float) {
        map(&values) { $0.replacing(with: (VectorMath.exp($0) - 1) * alpha, where: $0 .< 0) }
    }

    public static func sigmoid(_ values: inout MutableSpan<Float>) { map(&values) { VectorMath.sigmoid($0) } }

    public static func tanh(_ values: inout MutableSpan<Float>) { map(&values) { VectorMath.tanh($0) } }

    public static func exp(_ values: inout MutableSpan<Float>) { map(&values) { VectorMath.exp($0) } }

    public static func clip(_ values: inout MutableSpan<Float>, minimum: Float, maximum: Float) {
        let low = SIMD16(repeating: minimum)
        let high = SIMD16(repeating: maximum)
        map(&values) { $0.clamped(lowerBound: low, upperBound: high) }
    }

    /// `value * scale + offset`
    public static func affine(_ values: inout MutableSpan<Float>, scale: Float, offset: Float) {
        map(&values) { $0 * scale + offset }
    }

    public static func absolute(_ values: inout MutableSpan<Float>) {
        map(&values) { $0.replacing(with: -$0, where: $0 .< 0) }
    }

    public static func squareRoot(_ values: inout MutableSpan<Float>) { map(&values) { $0.squareRoot() } }

    /// Natural logarithm, through libm.
    public static func log(_ values: inout MutableSpan<Float>) {
        for index in values.indices { values[index] = Glibc.logf(values[index]) }
    }

    /// `row[c] = row[c] * scale[c] + offset[c]` for each of the rows of `columns` elements.
    public static func affineRows(
        _ values: inout MutableSpan<Float>, columns: Int, scale: Span<Float>, offset: Span<Float>
    ) {
        precondition(columns > 0 && values.count % columns == 0, "the values are not whole rows of \(columns)")
        precondition(scale.count == columns && offset.count == columns, "scale and offset need \(columns) elements")
        var start = 0
        while start < values.count {
            for column in 0..<columns {
                values[start &+ column] = values[start &+ column] * scale[column] + offset[column]
            }
            start &+= columns
        }
    }

    /// Adds a row vector to every row.
    public static func addRows(_ values: inout MutableSpan<Float>, columns: Int, _ bias: Span<Float>) {
        precondition(columns > 0 && values.count % columns == 0, "the values are not whole rows of \(columns)")
        precondition(bias.count == columns, "the bias needs \(columns) elements")
        let rows = values.count / columns
        // Both pointers live for the closures only and stay below the checked counts.
        unsafe values.withUnsafeMutableBufferPointer { values in
            unsafe bias.withUnsafeBufferPointer { bias in
                for row in 0..<rows {
                    let start = row &* columns
                    for column in 0..<columns {
                        unsafe values[start &+ column] += bias[column]
                    }
                }
            }
        }
    }

    /// Adds a row vector to every row, then sets negative results to 0: the end of a dense layer in one pass.
    public static func addRowsRelu(_ values: inout MutableSpan<Float>, columns: Int, _ bias: Span<Float>) {
        precondition(columns > 0 && values.count % columns == 0, "the values are not whole rows of \(columns)")
        precondition(bias.count == columns, "the bias needs \(columns) elements")
        let rows = values.count / columns
        // Both pointers live for the closures only and stay below the checked counts.
        unsafe values.withUnsafeMutableBufferPointer { values in
            unsafe bias.withUnsafeBufferPointer { bias in
                for row in 0..<rows {
                    let start = row &* columns
                    for column in 0..<columns {
                        let sum = unsafe values[start &+ column] + bias[column]
                        unsafe values[start &+ column] = sum < 0 ? 0 : sum
                    }
                }
            }
        }
    }

    /// Copies a row vector into every row.
    public static func fillRows(_ values: inout MutableSpan<Float>, columns: Int, _ row: Span<Float>) {
        precondition(columns > 0 && values.count % columns == 0, "the values are not whole rows of \(columns)")
        precondition(row.count == columns, "the row needs \(columns) elements")
        let rows = values.count / columns
        // Both pointers live for the closures only and stay below the checked counts.
        unsafe values.withUnsafeMutableBufferPointer { values in
            unsafe row.withUnsafeBufferPointer { row in
                guard let target = values.baseAddress, let source = row.baseAddress else { return }
                for index in 0..<rows {
                    unsafe (target + index &* columns).update(from: source, count: columns)
                }
            }
        }
    }

    /// Softmax of each row, shifted by the row's maximum so that it cannot overflow.
    public static func softmaxRows(_ values: inout MutableSpan<Float>, columns: Int) {
        shiftRowsByMaximum(&values, columns: columns)
        exp(&values)
        var start = 0
        while start < values.count {
            var sum: Float = 0
            for index in start..<start + columns { sum += values[index] }
            for index in start..<start + columns { values[index] /= sum }
            start += columns
        }
    }

    /// Logarithm of the softmax of each row: `x - max - log(sum(e^(x - max)))`.
    public static func logSoftmaxRows(_ values: inout MutableSpan<Float>, columns: Int) {
        shiftRowsByMaximum(&values, columns: columns)
        var start = 0
        while start < values.count {
            var sum: Float = 0
            for index in start..<start + columns { sum += Glibc.expf(values[index]) }
            let logarithm = Glibc.logf(sum)
            for index in start..<start + columns { values[index] -= logarithm }
            start += columns
        }
    }

    private static func shiftRowsByMaximum(_ values: inout MutableSpan<Float>, columns: Int) {
        precondition(columns > 0 && values.count % columns == 0, "the values are not whole rows of \(columns)")
        var start = 0
        while start < values.count {
            var maximum = values[start]
            for index in start..<start + columns where values[index] > maximum { maximum = values[index] }
            for index in start..<start + columns { values[index] -= maximum }
            start += columns
        }
    }

    /// e^x, through libm.
    public static func exponential(_ x: Float) -> Float { Glibc.expf(x) }

    /// Natural logarithm, through libm.
    public static func logarithm(_ x: Float) -> Float { Glibc.logf(x) }

    /// Index of the largest of `row`; the first of equals, 0 when all are NaN.
    public static func argmax(_ row: Span<Float>) -> Int {
        precondition(!row.isEmpty, "no element to choose from")
        var best = 0
        for index in row.indices where row[index] > row[best] || (row[best].isNaN && !row[index].isNaN) { best = index }
        return best
    }
}
