// ONNXWriter: builds the bytes of an ONNX model, field by field as onnx.proto numbers them.

public import Tensor

/// An attribute of a node to write.
public enum ONNXAttributeValue: Sendable {
    case int(Int64)
    case float(Float)
    case string(String)
    case ints([Int64])
    case floats([Float])
    case strings([String])
    case tensor(dims: [Int], floats: [Float])
    case tensorInts(dims: [Int], values: [Int64])
}

/// Builds a ModelProto: add inputs, initialisers, nodes in topological order and outputs, then take `encoded()`.
///
///     var writer = ONNXWriter(graphName: "housing", opset: 17)
///     writer.addInput("features", shape: [.free("N"), .fixed(8)])
///     writer.addInitializer("w", weights)                       // Matrix, in x out
///     writer.addInitializer("b", dims: [1], floats: [0.1])
///     writer.addNode("Gemm", ["features", "w", "b"], ["logit"])
///     writer.addNode("Sigmoid", ["logit"], ["probability"])
///     writer.addOutput("probability", shape: [.free("N"), .fixed(1)])
///     let bytes = writer.encoded()
public struct ONNXWriter: Sendable {
    /// IR version 8 goes with opsets up to 18 and is read by every ONNX Runtime since 1.10.
    private let irVersion: Int64 = 8
    private let graphName: String
    private let producerVersion: String
    private var opsets: [(domain: String, version: Int64)]
    private var nodes = ProtobufWriter()
    private var initializers = ProtobufWriter()
    private var inputs = ProtobufWriter()
    private var outputs = ProtobufWriter()
    private var metadata = ProtobufWriter()
    private var nodeCount = 0

    /// - Parameters:
    ///   - opset: version of the `ai.onnx` operators.
    ///   - mlOpset: version of the `ai.onnx.ml` operators; nil when the model uses none.
    public init(graphName: String, opset: Int = 17, mlOpset: Int? = nil, producerVersion: String = "1") {
        self.graphName = graphName
        self.producerVersion = producerVersion
        opsets = [("", Int64(opset))]
        if let mlOpset { opsets.append(("ai.onnx.ml", Int64(mlOpset))) }
    }

    public mutating func addInput(_ name: String, type: ONNXElementType = .float, shape: [ONNXDimension]) {
        inputs.message(11) { $0.valueInfo(name, type: type, shape: shape) }
    }

    public mutating func addOutput(_ name: String, type: ONNXElementType = .float, shape: [ONNXDimension]) {
        outputs.message(12) { $0.valueInfo(name, type: type, shape: shape) }
    }

    /// - Parameter floats: row-major; as many as the product of `dims`.
    public mutating func addInitializer(_ name: String, dims: [Int], floats: [Float]) {
        initializers.message(5) { $0.tensor(name, dims: dims, floats: floats) }
    }

    public mutating func addInitializer(_ name: String, _ matrix: Matrix) {
        addInitializer(name, dims: [matrix.rows, matrix.columns], floats: matrix.elements)
    }

    public mutating func addInitializer(_ name: String, dims: [Int], ints: [Int64]) {
        initializers.message(5) { $0.tensor(name, dims: dims, ints: ints) }
    }

    /// - Parameters:
    ///   - operation: `op_type`, such as `Gemm`.
    ///   - inputs: names; an empty name stands for an omitted optional input.
    ///   - domain: empty for `ai.onnx`, `ai.onnx.ml` for the classical models.
    public mutating func addNode(
        _ operation: String, _ inputs: [String], _ outputs: [String], name: String? = nil,
        attributes: [(String, ONNXAttributeValue)] = [], domain: String = ""
    ) {
        let name = name ?? "\(operation)_\(nodeCount)"
        nodeCount += 1
        nodes.message(1) { node in
            for input in inputs { node.string(1, input) }
            for output in outputs { node.string(2, output) }
            node.string(3, name)
            node.string(4, operation)
            for (name, value) in attributes { node.message(5) { $0.attribute(name, value) } }
            if !domain.isEmpty { node.string(7, domain) }
        }
    }

    /// Adds a pair to `metadata_props`.
    public mutating func addMetadata(_ key: String, _ value: String) {
        metadata.message(14) {
            $0.string(1, key)
            $0.string(2, value)
        }
    }

    /// The bytes of the ModelProto.
    public func encoded() -> [UInt8] {
        var model = ProtobufWriter()
        model.int(1, irVersion)
        model.string(2, "penstock")
        model.string(3, producerVersion)
        model.message(7) { graph in
            graph.append(nodes)
            graph.string(2, graphName)
            graph.append(initializers)
            graph.append(inputs)
            graph.append(outputs)
        }
        for opset in opsets {
            model.message(8) {
                $0.string(1, opset.domain)
                $0.int(2, opset.version)
            }
        }
        model.append(metadata)
        return model.bytes
    }
}

extension ProtobufWriter {
    fileprivate mutating func valueInfo(_ name: String, type: ONNXElementType, shape: [ONNXDimension]) {
        string(1, name)
        message(2) { proto in
            proto.message(1) { tensor in
                tensor.int(1, Int64(type.rawValue))
                tensor.message(2) { dimensions in
                    for dimension in shape {
                        dimensions.message(1) {
                            switch dimension {
                            case .fixed(let size): $0.int(1, Int64(size))
                            case .free(let name): $0.string(2, name)
                            }
                        }
                    }
                }
            }
        }
    }

    fileprivate mutating func tensor(_ name: String, dims: [Int], floats: [Float]) {
        precondition(dims.reduce(1, *) == floats.count, "initialiser \(name): the values do not fill the shape \(dims)")
        for dim in dims { int(1, Int64(dim)) }
        int(2, Int64(ONNXElementType.float.rawValue))
        if !name.isEmpty { string(8, name) }
        raw(9, floats.map { $0.bitPattern })
    }

    fileprivate mutating func tensor(_ name: String, dims: [Int], ints: [Int64]) {
        precondition(dims.reduce(1, *) == ints.count, "initialiser \(name): the values do not fill the shape \(dims)")
        for dim in dims { int(1, Int64(dim)) }
        int(2, Int64(ONNXElementType.int64.rawValue))
        if !name.isEmpty { string(8, name) }
        raw(9, ints)
    }

    fileprivate mutating func attribute(_ name: String, _ value: ONNXAttributeValue) {
        string(1, name)
        switch value {
        case .float(let number):
            float(2, number)
            int(20, 1)
        case .int(let number):
            int(3, number)
            int(20, 2)
        case .string(let text):
            string(4, text)
            int(20, 3)
        case .tensor(let dims, let floats):
            message(5) { $0.tensor("", dims: dims, floats: floats) }
            int(20, 4)
        case .tensorInts(let dims, let values):
            message(5) { $0.tensor("", dims: dims, ints: values) }
            int(20, 4)
        case .floats(let numbers):
            for number in numbers { float(7, number) }
            int(20, 6)
        case .ints(let numbers):
            for number in numbers { int(8, number) }
            int(20, 7)
        case .strings(let texts):
            for text in texts { string(9, text) }
            int(20, 8)
        }
    }
}
