// Operators+Encoders: labels, categories and one-hot vectors of ai.onnx.ml.

import Tensor

extension Operators {
    /// Keys or values of an encoder in one plain form: 64 bits each.
    private struct Column {
        var type: ONNXElementType
        var bits: [UInt64]
    }

    private static func bits(_ value: Double) -> UInt64 { value.isNaN ? .max : (value == 0 ? 0 : value.bitPattern) }

    private static func column(_ planner: Planner, _ node: PlanNode, _ prefix: String) throws -> Column? {
        if let texts = try node.strings("\(prefix)_strings") {
            return Column(type: .string, bits: texts.map { UInt64(planner.texts.number($0)) })
        }
        if let integers = try planner.integers(node, "\(prefix)_int64s") {
            return Column(type: .int64, bits: integers.map { UInt64(bitPattern: $0) })
        }
        if let floats = try planner.floats(node, "\(prefix)_floats") {
            return Column(type: .float, bits: floats.map { bits(Double($0)) })
        }
        return try planner.tensor(node, "\(prefix)_tensor").map { try column(planner, $0) }
    }

    private static func column(_ planner: Planner, _ constant: Constant) throws -> Column {
        switch constant.storage {
        case .view, .floats:
            return Column(type: .float, bits: try planner.floats(constant).map { bits(Double($0)) })
        case .doubles(let values): return Column(type: .double, bits: values.map { bits($0) })
        case .integers(let values):
            return Column(type: constant.type, bits: values.map { UInt64(bitPattern: $0) })
        }
    }

    static func labelEncoder(_ planner: Planner, _ node: PlanNode) throws {
        let value = try planner.operand(node, 0)
        if node.opset < 2 || node.has("classes_strings") {
            guard let classes = try node.strings("classes_strings") else {
                throw node.error(.invalidGraph, "'classes_strings' is missing")
            }
            let texts = classes.map { UInt64(planner.texts.number($0)) }
            let numbers = classes.indices.map { UInt64($0) }
            return try category(planner, node, value, texts: texts, numbers: numbers)
        }
        guard let keys = try column(planner, node, "keys"), let values = try column(planner, node, "values"),
            keys.bits.count == values.bits.count
        else { throw node.error(.invalidGraph, "keys and values are missing or differ in number") }
        guard keys.type == value.type || (keys.type.storage == value.storage && value.type != .string) else {
            throw node.error(.invalidGraph, "keys of type \(keys.type) for an input of type \(value.type)")
        }
        let missing: UInt64
        if let tensor = try planner.tensor(node, "default_tensor") {
            missing = try column(planner, tensor).bits.first ?? 0
        } else {
            switch values.type {
            case .string: missing = UInt64(planner.texts.number(try node.string("default_string", default: "_Unused")))
            case .float, .double: missing = bits(Double(try node.float("default_float", default: -0.0)))
            default: missing = UInt64(bitPattern: Int64(try node.int("default_int64", default: -1)))
            }
        }
        try lookUp(planner, node, value, keys.bits, values.bits, missing: missing, type: values.type)
    }

    /// Texts to numbers or numbers to texts, by the type of the input.
    private static func category(
        _ planner: Planner, _ node: PlanNode, _ value: RuntimeValue, texts: [UInt64], numbers: [UInt64]
    ) throws {
        if value.type == .string {
            let missing = Int64(try node.int("default_int64", default: -1))
            try lookUp(planner, node, value, texts, numbers, missing: UInt64(bitPattern: missing), type: .int64)
        } else {
            guard value.type == .int64 else { throw node.error(.unsupported, "values of type \(value.type)") }
            let missing = planner.texts.number(try node.string("default_string", default: "_Unused"))
            try lookUp(planner, node, value, numbers, texts, missing: UInt64(missing), type: .string)
        }
    }

    static func categoryMapper(_ planner: Planner, _ node: PlanNode) throws {
        guard let texts = try node.strings("cats_strings"), let numbers = try planner.integers(node, "cats_int64s"),
            texts.count == numbers.count
        else { throw node.error(.invalidGraph, "'cats_strings' and 'cats_int64s' are missing or differ in number") }
        try category(
            planner, node, try planner.operand(node, 0), texts: texts.map { UInt64(planner.texts.number($0)) },
            numbers: numbers.map { UInt64(bitPattern: $0) })
    }

    private static func lookUp(
        _ planner: Planner, _ node: PlanNode, _ value: RuntimeValue, _ keys: [UInt64], _ values: [UInt64],
        missing: UInt64, type: ONNXElementType
    ) throws {
        let table = Dictionary(zip(keys, values)) { first, _ in first }
        func append<T: PlainValue>(_ key: @escaping @Sendable (T) -> UInt64) throws {
            switch type.storage {
            case .float: try map(planner, node, value, type) { (x: T) in Float(real(table[key(x)] ?? missing)) }
            case .double: try map(planner, node, value, type) { (x: T) in real(table[key(x)] ?? missing) }
            default: try map(planner, node, value, type) { (x: T) in Int64(bitPattern: table[key(x)] ?? missing) }
            }
        }
        switch value.storage {
        case .float: try append { (x: Float) in bits(Double(x)) }
        case .double: try append { (x: Double) in bits(x) }
        case .integer: try append { (x: Int64) in UInt64(bitPattern: x) }
        }
    }

    private static func real(_ bits: UInt64) -> Double { bits == .max ? .nan : Double(bitPattern: bits) }

    /// `OneHotEncoder`: an unknown category gives zeros, whatever `zeros` says: a row cannot fail alone.
    static func oneHotEncoder(_ planner: Planner, _ node: PlanNode) throws {
        let value = try planner.operand(node, 0)
        let keys: [Int64]
        if let texts = try node.strings("cats_strings"), !texts.isEmpty {
            guard value.type == .string else {
                throw node.error(.invalidGraph, "texts for an input of type \(value.type)")
            }
            keys = texts.map { Int64(planner.texts.number($0)) }
        } else {
            guard value.type != .string, let numbers = try planner.integers(node, "cats_int64s"), numbers.count > 0
            else {
                throw node.error(.invalidGraph, "it has no categories for an input of type \(value.type)")
            }
            keys = Array(numbers)
        }
        let table = Dictionary(keys.enumerated().map { ($1, $0) }) { first, _ in first }
        var shape = value.shape
        shape.dims.append(keys.count)
        let target = try planner.makeValue(node, shape, .float)
        let position: @Sendable (UnsafeMutableRawPointer, Int) -> Int
        switch value.storage {
        case .float:
            position = {
                table[Int64(exactly: $0.assumingMemoryBound(to: Float.self)[$1].rounded(.towardZero)) ?? .min] ?? -1
            }
        case .double:
            position = {
                table[Int64(exactly: $0.assumingMemoryBound(to: Double.self)[$1].rounded(.towardZero)) ?? .min] ?? -1
            }
        case .integer: position = { table[$0.assumingMemoryBound(to: Int64.self)[$1]] ?? -1 }
        }
        planner.append(
            OneHotStep<Float>(
                source: value.id, shape: value.shape, target: target.id, depth: keys.count, inner: 1,
                isBatchInner: false, off: 0, on: 1, position: position))
        try planner.bind(node, 0, .runtime(target))
    }
}
