// SHA256: libcrypto's SHA-256, streaming, for identities and contract hashes.

import COpenSSL

/// An incremental SHA-256 (FIPS 180-4) that allocates nothing, for the hot path of event identities.
///
/// libcrypto's low-level context is used on purpose: the EVP interface allocates and looks the algorithm up, which costs
/// several times the hash of a short message.
public struct SHA256: ~Copyable {
    private var context = SHA256_CTX()

    public init() {
        unsafe SHA256_Init(&context)
    }

    /// Hashes of one message.
    public static func digest(of bytes: RawSpan) -> SHA256Digest {
        var hash = SHA256()
        hash.update(bytes)
        return hash.finish()
    }

    public static func digest(of bytes: [UInt8]) -> SHA256Digest { unsafe digest(of: bytes.span.bytes) }

    public mutating func update(_ bytes: RawSpan) {
        // The pointer lives for the duration of the call only.
        unsafe bytes.withUnsafeBytes { buffer in
            guard buffer.count > 0 else { return }
            _ = unsafe SHA256_Update(&context, buffer.baseAddress, buffer.count)
        }
    }

    public mutating func update(_ bytes: [UInt8]) { unsafe update(bytes.span.bytes) }

    /// Eight bytes, little-endian: used to frame variable-length parts by their length.
    public mutating func update(_ value: UInt64) {
        unsafe withUnsafeBytes(of: value.littleEndian) { buffer in
            _ = unsafe SHA256_Update(&context, buffer.baseAddress, buffer.count)
        }
    }

    public consuming func finish() -> SHA256Digest {
        var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        // SHA256_Final writes exactly 32 bytes, the size of the four words.
        unsafe withUnsafeMutableBytes(of: &words) { buffer in
            _ = unsafe SHA256_Final(buffer.bindMemory(to: UInt8.self).baseAddress, &context)
        }
        return SHA256Digest(
            words: (words.0.bigEndian, words.1.bigEndian, words.2.bigEndian, words.3.bigEndian))
    }
}
