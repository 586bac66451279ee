// DenseSteps: products with packed constant weights, and their drafts that take up what stands around them.

import Tensor

/// A dense layer before its weights are packed. `source` rows times the weights, then column scales, bias, activation.
final class DenseDraft {
    let source: Int
    let sourceShape: Shape
    let target: Int
    let inputs: Int
    let outputs: Int
    private let weights: UnsafePointer<Float>
    private let owner: Any
    private let inputStride: Int
    private let outputStride: Int
    private var effectiveSource: Int
    private var rowScale: ModelArray<Float>?
    private var rowOffset: ModelArray<Float>?
    private var columnScale: ModelArray<Float>?
    private var bias: ModelArray<Float>?
    private(set) var activation = DenseLayer.Activation.none
    private var isScaled = false

    /// - Parameters:
    ///   - weights: element (i, o) at `i * inputStride + o * outputStride`; may be unaligned, valid while planning.
    ///   - owner: keeps the weights.
    init(
        source: RuntimeValue, target: Int, inputs: Int, outputs: Int, weights: UnsafePointer<Float>, owner: Any,
        inputStride: Int, outputStride: Int
    ) {
        self.source = source.id
        effectiveSource = source.id
        sourceShape = source.shape
        self.target = target
        self.inputs = inputs
        self.outputs = outputs
        self.weights = weights
        self.owner = owner
        self.inputStride = inputStride
        self.outputStride = outputStride
    }

    var acceptsColumns: Bool { activation == .none }

    private func element(_ array: inout ModelArray<Float>?, _ planner: Planner, default missing: Float) throws
        -> ModelArray<Float>
    {
        if let array { return array }
        let made = try ModelArray<Float>(count: outputs, planner.allocator)
        for index in 0..<outputs { made[index] = missing }
        array = made
        return made
    }

    /// `y * factor` by column.
    func multiply(_ planner: Planner, _ factor: (Int) -> Float) throws {
        let scales = try element(&columnScale, planner, default: 1)
        for index in 0..<outputs {
            scales[index] *= factor(index)
            if let bias { bias[index] *= factor(index) }
        }
        isScaled = true
    }

    /// `y + summand` by column.
    func add(_ planner: Planner, _ summand: (Int) -> Float) throws {
        let sums = try element(&bias, planner, default: 0)
        for index in 0..<outputs { sums[index] += summand(index) }
    }

    func activate(_ activation: DenseLayer.Activation) { self.activation = activation }

    /// Takes up `(x - offset) * scale` of the inputs.
    func absorb(_ scaler: ScalerDraft) {
        effectiveSource = scaler.source
        rowScale = scaler.scale
        rowOffset = scaler.offset
    }

    func finished(_ planner: Planner) throws -> any Step {
        let vectors = sourceShape.unit / inputs
        var layer: DenseLayer
        if rowScale == nil && !isScaled {
            layer = try DenseLayer(
                weights: weights, inputStride: inputStride, outputStride: outputStride, inputs: inputs,
                outputs: outputs,
                bias: bias.map { UnsafePointer($0.pointer) }, activation: activation, allocator: planner.allocator)
        } else {
            let changed = try ModelArray<Float>(count: inputs * outputs, planner.allocator)
            let sums = try element(&bias, planner, default: 0)
            for output in 0..<outputs {
                var shift = 0.0
                for input in 0..<inputs {
                    var weight = Double(read(input, output)) * Double(columnScale?[output] ?? 1)
                    if let rowScale, let rowOffset {
                        weight *= Double(rowScale[input % rowScale.count])
                        shift -= Double(rowOffset[input % rowOffset.count]) * weight
                    }
                    changed[input * outputs + output] = Float(weight)
                }
                sums[output] = Float(Double(sums[output]) + shift)
            }
            layer = try DenseLayer(
                weights: changed.pointer, inputStride: outputs, outputStride: 1, inputs: inputs, outputs: outputs,
                bias: sums.pointer, activation: activation, allocator: planner.allocator)
            withExtendedLifetime((changed, sums)) {}
        }
        withExtendedLifetime((owner, bias, rowScale)) {}
        return DenseStep(
            source: effectiveSource, target: target, isBatched: sourceShape.isBatched, vectors: vectors, layer: layer,
            hasScaler: rowScale != nil, hasBias: bias != nil, activation: activation)
    }

    private func read(_ input: Int, _ output: Int) -> Float {
        UnsafeRawPointer(weights).loadUnaligned(
            fromByteOffset: 4 * (input * inputStride + output * outputStride), as: Float.self)
    }
}

