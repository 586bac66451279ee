// ModelLoadError: why a model does not fit the place it should be loaded into.

/// A model package that is refused. One clear sentence: the place and the way to mend it.
public struct ModelLoadError: Error, Sendable, CustomStringConvertible {
    public enum Code: String, Sendable {
        case unreadable, badManifest, digestMismatch, contractMismatch, featureMismatch, outputMismatch
    }

    public var code: Code
    public var message: String
    public var description: String { message }

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
}
