// ECPrivateKey: key pairs that sign and agree.

import COpenSSL

/// A key pair on P-256 or P-384. Never printed; wiped when it goes. With `SecureHeap` on, the scalar stands in locked
/// memory that no core dump shows.
public final class ECPrivateKey: Sendable, CustomReflectable {
    public let publicKey: ECPublicKey
    private let handle: ECKeyHandle

    private init(_ handle: ECKeyHandle) throws(CryptographyError) {
        self.handle = handle
        publicKey = try handle.publicKey()
    }

    public convenience init(generating curve: EllipticCurve) throws(CryptographyError) {
        try self.init(ECKeyHandle(generating: curve))
    }

    /// From a private scalar, big-endian, `curve.coordinateBytes` long.
    public convenience init(_ curve: EllipticCurve, scalar: RawSpan) throws(CryptographyError) {
        try self.init(ECKeyHandle(curve, scalar: scalar))
    }

    public var customMirror: Mirror { Mirror(self, children: [:] as KeyValuePairs<String, Any>) }

    public var curve: EllipticCurve { publicKey.curve }

    /// ECDSA over the curve's digest of `message`: r and s, `curve.coordinateBytes` each (ES256, ES384 of RFC 7518).
    public func sign(_ message: RawSpan) throws(CryptographyError) -> [UInt8] {
        let digest = try curve.digest.digest(message)
        guard let pair = unsafe ECDSA_do_sign(digest, Int32(digest.count), handle.key) else {
            throw CryptographyError(.library, "the signature could not be made")
        }
        defer { unsafe ECDSA_SIG_free(pair) }
        let width = curve.coordinateBytes
        var result = [UInt8](repeating: 0, count: 2 * width)
        let isWritten = unsafe result.withUnsafeMutableBufferPointer { buffer in
            let start = buffer.baseAddress
            return unsafe BN_bn2binpad(ECDSA_SIG_get0_r(pair), start, Int32(width)) == width
                && BN_bn2binpad(ECDSA_SIG_get0_s(pair), start.map { unsafe $0 + width }, Int32(width)) == width
        }
        guard isWritten else { throw CryptographyError(.library, "the signature could not be encoded") }
        return result
    }

    public func sign(_ message: [UInt8]) throws(CryptographyError) -> [UInt8] { unsafe try sign(message.span.bytes) }

    /// The shared secret Z: the x coordinate of ECDH, `curve.coordinateBytes` long.
    public func agree(with other: ECPublicKey, into output: inout MutableRawSpan) throws(CryptographyError) {
        guard other.curve == curve, output.byteCount == curve.coordinateBytes else {
            throw CryptographyError(.badKey, "the two keys are on different curves")
        }
        let peer = try ECKeyHandle(other)
        let count = unsafe output.withUnsafeMutableBytes { output in
            unsafe ECDH_compute_key(
                output.baseAddress, output.count, EC_KEY_get0_public_key(peer.key), handle.key, nil)
        }
        guard Int(count) == curve.coordinateBytes else {
            Wipe.bytes(&output)
            throw CryptographyError(.library, "the keys do not agree on a secret")
        }
    }

    /// The private scalar, big-endian, into the caller's protected memory.
    public func copyScalar(into output: inout MutableRawSpan) throws(CryptographyError) {
        guard output.byteCount == curve.coordinateBytes else {
            throw CryptographyError(.badInput, "a scalar of \(curve.rawValue) has \(curve.coordinateBytes) bytes")
        }
        let count = unsafe output.withUnsafeMutableBytes { output in
            unsafe BN_bn2binpad(
                EC_KEY_get0_private_key(handle.key), output.baseAddress?.assumingMemoryBound(to: UInt8.self),
                Int32(output.count))
        }
        guard Int(count) == curve.coordinateBytes else { throw CryptographyError(.badKey, "the key has no scalar") }
    }

    /// Lends libcrypto's general form, for certificates.
    func withPKey<R>(_ body: (OpaquePointer) throws(CryptographyError) -> R) throws(CryptographyError) -> R {
        unsafe try handle.withPKey(body)
    }
}

