// Operators+Elementwise: functions of each element.

import Glibc
import Tensor

extension Operators {
    static func unary(_ planner: Planner, _ node: PlanNode) throws {
        let value = try planner.operand(node, 0)
        if try fuseActivation(planner, node) { return }
        let alpha = try node.float("alpha", default: defaultAlpha(node.operation))
        switch (node.operation, value.type) {
        case ("Not", .bool): return try map(planner, node, value, .bool) { (x: Int64) in x == 0 ? 1 : Int64(0) }
        case ("IsNaN", .float): return try map(planner, node, value, .bool) { (x: Float) in x.isNaN ? 1 : Int64(0) }
        case ("IsNaN", .double): return try map(planner, node, value, .bool) { (x: Double) in x.isNaN ? 1 : Int64(0) }
        case ("IsInf", .float), ("IsInf", .double): return try isInfinite(planner, node, value)
        case (_, .float):
            if let function = vectorFunction(node.operation) {
                let target = try planner.makeValue(node, value.shape, .float)
                planner.append(
                    VectorStep(source: value.id, target: target.id, shape: value.shape, function: function, p: alpha))
                return try planner.bind(node, 0, .runtime(target))
            }
            let function = try scalarFunction(node, Double(alpha))
            try map(planner, node, value, .float) { (x: Float) in Float(function(Double(x))) }
        case (_, .double):
            try map(planner, node, value, .double, try scalarFunction(node, Double(alpha)))
        case (_, .bool), (_, .string), (_, .float16): throw node.error(.unsupported, "values of type \(value.type)")
        default: try map(planner, node, value, value.type, try integerFunction(node, value.type))
        }
    }

    private static func isInfinite(_ planner: Planner, _ node: PlanNode, _ value: RuntimeValue) throws {
        let negative = try node.int("detect_negative", default: 1) != 0
        let positive = try node.int("detect_positive", default: 1) != 0
        let wide = try converted(planner, node, value, to: .double)
        try map(planner, node, wide, .bool) { (x: Double) in
            (x == .infinity && positive) || (x == -.infinity && negative) ? 1 : Int64(0)
        }
    }

    /// Lets the dense layer before it do the work.
    private static func fuseActivation(_ planner: Planner, _ node: PlanNode) throws -> Bool {
        guard node.operation == "Relu" || node.operation == "LeakyRelu",
            case .dense(let draft)? = planner.soleDraft(node, 0), draft.acceptsColumns
        else { return false }
        draft.activate(
            node.operation == "Relu" ? .relu : .leakyRelu(alpha: try node.float("alpha", default: 0.01)))
        try planner.alias(node, 0, shape: try planner.operand(node, 0).shape)
        return true
    }

    static func map<T: PlainValue, R: PlainValue>(
        _ planner: Planner, _ node: PlanNode, _ value: RuntimeValue, _ type: ONNXElementType,
        _ function: @escaping @Sendable (T) -> R
    ) throws {
        let target = try planner.makeValue(node, value.shape, type)
        planner.append(
            MapStep(
                source: value.id, target: target.id, shape: value.shape, name: node.operation.lowercased(),
                function: function))
        try planner.bind(node, 0, .runtime(target))
    }

    private static func defaultAlpha(_ operation: String) -> Float {
        switch operation {
        case "LeakyRelu": 0.01
        case "HardSigmoid": 0.2
        case "Selu": 1.673_263_2
        default: 1
        }
    }

    private static func vectorFunction(_ operation: String) -> VectorFunction? {
        switch operation {
        case "Relu": .relu
        case "LeakyRelu": .leakyRelu
        case "Elu": .elu
        case "Sigmoid": .sigmoid
        case "Tanh": .tanh
        case "Exp": .exp
        case "Sqrt": .squareRoot
        case "Abs": .absolute
        case "Neg": .negate
        case "Reciprocal": .reciprocal
        case "Softplus": .softplus
        case "Erf": .erf
        default: nil
        }
    }

