// DenseNetwork+ONNX: a trained network back from the ONNX file that ModelExport wrote.

import Inference

extension DenseNetwork {
    /// Reads a network that `ModelExport.onnx` has written: initialisers `weights_0`, `biases_0`, … in order, the last of
    /// two columns, of which the first is 0.
    ///
    /// - Throws: `unsuitableModel` for any other model: only what this trainer made can it go on with.
    public init(onnx bytes: RawSpan, place: String) throws(TrainingError) {
        let tensors: [ONNXWeights]
        do {
            tensors = try ONNXWeights.read(bytes)
        } catch {
            throw TrainingError(.unsuitableModel, "\(place): \(error)")
        }
        func refused(_ message: String) -> TrainingError {
            TrainingError(
                .unsuitableModel,
                "\(place): \(message): only a network that `penstock train` has made can be trained further")
        }
        guard !tensors.isEmpty, tensors.count.isMultiple(of: 2) else {
            throw refused("the model has \(tensors.count) float initialisers, not weights and biases of dense layers")
        }
        layers = []
        for index in 0..<tensors.count / 2 {
            let (weights, biases) = (tensors[2 * index], tensors[2 * index + 1])
            guard weights.name == "weights_\(index)", biases.name == "biases_\(index)", weights.dims.count == 2,
                biases.dims == [weights.dims[1]], weights.dims[0] > 0, weights.dims[1] > 0,
                layers.last.map({ $0.outputs == weights.dims[0] }) ?? true
            else { throw refused("'\(weights.name)' \(weights.dims) and '\(biases.name)' \(biases.dims) are no layer") }
            layers.append(
                Layer(
                    inputs: weights.dims[0], outputs: weights.dims[1], weights: weights.values, biases: biases.values))
        }
        guard let last = layers.popLast(), last.outputs == 2, last.biases[0] == 0,
            stride(from: 0, to: last.weights.count, by: 2).allSatisfy({ last.weights[$0] == 0 })
        else { throw refused("the last layer does not put out the pair (0, logit)") }
        layers.append(
            Layer(
                inputs: last.inputs, outputs: 1,
                weights: stride(from: 1, to: last.weights.count, by: 2).map { last.weights[$0] },
                biases: [last.biases[1]]))
    }
}
