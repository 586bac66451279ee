// Operators+Elementwise: functions of each element, comparisons, casts.

import Glibc
import Tensor

extension Operators {
    // MARK: One operand

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

    // MARK: Casts

    /// The value of an integer after it was stored in the type.
    static func wrapped(_ value: Int64, _ type: ONNXElementType) -> Int64 {
        switch type {
        case .int8: Int64(Int8(truncatingIfNeeded: value))
        case .int16: Int64(Int16(truncatingIfNeeded: value))
        case .int32: Int64(Int32(truncatingIfNeeded: value))
        case .uint8: Int64(UInt8(truncatingIfNeeded: value))
        case .uint16: Int64(UInt16(truncatingIfNeeded: value))
        case .uint32: Int64(UInt32(truncatingIfNeeded: value))
        case .bool: value != 0 ? 1 : 0
        default: value
        }
    }

    static func cast(_ planner: Planner, _ node: PlanNode) throws {
        let number = try node.int("to", default: 0)
        guard let type = ONNXElementType(rawValue: number), type.storage != nil else {
            throw node.error(.unsupported, "a cast to element type number \(number)")
        }
        if case .sizes = try planner.value(node, 0), type == .int64 || type == .int32 {
            return try planner.bind(node, 0, try planner.value(node, 0))
        }
        let value = try planner.operand(node, 0)
        if value.type == type { return try planner.alias(node, 0, shape: value.shape) }
        try planner.bind(node, 0, .runtime(try converted(planner, node, value, to: type)))
    }

    static func castLike(_ planner: Planner, _ node: PlanNode) throws {
        let type = try planner.operand(node, 1).type
        let value = try planner.operand(node, 0)
        if value.type == type { return try planner.alias(node, 0, shape: value.shape) }
        try planner.bind(node, 0, .runtime(try converted(planner, node, value, to: type)))
    }

    /// Appends a conversion. Real numbers are cut towards zero; not a number and out of range give 0.
    static func converted(
        _ planner: Planner, _ node: PlanNode, _ value: RuntimeValue, to type: ONNXElementType
    ) throws -> RuntimeValue {
        let target = try planner.makeValue(node, value.shape, type)
        func append<T: PlainValue, R: PlainValue>(_ function: @escaping @Sendable (T) -> R) {
            planner.append(
                MapStep(
                    source: value.id, target: target.id, shape: value.shape, name: "cast to \(type)", function: function
                ))
        }
        func appendText<T: PlainValue, R: PlainValue>(_ function: @escaping @Sendable (T, RunTexts) -> R) {
            planner.append(
                TextStep(
                    source: value.id, target: target.id, shape: value.shape, name: "cast to \(type)", function: function
                ))
        }
        if value.type == .string {
            switch target.storage {
            case .float: appendText { (x: Int64, texts) in Float(number(texts.text(x))) }
            case .double: appendText { (x: Int64, texts) in number(texts.text(x)) }
            case .integer:
                guard type != .string else { return value }
                appendText { (x: Int64, texts) in wrapped(Int64(texts.text(x)) ?? integer(number(texts.text(x))), type)
                }
            }
            return target
        }
        switch (value.storage, target.storage) {
        case (_, .integer) where type == .string:
            let isBool = value.type == .bool
            switch value.storage {
            case .float: appendText { (x: Float, texts) in texts.number(shown(x)) }
            case .double: appendText { (x: Double, texts) in texts.number(shown(x)) }
            case .integer: appendText { (x: Int64, texts) in texts.number(isBool ? (x != 0 ? "1" : "0") : "\(x)") }
            }
        case (.float, .double): append { (x: Float) in Double(x) }
        case (.double, .float): append { (x: Double) in Float(x) }
        case (.integer, .float): append { (x: Int64) in Float(x) }
        case (.integer, .double): append { (x: Int64) in Double(x) }
        case (.float, .integer):
            append { (x: Float) in type == .bool ? (x != 0 ? 1 : 0) : wrapped(integer(Double(x)), type) }
        case (.double, .integer): append { (x: Double) in type == .bool ? (x != 0 ? 1 : 0) : wrapped(integer(x), type) }
        default: append { (x: Int64) in wrapped(x, type) }
        }
        return target
    }

    private static func integer(_ value: Double) -> Int64 { Int64(exactly: value.rounded(.towardZero)) ?? 0 }

    private static func number(_ text: String) -> Double {
        switch text.lowercased() {
        case "nan": .nan
        case "inf", "+inf": .infinity
        case "-inf": -.infinity
        default: Double(text) ?? .nan
        }
    }

