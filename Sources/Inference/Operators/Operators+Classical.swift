// Operators+Classical: ai.onnx.ml, the operators of exported scikit-learn models.

import Tensor

extension Operators {
    /// `Scaler`: (x - offset) * scale.
    static func scaler(_ planner: inout Planner, _ node: PlanNode) throws {
        let (slot, value) = try planner.floatInput(node, 0)
        func parameter(_ name: String, default missing: Float) throws -> FloatBuffer {
            guard let buffer = try node.floats(name) else { return try planner.buffer([missing]) }
            guard buffer.count == 1 || buffer.count == value.rowShape.last else {
                throw node.error(
                    .invalidGraph, "'\(name)' has \(buffer.count) elements for \(value.rowShape.last ?? 0) columns")
            }
            return buffer
        }
        let offset = try parameter("offset", default: 0)
        let scale = try parameter("scale", default: 1)
        let target = try planner.writable(slot, width: value.width, node.place)
        planner.kernels.append(
            ConstantKernel(
                slot: target, width: value.width, operation: .subtract, constant: offset, isConstantLeft: false))
        planner.kernels.append(
            ConstantKernel(
                slot: target, width: value.width, operation: .multiply, constant: scale, isConstantLeft: false))
        try planner.bind(
            node, 0, .runtime(RuntimeValue(slot: .float(target), rowShape: value.rowShape, type: .float)))
    }

    static func normalizer(_ planner: inout Planner, _ node: PlanNode) throws {
        let (slot, value) = try planner.floatInput(node, 0)
        let name = try node.string("norm", default: "MAX")
        guard let norm = NormalizeKernel.Norm(rawValue: name), value.rowShape.count == 1 else {
            throw node.error(.unsupported, "norm '\(name)' of rank \(value.rowShape.count + 1)")
        }
        let target = try planner.writable(slot, width: value.width, node.place)
        planner.kernels.append(NormalizeKernel(slot: target, width: value.width, norm: norm))
        try planner.bind(
            node, 0, .runtime(RuntimeValue(slot: .float(target), rowShape: value.rowShape, type: .float)))
    }

    static func imputer(_ planner: inout Planner, _ node: PlanNode) throws {
        let (slot, value) = try planner.floatInput(node, 0)
        guard let imputed = try node.floats("imputed_value_floats"),
            imputed.count == 1 || imputed.count == value.width
        else {
            throw node.error(.invalidGraph, "'imputed_value_floats' must have 1 or \(value.width) elements")
        }
        let replaced = try node.float("replaced_value_float", default: .nan)
        let target = try planner.writable(slot, width: value.width, node.place)
        planner.kernels.append(
            UnaryKernel(slot: target, width: value.width, operation: .impute(replaced: replaced, by: imputed)))
        try planner.bind(
            node, 0, .runtime(RuntimeValue(slot: .float(target), rowShape: value.rowShape, type: .float)))
    }

    /// Appends the product of both linear operators; `coefficients` has one row per target.
    private static func linear(
        _ planner: inout Planner, _ node: PlanNode
    ) throws -> (slot: Int, targets: Int) {
        let (slot, value) = try planner.floatInput(node, 0)
        guard value.rowShape.count == 1, let coefficients = try node.floats("coefficients"),
            coefficients.count > 0, coefficients.count % value.width == 0
        else {
            throw node.error(.invalidGraph, "'coefficients' is not a matrix with \(value.width) columns")
        }
        let targets = coefficients.count / value.width
        let intercepts = try node.floats("intercepts")
        guard intercepts.map({ $0.count == targets }) ?? true else {
            throw node.error(.invalidGraph, "'intercepts' needs \(targets) elements")
        }
        let target = try planner.acquireFloats(targets, node.place)
        planner.kernels.append(
            DenseKernel(
                source: slot, target: target, inputs: value.width, outputs: targets, vectorsPerRow: 1,
                weights: try pack(
                    planner, coefficients, inputs: value.width, outputs: targets, isTransposed: true, scale: 1),
                bias: intercepts))
        return (target, targets)
    }

