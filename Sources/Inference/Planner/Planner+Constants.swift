// Planner+Constants: reading initialisers and attributes into memory of the allocator.

import Tensor

extension Planner {
    func constant(_ tensor: ONNXTensor) throws -> Constant {
        let storage: Constant.Storage
        if let external = tensor.external {
            storage = try self.external(tensor, external)
        } else if tensor.type == .string {
            let names = try withBytes { bytes in try reader.strings(tensor, bytes) }
            storage = .integers(try ModelArray(names.map { Int64(texts.number($0)) }, allocator))
        } else if tensor.type == .float,
            let range = try withBytes({ bytes throws(ONNXError) in try reader.plain(tensor, bytes) })
        {
            storage = .view(fileBytes(range))
        } else {
            storage = try decoded(tensor)
        }
        return Constant(shape: tensor.dims, type: tensor.type, storage: storage)
    }

    private func decoded(_ tensor: ONNXTensor) throws -> Constant.Storage {
        var index = 0
        switch tensor.type.storage {
        case .float:
            let array = try ModelArray<Float>(count: tensor.count, allocator)
            try withBytes { bytes in
                try reader.numbers(tensor, bytes) { bits in
                    array[index] = Float(bitPattern: UInt32(truncatingIfNeeded: bits))
                    index += 1
                }
            }
            return .floats(array)
        case .double:
            let array = try ModelArray<Double>(count: tensor.count, allocator)
            try withBytes { bytes in
                try reader.numbers(tensor, bytes) { bits in
                    array[index] = Double(bitPattern: bits)
                    index += 1
                }
            }
            return .doubles(array)
        case .integer:
            let array = try ModelArray<Int64>(count: tensor.count, allocator)
            try withBytes { bytes in
                try reader.numbers(tensor, bytes) { bits in
                    array[index] = Int64(bitPattern: bits)
                    index += 1
                }
            }
            return .integers(array)
        case nil: throw ONNXError(.unsupported, "tensor '\(tensor.name)' has the type \(tensor.type)")
        }
    }

    /// External data is copied out of the file table, with the range checked first.
    private func external(_ tensor: ONNXTensor, _ external: ONNXExternalData) throws -> Constant.Storage {
        guard let files else {
            throw ONNXError(
                .unsupported,
                "tensor '\(tensor.name)' stands in another file ('\(external.location)'), which this source does not have: save the model as a single file"
            )
        }
        guard let size = files.size(of: external.location) else {
            throw ONNXError(
                .malformed,
                "tensor '\(tensor.name)' names the file '\(external.location)', which the model's container does not have"
            )
        }
        guard let width = tensor.type.byteCount else { throw ONNXError(.unsupported, "texts as external data") }
        let byteCount = tensor.count * width
        guard external.length ?? byteCount == byteCount, external.offset <= size, byteCount <= size - external.offset
        else {
            throw ONNXError(
                .malformed,
                "tensor '\(tensor.name)' needs \(byteCount) bytes at \(external.offset) of '\(external.location)', which has \(size)"
            )
        }
        let raw = try ModelArray<UInt8>(count: byteCount, allocator)
        defer { withExtendedLifetime(raw) {} }
        try files.read(external.location, offset: external.offset, into: raw.bytes)
        let bytes = RawSpan(_unsafeBytes: UnsafeRawBufferPointer(raw.bytes))
        switch tensor.type.storage {
        case .float:
            let array = try ModelArray<Float>(count: tensor.count, allocator)
            for index in 0..<tensor.count { array[index] = bytes.float(index * 4) }
            return .floats(array)
        case .double:
            let array = try ModelArray<Double>(count: tensor.count, allocator)
            for index in 0..<tensor.count { array[index] = bytes.double(index * 8) }
            return .doubles(array)
        case .integer:
            let array = try ModelArray<Int64>(count: tensor.count, allocator)
            for index in 0..<tensor.count {
                array[index] = Int64(
                    bitPattern: ONNXReader.word(bytes, index * width, width: width, isSigned: tensor.type.isSigned))
            }
            return .integers(array)
        case nil: throw ONNXError(.unsupported, "tensor '\(tensor.name)' has the type \(tensor.type)")
        }
    }

