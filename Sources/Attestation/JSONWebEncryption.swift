// JSONWebEncryption: flattened JWE (RFC 7516) with ECDH-ES+A256KW on P-256 and A256GCM, as RCAR uses it.

public import Cryptography
public import Sealing
public import SecureMemory

/// Seals a resource for a TEE's public key, and opens it there.
public enum JSONWebEncryption {
    static let contentKeyBytes = 32
    static let ciphertextBytesMax = 1 << 20

    /// Concat KDF (RFC 7518 4.6) with SHA-256, one round: a 256-bit key-wrapping key.
    private static func wrappingKey(
        _ own: ECPrivateKey, _ other: ECPublicKey, _ body: (RawSpan) throws -> Void
    ) throws {
        func framed(_ bytes: [UInt8]) -> [UInt8] { [0, 0, 0, UInt8(bytes.count)] + bytes }
        let tail = framed(Array(RCAR.keyAlgorithm.utf8)) + framed([]) + framed([]) + [0, 0, 1, 0]
        var input = try SecretBytes(byteCount: 4 + 32 + tail.count, mode: .bestEffort)
        try input.withMutableBytes { bytes in
            bytes.storeBytes(of: UInt32(1).bigEndian, toByteOffset: 0, as: UInt32.self)
            try bytes.withUnsafeMutableBytes { buffer in
                var secret = MutableRawSpan(_unsafeBytes: .init(rebasing: buffer[4..<36]))
                try own.agree(with: other, into: &secret)
                for (index, byte) in tail.enumerated() { buffer[36 + index] = byte }
            }
        }
        var digest = try input.withBytes { try DigestAlgorithm.sha256.digest($0) }
        defer { Wipe.array(&digest) }
        try body(digest.span.bytes)
    }

    /// - Returns: the flattened JSON, members as other key brokers write them, `protected` in the order that a reader who
    ///   encodes it again arrives at: alg, enc, epk with crv, kty, x, y.
    public static func seal(_ text: RawSpan, to recipient: ECPublicKey) throws -> JSONValue {
        let ephemeral = try ECPrivateKey(generating: recipient.curve)
        let key = ephemeral.publicKey
        let header =
            "{\"alg\":\"\(RCAR.keyAlgorithm)\",\"enc\":\"A256GCM\",\"epk\":{\"crv\":\"\(key.curve.rawValue)\","
            + "\"kty\":\"EC\",\"x\":\"\(Base64.encodeURL(key.x))\",\"y\":\"\(Base64.encodeURL(key.y))\"}}"
        let protected = Base64.encodeURL(Array(header.utf8))
        var contentKey = try SecretBytes(byteCount: contentKeyBytes, mode: .bestEffort)
        try contentKey.withMutableBytes { try SecureRandom.fill(&$0) }
        var wrapped: [UInt8] = []
        try wrappingKey(ephemeral, recipient) { wrapping in
            wrapped = try contentKey.withBytes { try AESKeyWrap.wrap($0, with: wrapping) }
        }
        let nonce = try SecureRandom.bytes(AES256GCM.nonceBytes)
        var sealed = [UInt8](repeating: 0, count: text.byteCount + AES256GCM.tagBytes)
        var span = sealed.mutableSpan
        var bytes = span.mutableBytes
        let cipher = try contentKey.withBytes { try AES256GCM(key: $0, .seal) }
        try cipher.seal(text, nonce: nonce.span.bytes, associatedData: Array(protected.utf8).span.bytes, into: &bytes)
        return [
            "protected": .string(protected), "encrypted_key": .string(Base64.encodeURL(wrapped)),
            "iv": .string(Base64.encodeURL(nonce)),
            "ciphertext": .string(Base64.encodeURL(Array(sealed.dropLast(AES256GCM.tagBytes)))),
            "tag": .string(Base64.encodeURL(Array(sealed.suffix(AES256GCM.tagBytes)))),
        ]
    }

    /// Opens a flattened JWE into protected memory. Only this algorithm is accepted; `protected` is used as it came.
    public static func open(_ value: JSONValue, with key: ECPrivateKey) throws -> ProtectedRegion {
        func refuse(_ text: String) -> AttestationError {
            AttestationError(.notAuthentic, "the released resource does not open: \(text)")
        }
        guard let members = value.object,
            Set(members.keys).isSubset(of: ["protected", "encrypted_key", "iv", "ciphertext", "tag", "aad"]),
            let protected = value["protected"]?.string, value["aad"] == nil
        else { throw refuse("it is no flattened JWE") }
        func bytes(_ name: String) throws -> [UInt8] {
            guard let bytes = value[name]?.string.flatMap(Base64.decodeURL) else {
                throw refuse("'\(name)' is not base64url")
            }
            return bytes
        }
        guard let headerBytes = Base64.decodeURL(protected), let header = try? JSONValue(parsing: headerBytes) else {
            throw refuse("'protected' is not JSON")
        }
        guard header["alg"]?.string == RCAR.keyAlgorithm, header["enc"]?.string == "A256GCM", header["zip"] == nil,
            header["crit"] == nil, let ephemeral = header["epk"]
        else {
            throw refuse(
                "its algorithm is \(header["alg"]?.string ?? "-") with \(header["enc"]?.string ?? "-"), "
                    + "only \(RCAR.keyAlgorithm) with A256GCM is accepted")
        }
        let (wrapped, nonce, tag) = (try bytes("encrypted_key"), try bytes("iv"), try bytes("tag"))
        let ciphertext = try bytes("ciphertext")
        guard wrapped.count == contentKeyBytes + AESKeyWrap.overheadBytes, nonce.count == AES256GCM.nonceBytes,
            tag.count == AES256GCM.tagBytes, ciphertext.count <= ciphertextBytesMax
        else { throw refuse("a part has the wrong length") }
        do {
            let sender = try JSONWebKey.publicKey(ephemeral)
            var contentKey = try SecretBytes(byteCount: contentKeyBytes)
            try wrappingKey(key, sender) { wrapping in
                try contentKey.withMutableBytes { output throws(CryptographyError) in
                    try AESKeyWrap.unwrap(wrapped.span.bytes, with: wrapping, into: &output)
                }
            }
            let region = try ProtectedRegion(byteCount: ciphertext.count, mode: .required, isSecret: true)
            let cipher = try contentKey.withBytes { try AES256GCM(key: $0, .open) }
            let sealed = ciphertext + tag
            try region.withMutableBytes { output throws(CryptographyError) in
                try cipher.open(
                    sealed.span.bytes, nonce: nonce.span.bytes, associatedData: Array(protected.utf8).span.bytes,
                    into: &output)
            }
            return region
        } catch let error as CryptographyError {
            throw refuse(error.message)
        } catch let error as SealingError {
            throw refuse(error.message)
        }
    }
}
