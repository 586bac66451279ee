// EllipticCurve: P-256 and P-384, their public keys and signatures.

import COpenSSL

/// The NIST curves in use: P-256 for key agreement with a key broker, P-384 for signatures and for wrapping.
public enum EllipticCurve: String, Sendable {
    case p256 = "P-256"
    case p384 = "P-384"

    /// Bytes of a coordinate and of a private scalar.
    public var coordinateBytes: Int { self == .p256 ? 32 : 48 }

    var identifier: Int32 { self == .p256 ? NID_X9_62_prime256v1 : NID_secp384r1 }
    /// The digest that ES256 and ES384 sign.
    var digest: DigestAlgorithm { self == .p256 ? .sha256 : .sha384 }

    init?(identifier: Int32) {
        switch identifier {
        case NID_X9_62_prime256v1: self = .p256
        case NID_secp384r1: self = .p384
        default: return nil
        }
    }
}

/// A point on its curve, as affine coordinates of the curve's width.
public struct ECPublicKey: Sendable, Hashable {
    public let curve: EllipticCurve
    /// Big-endian, `curve.coordinateBytes` each.
    public let x: [UInt8]
    public let y: [UInt8]

    /// Refuses a point that is not on the curve.
    public init(_ curve: EllipticCurve, x: [UInt8], y: [UInt8]) throws(CryptographyError) {
        guard x.count == curve.coordinateBytes, y.count == curve.coordinateBytes else {
            throw CryptographyError(
                .badKey, "a coordinate of \(curve.rawValue) has \(curve.coordinateBytes) bytes, not \(x.count)")
        }
        self.curve = curve
        self.x = x
        self.y = y
        _ = try ECKeyHandle(self)
    }

    /// For a point that libcrypto gave.
    init(_ curve: EllipticCurve, checkedX x: [UInt8], y: [UInt8]) {
        self.curve = curve
        self.x = x
        self.y = y
    }

    /// The uncompressed point: 04, x, y (SEC 1, 2.3.3).
    public var uncompressed: [UInt8] { [4] + x + y }

    public init(_ curve: EllipticCurve, uncompressed point: [UInt8]) throws(CryptographyError) {
        let width = curve.coordinateBytes
        guard point.count == 1 + 2 * width, point[0] == 4 else {
            throw CryptographyError(.badKey, "not an uncompressed point of \(curve.rawValue)")
        }
        try self.init(curve, x: Array(point[1...width]), y: Array(point[(width + 1)...]))
    }

    /// Reads a SubjectPublicKeyInfo (RFC 5480) in DER.
    public init(der: [UInt8]) throws(CryptographyError) {
        guard let length = Int(exactly: der.count), length <= 1_024 else {
            throw CryptographyError(.badKey, "a public key of \(der.count) bytes is too long")
        }
        let key = unsafe der.withUnsafeBufferPointer { buffer in
            var next = buffer.baseAddress
            let key = unsafe d2i_PUBKEY(nil, &next, length)
            // Bytes behind the key would let two texts name one key.
            if unsafe next != buffer.baseAddress.map({ unsafe $0 + length }) {
                unsafe EVP_PKEY_free(key)
                return unsafe nil as OpaquePointer?
            }
            return unsafe key
        }
        guard let key = unsafe key else { throw CryptographyError(.badKey, "not a public key in DER") }
        defer { unsafe EVP_PKEY_free(key) }
        self = unsafe try ECKeyHandle(adoptingFrom: key).publicKey()
    }

    /// Reads `-----BEGIN PUBLIC KEY-----`.
    public init(pem: String) throws(CryptographyError) {
        let bytes = Array(pem.utf8)
        guard bytes.count <= 16_384 else { throw CryptographyError(.badKey, "not a public key in PEM") }
        // The BIO does not copy the text: it is read and gone while the bytes are lent.
        let key = unsafe bytes.withUnsafeBufferPointer { buffer in
            guard let bio = unsafe penstock_memory_bio(buffer.baseAddress, Int32(buffer.count)) else {
                return unsafe nil as OpaquePointer?
            }
            defer { unsafe BIO_free(bio) }
            return unsafe PEM_read_bio_PUBKEY(bio, nil, nil, nil)
        }
        guard let key = unsafe key else {
            throw CryptographyError(.badKey, "not a public key in PEM: it begins with -----BEGIN PUBLIC KEY-----")
        }
        defer { unsafe EVP_PKEY_free(key) }
        self = unsafe try ECKeyHandle(adoptingFrom: key).publicKey()
    }

    /// SubjectPublicKeyInfo in DER.
    public func der() throws(CryptographyError) -> [UInt8] {
        let handle = try ECKeyHandle(self)
        return unsafe try handle.withPKey { key throws(CryptographyError) in
            let count = unsafe i2d_PUBKEY(key, nil)
            guard count > 0 else { throw CryptographyError(.library, "the public key cannot be encoded") }
            var result = [UInt8](repeating: 0, count: Int(count))
            unsafe result.withUnsafeMutableBufferPointer { buffer in
                var next = buffer.baseAddress
                _ = unsafe i2d_PUBKEY(key, &next)
            }
            return result
        }
    }

    /// Whether `signature` (r and s, `curve.coordinateBytes` each, as JWS has them) signs `message`.
    public func verifies(_ signature: [UInt8], _ message: RawSpan) -> Bool {
        let width = curve.coordinateBytes
        guard signature.count == 2 * width, let handle = try? ECKeyHandle(self),
            let digest = try? curve.digest.digest(message), let pair = unsafe ECDSA_SIG_new()
        else { return false }
        defer { unsafe ECDSA_SIG_free(pair) }
        let r = unsafe BN_bin2bn(signature, Int32(width), nil)
        let s = unsafe signature.withUnsafeBufferPointer { buffer in
            unsafe BN_bin2bn(buffer.baseAddress.map { unsafe $0 + width }, Int32(width), nil)
        }
        // The pair owns both numbers from here on.
        guard unsafe ECDSA_SIG_set0(pair, r, s) == 1 else { return false }
        return unsafe ECDSA_do_verify(digest, Int32(digest.count), pair, handle.key) == 1
    }

    public func verifies(_ signature: [UInt8], _ message: [UInt8]) -> Bool {
        unsafe verifies(signature, message.span.bytes)
    }
}
