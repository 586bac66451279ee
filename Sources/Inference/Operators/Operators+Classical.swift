// Operators+Classical: linear models, scalers and their kin of ai.onnx.ml.

import Tensor

extension Operators {
    /// Input 0 as Float32 rows `[N, features]`. A vector is one row.
    static func rows(_ planner: Planner, _ node: PlanNode) throws -> RuntimeValue {
        var value = try planner.floatOperand(node, 0)
        if value.shape.rank == 1 && !value.shape.isBatched { value.shape = Shape([1] + value.shape.dims) }
        guard value.shape.rank == 2, !value.shape.isBatch(1) else {
            throw node.error(.unsupported, "an input of shape \(value.shape.text), rows of features are needed")
        }
        return value
    }

    /// The shape of a result with `width` elements a row; nil: one element without a dimension of its own.
    static func rowShape(_ value: RuntimeValue, _ width: Int?) -> Shape {
        Shape([value.shape.dims[0]] + (width.map { [$0] } ?? []), batchAxis: value.shape.batchAxis)
    }

    /// `Scaler`: (x - offset) * scale.
    static func scaler(_ planner: Planner, _ node: PlanNode) throws {
        let value = try planner.floatOperand(node, 0)
        let columns = value.shape.dims.last ?? 1
        guard value.shape.rank > 0, !value.shape.isBatch(value.shape.rank - 1) else {
            throw node.error(.unsupported, "an input of shape \(value.shape.text)")
        }
        func parameter(_ name: String, default missing: Float) throws -> ModelArray<Float> {
            let given = try planner.floats(node, name)
            guard given.map({ $0.count == 1 || $0.count == columns }) ?? true else {
                throw node.error(.invalidGraph, "'\(name)' has \(given?.count ?? 0) elements for \(columns) columns")
            }
            let full = try ModelArray<Float>(count: columns, planner.allocator)
            for index in 0..<columns { full[index] = given.map { $0[index % $0.count] } ?? missing }
            return full
        }
        let target = try planner.makeValue(node, value.shape, .float)
        planner.append(
            .scaler(
                ScalerDraft(
                    source: value.id, target: target.id, shape: value.shape,
                    offset: try parameter("offset", default: 0), scale: try parameter("scale", default: 1))))
        try planner.bind(node, 0, .runtime(target))
    }

    static func normalizer(_ planner: Planner, _ node: PlanNode) throws {
        let value = try rows(planner, node)
        let name = try node.string("norm", default: "MAX")
        guard let norm = NormalizeStep.Norm(rawValue: name) else { throw node.error(.unsupported, "norm '\(name)'") }
        let target = try planner.makeValue(node, value.shape, .float)
        planner.append(
            NormalizeStep(
                source: value.id, target: target.id, shape: value.shape, width: value.shape.dims[1], norm: norm))
        try planner.bind(node, 0, .runtime(target))
    }

    static func binarizer(_ planner: Planner, _ node: PlanNode) throws {
        let threshold = Double(try node.float("threshold", default: 0))
        let value = try planner.operand(node, 0)
        switch value.type {
        case .float: try map(planner, node, value, .float) { (x: Float) in Double(x) > threshold ? 1 : Float(0) }
        case .double: try map(planner, node, value, .double) { (x: Double) in x > threshold ? 1 : Double(0) }
        case .int32, .int64:
            try map(planner, node, value, value.type) { (x: Int64) in Double(x) > threshold ? 1 : Int64(0) }
        default: throw node.error(.unsupported, "values of type \(value.type)")
        }
    }

