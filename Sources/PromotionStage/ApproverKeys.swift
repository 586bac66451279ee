// ApproverKeys: whose signed decisions count.

public import Cryptography
public import EventContracts
import FoundationEssentials

/// Why a decision does not count. One sentence.
public struct DecisionError: Error, Sendable, CustomStringConvertible {
    public var message: String
    public var description: String { message }
}

/// Public keys of approvers (P-384), known by the SHA-256 of their DER form. A signature is ES384 over
/// `ModelEvent.signedBytes`.
public struct ApproverKeys: DecisionVerifier {
    private static let fileBytesMax = 64 << 10
    private let keys: [String: ECPublicKey]

    /// - Parameter paths: PEM files of public keys; none lets no decision count.
    public init(paths: [String]) throws {
        var keys: [String: ECPublicKey] = [:]
        for path in paths {
            guard let data = FileManager.default.contents(atPath: path), data.count <= Self.fileBytesMax else {
                throw DecisionError(message: "\(path): the approver's public key cannot be read")
            }
            let key: ECPublicKey
            do {
                key = try ECPublicKey(pem: String(decoding: data, as: UTF8.self))
            } catch {
                throw DecisionError(message: "\(path): this is no public key in PEM: \(error)")
            }
            keys[try Self.keyID(of: key)] = key
        }
        self.keys = keys
    }

    /// 64 hexadecimal digits.
    public static func keyID(of key: ECPublicKey) throws -> String {
        SHA256.digest(of: try key.der()).hexadecimal
    }

    public func verify(_ event: ModelEvent) throws {
        guard let signature = event.signature else { throw DecisionError(message: "the decision is not signed") }
        guard let key = keys[signature.keyID] else {
            throw DecisionError(
                message: "the key \(signature.keyID.prefix(16))… is no approver's: give its public half to the gate by "
                    + "--approvers")
        }
        guard let value = Base64.decode(signature.value), key.verifies(value, event.signedBytes) else {
            throw DecisionError(message: "the signature does not fit the decision")
        }
    }

    /// Signs a decision with an approver's private key.
    public static func sign(_ event: ModelEvent, with key: ECPrivateKey) throws -> ModelEvent {
        var signed = event
        signed.signature = .init(
            keyID: try keyID(of: key.publicKey), value: Base64.encode(try key.sign(event.signedBytes)))
        return signed
    }
}
