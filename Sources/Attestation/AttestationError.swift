// AttestationError: why no key was released.

/// A refusal on the way to a key. `isTransient` tells whether trying again may help without anybody's doing.
public struct AttestationError: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Code: String, Sendable {
        /// The key broker cannot be reached, or its answer is cut.
        case unreachable
        /// The key broker answers, and not as RCAR says.
        case protocolError
        /// The key broker refused; `problem` names its error type.
        case refused
        /// An answer that does not open or verify.
        case notAuthentic
        /// Attestation here is not possible or not allowed.
        case evidence
    }

    public var code: Code
    public var message: String
    /// Last part of the RFC 7807 `type` of a refusal, such as `PolicyDeny`.
    public var problem: String?
    public var description: String { message }
    public var isTransient: Bool { code == .unreachable }

    public init(_ code: Code, _ message: String, problem: String? = nil) {
        self.code = code
        self.message = message
        self.problem = problem
    }
}
