// AdamOptimizer: adaptive moment estimation (Kingma and Ba, https://arxiv.org/abs/1412.6980).

/// First and second moments of every parameter of a network.
struct AdamOptimizer: Sendable {
    private static let beta1: Float = 0.9
    private static let beta2: Float = 0.999
    private static let epsilon: Float = 1e-8
    private var first: [DenseNetwork.Layer]
    private var second: [DenseNetwork.Layer]
    /// Powers of the betas, for the bias correction.
    private var power1: Float = 1
    private var power2: Float = 1

    init(of network: DenseNetwork) {
        first = network.layers.map(\.zeroed)
        second = first
    }

    /// One step against the gradient.
    mutating func step(_ layers: inout [DenseNetwork.Layer], gradient: [DenseNetwork.Layer], learningRate: Float) {
        precondition(layers.count == first.count && gradient.count == first.count, "layers of another network")
        power1 *= Self.beta1
        power2 *= Self.beta2
        let rate = learningRate / (1 - power1)
        let correction = 1 / (1 - power2)
        for index in layers.indices {
            Self.step(
                &layers[index].weights, gradient[index].weights, &first[index].weights, &second[index].weights, rate,
                correction)
            Self.step(
                &layers[index].biases, gradient[index].biases, &first[index].biases, &second[index].biases, rate,
                correction)
        }
    }

    private static func step(
        _ parameters: inout [Float], _ gradient: [Float], _ first: inout [Float], _ second: inout [Float],
        _ rate: Float,
        _ correction: Float
    ) {
        let gradient = gradient.span
        var first = first.mutableSpan
        var second = second.mutableSpan
        var parameters = parameters.mutableSpan
        for index in parameters.indices {
            let slope = gradient[index]
            let mean = beta1 * first[index] + (1 - beta1) * slope
            let square = beta2 * second[index] + (1 - beta2) * slope * slope
            first[index] = mean
            second[index] = square
            parameters[index] -= rate * mean / ((square * correction).squareRoot() + epsilon)
        }
    }
}

extension DenseNetwork.Layer {
    /// The same shape, all 0.
    fileprivate var zeroed: DenseNetwork.Layer {
        var layer = self
        layer.weights = [Float](repeating: 0, count: weights.count)
        layer.biases = [Float](repeating: 0, count: biases.count)
        return layer
    }
}
