// TensorValue: a tensor of any supported type as a plain value, for tools and tests.

/// A dense row-major tensor.
public struct TensorValue: Sendable, Equatable {
    public enum Elements: Sendable, Equatable {
        case floats([Float])
        case doubles([Double])
        /// Integers of any width and truth values (0, 1).
        case integers([Int64])
        case texts([String])

        public var count: Int {
            switch self {
            case .floats(let values): values.count
            case .doubles(let values): values.count
            case .integers(let values): values.count
            case .texts(let values): values.count
            }
        }
    }

    public var type: ONNXElementType
    public var shape: [Int]
    public var elements: Elements

    /// - Precondition: the elements fill the shape.
    public init(type: ONNXElementType, shape: [Int], elements: Elements) {
        precondition(shape.reduce(1, *) == elements.count, "the elements do not fill the shape")
        self.type = type
        self.shape = shape
        self.elements = elements
    }

    public init(shape: [Int], floats: [Float]) {
        self.init(type: .float, shape: shape, elements: .floats(floats))
    }

    /// Decodes a serialised TensorProto, such as the inputs and outputs of ONNX's own test cases.
    public init(protobuf bytes: RawSpan, limits: ONNXLimits = ONNXLimits()) throws {
        let reader = ONNXReader(limits: limits)
        let tensor = try reader.tensor(0..<bytes.byteCount, bytes)
        var integers: [Int64] = []
        var floats: [Float] = []
        var doubles: [Double] = []
        switch tensor.type.storage {
        case .integer where tensor.type == .string:
            self.init(type: .string, shape: tensor.dims, elements: .texts(try reader.strings(tensor, bytes)))
            return
        case .float:
            try reader.numbers(tensor, bytes) { floats.append(Float(bitPattern: UInt32(truncatingIfNeeded: $0))) }
        case .double: try reader.numbers(tensor, bytes) { doubles.append(Double(bitPattern: $0)) }
        case .integer: try reader.numbers(tensor, bytes) { integers.append(Int64(bitPattern: $0)) }
        case nil: throw ONNXError(.unsupported, "a tensor of type \(tensor.type)")
        }
        let elements: Elements =
            switch tensor.type.storage {
            case .float: .floats(floats)
            case .double: .doubles(doubles)
            default: .integers(integers)
            }
        self.init(type: tensor.type, shape: tensor.dims, elements: elements)
    }
}
