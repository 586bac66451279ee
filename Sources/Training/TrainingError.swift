// TrainingError: why a model cannot be trained or written.

/// One sentence for a person: the place and the way to mend it.
public struct TrainingError: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Code: String, Sendable {
        /// Too few rows, or a part of them with one class only.
        case unsuitableData
        /// The model to go on from is none of this trainer's.
        case unsuitableModel
        /// The loss became infinite or not a number.
        case diverged
        /// The file to write belongs to another model.
        case otherModel
        case fileAccess
    }

    public var code: Code
    public var message: String
    public var description: String { message }

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
}
