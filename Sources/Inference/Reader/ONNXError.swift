// ONNXError: why a model cannot be loaded.

/// A model that cannot be read or run. The message names the place and the way to mend it.
public struct ONNXError: Error, Sendable, CustomStringConvertible {
    public enum Code: String, Sendable {
        /// The bytes are not a well-formed ONNX model.
        case malformed
        /// A named limit of the reader or the planner is exceeded.
        case tooLarge
        /// No implementation of the operator for the model's opset.
        case unknownOperator
        /// Well-formed, but outside of what this engine runs.
        case unsupported
        /// The graph contradicts itself: shapes, types, missing values.
        case invalidGraph
    }

    public var code: Code
    public var message: String
    public var description: String { message }

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
}
