// LossGradient: the loss of a micro-batch and its gradient, by backpropagation.

import Glibc
import Tensor

/// Buffers for the gradient of one network shape.
///
/// The loss is the mean binary cross-entropy of the rows plus `l2 / 2` times the sum of the squared weights (biases are
/// free).
struct LossGradient: Sendable {
    /// How the network is regularised.
    struct Regularisation: Sendable {
        var l2: Float = 0
        /// Share of the hidden units that are switched off at random for a row, 0 ..< 1.
        var dropout: Float = 0
    }

    private let rowsMax: Int
    /// What each layer puts out (after ReLU and dropout).
    private var outputs: [[Float]]
    /// Derivatives of the loss by what each layer puts out (before ReLU).
    private var deltas: [[Float]]
    /// Derivatives by weights and biases, in the shape of the network.
    private(set) var layers: [DenseNetwork.Layer]

    init(of network: DenseNetwork, rowsMax: Int) {
        self.rowsMax = rowsMax
        outputs = network.layers.map { [Float](repeating: 0, count: rowsMax * $0.outputs) }
        deltas = outputs
        layers = network.layers
    }

    /// Computes the derivatives `layers` and returns the loss without the penalty.
    ///
    /// - Parameters:
    ///   - rows: row-major, `count * network.inputs` floats.
    ///   - labels: 0 or 1.
    mutating func compute(
        _ network: DenseNetwork, rows: [Float], labels: [Float], count: Int, regularisation: Regularisation,
        using generator: inout SeededGenerator
    ) -> Double {
        precondition(count > 0 && count <= rowsMax && labels.count >= count, "the micro-batch does not fit the buffers")
        forward(network, rows, count, regularisation, using: &generator)
        let loss = outputDelta(labels, count)
        backward(network, rows, count, regularisation)
        return loss
    }

    private mutating func forward(
        _ network: DenseNetwork, _ rows: [Float], _ count: Int, _ regularisation: Regularisation,
        using generator: inout SeededGenerator
    ) {
        for (index, layer) in network.layers.enumerated() {
            let isHidden = index < network.layers.count - 1
            var target = outputs[index]
            outputs[index] = []
            let input = index == 0 ? rows : outputs[index - 1]
            var span = target.mutableSpan
            layer.forward(input.span, count: count, isHidden: isHidden, into: &span)
            if isHidden && regularisation.dropout > 0 {
                // Inverted dropout: what stays is scaled up, so that nothing changes when the model is used.
                let scale = 1 / (1 - regularisation.dropout)
                for position in 0..<count * layer.outputs {
                    span[position] = generator.uniform() < regularisation.dropout ? 0 : span[position] * scale
                }
            }
            outputs[index] = target
        }
    }

    /// Derivative by the logit, `(p - y) / count`; returns the mean cross-entropy.
    private mutating func outputDelta(_ labels: [Float], _ count: Int) -> Double {
        let last = outputs.count - 1
        var loss = 0.0
        for row in 0..<count {
            let z = Double(outputs[last][row])
            let label = Double(labels[row])
            // log(1 + e^z) - y z, without overflow.
            loss += max(z, 0) + log1p(exp(-abs(z))) - label * z
            deltas[last][row] = Float((DenseNetwork.sigmoid(z) - label) / Double(count))
        }
        return loss / Double(count)
    }

    private mutating func backward(
        _ network: DenseNetwork, _ rows: [Float], _ count: Int, _ regularisation: Regularisation
    ) {
        for index in network.layers.indices.reversed() {
            let layer = network.layers[index]
            let input = index == 0 ? rows : outputs[index - 1]
            layers[index].differentiate(layer, input: input, deltas: deltas[index], count: count, l2: regularisation.l2)
            guard index > 0 else { continue }
            let own = deltas[index]
            let output = outputs[index - 1]
            var previous = deltas[index - 1]
            deltas[index - 1] = []
            var span = previous.mutableSpan
            BLAS.gemm(
                m: count, n: layer.inputs, k: layer.outputs, a: own.span, b: layer.weights.span, transposeB: true,
                c: &span)
            // Through dropout and ReLU: what was switched off or negative put out 0 and passes nothing back.
            let scale = 1 / (1 - regularisation.dropout)
            for position in 0..<count * layer.inputs {
                span[position] = output[position] > 0 ? span[position] * scale : 0
            }
            deltas[index - 1] = previous
        }
    }
}

extension DenseNetwork.Layer {
    /// Becomes the derivatives of the loss by the parameters of `layer`.
    ///
    /// - Parameters:
    ///   - input: what the layer was given, `count x inputs`.
    ///   - deltas: derivatives by what it put out (before ReLU), `count x outputs`.
    fileprivate mutating func differentiate(
        _ layer: DenseNetwork.Layer, input: [Float], deltas: [Float], count: Int, l2: Float
    ) {
        var slopes = weights.mutableSpan
        if l2 > 0 {
            let weights = layer.weights.span
            for index in weights.indices { slopes[index] = l2 * weights[index] }
        }
        BLAS.gemm(
            m: layer.inputs, n: layer.outputs, k: count, a: input.span, transposeA: true, b: deltas.span,
            beta: l2 > 0 ? 1 : 0,
            c: &slopes)
        let deltas = deltas.span
        for output in 0..<outputs {
            var sum: Float = 0
            for row in 0..<count { sum += deltas[row * outputs + output] }
            biases[output] = sum
        }
    }
}
