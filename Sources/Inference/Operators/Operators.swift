// Operators: the table of what this engine runs.

/// Builders by domain and operator. A builder appends steps and binds the node's outputs.
enum Operators {
    typealias Builder = @Sendable (Planner, PlanNode) throws -> Void

    /// Opset from which an operator exists, and how it is built.
    struct Entry: Sendable {
        var since: Int
        var build: Builder
    }

    static func builder(_ node: PlanNode) -> Builder? {
        // A node of a domain that the model does not import has no defined meaning.
        guard node.opset > 0 else { return nil }
        let entry: Entry? =
            switch node.domain {
            case "": standard[node.operation]
            case "ai.onnx.ml": classical[node.operation]
            default: nil
            }
        guard let entry, node.opset >= entry.since else { return nil }
        return entry.build
    }

    /// Names by domain, for documentation and tests.
    package static var names: [String: [String]] {
        ["ai.onnx": standard.keys.sorted(), "ai.onnx.ml": classical.keys.sorted()]
    }

    private static func entries(_ since: Int, _ names: [String], _ build: @escaping Builder) -> [(String, Entry)] {
        names.map { ($0, Entry(since: since, build: build)) }
    }

    /// Operators of `ai.onnx` with their names there.
    private static let standard: [String: Entry] = {
        var list: [(String, Entry)] = []
        list += entries(1, ["Gemm"], gemm) + entries(1, ["MatMul"], matrixProduct)
        list += entries(1, ["BatchNormalization"], batchNormalization)
        list += entries(17, ["LayerNormalization"], layerNormalization)
        list += entries(1, ["Add", "Sub", "Mul", "Div", "Pow"], arithmetic) + entries(10, ["Mod"], arithmetic)
        list += entries(1, ["Max", "Min", "Sum", "Mean"], variadic)
        list += entries(1, ["And", "Or", "Xor", "Equal", "Greater", "Less"], comparison)
        list += entries(12, ["GreaterOrEqual", "LessOrEqual"], comparison)
        list += entries(9, ["Where"], select) + entries(7, ["PRelu"], parametricRelu)
        list += entries(
            1,
            [
                "Relu", "LeakyRelu", "Elu", "Selu", "Sigmoid", "HardSigmoid", "Tanh", "Exp", "Log", "Sqrt", "Abs",
                "Neg",
                "Reciprocal", "Softplus", "Softsign", "Floor", "Ceil", "Not", "Sin", "Cos", "Tan", "Asin", "Acos",
                "Atan",
            ], unary)
        list += entries(9, ["Erf", "Sign", "IsNaN", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh"], unary)
        list += entries(10, ["IsInf", "ThresholdedRelu"], unary) + entries(11, ["Round"], unary)
        list += entries(12, ["Celu"], unary) + entries(14, ["HardSwish"], unary)
        list += entries(18, ["Mish"], unary) + entries(20, ["Gelu"], unary)
        list += entries(1, ["Clip"], clip)
        list += entries(1, ["Softmax", "LogSoftmax", "Hardmax"], softmax)
        list += entries(1, ["ArgMax", "ArgMin"], argExtreme)
        list += entries(
            1,
            [
                "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
                "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp",
            ], reduce)
        list += entries(1, ["LpNormalization"], lpNormalization)
        list += entries(1, ["Identity"], identity) + entries(1, ["Dropout"], dropout)
        list += entries(1, ["Cast"], cast) + entries(15, ["CastLike"], castLike) + entries(1, ["Constant"], constant)
        list += entries(9, ["ConstantOfShape"], constantOfShape)
        list += entries(1, ["Flatten", "Reshape", "Squeeze", "Unsqueeze"], reshape)
        list += entries(1, ["Transpose"], transpose) + entries(1, ["Concat"], concatenate)
        list += entries(1, ["Split"], split) + entries(1, ["Slice"], slice)
        list += entries(8, ["Expand"], expand) + entries(6, ["Tile"], tile)
        list += entries(1, ["Gather"], gather) + entries(11, ["GatherElements"], gatherElements)
        list += entries(9, ["OneHot"], oneHot)
        list += entries(1, ["Shape"], shape) + entries(1, ["Size"], size)
        return Dictionary(uniqueKeysWithValues: list)
    }()

    /// Operators of `ai.onnx.ml`.
    private static let classical: [String: Entry] = {
        var list: [(String, Entry)] = []
        list += entries(1, ["Scaler"], scaler) + entries(1, ["Normalizer"], normalizer)
        list += entries(1, ["Imputer"], imputer) + entries(1, ["Binarizer"], binarizer)
        list += entries(1, ["LabelEncoder"], labelEncoder) + entries(1, ["CategoryMapper"], categoryMapper)
        list += entries(1, ["OneHotEncoder"], oneHotEncoder)
        list += entries(1, ["FeatureVectorizer"], featureVectorizer)
        list += entries(1, ["ArrayFeatureExtractor"], arrayFeatureExtractor) + entries(1, ["ZipMap"], zipMap)
        list += entries(1, ["LinearClassifier"], linearClassifier) + entries(1, ["LinearRegressor"], linearRegressor)
        list += entries(1, ["SVMClassifier"], svmClassifier) + entries(1, ["SVMRegressor"], svmRegressor)
        list += entries(1, ["TreeEnsembleClassifier"], treeClassifier)
        list += entries(1, ["TreeEnsembleRegressor"], treeRegressor)
        list += entries(5, ["TreeEnsemble"], treeEnsemble)
        return Dictionary(uniqueKeysWithValues: list)
    }()

    // MARK: Shared checks

    /// An axis of `rank`, counted from the end when negative.
    static func resolve(_ axis: Int, rank: Int, _ node: PlanNode) throws(ONNXError) -> Int {
        let resolved = axis < 0 ? axis + rank : axis
        guard resolved >= 0, resolved < rank else {
            throw node.error(.invalidGraph, "axis \(axis) of rank \(rank)")
        }
        return resolved
    }

    /// The blocks before an axis, its length and the elements behind it; the axis must not be the batch.
    struct AxisSplit {
        var outer: Int
        var length: Int
        var inner: Int
        var isBatchOuter: Bool
        var isBatchInner: Bool
    }

    static func split(_ shape: Shape, at axis: Int, _ node: PlanNode) throws(ONNXError) -> AxisSplit {
        guard !shape.isBatch(axis) else { throw mixing(node) }
        return AxisSplit(
            outer: shape.dims[..<axis].reduce(1, *), length: shape.dims[axis],
            inner: shape.dims[(axis + 1)...].reduce(1, *), isBatchOuter: shape.batchAxis.map { $0 < axis } ?? false,
            isBatchInner: shape.batchAxis.map { $0 > axis } ?? false)
    }

    static func mixing(_ node: PlanNode) -> ONNXError {
        node.error(.unsupported, "it would mix the rows of the batch")
    }
}
