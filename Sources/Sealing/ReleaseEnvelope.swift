// ReleaseEnvelope: a release document with its key, read without a copy of the key in ordinary memory.

public import Cryptography
public import SecureMemory

/// A verified release document and the data key in it.
public struct ReleaseEnvelope: ~Copyable {
    /// Base64url of 32 bytes.
    static let keyTextBytes = 43
    private static let member = Array("\"dek\":\"".utf8)

    public let terms: ReleaseTerms
    /// Id of the key that signed it.
    public let signer: String
    private var key: SecretBytes?

    /// Reads a compact JWS that may hold a key.
    /// - Parameter owner: the public key with that id, when it may sign here.
    public init(_ compact: RawSpan, owner: (String) -> ECPublicKey?) throws {
        let parts = try Self.parts(compact)
        let header = try JSONValue(parsing: try Self.decode(compact.extracting(parts.header)))
        guard header["alg"]?.string == "ES384", header["typ"]?.string == ReleaseTerms.type, header["crit"] == nil,
            let keyID = header["kid"]?.string
        else { throw SealingError(.badDocument, "not a release document signed with ES384") }
        guard let publicKey = owner(keyID) else {
            throw SealingError(.untrusted, "the release document is signed by \(keyID), whom nobody trusts here")
        }
        let signature = try Self.decode(compact.extracting(parts.signature))
        guard publicKey.curve == .p384,
            publicKey.verifies(signature, compact.extracting(0..<parts.payload.upperBound))
        else { throw SealingError(.badSignature, "the release document's signature does not verify") }
        let payload = try ProtectedRegion(byteCount: parts.payload.count * 3 / 4, mode: .bestEffort, isSecret: true)
        let isText = payload.withMutableBytes { Base64.decodeURL(compact.extracting(parts.payload), into: &$0) }
        guard isText else { throw SealingError(.badDocument, "the release document is not base64url") }
        let place = payload.withBytes { Self.keyPlace($0) }
        let terms = try payload.withBytes { try Self.terms($0, keyPlace: place) }
        guard terms.isRevoked || place != nil else {
            throw SealingError(.badDocument, "the release document holds no data key")
        }
        let key = try payload.withBytes { bytes throws -> SecretBytes? in
            guard let place else { return nil }
            return try Self.key(bytes, at: place)
        }
        self.terms = terms
        self.key = consume key
        signer = keyID
    }

    /// The data key; nil when the document revokes. Once.
    public mutating func takeKey() -> SecretBytes? { key.take() }

    /// Everything but the key, which is blanked out before the text is parsed.
    private static func terms(_ payload: RawSpan, keyPlace: Int?) throws -> ReleaseTerms {
        let redacted = payload.withUnsafeBytes { bytes in
            var copy = [UInt8](repeating: 0x41, count: bytes.count)
            for index in bytes.indices where keyPlace.map({ index < $0 || index >= $0 + keyTextBytes }) ?? true {
                copy[index] = bytes[index]
            }
            return copy
        }
        let value = try JSONValue(parsing: redacted)
        guard (value["dek"] != nil) == (keyPlace != nil),
            value["dek"]?.string?.utf8.count ?? keyTextBytes == keyTextBytes
        else { throw SealingError(.badDocument, "the data key is not a text of 43 characters") }
        do throws(SealingError) {
            return try ReleaseTerms(MemberReader(value, "release document"))
        } catch {
            throw SealingError(.badDocument, error.message)
        }
    }

    private static func key(_ payload: RawSpan, at place: Int) throws -> SecretBytes {
        guard place + keyTextBytes < payload.byteCount else {
            throw SealingError(.badDocument, "the data key is cut")
        }
        var secret = try SecretBytes(byteCount: ChunkedEncryption.keyBytes)
        let isKey = secret.withMutableBytes {
            Base64.decodeURL(payload.extracting(place..<place + keyTextBytes), into: &$0)
        }
        guard isKey else { throw SealingError(.badDocument, "the data key is not 32 bytes in base64url") }
        return secret
    }

    /// Where the key's text begins. The pattern cannot stand inside a JSON text, whose quotes are escaped.
    static func keyPlace(_ payload: RawSpan) -> Int? {
        payload.withUnsafeBytes { bytes in
            guard bytes.count >= member.count + keyTextBytes else { return nil }
            for start in 0...(bytes.count - member.count - keyTextBytes)
            where (0..<member.count).allSatisfy({ bytes[start + $0] == member[$0] }) {
                return start + member.count
            }
            return nil
        }
    }

    private struct Parts {
        var header: Range<Int>
        var payload: Range<Int>
        var signature: Range<Int>
    }

    private static func parts(_ compact: RawSpan) throws(SealingError) -> Parts {
        let dots = compact.withUnsafeBytes { bytes in bytes.indices.filter { bytes[$0] == 0x2e } }
        guard compact.byteCount <= JSONWebSignature.bytesMax, dots.count == 2 else {
            throw SealingError(.badDocument, "not a compact JWS")
        }
        return Parts(
            header: 0..<dots[0], payload: dots[0] + 1..<dots[1], signature: dots[1] + 1..<compact.byteCount)
    }

    private static func decode(_ text: RawSpan) throws(SealingError) -> [UInt8] {
        let text = text.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
        guard let bytes = Base64.decodeURL(text) else { throw SealingError(.badDocument, "not base64url") }
        return bytes
    }
}
