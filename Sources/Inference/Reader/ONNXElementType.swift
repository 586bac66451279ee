// ONNXElementType: tensor element types by their numbers in onnx.proto.

/// `TensorProto.DataType` of onnx.proto.
public enum ONNXElementType: Int, Sendable, CaseIterable {
    case float = 1
    case uint8 = 2
    case int8 = 3
    case uint16 = 4
    case int16 = 5
    case int32 = 6
    case int64 = 7
    case string = 8
    case bool = 9
    case float16 = 10
    case double = 11
    case uint32 = 12
    case uint64 = 13

    /// Bytes of an element in `raw_data`; nil for strings.
    var byteCount: Int? {
        switch self {
        case .uint8, .int8, .bool: 1
        case .uint16, .int16, .float16: 2
        case .float, .int32, .uint32: 4
        case .int64, .uint64, .double: 8
        case .string: nil
        }
    }

    var isSigned: Bool { [.int8, .int16, .int32, .int64].contains(self) }

    var isFloatingPoint: Bool { self == .float || self == .double || self == .float16 }
}

/// One dimension of a declared shape.
public enum ONNXDimension: Sendable, Equatable, CustomStringConvertible {
    case fixed(Int)
    /// Free, with the name the model gives it (`N`, `batch`); empty when it gives none.
    case free(String)

    public var description: String {
        switch self {
        case .fixed(let size): "\(size)"
        case .free(let name): name.isEmpty ? "?" : name
        }
    }
}