    static func linearRegressor(_ planner: inout Planner, _ node: PlanNode) throws {
        let transform = try node.string("post_transform", default: "NONE")
        guard transform == "NONE" else { throw node.error(.unsupported, "post_transform '\(transform)'") }
        let (slot, targets) = try linear(&planner, node)
        guard targets == (try node.int("targets", default: 1)) else {
            throw node.error(.invalidGraph, "'coefficients' has \(targets) rows, 'targets' says otherwise")
        }
        try planner.bind(
            node, 0, .runtime(RuntimeValue(slot: .float(slot), rowShape: [targets], type: .float)))
    }

    /// `LinearClassifier`: labels and scores, as ONNX Runtime computes them.
    static func linearClassifier(_ planner: inout Planner, _ node: PlanNode) throws {
        let transform = try node.string("post_transform", default: "NONE")
        let (slot, targets) = try linear(&planner, node)
        let labels = try classLabels(&planner, node, count: max(targets, 2))
        let label = planner.acquireIntegers(1)
        var scores = slot
        if targets == 1 {
            guard transform == "LOGISTIC" else {
                throw node.error(.unsupported, "post_transform '\(transform)' with a single row of coefficients")
            }
            planner.kernels.append(SignKernel(source: slot, target: label, labels: labels))
            scores = try planner.acquireFloats(2, node.place)
            planner.kernels.append(TwoClassKernel(source: slot, target: scores))
        } else {
            planner.kernels.append(
                ArgMaxKernel(
                    source: slot, target: label, outer: 1, length: targets, inner: 1, selectsLast: false,
                    labels: labels))
            switch transform {
            case "NONE": break
            case "LOGISTIC":
                planner.kernels.append(UnaryKernel(slot: slot, width: targets, operation: .sigmoid))
            case "SOFTMAX":
                planner.kernels.append(
                    SoftmaxKernel(slot: slot, outer: 1, length: targets, inner: 1, isLogarithm: false))
            default: throw node.error(.unsupported, "post_transform '\(transform)'")
            }
        }
        try planner.bind(node, 0, .runtime(RuntimeValue(slot: .integer(label), rowShape: [], type: .int64)))
        try planner.bind(
            node, 1, .runtime(RuntimeValue(slot: .float(scores), rowShape: [max(targets, 2)], type: .float)))
    }

    private static func classLabels(_ planner: inout Planner, _ node: PlanNode, count: Int) throws -> [Int64] {
        if let labels = try node.ints("classlabels_ints"), !labels.isEmpty {
            guard labels.count == count else {
                throw node.error(.invalidGraph, "\(labels.count) class labels for \(count) classes")
            }
            return labels
        }
        guard let names = try node.strings("classlabels_strings"), names.count == count else {
            throw node.error(.invalidGraph, "it needs \(count) class labels")
        }
        planner.classNames = names
        return names.indices.map { Int64($0) }
    }

    /// `ZipMap` turns probabilities into maps by class name for Python callers; here they stay a matrix.
    static func zipMap(_ planner: inout Planner, _ node: PlanNode) throws {
        _ = try planner.floatInput(node, 0)
        try identity(&planner, node)
    }

    /// `ArrayFeatureExtractor` as exporters use it: class labels by their index.
    static func arrayFeatureExtractor(_ planner: inout Planner, _ node: PlanNode) throws {
        guard case .constant(let table) = try planner.input(node, 0),
            case .runtime(let index) = try planner.input(node, 1),
            case .integer(let slot) = index.slot
        else {
            throw node.error(.unsupported, "only the look-up of an index in a constant table is implemented")
        }
        let labels: [Int64]
        switch table.storage {
        case .integers(let values): labels = values
        case .strings(let names):
            planner.classNames = names
            labels = names.indices.map { Int64($0) }
        case .floats: throw node.error(.unsupported, "a table of type \(table.type), integers or texts are needed")
        }
        guard !labels.isEmpty else { throw node.error(.invalidGraph, "the table is empty") }
        let target = planner.acquireIntegers(index.width)
        planner.kernels.append(LookUpKernel(source: slot, target: target, width: index.width, table: labels))
        // ONNX gives [1, N] here. Exporters reshape it to [N] at once, which is what keeping the index's rows gives.
        try planner.bind(
            node, 0, .runtime(RuntimeValue(slot: .integer(target), rowShape: index.rowShape, type: .int64)))
    }
}