    /// Functions by their definitions in the ONNX operator documentation.
    private static func scalarFunction(_ node: PlanNode, _ alpha: Double) throws -> @Sendable (Double) -> Double {
        let beta = Double(try node.float("beta", default: 0.5))
        let gamma = Double(try node.float("gamma", default: 1.050_701))
        switch node.operation {
        case "Relu": return { $0 < 0 ? 0 : $0 }
        case "LeakyRelu": return { $0 < 0 ? $0 * alpha : $0 }
        case "Elu": return { $0 < 0 ? alpha * expm1($0) : $0 }
        case "Selu": return { gamma * ($0 > 0 ? $0 : alpha * expm1($0)) }
        case "Celu": return { max(0, $0) + min(0, alpha * expm1($0 / alpha)) }
        case "Sigmoid": return { 1 / (1 + exp(-$0)) }
        case "HardSigmoid": return { max(0, min(1, alpha * $0 + beta)) }
        case "HardSwish": return { $0 * max(0, min(1, $0 / 6 + 0.5)) }
        case "ThresholdedRelu": return { $0 > alpha ? $0 : 0 }
        case "Tanh": return { tanh($0) }
        case "Exp": return { exp($0) }
        case "Log": return { log($0) }
        case "Sqrt": return { $0.squareRoot() }
        case "Abs": return { abs($0) }
        case "Neg": return { -$0 }
        case "Reciprocal": return { 1 / $0 }
        case "Softplus": return { max($0, 0) + log1p(exp(-abs($0))) }
        case "Softsign": return { $0 / (1 + abs($0)) }
        case "Floor": return { $0.rounded(.down) }
        case "Ceil": return { $0.rounded(.up) }
        case "Round": return { $0.rounded(.toNearestOrEven) }
        case "Sign": return { $0 > 0 ? 1 : $0 < 0 ? -1 : $0 }
        case "Erf": return { erf($0) }
        case "Mish": return { $0 * tanh(max($0, 0) + log1p(exp(-abs($0)))) }
        case "Gelu":
            if try node.string("approximate", default: "none") == "tanh" {
                return { 0.5 * $0 * (1 + tanh(0.797_884_560_802_865_4 * ($0 + 0.044715 * $0 * $0 * $0))) }
            }
            return { 0.5 * $0 * (1 + erf($0 * 0.707_106_781_186_547_5)) }
        default: return try trigonometric(node)
        }
    }

    private static func trigonometric(_ node: PlanNode) throws -> @Sendable (Double) -> Double {
        switch node.operation {
        case "Sin": return { sin($0) }
        case "Cos": return { cos($0) }
        case "Tan": return { tan($0) }
        case "Asin": return { asin($0) }
        case "Acos": return { acos($0) }
        case "Atan": return { atan($0) }
        case "Sinh": return { sinh($0) }
        case "Cosh": return { cosh($0) }
        case "Asinh": return { asinh($0) }
        case "Acosh": return { acosh($0) }
        case "Atanh": return { atanh($0) }
        default: throw node.error(.unsupported, "this element type")
        }
    }

    private static func integerFunction(
        _ node: PlanNode, _ type: ONNXElementType
    ) throws -> @Sendable (Int64) -> Int64 {
        switch node.operation {
        case "Abs": return { wrapped($0 < 0 ? 0 &- $0 : $0, type) }
        case "Neg": return { wrapped(0 &- $0, type) }
        case "Relu": return { max($0, 0) }
        case "Sign": return { $0.signum() }
        default: throw node.error(.unsupported, "values of type \(type)")
        }
    }

    static func clip(_ planner: Planner, _ node: PlanNode) throws {
        let value = try planner.operand(node, 0)
        var low: Double?
        var high: Double?
        if node.opset < 11 {
            low = node.has("min") ? Double(try node.float("min", default: 0)) : nil
            high = node.has("max") ? Double(try node.float("max", default: 0)) : nil
        } else {
            low = try planner.scalar(node, 1)
            high = try planner.scalar(node, 2)
        }
        switch value.storage {
        case .float:
            let target = try planner.makeValue(node, value.shape, .float)
            planner.append(
                VectorStep(
                    source: value.id, target: target.id, shape: value.shape, function: .clip,
                    p: low.map { Float($0) } ?? -.infinity, q: high.map { Float($0) } ?? .infinity))
            try planner.bind(node, 0, .runtime(target))
        case .double:
            let (low, high) = (low ?? -.infinity, high ?? .infinity)
            try map(planner, node, value, .double) { (x: Double) in x < low ? min(low, high) : x > high ? high : x }
        case .integer:
            let lowest = low.flatMap { Int64(exactly: $0) } ?? .min
            let highest = high.flatMap { Int64(exactly: $0) } ?? .max
            try map(planner, node, value, value.type) { (x: Int64) in min(max(x, lowest), highest) }
        }
    }
}