struct DenseStep: Step {
    let source: Int
    let target: Int
    let isBatched: Bool
    /// Vectors per row of the batch, or in all.
    let vectors: Int
    let layer: DenseLayer
    let hasScaler: Bool
    let hasBias: Bool
    let activation: DenseLayer.Activation

    var reads: [Int] { [source] }
    var writes: [Int] { [target] }

    var summary: String {
        let end =
            switch activation {
            case .none: ""
            case .relu: " + relu"
            case .leakyRelu: " + leaky relu"
            }
        return "\(hasScaler ? "scaled " : "")dense \(layer.inputs)x\(layer.outputs)\(hasBias ? " + bias" : "")\(end)"
    }

    func run(_ frame: Frame) {
        layer.run(
            frame.floats(source), rows: isBatched ? vectors * frame.rows : vectors, output: frame.floats(target))
    }
}

/// `(x - offset) * scale` by column, until it is known whether a dense layer takes it up.
final class ScalerDraft {
    let source: Int
    let target: Int
    let shape: Shape
    let offset: ModelArray<Float>
    let scale: ModelArray<Float>

    init(source: Int, target: Int, shape: Shape, offset: ModelArray<Float>, scale: ModelArray<Float>) {
        self.source = source
        self.target = target
        self.shape = shape
        self.offset = offset
        self.scale = scale
    }

    /// Within a dense layer the offset is subtracted after the product. That costs about `|offset * scale|` units in the
    /// last place, so it is done only where those are few; elsewhere the scaler stays a step of its own.
    var isFusable: Bool {
        let most: Float = 8
        let columns = max(offset.count, scale.count)
        for index in 0..<columns {
            let shift = abs(offset[index % offset.count] * scale[index % scale.count])
            guard shift <= most else { return false }
        }
        return true
    }

    func finished() -> any Step {
        ScalerStep(
            source: source, target: target, isBatched: shape.isBatched,
            columns: shape.dims.last ?? 1, unit: shape.unit, offset: offset, scale: scale)
    }
}

struct ScalerStep: Step {
    let source: Int
    let target: Int
    let isBatched: Bool
    let columns: Int
    let unit: Int
    let offset: ModelArray<Float>
    let scale: ModelArray<Float>

    var reads: [Int] { [source] }
    var writes: [Int] { [target] }
    var overwrites: Int? { source }
    var summary: String { "scaler \(columns)" }

    func run(_ frame: Frame) {
        let rows = (isBatched ? unit * frame.rows : unit) / max(columns, 1)
        VectorRows.scale(
            frame.floats(source), frame.floats(target), rows: rows, columns: columns, offset: offset.pointer,
            scale: scale.pointer)
    }
}

/// A general matrix product of two values known at run time only, with NumPy's broadcasting of the leading dimensions.
struct MatrixProductStep<T: BinaryFloatingPoint & PlainValue>: Step {
    let left: RuntimeValue
    let right: RuntimeValue
    let target: RuntimeValue
    let m: Int
    let k: Int
    let n: Int
    let isBatchInRows: Bool

    var reads: [Int] { [left.id, right.id] }
    var writes: [Int] { [target.id] }
    var summary: String { "matrix product \(m)x\(k)x\(n)" }

    func run(_ frame: Frame) {
        let a = frame.pointer(left.id, T.self)
        let b = frame.pointer(right.id, T.self)
        let c = frame.pointer(target.id, T.self)
        let m = isBatchInRows ? self.m * frame.rows : self.m
        func stack(_ shape: Shape) -> Shape {
            Shape(
                shape.dims.dropLast(2).map { $0 }, batchAxis: shape.batchAxis.flatMap { $0 < shape.rank - 2 ? $0 : nil }
            )
        }
        let outer = stack(target.shape)
        let lefts = Extents(broadcasting: stack(left.shape), to: outer, rows: frame.rows)
        let rights = Extents(broadcasting: stack(right.shape), to: outer, rows: frame.rows)
        lefts.forEach { position, leftOffset in
            let rightOffset = offset(position, rights)
            for i in 0..<m {
                for j in 0..<n {
                    var sum: T = 0
                    for p in 0..<k { sum += a[leftOffset * m * k + i * k + p] * b[rightOffset * k * n + p * n + j] }
                    c[position * m * n + i * n + j] = sum
                }
            }
        }
    }

    private func offset(_ position: Int, _ extents: Extents) -> Int {
        var rest = position
        var offset = 0
        for axis in (0..<extents.rank).reversed() {
            offset += rest % extents.sizes[axis] * extents.strides[axis]
            rest /= extents.sizes[axis]
        }
        return offset
    }
}
