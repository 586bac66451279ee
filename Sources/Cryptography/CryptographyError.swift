// CryptographyError: what libcrypto or a check before it refused.

/// A cryptographic operation that was refused. The message never holds key material.
public struct CryptographyError: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Code: String, Sendable {
        /// A tag, a signature or a wrapped key does not verify.
        case notAuthentic
        /// A key that cannot be read, is of another kind, or a point that is not on its curve.
        case badKey
        /// An encrypted key without or with the wrong passphrase.
        case badPassphrase
        /// A length or value out of bounds.
        case badInput
        /// libcrypto failed where it should not: no memory, no algorithm.
        case library
    }

    public var code: Code
    public var message: String
    public var description: String { message }

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
}
