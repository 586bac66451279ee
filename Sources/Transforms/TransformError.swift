// TransformError: why a transform cannot be fitted, read or used.

/// One sentence for a person: the place and the way to mend it.
public struct TransformError: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Code: String, Sendable {
        /// A file cannot be read or written.
        case fileAccess
        /// A CSV file is not what it should be.
        case badTable
        /// The reference rows do not allow the declared parameters.
        case cannotFit
        /// transform.json is not a transform document.
        case malformed
        case unsupportedVersion
        /// The document's contract hash does not belong to its parameters.
        case hashMismatch
        /// The document was fitted for another pipeline, event schema or list of features.
        case pipelineMismatch, schemaMismatch, featureMismatch
    }

    public var code: Code
    public var message: String
    public var description: String { message }

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
}
