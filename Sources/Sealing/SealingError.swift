// SealingError: why a container, a key or a release document is refused.

/// A refusal. The message names the place and the way to mend it; it never holds key material.
public struct SealingError: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Code: String, Sendable {
        case unreadable, notSealed, badHeader, badSignature, untrusted, badRecipients, truncated, corrupt
        case expired, notYetValid, rollback, revoked, usageDenied, wrongKey, changedWhileRead, badKeyFile, badDocument
        case cannotWrite, policy
    }

    public var code: Code
    public var message: String
    public var description: String { message }

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
}
