// Operators+Arithmetic: functions of two and more operands, comparisons.

import Glibc
import Tensor

extension Operators {
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