extension ECPrivateKey {
    private static let pemBytesMax = 16_384

    /// Reads a private key in PEM (PKCS #8, encrypted or not, or SEC 1).
    public convenience init(pem: RawSpan, passphrase: [UInt8]? = nil) throws(CryptographyError) {
        guard pem.byteCount > 0, pem.byteCount <= Self.pemBytesMax else {
            throw CryptographyError(.badKey, "not a private key in PEM")
        }
        let isEncrypted = unsafe pem.withUnsafeBytes { unsafe Self.isEncrypted($0) }
        guard !isEncrypted || passphrase != nil else {
            throw CryptographyError(.badPassphrase, "the key is protected by a passphrase")
        }
        let general = unsafe pem.withUnsafeBytes { bytes in
            guard let bio = unsafe penstock_memory_bio(bytes.baseAddress, Int32(bytes.count)) else {
                return unsafe nil as OpaquePointer?
            }
            defer { unsafe BIO_free(bio) }
            // Ends with a zero byte, as libcrypto's default callback expects.
            var text = (passphrase ?? []) + [0]
            defer { Wipe.array(&text) }
            return unsafe text.withUnsafeMutableBytes { text in
                unsafe PEM_read_bio_PrivateKey(bio, nil, nil, text.baseAddress)
            }
        }
        guard let general = unsafe general else {
            ERR_clear_error()
            guard isEncrypted else { throw CryptographyError(.badKey, "not a private key in PEM") }
            throw CryptographyError(.badPassphrase, "the passphrase does not open the key")
        }
        defer { unsafe EVP_PKEY_free(general) }
        unsafe try self.init(ECKeyHandle(adoptingFrom: general))
    }

    private static func isEncrypted(_ pem: UnsafeRawBufferPointer) -> Bool {
        let text = unsafe String(decoding: pem.prefix(2_048), as: UTF8.self)
        return text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
    }

    /// PKCS #8 in PEM, encrypted with AES-256-CBC and PBKDF2 when there is a passphrase. Lent and wiped afterwards.
    public func withPEM<R>(passphrase: [UInt8]? = nil, _ body: (RawSpan) throws -> R) throws -> R {
        guard let bio = unsafe penstock_memory_bio(nil, 0) else {
            throw CryptographyError(.library, "no memory for a key")
        }
        // A secure memory BIO: its buffer is wiped when it is freed.
        defer { unsafe BIO_free(bio) }
        let isWritten = unsafe try withPKey { key throws(CryptographyError) in
            guard let passphrase else {
                return unsafe PEM_write_bio_PKCS8PrivateKey(bio, key, nil, nil, 0, nil, nil) == 1
            }
            return unsafe passphrase.withUnsafeBufferPointer { text in
                unsafe PEM_write_bio_PKCS8PrivateKey(
                    bio, key, EVP_aes_256_cbc(),
                    UnsafeMutableRawPointer(mutating: text.baseAddress)?.assumingMemoryBound(to: CChar.self),
                    Int32(text.count), nil, nil) == 1
            }
        }
        guard isWritten else { throw CryptographyError(.library, "the key could not be written") }
        var start: UnsafeMutablePointer<CChar>?
        let count = unsafe penstock_bio_bytes(bio, &start)
        guard let start = unsafe start else { throw CryptographyError(.library, "the key could not be written") }
        return try unsafe body(RawSpan(_unsafeStart: UnsafeRawPointer(start), byteCount: count))
    }
}

extension ECPublicKey {
    /// SubjectPublicKeyInfo in PEM.
    public func pem() throws(CryptographyError) -> String {
        let text = Base64.encode(try der())
        var lines = ["-----BEGIN PUBLIC KEY-----"]
        var rest = Substring(text)
        while !rest.isEmpty {
            lines.append(String(rest.prefix(64)))
            rest = rest.dropFirst(64)
        }
        return (lines + ["-----END PUBLIC KEY-----", ""]).joined(separator: "\n")
    }
}
