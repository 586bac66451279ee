// AESKeyWrap: RFC 3394 key wrapping with a 256-bit key.

import COpenSSL

/// AES key wrap (RFC 3394): the wrapped key is 8 bytes longer than the key.
public enum AESKeyWrap {
    public static let overheadBytes = 8

    public static func wrap(_ key: RawSpan, with wrapping: RawSpan) throws(CryptographyError) -> [UInt8] {
        var result = [UInt8](repeating: 0, count: key.byteCount + overheadBytes)
        var outputElements = result.mutableSpan
        var output = unsafe outputElements.mutableBytes
        guard run(key, with: wrapping, isWrapping: true, into: &output) else {
            throw CryptographyError(.badInput, "AES key wrap takes keys of 16 bytes or more, in units of 8")
        }
        return result
    }

    /// Unwraps into `output`, 8 bytes shorter than `wrapped`.
    public static func unwrap(
        _ wrapped: RawSpan, with wrapping: RawSpan, into output: inout MutableRawSpan
    ) throws(CryptographyError) {
        guard output.byteCount + overheadBytes == wrapped.byteCount,
            run(wrapped, with: wrapping, isWrapping: false, into: &output)
        else {
            Wipe.bytes(&output)
            throw CryptographyError(.notAuthentic, "the wrapped key does not verify: another key wrapped it")
        }
    }

    private static func run(
        _ input: RawSpan, with wrapping: RawSpan, isWrapping: Bool, into output: inout MutableRawSpan
    ) -> Bool {
        guard wrapping.byteCount == 32, input.byteCount >= 16, input.byteCount % 8 == 0, input.byteCount <= 4_096,
            let context = unsafe EVP_CIPHER_CTX_new()
        else { return false }
        defer { unsafe EVP_CIPHER_CTX_free(context) }
        unsafe EVP_CIPHER_CTX_set_flags(context, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW)
        // libcrypto may write a block more than the result while it works.
        var scratch = [UInt8](repeating: 0, count: input.byteCount + 16)
        defer { Wipe.array(&scratch) }
        var written: Int32 = 0
        let isDone = unsafe wrapping.withUnsafeBytes { key in
            unsafe input.withUnsafeBytes { input in
                let key = unsafe key.baseAddress?.assumingMemoryBound(to: UInt8.self)
                return unsafe EVP_CipherInit_ex(context, EVP_aes_256_wrap(), nil, key, nil, isWrapping ? 1 : 0) == 1
                    && EVP_CipherUpdate(
                        context, &scratch, &written, input.baseAddress?.assumingMemoryBound(to: UInt8.self),
                        Int32(input.count)) == 1
            }
        }
        guard isDone, Int(written) == output.byteCount else { return false }
        unsafe output.withUnsafeMutableBytes { output in
            for index in output.indices { unsafe output[index] = scratch[index] }
        }
        return true
    }
}
