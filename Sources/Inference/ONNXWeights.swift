// ONNXWeights: the float initialisers of a model as numbers, for going on with its training.

/// One float initialiser.
public struct ONNXWeights: Sendable {
    public var name: String
    public var dims: [Int]
    /// Row-major.
    public var values: [Float]

    /// The float initialisers of a model, in the order of the file.
    ///
    /// - Throws: `ONNXError` for bytes that are no model within `limits`.
    public static func read(_ bytes: RawSpan, limits: ONNXLimits = ONNXLimits()) throws(ONNXError) -> [ONNXWeights] {
        let reader = ONNXReader(limits: limits)
        let model = try reader.read(bytes)
        var total = 0
        var weights: [ONNXWeights] = []
        for tensor in model.initializers where tensor.type == .float {
            total += tensor.count
            guard total <= limits.weightElementsMax else {
                throw ONNXError(.tooLarge, "the model has more than weightElementsMax, \(limits.weightElementsMax)")
            }
            guard tensor.external == nil else {
                throw ONNXError(
                    .unsupported,
                    "the values of tensor '\(tensor.name)' stand in a file of their own: training cannot go on from it")
            }
            var values: [Float] = []
            values.reserveCapacity(tensor.count)
            try reader.numbers(tensor, bytes) { bits throws(ONNXError) in
                values.append(Float(bitPattern: UInt32(truncatingIfNeeded: bits)))
            }
            weights.append(ONNXWeights(name: tensor.name, dims: tensor.dims, values: values))
        }
        return weights
    }
}
