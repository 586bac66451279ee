// CommandFailure: the end of a command that could not do its work.

/// One line for the user, naming the place and the way to mend it.
struct CommandFailure: Error, CustomStringConvertible {
    enum Kind: Int32 {
        /// Something failed.
        case failed = 1
        /// The command was used wrongly.
        case usage = 2
    }

    var kind: Kind
    var message: String
    var description: String { message }

    init(_ message: String, kind: Kind = .failed) {
        self.message = message
        self.kind = kind
    }

    static func usage(_ message: String) -> CommandFailure { CommandFailure(message, kind: .usage) }
}
