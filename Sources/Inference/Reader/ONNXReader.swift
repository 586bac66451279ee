// ONNXReader: reads a ModelProto in place, without generated code.

/// Reads the structure of an ONNX model (field numbers of onnx.proto). Message depth is bounded by construction: each
/// level has its own function and none recurses; subgraphs are not entered.
struct ONNXReader {
    let limits: ONNXLimits

    func read(_ bytes: RawSpan) throws(ONNXError) -> ONNXModel {
        guard bytes.byteCount <= limits.bytesMax else {
            throw ONNXError(.tooLarge, "the model has \(bytes.byteCount) bytes, the limit is \(limits.bytesMax)")
        }
        var model = ONNXModel()
        var hasGraph = false
        var reader = WireReader(0..<bytes.byteCount)
        while let field = try reader.next(bytes) {
            switch field.number {
            case 1: model.irVersion = Int64(bitPattern: try varint(field))
            case 2: model.producer = try text(field, bytes)
            case 7:
                hasGraph = true
                try graph(block(field), bytes, into: &model)
            case 8: try operatorSet(block(field), bytes, into: &model)
            case 14: try metadata(block(field), bytes, into: &model)
            case 25:
                throw ONNXError(
                    .unsupported, "the model defines its own functions: inline them (onnx.inliner) and save it again")
            default: break
            }
        }
        guard hasGraph else { throw ONNXError(.malformed, "not an ONNX model: it has no graph") }
        return model
    }

    private func operatorSet(_ message: Range<Int>, _ bytes: RawSpan, into model: inout ONNXModel) throws(ONNXError) {
        var domain = ""
        var version = 0
        var reader = WireReader(message)
        while let field = try reader.next(bytes) {
            switch field.number {
            case 1: domain = try text(field, bytes)
            case 2: version = Int(clamping: Int64(bitPattern: try varint(field)))
            default: break
            }
        }
        model.opsets[Self.canonical(domain)] = version
    }

    /// `ai.onnx` is another name of the default domain.
    static func canonical(_ domain: String) -> String { domain == "ai.onnx" ? "" : domain }

    private func metadata(_ message: Range<Int>, _ bytes: RawSpan, into model: inout ONNXModel) throws(ONNXError) {
        var key = ""
        var value = ""
        var reader = WireReader(message)
        while let field = try reader.next(bytes) {
            switch field.number {
            case 1: key = try text(field, bytes)
            case 2: value = bytes.text(try block(field))
            default: break
            }
        }
        model.metadata[key] = value
    }

    private func graph(_ message: Range<Int>, _ bytes: RawSpan, into model: inout ONNXModel) throws(ONNXError) {
        var reader = WireReader(message)
        while let field = try reader.next(bytes) {
            switch field.number {
            case 1:
                try require(model.nodes.count < limits.nodesMax, "nodesMax", limits.nodesMax)
                model.nodes.append(try node(block(field), bytes))
            case 2: model.graphName = try text(field, bytes)
            case 5:
                try require(
                    model.initializers.count < limits.initializersMax, "initializersMax", limits.initializersMax)
                model.initializers.append(try tensor(block(field), bytes))
            case 11:
                try require(model.inputs.count < limits.initializersMax, "initializersMax", limits.initializersMax)
                model.inputs.append(try valueInfo(block(field), bytes))
            case 12:
                try require(model.outputs.count < limits.nodesMax, "nodesMax", limits.nodesMax)
                model.outputs.append(try valueInfo(block(field), bytes))
            case 15: throw ONNXError(.unsupported, "the model has sparse initialisers: make them dense")
            default: break
            }
        }
    }

    private func node(_ message: Range<Int>, _ bytes: RawSpan) throws(ONNXError) -> ONNXNode {
        var node = ONNXNode()
        var reader = WireReader(message)
        while let field = try reader.next(bytes) {
            switch field.number {
            case 1:
                try require(node.inputs.count < limits.inputsPerNodeMax, "inputsPerNodeMax", limits.inputsPerNodeMax)
                node.inputs.append(try text(field, bytes))
            case 2:
                try require(node.outputs.count < limits.inputsPerNodeMax, "inputsPerNodeMax", limits.inputsPerNodeMax)
                node.outputs.append(try text(field, bytes))
            case 3: node.name = try text(field, bytes)
            case 4: node.operation = try text(field, bytes)
            case 5:
                try require(
                    node.attributes.count < limits.attributesPerNodeMax, "attributesPerNodeMax",
                    limits.attributesPerNodeMax)
                let (name, value) = try attribute(block(field), bytes)
                node.attributes[name] = value
            case 7: node.domain = Self.canonical(try text(field, bytes))
            default: break
            }
        }
        return node
    }

