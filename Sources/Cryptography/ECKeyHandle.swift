// ECKeyHandle: one owner of a libcrypto EC key.

import COpenSSL

/// Owns an `EC_KEY`. A key is immutable once it is made, so that threads may share it for reading.
@safe final class ECKeyHandle: @unchecked Sendable {
    let key: OpaquePointer
    let curve: EllipticCurve

    /// Takes over `key`.
    private init(_ key: OpaquePointer, _ curve: EllipticCurve) {
        unsafe self.key = unsafe key
        self.curve = curve
    }

    deinit { unsafe EC_KEY_free(key) }

    /// A new key pair. The private scalar stands in libcrypto's secure heap when that is on.
    convenience init(generating curve: EllipticCurve) throws(CryptographyError) {
        guard let key = unsafe EC_KEY_new_by_curve_name(curve.identifier) else {
            throw CryptographyError(.library, "the curve \(curve.rawValue) is not available")
        }
        unsafe self.init(key, curve)
        guard unsafe EC_KEY_generate_key(key) == 1 else {
            throw CryptographyError(.library, "no key pair could be made")
        }
    }

    convenience init(_ publicKey: ECPublicKey) throws(CryptographyError) {
        guard let key = unsafe EC_KEY_new_by_curve_name(publicKey.curve.identifier) else {
            throw CryptographyError(.library, "the curve \(publicKey.curve.rawValue) is not available")
        }
        unsafe self.init(key, publicKey.curve)
        let x = unsafe BN_bin2bn(publicKey.x, Int32(publicKey.x.count), nil)
        let y = unsafe BN_bin2bn(publicKey.y, Int32(publicKey.y.count), nil)
        defer {
            unsafe BN_free(x)
            unsafe BN_free(y)
        }
        // Checks that the point lies on the curve.
        guard unsafe EC_KEY_set_public_key_affine_coordinates(key, x, y) == 1 else {
            throw CryptographyError(.badKey, "the point is not on \(publicKey.curve.rawValue)")
        }
    }

    /// A key pair from a private scalar, big-endian.
    convenience init(_ curve: EllipticCurve, scalar: RawSpan) throws(CryptographyError) {
        guard scalar.byteCount == curve.coordinateBytes, let key = unsafe EC_KEY_new_by_curve_name(curve.identifier)
        else { throw CryptographyError(.badKey, "a scalar of \(curve.rawValue) has \(curve.coordinateBytes) bytes") }
        unsafe self.init(key, curve)
        let isSet = unsafe scalar.withUnsafeBytes { bytes in
            guard let number = unsafe BN_secure_new() else { return false }
            defer { unsafe BN_clear_free(number) }
            unsafe BN_bin2bn(bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), Int32(bytes.count), number)
            guard unsafe EC_KEY_set_private_key(key, number) == 1, let group = unsafe EC_KEY_get0_group(key),
                let point = unsafe EC_POINT_new(group)
            else { return false }
            defer { unsafe EC_POINT_free(point) }
            return unsafe EC_POINT_mul(group, point, number, nil, nil, nil) == 1
                && EC_KEY_set_public_key(key, point) == 1 && EC_KEY_check_key(key) == 1
        }
        guard isSet else { throw CryptographyError(.badKey, "not a scalar of \(curve.rawValue)") }
    }

    /// Takes the EC key out of a general key, which stays its caller's.
    convenience init(adoptingFrom general: OpaquePointer) throws(CryptographyError) {
        guard let key = unsafe EVP_PKEY_get1_EC_KEY(general) else {
            ERR_clear_error()
            throw CryptographyError(.badKey, "not an elliptic-curve key; make one with `penstock model keygen`")
        }
        let identifier = unsafe EC_GROUP_get_curve_name(EC_KEY_get0_group(key))
        guard let curve = EllipticCurve(identifier: identifier), unsafe EC_KEY_check_key(key) == 1 else {
            unsafe EC_KEY_free(key)
            throw CryptographyError(.badKey, "the key is on another curve than P-256 and P-384")
        }
        unsafe self.init(key, curve)
    }

    func publicKey() throws(CryptographyError) -> ECPublicKey {
        let width = curve.coordinateBytes
        var bytes = [UInt8](repeating: 0, count: 1 + 2 * width)
        let group = unsafe EC_KEY_get0_group(key)
        let point = unsafe EC_KEY_get0_public_key(key)
        let count = unsafe EC_POINT_point2oct(
            group, point, POINT_CONVERSION_UNCOMPRESSED, &bytes, bytes.count, nil)
        guard count == bytes.count else { throw CryptographyError(.badKey, "the key has no public point") }
        return ECPublicKey(curve, checkedX: Array(bytes[1...width]), y: Array(bytes[(width + 1)...]))
    }

    /// Lends the key in libcrypto's general form.
    func withPKey<R>(_ body: (OpaquePointer) throws(CryptographyError) -> R) throws(CryptographyError) -> R {
        guard let general = unsafe EVP_PKEY_new() else { throw CryptographyError(.library, "no memory for a key") }
        defer { unsafe EVP_PKEY_free(general) }
        guard unsafe EVP_PKEY_set1_EC_KEY(general, key) == 1 else {
            throw CryptographyError(.library, "the key cannot be used")
        }
        return try unsafe body(general)
    }
}
