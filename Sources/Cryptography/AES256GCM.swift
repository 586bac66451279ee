// AES256GCM: authenticated encryption straight from and into the caller's memory.

import COpenSSL

/// AES-256-GCM (NIST SP 800-38D) with one key, 12-byte nonces and 16-byte tags. One thread at a time uses an instance.
///
/// Output goes where the caller says, so that a plaintext never stands in memory that nobody locks. The key schedule is
/// wiped when the instance goes.
@safe public final class AES256GCM {
    public static let keyBytes = 32
    public static let nonceBytes = 12
    public static let tagBytes = 16

    public enum Direction: Sendable { case seal, open }

    private let context: OpaquePointer
    private let direction: Direction

    public init(key: RawSpan, _ direction: Direction) throws(CryptographyError) {
        guard key.byteCount == Self.keyBytes else {
            throw CryptographyError(.badKey, "an AES-256 key has 32 bytes, this one \(key.byteCount)")
        }
        guard let context = unsafe EVP_CIPHER_CTX_new() else { throw Self.failed }
        unsafe self.context = unsafe context
        self.direction = direction
        let isReady = unsafe key.withUnsafeBytes { key in
            let bytes = unsafe key.baseAddress?.assumingMemoryBound(to: UInt8.self)
            return unsafe EVP_CipherInit_ex(
                context, EVP_aes_256_gcm(), nil, bytes, nil, direction == .seal ? 1 : 0) == 1
        }
        guard isReady else { throw Self.failed }
    }

    deinit { unsafe EVP_CIPHER_CTX_free(context) }

    private static var failed: CryptographyError { CryptographyError(.library, "AES-256-GCM is not available") }

    /// Decrypts `sealed` (ciphertext and tag) into `output`, which has exactly the ciphertext's length. On a wrong tag the
    /// output is wiped.
    public func open(
        _ sealed: RawSpan, nonce: RawSpan, associatedData: RawSpan? = nil, into output: inout MutableRawSpan
    ) throws(CryptographyError) {
        let count = sealed.byteCount - Self.tagBytes
        guard count >= 0, count == output.byteCount, direction == .open else {
            throw CryptographyError(.badInput, "a sealed text of \(sealed.byteCount) bytes does not fit its place")
        }
        try begin(nonce, associatedData)
        // All pointers are used within these calls only.
        let isAuthentic = unsafe sealed.withUnsafeBytes { input in
            unsafe output.withUnsafeMutableBytes { output in
                guard unsafe update(input.baseAddress, count, output.baseAddress) else { return false }
                let tag = unsafe input.baseAddress.map { unsafe $0 + count }
                var rest: Int32 = 0
                var none: UInt8 = 0
                return unsafe penstock_gcm_set_tag(context, Int32(Self.tagBytes), tag) == 1
                    && EVP_DecryptFinal_ex(context, &none, &rest) == 1
            }
        }
        guard isAuthentic else {
            Wipe.bytes(&output)
            throw CryptographyError(.notAuthentic, "the authentication tag does not match")
        }
    }

    /// Encrypts into `output`: ciphertext and tag, 16 bytes more than the text.
    public func seal(
        _ text: RawSpan, nonce: RawSpan, associatedData: RawSpan? = nil, into output: inout MutableRawSpan
    ) throws(CryptographyError) {
        guard output.byteCount == text.byteCount + Self.tagBytes, direction == .seal else {
            throw CryptographyError(.badInput, "the place for a sealed text must be 16 bytes longer than the text")
        }
        try begin(nonce, associatedData)
        let isSealed = unsafe text.withUnsafeBytes { input in
            unsafe output.withUnsafeMutableBytes { output in
                guard unsafe update(input.baseAddress, input.count, output.baseAddress) else { return false }
                let tag = unsafe output.baseAddress.map { unsafe $0 + input.count }
                var rest: Int32 = 0
                var none: UInt8 = 0
                return unsafe EVP_EncryptFinal_ex(context, &none, &rest) == 1
                    && penstock_gcm_get_tag(context, Int32(Self.tagBytes), tag) == 1
            }
        }
        guard isSealed else { throw Self.failed }
    }

    private func begin(_ nonce: RawSpan, _ associatedData: RawSpan?) throws(CryptographyError) {
        guard nonce.byteCount == Self.nonceBytes else {
            throw CryptographyError(.badInput, "a GCM nonce has 12 bytes, this one \(nonce.byteCount)")
        }
        let isReady = unsafe nonce.withUnsafeBytes { nonce in
            let bytes = unsafe nonce.baseAddress?.assumingMemoryBound(to: UInt8.self)
            return unsafe EVP_CipherInit_ex(context, nil, nil, nil, bytes, -1) == 1
        }
        guard isReady else { throw Self.failed }
        guard let associatedData, associatedData.byteCount > 0 else { return }
        let isTaken = unsafe associatedData.withUnsafeBytes { data in
            unsafe update(data.baseAddress, data.count, nil)
        }
        guard isTaken else { throw Self.failed }
    }

    private func update(_ input: UnsafeRawPointer?, _ count: Int, _ output: UnsafeMutableRawPointer?) -> Bool {
        guard count > 0 else { return true }
        guard let length = Int32(exactly: count) else { return false }
        var written: Int32 = 0
        return unsafe EVP_CipherUpdate(
            context, output?.assumingMemoryBound(to: UInt8.self), &written,
            input?.assumingMemoryBound(to: UInt8.self), length) == 1
    }
}
