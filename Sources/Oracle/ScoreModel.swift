// ScoreModel: the model's ONNX graph evaluated one row at a time in Float64.

import Cryptography
import Foundation

/// A model as its manifest and ONNX file describe it. Knows the operators of dense networks and linear models; anything
/// else ends the check with a message, never with a guess.
public struct ScoreModel: Sendable {
    struct Tensor: Sendable {
        var shape: [Int]
        var values: [Double]

        /// Rows and columns of a matrix; a vector is one row.
        var matrixShape: (rows: Int, columns: Int) {
            let columns = shape.last ?? 1
            return (columns == 0 ? 0 : values.count / columns, columns)
        }
    }

    struct Node: Sendable {
        var operation: String
        var inputs: [String]
        var outputs: [String]
        var floats: [String: Double]
        var integers: [String: [Int64]]
        var tensors: [String: Tensor]
    }

    private struct Manifest: Decodable {
        struct Outputs: Decodable {
            var score: String
            var positiveClass: Int?
        }
        var name: String
        var version: String
        var contract: String
        var features: [String]
        var onnx: String
        var onnxSHA256: String
        var outputs: Outputs
    }

    public var name: String
    public var version: String
    public var contract: String
    public var threshold: Double
    let features: [String]
    let scoreOutput: String
    let positiveClass: Int?
    let inputName: String
    let constants: [String: Tensor]
    let nodes: [Node]

    /// Reads `model.json` and the ONNX file beside it.
    /// - Parameter threshold: the pipeline's decision threshold.
    public static func read(manifestPath: String, threshold: Double) throws -> ScoreModel {
        let url = URL(fileURLWithPath: manifestPath)
        let manifest: Manifest
        do {
            manifest = try JSONDecoder().decode(Manifest.self, from: PipelineFacts.contents(of: url))
        } catch let error as OracleError {
            throw error
        } catch {
            throw OracleError("\(manifestPath) is no model manifest: \(error)")
        }
        let onnx = Array(
            try PipelineFacts.contents(of: url.deletingLastPathComponent().appendingPathComponent(manifest.onnx)))
        guard SHA256.digest(of: onnx).hexadecimal == manifest.onnxSHA256 else {
            throw OracleError("\(manifest.onnx) is not the file that \(manifestPath) names: their SHA-256 differ")
        }
        return try ScoreModel(
            name: manifest.name, version: manifest.version, contract: manifest.contract, threshold: threshold,
            features: manifest.features, scoreOutput: manifest.outputs.score,
            positiveClass: manifest.outputs.positiveClass, onnx: onnx)
    }

    init(
        name: String, version: String, contract: String, threshold: Double, features: [String], scoreOutput: String,
        positiveClass: Int?, onnx: [UInt8]
    ) throws {
        self.name = name
        self.version = version
        self.contract = contract
        self.threshold = threshold
        self.features = features
        self.scoreOutput = scoreOutput
        self.positiveClass = positiveClass
        guard let graph = try ProtobufFields(onnx[...]).messages(7).last else {
            throw OracleError("the ONNX file holds no graph")
        }
        var constants: [String: Tensor] = [:]
        for initializer in try graph.messages(5) { constants[initializer.text(8)] = try Self.tensor(initializer) }
        self.constants = constants
        nodes = try graph.messages(1).map { try Self.node($0) }
        guard let input = try graph.messages(11).map({ $0.text(1) }).first(where: { constants[$0] == nil }) else {
            throw OracleError("the ONNX graph has no input")
        }
        inputName = input
    }

    private static func tensor(_ fields: ProtobufFields) throws -> Tensor {
        let shape = fields.integers(1).map { Int($0) }
        let raw = fields.slices(9).last
        let values: [Double]
        switch fields.integer(2) {
        case 1: values = raw.map { ProtobufFields.floats(of: $0) } ?? fields.floats(4)
        case 7: values = raw.map { ProtobufFields.integers64(of: $0) } ?? fields.integers(7).map { Double($0) }
        default: throw OracleError("the ONNX tensor \(fields.text(8)) has a type the oracle does not read")
        }
        guard shape.reduce(1, *) == values.count else {
            throw OracleError("the ONNX tensor \(fields.text(8)) does not fill its shape \(shape)")
        }
        return Tensor(shape: shape, values: values)
    }

    private static func node(_ fields: ProtobufFields) throws -> Node {
        var node = Node(
            operation: fields.text(4), inputs: fields.texts(1), outputs: fields.texts(2), floats: [:], integers: [:],
            tensors: [:])
        for attribute in try fields.messages(5) {
            let name = attribute.text(1)
            node.floats[name] = attribute.float(2)
            node.integers[name] = attribute.integer(3).map { [$0] } ?? attribute.integers(8)
            if let tensor = try attribute.messages(5).last { node.tensors[name] = try Self.tensor(tensor) }
        }
        return node
    }

    // MARK: - Evaluation

    /// Score and label of one row of features.
    func predict(_ row: [Double]) throws -> (score: Double, label: Int) {
        var tensors = constants
        tensors[inputName] = Tensor(shape: [1, row.count], values: row)
        for node in nodes {
            let inputs = try node.inputs.map { name -> Tensor in
                if let tensor = tensors[name] { return tensor }
                if name.isEmpty { return Tensor(shape: [], values: []) }
                throw OracleError("the ONNX graph uses \(name) before it is made")
            }
            guard let output = node.outputs.first else { continue }
            tensors[output] = try Self.evaluate(node, inputs)
        }
        guard let scores = tensors[scoreOutput]?.values, !scores.isEmpty else {
            throw OracleError("the ONNX graph has no output \(scoreOutput)")
        }
        if scores.count == 1 { return (scores[0], scores[0] >= threshold ? 1 : 0) }
        let best = scores.indices.max { scores[$0] < scores[$1] } ?? 0
        guard let positiveClass, scores.count == 2 else { return (scores[best], best) }
        let score = scores[positiveClass]
        return (score, score >= threshold ? positiveClass : 1 - positiveClass)
    }

