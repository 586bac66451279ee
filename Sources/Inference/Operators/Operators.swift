// Operators: the table of what this engine runs.

/// Builders by domain and operator. A builder appends kernels and binds the node's outputs.
enum Operators {
    typealias Builder = (inout Planner, PlanNode) throws -> Void

    static func builder(_ node: PlanNode) -> Builder? {
        // A node of a domain that the model does not import has no defined meaning.
        guard node.opset > 0 else { return nil }
        return switch node.domain {
        case "": standard(node.operation)
        case "ai.onnx.ml": classical(node.operation)
        default: nil
        }
    }

    /// Operators of `ai.onnx` with their names there.
    private static func standard(_ operation: String) -> Builder? {
        switch operation {
        case "Gemm": dense
        case "MatMul": matrixProduct
        case "BatchNormalization": batchNormalization
        case "Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum": binary
        case "Relu", "LeakyRelu", "Elu", "Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Abs", "Neg", "Clip", "Reciprocal":
            unary
        case "Softmax", "LogSoftmax": softmax
        case "ArgMax": argMax
        case "Identity": identity
        case "Dropout": dropout
        case "Cast": cast
        case "Constant": constant
        case "Flatten", "Reshape", "Squeeze", "Unsqueeze": reshape
        case "Transpose": transpose
        case "Concat": concatenate
        default: nil
        }
    }

    /// Operators of `ai.onnx.ml`.
    private static func classical(_ operation: String) -> Builder? {
        switch operation {
        case "Scaler": scaler
        case "Normalizer": normalizer
        case "Imputer": imputer
        case "LinearClassifier": linearClassifier
        case "LinearRegressor": linearRegressor
        case "ZipMap": zipMap
        case "ArrayFeatureExtractor": arrayFeatureExtractor
        default: nil
        }
    }
}