    /// The shortest text that gives the number back, whole numbers without a point.
    private static func shown<T: BinaryFloatingPoint & CustomStringConvertible>(_ value: T) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-INF" : "INF" }
        let text = value.description
        return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
    }

    // MARK: Two operands

    static func arithmetic(_ planner: Planner, _ node: PlanNode) throws {
        if try symbolicArithmetic(planner, node) { return }
        if try fuseColumns(planner, node) { return }
        let left = try planner.operand(node, 0)
        var right = try planner.operand(node, 1)
        if node.operation == "Pow" && left.type != right.type {
            right = try converted(planner, node, right, to: left.type)
        }
        guard left.type == right.type else {
            throw node.error(.invalidGraph, "operands of types \(left.type) and \(right.type)")
        }
        try planner.bind(node, 0, .runtime(try combined(planner, node, node.operation, left, right)))
    }

    /// Appends `left (operation) right`.
    static func combined(
        _ planner: Planner, _ node: PlanNode, _ operation: String, _ left: RuntimeValue, _ right: RuntimeValue
    ) throws -> RuntimeValue {
        guard let shape = Shape.broadcast(left.shape, right.shape) else {
            throw node.error(
                .invalidGraph, "the shapes \(left.shape.text) and \(right.shape.text) do not fit for every batch")
        }
        let target = try planner.makeValue(node, shape, left.type)
        if left.type == .float, let step = repeating(operation, left, right, target) {
            planner.append(step)
            return target
        }
        func append<T: PlainValue>(_ function: @escaping @Sendable (T, T) -> T) {
            planner.append(
                ZipStep(
                    left: left, right: right, target: target.id, shape: shape, name: operation.lowercased(),
                    function: function))
        }
        switch left.storage {
        case .float: append(try realFunction(node, operation, Float.self, powf, fmodf))
        case .double: append(try realFunction(node, operation, Double.self, pow, fmod))
        case .integer:
            guard left.type != .string, left.type != .bool else {
                throw node.error(.unsupported, "values of type \(left.type)")
            }
            append(try integerFunction(node, operation, left.type))
        }
        return target
    }

    /// The fast way for the four operations: one operand is whole, the other whole or evenly repeated.
    private static func repeating(
        _ operation: String, _ left: RuntimeValue, _ right: RuntimeValue, _ target: RuntimeValue
    ) -> ArithmeticStep? {
        let operations: [String: ArithmeticStep.Operation] = [
            "Add": .add, "Sub": .subtract, "Mul": .multiply, "Div": .divide,
        ]
        guard let operation = operations[operation] else { return nil }
        func step(_ whole: RuntimeValue, _ other: RuntimeValue, isSwapped: Bool) -> ArithmeticStep? {
            guard whole.shape == target.shape else { return nil }
            if other.shape == target.shape {
                return ArithmeticStep(
                    left: whole.id, right: other.id, target: target.id, shape: target.shape, operation: operation,
                    period: nil, isSwapped: isSwapped)
            }
            // Leading ones aside, it must be the whole end of the shape.
            let dims = Array(other.shape.dims.drop { $0 == 1 })
            guard !other.shape.isBatched, dims.count <= target.shape.rank,
                Array(target.shape.dims.suffix(dims.count)) == dims,
                target.shape.batchAxis.map({ $0 < target.shape.rank - dims.count }) ?? true
            else { return nil }
            return ArithmeticStep(
                left: whole.id, right: other.id, target: target.id, shape: target.shape, operation: operation,
                period: max(dims.reduce(1, *), 1), isSwapped: isSwapped)
        }
        return step(left, right, isSwapped: false) ?? step(right, left, isSwapped: true)
    }

    private static func realFunction<T: BinaryFloatingPoint & PlainValue>(
        _ node: PlanNode, _ operation: String, _ type: T.Type, _ power: @escaping @Sendable (T, T) -> T,
        _ remainder: @escaping @Sendable (T, T) -> T
    ) throws -> @Sendable (T, T) -> T {
        switch operation {
        case "Add": return { $0 + $1 }
        case "Sub": return { $0 - $1 }
        case "Mul": return { $0 * $1 }
        case "Div": return { $0 / $1 }
        case "Pow": return { $1 == 2 ? $0 * $0 : power($0, $1) }
        case "Max": return { $0 > $1 || $0.isNaN ? $0 : $1 }
        case "Min": return { $0 < $1 || $0.isNaN ? $0 : $1 }
        case "Mod":
            guard try node.int("fmod", default: 0) != 0 else {
                throw node.error(.invalidGraph, "real numbers need fmod = 1")
            }
            return remainder
        default: throw node.error(.unsupported, "real numbers")
        }
    }

    private static func integerFunction(
        _ node: PlanNode, _ operation: String, _ type: ONNXElementType
    ) throws -> @Sendable (Int64, Int64) -> Int64 {
        switch operation {
        case "Add": return { wrapped($0 &+ $1, type) }
        case "Sub": return { wrapped($0 &- $1, type) }
        case "Mul": return { wrapped($0 &* $1, type) }
        // A quotient by zero is undefined in ONNX; 0 keeps the process alive.
        case "Div": return { $1 == 0 ? 0 : wrapped($0.dividedReportingOverflow(by: $1).partialValue, type) }
        case "Max": return { max($0, $1) }
        case "Min": return { min($0, $1) }
        case "Pow": return { wrapped(integer(pow(Double($0), Double($1))), type) }
        case "Mod":
            let isC = try node.int("fmod", default: 0) != 0
            return { left, right in
                guard right != 0 else { return 0 }
                let rest = left.remainderReportingOverflow(dividingBy: right).partialValue
                return !isC && rest != 0 && (rest < 0) != (right < 0) ? rest + right : rest
            }
        default: throw node.error(.unsupported, "integers")
        }
    }

    /// Sizes of shapes: sums and products that stay linear in the batch.
    private static func symbolicArithmetic(_ planner: Planner, _ node: PlanNode) throws -> Bool {
        let operands = try (0..<2).map { try planner.value(node, $0) }
        guard operands.contains(where: { if case .sizes = $0 { true } else { false } }) else { return false }
        let sides = try operands.map { value -> [SymbolicSize] in
            switch value {
            case .sizes(let sizes, _): return sizes
            case .constant(let constant):
                guard case .integers(let numbers) = constant.storage else {
                    throw node.error(.unsupported, "sizes of the batch together with other values")
                }
                return numbers.map { SymbolicSize(fixed: Int($0), batch: 0) }
            case .runtime: throw node.error(.unsupported, "sizes of the batch together with other values")
            }
        }
        let count = max(sides[0].count, sides[1].count)
        guard sides.allSatisfy({ $0.count == count || $0.count == 1 }) else {
            throw node.error(.invalidGraph, "sizes of different number")
        }
        let result = try (0..<count).map { index -> SymbolicSize in
            let a = sides[0][index % sides[0].count]
            let b = sides[1][index % sides[1].count]
            switch node.operation {
            case "Add": return a + b
            case "Sub": return a - b
            case "Mul": if let product = a * b { return product }
            case "Div":
                if b.batch == 0, b.fixed != 0, a.fixed % b.fixed == 0, a.batch % b.fixed == 0 {
                    return SymbolicSize(fixed: a.fixed / b.fixed, batch: a.batch / b.fixed)
                }
            default: break
            }
            throw node.error(.unsupported, "a size that is not a multiple of the batch")
        }
        let isScalar = operands.allSatisfy { if case .sizes(_, true) = $0 { true } else { false } }
        try planner.bind(node, 0, .sizes(result, isScalar: isScalar))
        return true
    }

    /// Lets the dense layer before it add, subtract or multiply by column.
    private static func fuseColumns(_ planner: Planner, _ node: PlanNode) throws -> Bool {
        for (index, other) in [(0, 1), (1, 0)] {
            guard case .dense(let draft)? = planner.soleDraft(node, index), draft.acceptsColumns,
                let (values, shape) = try planner.floatConstant(node, other)
            else { continue }
            let own = try planner.operand(node, index).shape
            guard shape.drop(while: { $0 == 1 }).count <= 1, shape.count <= own.rank,
                values.count == 1 || values.count == draft.outputs, own.dims.last == draft.outputs
            else { continue }
            let column: (Int) -> Float = { values[$0 % values.count] }
            switch (node.operation, index) {
            case ("Add", _): try draft.add(planner, column)
            case ("Sub", 0): try draft.add(planner) { -column($0) }
            case ("Mul", _): try draft.multiply(planner, column)
            default: continue
            }
            try planner.alias(node, index, shape: own)
            return true
        }
        return false
    }

    static func variadic(_ planner: Planner, _ node: PlanNode) throws {
        guard !node.inputs.isEmpty else { throw node.error(.invalidGraph, "it has no inputs") }
        let operation = ["Sum": "Add", "Mean": "Add"][node.operation] ?? node.operation
        var result = try planner.operand(node, 0)
        if node.inputs.count == 1 { return try planner.alias(node, 0, shape: result.shape) }
        for index in 1..<node.inputs.count {
            let next = try planner.operand(node, index)
            guard next.type == result.type else { throw node.error(.invalidGraph, "operands of different types") }
            result = try combined(planner, node, operation, result, next)
        }
        if node.operation == "Mean" {
            let count = Double(node.inputs.count)
            switch result.storage {
            case .float: return try map(planner, node, result, .float) { (x: Float) in x / Float(count) }
            case .double: return try map(planner, node, result, .double) { (x: Double) in x / count }
            case .integer: throw node.error(.unsupported, "integers")
            }
        }
        try planner.bind(node, 0, .runtime(result))
    }

    static func comparison(_ planner: Planner, _ node: PlanNode) throws {
        let left = try planner.operand(node, 0)
        let right = try planner.operand(node, 1)
        guard left.type == right.type else {
            throw node.error(.invalidGraph, "operands of types \(left.type) and \(right.type)")
        }
        guard let shape = Shape.broadcast(left.shape, right.shape) else {
            throw node.error(
                .invalidGraph, "the shapes \(left.shape.text) and \(right.shape.text) do not fit for every batch")
        }
        let target = try planner.makeValue(node, shape, .bool)
        func append<T: PlainValue & Comparable>(_ type: T.Type) throws {
            let test: @Sendable (T, T) -> Bool
            switch node.operation {
            case "Equal": test = { $0 == $1 }
            case "Greater": test = { $0 > $1 }
            case "GreaterOrEqual": test = { $0 >= $1 }
            case "Less": test = { $0 < $1 }
            case "LessOrEqual": test = { $0 <= $1 }
            default: throw node.error(.invalidGraph, "values of type \(left.type)")
            }
            planner.append(
                ZipStep<T, Int64>(
                    left: left, right: right, target: target.id, shape: shape, name: node.operation.lowercased()
                ) { test($0, $1) ? 1 : 0 })
        }
        switch (node.operation, left.storage) {
        case ("And", .integer), ("Or", .integer), ("Xor", .integer):
            let operation = node.operation
            planner.append(
                ZipStep<Int64, Int64>(
                    left: left, right: right, target: target.id, shape: shape, name: operation.lowercased()
                ) { operation == "And" ? $0 & $1 : operation == "Or" ? $0 | $1 : $0 ^ $1 })
        case (_, .float): try append(Float.self)
        case (_, .double): try append(Double.self)
        case (_, .integer):
            guard left.type != .string || node.operation == "Equal" else { throw node.error(.unsupported, "texts") }
            try append(Int64.self)
        }
        try planner.bind(node, 0, .runtime(target))
    }

    static func select(_ planner: Planner, _ node: PlanNode) throws {
        let condition = try planner.operand(node, 0, .bool)
        let left = try planner.operand(node, 1)
        let right = try planner.operand(node, 2)
        guard left.type == right.type, let both = Shape.broadcast(left.shape, right.shape),
            let shape = Shape.broadcast(condition.shape, both)
        else { throw node.error(.invalidGraph, "types or shapes of its operands do not fit") }
        let target = try planner.makeValue(node, shape, left.type)
        func append<T: PlainValue>(_ type: T.Type) {
            planner.append(
                WhereStep<T>(condition: condition, left: left, right: right, target: target.id, shape: shape))
        }
        switch left.storage {
        case .float: append(Float.self)
        case .double: append(Double.self)
        case .integer: append(Int64.self)
        }
        try planner.bind(node, 0, .runtime(target))
    }

    static func parametricRelu(_ planner: Planner, _ node: PlanNode) throws {
        let value = try planner.operand(node, 0, .float)
        let slope = try planner.operand(node, 1, .float)
        guard Shape.broadcast(value.shape, slope.shape) == value.shape else {
            throw node.error(.invalidGraph, "a slope of shape \(slope.shape.text)")
        }
        let target = try planner.makeValue(node, value.shape, .float)
        planner.append(
            ZipStep<Float, Float>(left: value, right: slope, target: target.id, shape: value.shape, name: "prelu") {
                $0 < 0 ? $0 * $1 : $0
            })
        try planner.bind(node, 0, .runtime(target))
    }
}
