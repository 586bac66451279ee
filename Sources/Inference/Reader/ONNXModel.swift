// ONNXModel: the parsed structure of a model. Weights stay in the file's bytes; only their places are kept.

/// Bounds of what a model may contain. A model beyond them is refused with the name of the limit.
public struct ONNXLimits: Sendable {
    /// Protobuf itself ends at 2 GiB.
    public var bytesMax = 2 << 30
    public var nodesMax = 20_000
    public var initializersMax = 20_000
    public var attributesPerNodeMax = 256
    public var inputsPerNodeMax = 1_024
    public var tensorRankMax = 8
    /// Of one tensor, weights and intermediate values of one row alike.
    public var tensorElementsMax = 1 << 28
    /// Of all weights and constants together, copies made while loading included.
    public var weightElementsMax = 1 << 30
    public var nameBytesMax = 4_096
    /// Of one general matrix product, for a row.
    public var multiplicationsMax = 1 << 34

    public init() {}
}

/// A tensor of the file: its shape and the message that holds its values.
struct ONNXTensor {
    var name = ""
    var dims: [Int] = []
    var type = ONNXElementType.float
    /// The TensorProto message.
    var message: Range<Int>
    /// Where the values stand when they are not in the message.
    var external: ONNXExternalData?

    /// Number of elements; the reader has checked that it is within the limits.
    var count: Int { dims.reduce(1, *) }
}

/// `external_data` of a TensorProto.
struct ONNXExternalData {
    var location = ""
    var offset = 0
    /// Nil: as many bytes as the shape needs.
    var length: Int?
}

/// Repeated scalars of a message, decoded on demand.
struct ONNXRepeated {
    var message: Range<Int>
    var field: Int
}

enum ONNXAttribute {
    case float(Float)
    case int(Int64)
    case string(String)
    case tensor(ONNXTensor)
    case floats(ONNXRepeated)
    case ints(ONNXRepeated)
    case strings([String])
    /// A graph, a sparse tensor and other kinds that no supported operator reads.
    case unsupported
}

struct ONNXNode {
    var name = ""
    var operation = ""
    var domain = ""
    var inputs: [String] = []
    var outputs: [String] = []
    var attributes: [String: ONNXAttribute] = [:]
}

struct ONNXValueInfo {
    var name = ""
    /// Nil when the type is not a tensor (a sequence of maps after ZipMap).
    var type: ONNXElementType?
    /// Nil when no shape is declared.
    var shape: [ONNXDimension]?
}

struct ONNXModel {
    var irVersion: Int64 = 0
    var producer = ""
    var opsets: [String: Int] = [:]
    var metadata: [String: String] = [:]
    var graphName = ""
    var nodes: [ONNXNode] = []
    var initializers: [ONNXTensor] = []
    var inputs: [ONNXValueInfo] = []
    var outputs: [ONNXValueInfo] = []
}
