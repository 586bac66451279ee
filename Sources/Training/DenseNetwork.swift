// DenseNetwork: a binary classifier of dense layers; without hidden layers it is logistic regression.

import Glibc
import Tensor

/// `z = W_n relu( ... relu(x W_1 + b_1) ... ) + b_n`, one logit per row; the probability of class 1 is `1 / (1 + e^-z)`.
public struct DenseNetwork: Sendable, Equatable {
    public struct Layer: Sendable, Equatable {
        public let inputs: Int
        public let outputs: Int
        /// Row-major `inputs x outputs`.
        public internal(set) var weights: [Float]
        public internal(set) var biases: [Float]
    }

    /// Rows of one matrix product when many rows are scored.
    static let scoringRows = 1_024

    public internal(set) var layers: [Layer]

    public var inputs: Int { layers[0].inputs }
    public var hidden: [Int] { layers.dropLast().map(\.outputs) }

    /// - Parameters:
    ///   - inputs: features of a row.
    ///   - hidden: sizes of the hidden layers; none gives logistic regression.
    ///   - generator: draws the weights, uniform in ±sqrt(6 / inputs) before a ReLU (He et al., 2015) and in
    ///     ±sqrt(3 / inputs) for the output; biases start at 0.
    public init(inputs: Int, hidden: [Int], using generator: inout SeededGenerator) {
        precondition(inputs > 0 && hidden.allSatisfy { $0 > 0 }, "a layer has no units")
        layers = []
        var width = inputs
        for (index, outputs) in (hidden + [1]).enumerated() {
            let bound = (Float(index < hidden.count ? 6 : 3) / Float(width)).squareRoot()
            let weights = (0..<width * outputs).map { _ in (2 * generator.uniform() - 1) * bound }
            layers.append(
                Layer(
                    inputs: width, outputs: outputs, weights: weights,
                    biases: [Float](repeating: 0, count: outputs)))
            width = outputs
        }
    }

    /// A weight smaller than this adds nothing to a logit that 24 bits could hold.
    private static let vanishedWeight: Float = 1e-20

    /// L2 shrinks the weights of dead units without end; once they are subnormal, each product with one takes the
    /// processor more than a hundred cycles, and the whole network runs twenty times slower.
    mutating func dropVanishedWeights() {
        for layer in layers.indices {
            layers[layer].weights = layers[layer].weights.map { $0.magnitude < Self.vanishedWeight ? 0 : $0 }
        }
    }

    /// One logit per row.
    /// - Parameter rows: row-major, `count * inputs` floats.
    public func logits(_ rows: [Float], count: Int) -> [Float] {
        precondition(rows.count == count * inputs, "the rows do not fit the network")
        var logits: [Float] = []
        logits.reserveCapacity(count)
        var start = 0
        while start < count {
            let size = min(Self.scoringRows, count - start)
            var current = Array(rows[start * inputs..<(start + size) * inputs])
            for (index, layer) in layers.enumerated() {
                current = output(of: layer, for: current, count: size, isHidden: index < layers.count - 1)
            }
            logits += current
            start += size
        }
        return logits
    }

    /// Probability of class 1 of each row.
    public func probabilities(_ rows: [Float], count: Int) -> [Double] {
        logits(rows, count: count).map { Self.sigmoid(Double($0)) }
    }

    private func output(of layer: Layer, for input: [Float], count: Int, isHidden: Bool) -> [Float] {
        var output = [Float](repeating: 0, count: count * layer.outputs)
        var target = output.mutableSpan
        layer.forward(input.span, count: count, isHidden: isHidden, into: &target)
        return output
    }

    /// `1 / (1 + e^-z)` without overflow.
    static func sigmoid(_ z: Double) -> Double {
        if z >= 0 { return 1 / (1 + exp(-z)) }
        let e = exp(z)
        return e / (1 + e)
    }
}

extension DenseNetwork.Layer {
    /// `input W + b`, with ReLU when hidden.
    ///
    /// - Parameter target: whole rows of `outputs` floats, at least `count` of them; what the others hold afterwards
    ///   means nothing.
    func forward(_ input: Span<Float>, count: Int, isHidden: Bool, into target: inout MutableSpan<Float>) {
        BLAS.gemm(m: count, n: outputs, k: inputs, a: input, b: weights.span, c: &target)
        if isHidden {
            Elementwise.addRowsRelu(&target, columns: outputs, biases.span)
        } else {
            Elementwise.addRows(&target, columns: outputs, biases.span)
        }
    }
}
