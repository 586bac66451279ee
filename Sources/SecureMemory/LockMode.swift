// LockMode: how firmly memory must be held in RAM.

/// Whether pages that hold a secret may ever go to a swap device.
public enum LockMode: String, Sendable, CaseIterable {
    /// Every page is locked, or the memory is refused.
    case required
    /// Locked as far as the limit allows; what could not be locked is said.
    case bestEffort
    /// Not locked. Core dumps still leave the memory out.
    case off
}

/// Protected memory that the system did not give. The message says how to mend it.
public struct SecureMemoryError: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Code: String, Sendable { case noMemory, cannotLock, swapIsOn, cannotHarden }

    public var code: Code
    public var message: String
    public var description: String { message }

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
}
