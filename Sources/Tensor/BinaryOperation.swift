// BinaryOperation: elementwise functions of two operands, the shorter one repeated.

import Glibc

/// A function of two numbers, applied element by element.
public enum BinaryOperation: String, Sendable {
    case add, subtract, multiply, divide, power, maximum, minimum

    /// `values[i] = f(values[i], other[i % other.count])`, or `f(other, values)` when the other stands on the left.
    ///
    /// - Parameter other: its count divides that of the values: a scalar, a row, or the full shape.
    public func apply(_ values: inout MutableSpan<Float>, _ other: Span<Float>, isOtherLeft: Bool = false) {
        switch self {
        case .add: Self.combine(&values, other) { $0 + $1 }
        case .multiply: Self.combine(&values, other) { $0 * $1 }
        case .subtract:
            if isOtherLeft {
                Self.combine(&values, other) { $1 - $0 }
            } else {
                Self.combine(&values, other) { $0 - $1 }
            }
        case .divide:
            if isOtherLeft {
                Self.combine(&values, other) { $1 / $0 }
            } else {
                Self.combine(&values, other) { $0 / $1 }
            }
        case .power:
            if isOtherLeft {
                Self.combine(&values, other) { Glibc.powf($1, $0) }
            } else if other.count == 1 && other[0] == 2 {
                Self.combine(&values, other) { value, _ in value * value }
            } else {
                Self.combine(&values, other) { Glibc.powf($0, $1) }
            }
        // A NaN on either side wins, as in ONNX Runtime.
        case .maximum: Self.combine(&values, other) { $0 > $1 || $0.isNaN ? $0 : $1 }
        case .minimum: Self.combine(&values, other) { $0 < $1 || $0.isNaN ? $0 : $1 }
        }
    }

    @inline(__always)
    private static func combine(
        _ values: inout MutableSpan<Float>, _ other: Span<Float>, _ function: (Float, Float) -> Float
    ) {
        guard !values.isEmpty else { return }
        precondition(!other.isEmpty && values.count % other.count == 0, "the operand does not repeat evenly")
        let period = other.count
        let repeats = values.count / period
        // Both pointers live for the closures only and stay below the checked counts.
        unsafe values.withUnsafeMutableBufferPointer { values in
            unsafe other.withUnsafeBufferPointer { other in
                if period == 1 {
                    let constant = unsafe other[0]
                    for index in 0..<repeats { unsafe values[index] = function(values[index], constant) }
                    return
                }
                for block in 0..<repeats {
                    let start = block &* period
                    for index in 0..<period {
                        unsafe values[start &+ index] = function(values[start &+ index], other[index])
                    }
                }
            }
        }
    }
}
