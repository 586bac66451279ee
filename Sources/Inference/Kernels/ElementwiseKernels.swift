// ElementwiseKernels: unary and binary functions, copies and gathers.

import Tensor

/// A function of one number.
enum UnaryOperation: Sendable {
    case relu, sigmoid, tanh, exp, log, squareRoot, absolute
    case leakyRelu(alpha: Float)
    case elu(alpha: Float)
    case clip(minimum: Float, maximum: Float)
    /// `x * scale + offset`
    case affine(scale: Float, offset: Float)
    /// Replaces a value, NaN included, by that of its column.
    case impute(replaced: Float, by: FloatBuffer)

    var name: String {
        switch self {
        case .relu: "relu"
        case .sigmoid: "sigmoid"
        case .tanh: "tanh"
        case .exp: "exp"
        case .log: "log"
        case .squareRoot: "sqrt"
        case .absolute: "abs"
        case .leakyRelu: "leaky relu"
        case .elu: "elu"
        case .clip: "clip"
        case .affine: "affine"
        case .impute: "impute"
        }
    }

    func apply(_ values: inout MutableSpan<Float>) {
        switch self {
        case .relu: Elementwise.relu(&values)
        case .sigmoid: Elementwise.sigmoid(&values)
        case .tanh: Elementwise.tanh(&values)
        case .exp: Elementwise.exp(&values)
        case .log: Elementwise.log(&values)
        case .squareRoot: Elementwise.squareRoot(&values)
        case .absolute: Elementwise.absolute(&values)
        case .leakyRelu(let alpha): Elementwise.leakyRelu(&values, alpha: alpha)
        case .elu(let alpha): Elementwise.elu(&values, alpha: alpha)
        case .clip(let minimum, let maximum): Elementwise.clip(&values, minimum: minimum, maximum: maximum)
        case .affine(let scale, let offset): Elementwise.affine(&values, scale: scale, offset: offset)
        case .impute(let replaced, let imputed):
            imputed.withSpan { imputed in
                for index in values.indices {
                    let value = values[index]
                    guard value == replaced || (value.isNaN && replaced.isNaN) else { continue }
                    values[index] = imputed[index % imputed.count]
                }
            }
        }
    }
}

/// Copies a slot when a later step still needs the source or the source is the model's input.
struct CopyKernel: Kernel {
    let source: Int
    let target: Int
    let width: Int

    var summary: String { "copy \(width)" }

    func run(_ workspace: Workspace, input: Span<Float>, rows: Int) {
        workspace.read(source, rows * width, input: input) { source in
            workspace.write(target, rows * width) { target in
                for index in 0..<rows * width { target[index] = source[index] }
            }
        }
    }
}

struct UnaryKernel: Kernel {
    let slot: Int
    let width: Int
    let operation: UnaryOperation

    var summary: String { "\(operation.name) \(width)" }

    func run(_ workspace: Workspace, input: Span<Float>, rows: Int) {
        workspace.write(slot, rows * width) { operation.apply(&$0) }
    }
}

/// `slot = f(slot, constant)` with a constant of one row (or one element), repeated for every row.
struct ConstantKernel: Kernel {
    let slot: Int
    let width: Int
    let operation: BinaryOperation
    let constant: FloatBuffer
    let isConstantLeft: Bool

    var summary: String { "\(operation.rawValue) constant \(width)" }

    func run(_ workspace: Workspace, input: Span<Float>, rows: Int) {
        workspace.write(slot, rows * width) { values in
            constant.withSpan { operation.apply(&values, $0, isOtherLeft: isConstantLeft) }
        }
    }
}

/// `slot = f(slot, other)` of two values of the batch with one shape.
struct BinaryKernel: Kernel {
    let slot: Int
    let other: Int
    let width: Int
    let operation: BinaryOperation
    let isOtherLeft: Bool

    var summary: String { "\(operation.rawValue) \(width)" }

    func run(_ workspace: Workspace, input: Span<Float>, rows: Int) {
        workspace.read(other, rows * width, input: input) { other in
            workspace.write(slot, rows * width) { operation.apply(&$0, other, isOtherLeft: isOtherLeft) }
        }
    }
}

/// `out[i] = in[map[i]]` within each row: broadcasts and transpositions.
struct GatherKernel: Kernel {
    let source: Int
    let target: Int
    let sourceWidth: Int
    let map: [Int32]

    var summary: String { "gather \(sourceWidth) -> \(map.count)" }

    func run(_ workspace: Workspace, input: Span<Float>, rows: Int) {
        workspace.read(source, rows * sourceWidth, input: input) { source in
            workspace.write(target, rows * map.count) { target in
                for row in 0..<rows {
                    for index in map.indices {
                        target[row * map.count + index] = source[row * sourceWidth + Int(map[index])]
                    }
                }
            }
        }
    }
}

/// Writes one operand of a concatenation: blocks of `blockWidth` at `offset` of every `stride` elements of the row.
struct ConcatenateKernel: Kernel {
    enum Part: Sendable {
        case slot(Int)
        /// One row's worth.
        case constant(FloatBuffer)
    }

    let part: Part
    let target: Int
    let blocksPerRow: Int
    let blockWidth: Int
    let offset: Int
    let stride: Int

    var summary: String { "concatenate \(blocksPerRow)x\(blockWidth)" }

    func run(_ workspace: Workspace, input: Span<Float>, rows: Int) {
        let blocks = rows * blocksPerRow
        switch part {
        case .slot(let slot):
            workspace.read(slot, blocks * blockWidth, input: input) { place($0, workspace, blocks) }
        case .constant(let buffer): buffer.withSpan { place($0, workspace, blocks) }
        }
    }

    private func place(_ source: Span<Float>, _ workspace: Workspace, _ blocks: Int) {
        workspace.write(target, blocks * stride) { target in
            for block in 0..<blocks {
                let from = block * blockWidth % source.count
                for index in 0..<blockWidth {
                    target[block * stride + offset + index] = source[from + index]
                }
            }
        }
    }
}
