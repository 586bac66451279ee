// Operators+Cast: conversions between element types.

import Tensor

extension Operators {
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

    static func integer(_ value: Double) -> Int64 { Int64(exactly: value.rounded(.towardZero)) ?? 0 }

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
}