    static func imputer(_ planner: Planner, _ node: PlanNode) throws {
        let value = try planner.operand(node, 0)
        let columns = value.shape.dims.last ?? 0
        func step<T: PlainValue>(_ imputed: ModelArray<T>, _ isReplaced: @escaping @Sendable (T) -> Bool) throws {
            guard imputed.count == 1 || imputed.count == columns else {
                throw node.error(.invalidGraph, "\(imputed.count) imputed values for \(columns) columns")
            }
            let target = try planner.makeValue(node, value.shape, value.type)
            planner.append(
                ImputeStep<T>(
                    source: value.id, target: target.id, shape: value.shape, imputed: imputed, isReplaced: isReplaced))
            try planner.bind(node, 0, .runtime(target))
        }
        let real = try node.float("replaced_value_float", default: 0)
        switch value.storage {
        case .float, .double:
            guard let imputed = try planner.floats(node, "imputed_value_floats") else {
                throw node.error(.invalidGraph, "'imputed_value_floats' is missing")
            }
            if value.type == .float {
                try step(imputed) { $0 == real || ($0.isNaN && real.isNaN) }
            } else {
                let wide = try ModelArray<Double>(count: imputed.count, planner.allocator)
                for index in 0..<imputed.count { wide[index] = Double(imputed[index]) }
                try step(wide) { $0 == Double(real) || ($0.isNaN && real.isNaN) }
            }
        case .integer:
            let replaced = Int64(try node.int("replaced_value_int64", default: 0))
            guard value.type != .string, let imputed = try planner.integers(node, "imputed_value_int64s") else {
                throw node.error(.invalidGraph, "'imputed_value_int64s' is missing")
            }
            try step(imputed) { $0 == replaced }
        }
    }

    // MARK: Linear models

    /// Appends the product of the linear operators; `coefficients` has one row per target.
    private static func linear(_ planner: Planner, _ node: PlanNode) throws -> (draft: DenseDraft, value: RuntimeValue)
    {
        let value = try rows(planner, node)
        let inputs = value.shape.dims[1]
        guard let coefficients = try planner.floats(node, "coefficients"), coefficients.count > 0, inputs > 0,
            coefficients.count % inputs == 0
        else { throw node.error(.invalidGraph, "'coefficients' is not a matrix with \(inputs) columns") }
        let targets = coefficients.count / inputs
        let draft = try dense(
            planner, node, value, inputs: inputs, outputs: targets, weights: coefficients.pointer, owner: coefficients,
            inputStride: 1, outputStride: inputs)
        if let intercepts = try planner.floats(node, "intercepts"), intercepts.count > 0 {
            guard intercepts.count == targets else {
                throw node.error(.invalidGraph, "'intercepts' needs \(targets) elements")
            }
            try draft.add(planner) { intercepts[$0] }
        }
        return (draft, value)
    }

    static func transform(_ node: PlanNode) throws -> PostTransform {
        let name = try node.string("post_transform", default: "NONE")
        guard let transform = PostTransform(rawValue: name) else {
            throw node.error(.invalidGraph, "post_transform '\(name)'")
        }
        return transform
    }

    static func linearRegressor(_ planner: Planner, _ node: PlanNode) throws {
        let transform = try transform(node)
        let (draft, value) = try linear(planner, node)
        guard draft.outputs == (try node.int("targets", default: 1)) else {
            throw node.error(.invalidGraph, "'coefficients' has \(draft.outputs) rows, 'targets' says otherwise")
        }
        let shape = rowShape(value, draft.outputs)
        let scores = RuntimeValue(id: draft.target, shape: shape, type: .float)
        guard transform != .none else { return try planner.bind(node, 0, .runtime(scores)) }
        let target = try planner.makeValue(node, shape, .float)
        planner.append(
            TransformStep(
                rows: RowCount(value.shape), source: scores.id, target: target.id, width: draft.outputs,
                transform: transform))
        try planner.bind(node, 0, .runtime(target))
    }

