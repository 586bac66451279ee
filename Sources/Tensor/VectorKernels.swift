// VectorKernels: the C kernels for dense layers, tree ensembles and elementwise functions.

import CVectorKernels

/// Which instruction set the kernels use. Unlike OpenBLAS they keep no buffers of their own: weights stand only where
/// the caller's allocator put them.
public enum VectorKernels {
    public enum Level: Int32, Sendable, CaseIterable, Comparable, CustomStringConvertible {
        case baseline = 0
        case avx2 = 1
        case avx512 = 2

        public static func < (left: Level, right: Level) -> Bool { left.rawValue < right.rawValue }

        public var description: String {
            switch self {
            case .baseline: "baseline"
            case .avx2: "AVX2"
            case .avx512: "AVX-512"
            }
        }
    }

    /// The best that this processor has.
    public static var detected: Level { Level(rawValue: pk_detected_level()) ?? .baseline }

    /// What is in use.
    public static var level: Level { Level(rawValue: pk_level()) ?? .baseline }

    /// Uses at most `level` for models loaded from now on, and for elementwise functions. For measurements.
    public static func limit(to level: Level) { pk_limit_level(level.rawValue) }

    /// Environment variable that limits the level: `baseline`, `avx2` or `avx512`.
    public static let variable = "PENSTOCK_VECTOR_LEVEL"

    /// Applies the environment's limit.
    ///
    /// - Returns: a sentence for the log when the kernels run below what the processor has, nil otherwise.
    @discardableResult
    public static func configure(environment: [String: String]) -> String? {
        guard let name = environment[variable], !name.isEmpty else { return nil }
        let wanted = Level.allCases.first { "\($0)".lowercased().replacing("-", with: "") == name.lowercased() }
        guard let wanted else { return "\(variable)=\(name) is none of baseline, avx2, avx512: it is ignored" }
        limit(to: wanted)
        guard level < detected else { return nil }
        return "\(variable)=\(name) is set: the inference kernels use \(level), this processor has \(detected)"
    }
}

/// A dense layer with packed weights: `y = activation(x * W + b)`.
@safe public final class DenseLayer: Sendable {
    public enum Activation: Sendable, Equatable {
        case none
        case relu
        case leakyRelu(alpha: Float)
    }

    public let inputs: Int
    public let outputs: Int
    private let packed: FloatBuffer
    private let bias: FloatBuffer?
    private let activation: Activation
    private let level: VectorKernels.Level

    /// Packs weights that stand anywhere into memory of the allocator, the only copy that a run reads.
    ///
    /// - Parameters:
    ///   - weights: element (i, o) is the float at `i * inputStride + o * outputStride`; needs no alignment.
    ///   - bias: `outputs` floats, or nil.
    ///   - level: at most what the processor has.
    @unsafe
    public init(
        weights: UnsafePointer<Float>, inputStride: Int, outputStride: Int, inputs: Int, outputs: Int,
        bias: UnsafePointer<Float>?, activation: Activation, allocator: any WeightAllocator,
        level: VectorKernels.Level = VectorKernels.level
    ) throws {
        precondition(inputs > 0 && outputs > 0, "an empty layer")
        self.inputs = inputs
        self.outputs = outputs
        self.activation = activation
        self.level = level
        let padded = pk_padded(level.rawValue, outputs)
        packed = try allocator.allocate(count: inputs * padded)
        unsafe pk_pack(level.rawValue, weights, inputStride, outputStride, inputs, outputs, packed.pointer)
        if let bias = unsafe bias {
            let buffer = try allocator.allocate(count: padded)
            unsafe buffer.pointer.update(from: bias, count: outputs)
            self.bias = buffer
        } else {
            self.bias = nil
        }
    }

    /// - Parameters:
    ///   - input: `rows` rows of `inputs` floats.
    ///   - output: `rows` rows of `outputs` floats; does not overlap the input.
    @unsafe @inline(__always)
    public func run(_ input: UnsafePointer<Float>, rows: Int, output: UnsafeMutablePointer<Float>) {
        let (kind, alpha): (Int32, Float) =
            switch activation {
            case .none: (0, 0)
            case .relu: (1, 0)
            case .leakyRelu(let alpha): (2, alpha)
            }
        // The buffers live as long as the layer.
        var layer = unsafe pk_dense(
            packed: packed.pointer, bias: bias?.pointer, inputs: inputs, outputs: outputs, activation: kind,
            alpha: alpha, level: level.rawValue)
        unsafe pk_dense_run(&layer, input, inputs, rows, output)
    }
}

/// Functions over float memory that the caller vouches for.
public enum VectorFunction: Int32, Sendable {
    case exp = 0
    case sigmoid, tanh, relu, leakyRelu, elu, softplus, erf, absolute, negate, squareRoot, reciprocal, clip, affine

    /// `y[i] = f(x[i])`; `x` may be `y`.
    ///
    /// - Parameters:
    ///   - p: alpha, minimum or scale.
    ///   - q: maximum or offset.
    @unsafe @inline(__always)
    public func apply(
        _ x: UnsafePointer<Float>, _ y: UnsafeMutablePointer<Float>, count: Int, _ p: Float = 0, _ q: Float = 0
    ) {
        unsafe pk_map(rawValue, x, y, count, p, q)
    }
}

/// Row-wise functions over float memory that the caller vouches for; input and output may be the same.
public enum VectorRows {
    /// `y = x * scale + offset` by column.
    @unsafe
    public static func affine(
        _ x: UnsafePointer<Float>, _ y: UnsafeMutablePointer<Float>, rows: Int, columns: Int,
        scale: UnsafePointer<Float>, offset: UnsafePointer<Float>
    ) {
        unsafe pk_affine_rows(x, y, rows, columns, scale, offset)
    }

    /// `y = (x - offset) * scale` by column.
    @unsafe
    public static func scale(
        _ x: UnsafePointer<Float>, _ y: UnsafeMutablePointer<Float>, rows: Int, columns: Int,
        offset: UnsafePointer<Float>, scale: UnsafePointer<Float>
    ) {
        unsafe pk_scale_rows(x, y, rows, columns, offset, scale)
    }

    @unsafe
    public static func softmax(
        _ x: UnsafePointer<Float>, _ y: UnsafeMutablePointer<Float>, rows: Int, columns: Int
    ) {
        unsafe pk_softmax_rows(x, y, rows, columns)
    }
}