    private static func evaluate(_ node: Node, _ inputs: [Tensor]) throws -> Tensor {
        func map(_ function: (Double) -> Double) throws -> Tensor {
            let input = try argument(0)
            return Tensor(shape: input.shape, values: input.values.map(function))
        }
        func argument(_ index: Int) throws -> Tensor {
            guard index < inputs.count else { throw OracleError("the ONNX node \(node.operation) lacks an input") }
            return inputs[index]
        }
        switch node.operation {
        case "Identity", "Dropout": return try argument(0)
        case "Relu": return try map { max($0, 0) }
        case "Sigmoid": return try map { 1 / (1 + Foundation.exp(-$0)) }
        case "Tanh": return try map { Foundation.tanh($0) }
        case "LeakyRelu":
            let alpha = node.floats["alpha"] ?? 0.01
            return try map { $0 < 0 ? alpha * $0 : $0 }
        case "Add": return try broadcast(try argument(0), try argument(1), +)
        case "Sub": return try broadcast(try argument(0), try argument(1), -)
        case "Mul": return try broadcast(try argument(0), try argument(1), *)
        case "Div": return try broadcast(try argument(0), try argument(1), /)
        case "MatMul": return try product(try argument(0), try argument(1))
        case "Gemm": return try gemm(node, inputs)
        case "Softmax":
            let input = try argument(0)
            return softmax(input)
        case "Constant":
            guard let value = node.tensors["value"] else { throw OracleError("an ONNX constant has no tensor") }
            return value
        case "Flatten":
            let input = try argument(0)
            return Tensor(shape: [1, input.values.count], values: input.values)
        case "Squeeze", "Unsqueeze", "Reshape", "Cast":
            // One row at a time: only the order of the values matters.
            return try argument(0)
        case "ArgMax":
            let input = try argument(0)
            let best = input.values.indices.max { input.values[$0] < input.values[$1] } ?? 0
            return Tensor(shape: [1], values: [Double(best)])
        default:
            throw OracleError("the oracle does not know the ONNX operator \(node.operation)")
        }
    }

    private static func gemm(_ node: Node, _ inputs: [Tensor]) throws -> Tensor {
        guard inputs.count >= 2 else { throw OracleError("an ONNX Gemm lacks an input") }
        func isTransposed(_ name: String) -> Bool { node.integers[name]?.last.map { $0 != 0 } ?? false }
        let left = isTransposed("transA") ? transposed(inputs[0]) : inputs[0]
        let right = isTransposed("transB") ? transposed(inputs[1]) : inputs[1]
        var result = try product(left, right)
        let alpha = node.floats["alpha"] ?? 1
        if alpha != 1 { result.values = result.values.map { alpha * $0 } }
        guard inputs.count > 2, !inputs[2].values.isEmpty else { return result }
        let beta = node.floats["beta"] ?? 1
        return try broadcast(result, inputs[2]) { $0 + beta * $1 }
    }

    private static func product(_ left: Tensor, _ right: Tensor) throws -> Tensor {
        let (rows, inner) = left.matrixShape
        let (depth, columns) = right.shape.count == 1 ? (right.values.count, 1) : right.matrixShape
        guard inner == depth else {
            throw OracleError("an ONNX product multiplies \(left.shape) by \(right.shape)")
        }
        var values = [Double](repeating: 0, count: rows * columns)
        for row in 0..<rows {
            for k in 0..<inner {
                let factor = left.values[row * inner + k]
                for column in 0..<columns {
                    values[row * columns + column] += factor * right.values[k * columns + column]
                }
            }
        }
        return Tensor(shape: [rows, columns], values: values)
    }

    private static func transposed(_ tensor: Tensor) -> Tensor {
        let (rows, columns) = tensor.matrixShape
        var values: [Double] = []
        for column in 0..<columns {
            for row in 0..<rows { values.append(tensor.values[row * columns + column]) }
        }
        return Tensor(shape: [columns, rows], values: values)
    }

    /// Numpy's broadcasting, as far as one row needs it: equal counts, one value, or one row repeated.
    private static func broadcast(
        _ left: Tensor, _ right: Tensor, _ function: (Double, Double) -> Double
    ) throws -> Tensor {
        let isLeftLarger = left.values.count >= right.values.count
        let large = isLeftLarger ? left : right
        let smallCount = isLeftLarger ? right.values.count : left.values.count
        let columns = large.matrixShape.columns
        guard smallCount == large.values.count || smallCount == 1 || smallCount == columns else {
            throw OracleError("an ONNX operator combines \(left.shape) with \(right.shape)")
        }
        let values = large.values.indices.map { index -> Double in
            let a = isLeftLarger ? left.values[index] : left.values[index % smallCount]
            let b = isLeftLarger ? right.values[index % smallCount] : right.values[index]
            return function(a, b)
        }
        return Tensor(shape: large.shape, values: values)
    }

    private static func softmax(_ input: Tensor) -> Tensor {
        let largest = input.values.max() ?? 0
        let powers = input.values.map { Foundation.exp($0 - largest) }
        let sum = powers.reduce(0, +)
        return Tensor(shape: input.shape, values: powers.map { $0 / sum })
    }
}