    private func attribute(
        _ message: Range<Int>, _ bytes: RawSpan
    ) throws(ONNXError) -> (String, ONNXAttribute) {
        var name = ""
        var type = 0
        var float: Float = 0
        var int: Int64 = 0
        var string = ""
        var tensor: ONNXTensor?
        var strings: [String] = []
        var reader = WireReader(message)
        while let field = try reader.next(bytes) {
            switch field.number {
            case 1: name = try text(field, bytes)
            case 2:
                guard field.kind == .fixed32 else { throw wrongKind(field) }
                float = bytes.float(field.range.lowerBound)
            case 3: int = Int64(bitPattern: try varint(field))
            case 4: string = bytes.text(try block(field))
            case 5: tensor = try self.tensor(block(field), bytes)
            case 9: strings.append(bytes.text(try block(field)))
            case 20: type = Int(clamping: Int64(bitPattern: try varint(field)))
            default: break
            }
        }
        let value: ONNXAttribute =
            switch type {
            case 1: .float(float)
            case 2: .int(int)
            case 3: .string(string)
            case 4: if let tensor { .tensor(tensor) } else { .unsupported }
            case 6: .floats(ONNXRepeated(message: message, field: 7))
            case 7: .ints(ONNXRepeated(message: message, field: 8))
            case 8: .strings(strings)
            default: .unsupported
            }
        return (name, value)
    }

    private func valueInfo(_ message: Range<Int>, _ bytes: RawSpan) throws(ONNXError) -> ONNXValueInfo {
        var info = ONNXValueInfo()
        var reader = WireReader(message)
        while let field = try reader.next(bytes) {
            switch field.number {
            case 1: info.name = try text(field, bytes)
            case 2:
                var type = WireReader(try block(field))
                while let field = try type.next(bytes) {
                    if field.number == 1 { try tensorType(block(field), bytes, into: &info) }
                }
            default: break
            }
        }
        return info
    }

    private func tensorType(_ message: Range<Int>, _ bytes: RawSpan, into info: inout ONNXValueInfo) throws(ONNXError) {
        var reader = WireReader(message)
        while let field = try reader.next(bytes) {
            switch field.number {
            case 1: info.type = ONNXElementType(rawValue: Int(clamping: Int64(bitPattern: try varint(field))))
            case 2:
                var shape: [ONNXDimension] = []
                var dimensions = WireReader(try block(field))
                while let field = try dimensions.next(bytes) {
                    guard field.number == 1 else { continue }
                    try require(shape.count < limits.tensorRankMax, "tensorRankMax", limits.tensorRankMax)
                    shape.append(try dimension(block(field), bytes))
                }
                info.shape = shape
            default: break
            }
        }
    }

    private func dimension(_ message: Range<Int>, _ bytes: RawSpan) throws(ONNXError) -> ONNXDimension {
        var dimension = ONNXDimension.free("")
        var reader = WireReader(message)
        while let field = try reader.next(bytes) {
            switch field.number {
            case 1:
                let size = Int64(bitPattern: try varint(field))
                // Exporters write 0 or -1 for a dimension they do not know.
                guard size > 0 else { continue }
                try require(size <= Int64(limits.tensorElementsMax), "tensorElementsMax", limits.tensorElementsMax)
                dimension = .fixed(Int(size))
            case 2: dimension = .free(try text(field, bytes))
            default: break
            }
        }
        return dimension
    }

    // MARK: Fields

    func require(_ condition: Bool, _ limit: String, _ value: Int) throws(ONNXError) {
        guard condition else { throw ONNXError(.tooLarge, "the model exceeds the limit \(limit) = \(value)") }
    }

    func wrongKind(_ field: WireField) -> ONNXError {
        ONNXError(.malformed, "not a well-formed ONNX model: field \(field.number) has the wrong wire type")
    }

    func varint(_ field: WireField) throws(ONNXError) -> UInt64 {
        guard field.kind == .varint else { throw wrongKind(field) }
        return field.value
    }

    func block(_ field: WireField) throws(ONNXError) -> Range<Int> {
        guard field.kind == .block else { throw wrongKind(field) }
        return field.range
    }

    /// A name: bounded, unlike the value of a string attribute.
    private func text(_ field: WireField, _ bytes: RawSpan) throws(ONNXError) -> String {
        let range = try block(field)
        try require(range.count <= limits.nameBytesMax, "nameBytesMax", limits.nameBytesMax)
        return bytes.text(range)
    }
}