    static func linearClassifier(_ planner: Planner, _ node: PlanNode) throws {
        let transform = try transform(node)
        let (draft, value) = try linear(planner, node)
        let (labels, type) = try classLabels(planner, node)
        let label = try planner.makeValue(node, rowShape(value, nil), type)
        let targets = draft.outputs
        if targets == 1 {
            let hasSecond = labels.count == 2
            let scores = try planner.makeValue(node, rowShape(value, hasSecond && transform != .probit ? 2 : 1), .float)
            let second: TwoClassStep.Second =
                !hasSecond || transform == .probit ? .none : transform == .logistic ? .negative : .complement
            planner.append(
                TwoClassStep(
                    rows: RowCount(value.shape), source: draft.target, scores: scores.id, label: label.id,
                    second: second, transform: transform,
                    labels: hasSecond ? labels : [0, 1], threshold: 0))
            try planner.bind(node, 1, .runtime(scores))
        } else {
            guard labels.count == targets else {
                throw node.error(.invalidGraph, "\(labels.count) class labels for \(targets) classes")
            }
            let scores = try planner.makeValue(node, rowShape(value, targets), .float)
            planner.append(
                ClassScoreStep(
                    rows: RowCount(value.shape), source: draft.target, scores: scores.id, label: label.id,
                    classes: targets, labels: labels,
                    transform: transform))
            try planner.bind(node, 1, .runtime(scores))
        }
        try planner.bind(node, 0, .runtime(label))
    }

    /// Labels as they are computed with, and their type.
    static func classLabels(
        _ planner: Planner, _ node: PlanNode, _ integers: String = "classlabels_ints"
    ) throws -> (labels: [Int64], type: ONNXElementType) {
        if let names = try node.strings("classlabels_strings"), !names.isEmpty {
            return (names.map { Int64(planner.texts.number($0)) }, .string)
        }
        guard let numbers = try planner.integers(node, integers), numbers.count > 0 else {
            throw node.error(.invalidGraph, "it has no class labels")
        }
        return (Array(numbers), .int64)
    }

    /// `ZipMap` turns probabilities into maps by class name for Python callers; here they stay a matrix.
    static func zipMap(_ planner: Planner, _ node: PlanNode) throws {
        _ = try planner.operand(node, 0, .float)
        try identity(planner, node)
    }

    /// Selects elements along the last axis: class labels by index, columns by number.
    static func arrayFeatureExtractor(_ planner: Planner, _ node: PlanNode) throws {
        var data = try planner.operand(node, 0)
        var indices = try planner.operand(node, 1, .int64, .int32)
        if data.shape.rank == 1 { data.shape = Shape([1] + data.shape.dims) }
        guard !indices.shape.isBatched || indices.shape.outer == 1 else { throw mixing(node) }
        indices.shape = Shape([indices.shape.unit], batchAxis: indices.shape.isBatched ? 0 : nil)
        try gathered(planner, node, data, indices, axis: data.shape.rank - 1)
    }

    /// `FeatureVectorizer`: its inputs side by side, as Float32.
    static func featureVectorizer(_ planner: Planner, _ node: PlanNode) throws {
        let operands = try node.inputs.indices.map { index -> RuntimeValue in
            var value = try planner.floatOperand(node, index)
            if value.shape.rank == 1 { value.shape = Shape(value.shape.dims + [1], batchAxis: value.shape.batchAxis) }
            return value
        }
        guard !operands.isEmpty else { throw node.error(.invalidGraph, "it has no inputs") }
        if let widths = try planner.intList(node, "inputdimensions") {
            guard widths.count == operands.count, zip(widths, operands).allSatisfy({ $0 == $1.shape.dims.last }) else {
                throw node.error(.unsupported, "'inputdimensions' differ from its inputs' widths")
            }
        }
        try joined(planner, node, operands, axis: 1)
    }
}

/// Replaces missing values by those of their columns.
struct ImputeStep<T: PlainValue>: Step {
    let source: Int
    let target: Int
    let shape: Shape
    let imputed: ModelArray<T>
    let isReplaced: @Sendable (T) -> Bool

    var reads: [Int] { [source] }
    var writes: [Int] { [target] }
    var overwrites: Int? { source }
    var summary: String { "impute \(imputed.count)" }

    func run(_ frame: Frame) {
        let x = frame.pointer(source, T.self)
        let y = frame.pointer(target, T.self)
        var column = 0
        for index in 0..<shape.count(frame.rows) {
            y[index] = isReplaced(x[index]) ? imputed[column] : x[index]
            column = column + 1 == imputed.count ? 0 : column + 1
        }
    }
}