    /// Float32 values of a constant, copied into the allocator's memory unless they stand there.
    func floats(_ constant: Constant) throws -> ModelArray<Float> {
        switch constant.storage {
        case .floats(let array): return array
        case .view(let bytes):
            let array = try ModelArray<Float>(count: constant.count, allocator)
            array.bytes.copyMemory(from: bytes)
            return array
        case .doubles(let values):
            let array = try ModelArray<Float>(count: constant.count, allocator)
            for index in 0..<values.count { array[index] = Float(values[index]) }
            return array
        case .integers(let values):
            let array = try ModelArray<Float>(count: constant.count, allocator)
            for index in 0..<values.count { array[index] = Float(values[index]) }
            return array
        }
    }

    /// Input `index` as a Float32 constant, or nil when it is not one.
    func floatConstant(_ node: PlanNode, _ index: Int) throws -> (values: ModelArray<Float>, shape: [Int])? {
        guard case .constant(let constant) = try value(node, index), constant.type == .float else { return nil }
        return (try floats(constant), constant.shape)
    }

    /// Input `index` as integers known now: axes, shapes, indices.
    func integers(_ node: PlanNode, _ index: Int) throws -> [Int] {
        switch try value(node, index) {
        case .constant(let constant):
            guard case .integers(let values) = constant.storage, constant.type != .string else { break }
            return values.map { Int($0) }
        case .sizes(let sizes, _):
            if let fixed = sizes.first(where: { $0.batch != 0 }) {
                throw node.error(.unsupported, "input \(index) depends on the batch (\(fixed))")
            }
            return sizes.map(\.fixed)
        case .runtime: break
        }
        throw node.error(.unsupported, "input \(index) must be constant integers")
    }

    /// Input `index` as one number known now; nil when it is absent.
    func scalar(_ node: PlanNode, _ index: Int) throws -> Double? {
        guard node.hasInput(index) else { return nil }
        guard case .constant(let constant) = try value(node, index), constant.count == 1 else {
            throw node.error(.unsupported, "input \(index) must be one constant number")
        }
        switch constant.storage {
        case .view, .floats: return Double(try floats(constant)[0])
        case .doubles(let values): return values[0]
        case .integers(let values): return Double(values[0])
        }
    }

    // MARK: Attributes

    func floats(_ node: PlanNode, _ name: String) throws -> ModelArray<Float>? {
        guard let repeated = try node.floats(name) else { return nil }
        return try withBytes { bytes in
            let array = try ModelArray<Float>(count: try reader.count(repeated, bytes), allocator)
            var index = 0
            try reader.forEach(repeated, bytes) { bits in
                array[index] = Float(bitPattern: UInt32(truncatingIfNeeded: bits))
                index += 1
            }
            parameterCount += array.count
            return array
        }
    }

    func integers(_ node: PlanNode, _ name: String) throws -> ModelArray<Int64>? {
        guard let repeated = try node.ints(name) else { return nil }
        return try withBytes { bytes in
            let array = try ModelArray<Int64>(count: try reader.count(repeated, bytes), allocator)
            var index = 0
            try reader.forEach(repeated, bytes) { bits in
                array[index] = Int64(bitPattern: bits)
                index += 1
            }
            return array
        }
    }

    /// A short list of integers: axes, permutations, labels.
    func intList(_ node: PlanNode, _ name: String) throws -> [Int]? {
        try integers(node, name).map { $0.map { Int($0) } }
    }

    func tensor(_ node: PlanNode, _ name: String) throws -> Constant? {
        try node.tensor(name).map { try constant($0) }
    }
}

/// Texts of the model by number, so that the engine works on numbers alone. A run may add texts of its own.
struct TextTable: Sendable {
    private(set) var all: [String] = []
    private var numbers: [String: Int] = [:]

    init(_ texts: [String] = []) { for text in texts { _ = number(text) } }

    mutating func number(_ text: String) -> Int {
        if let number = numbers[text] { return number }
        numbers[text] = all.count
        all.append(text)
        return all.count - 1
    }
}
