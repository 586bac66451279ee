// SecureRandom: libcrypto's random generator.

import COpenSSL

/// Cryptographically strong random bytes.
public enum SecureRandom {
    /// Fills memory, for instance a key's own protected memory.
    public static func fill(_ bytes: inout MutableRawSpan) throws(CryptographyError) {
        let isFilled = unsafe bytes.withUnsafeMutableBytes { buffer in
            guard let count = Int32(exactly: buffer.count) else { return false }
            guard count > 0 else { return true }
            return unsafe RAND_bytes(buffer.baseAddress?.assumingMemoryBound(to: UInt8.self), count) == 1
        }
        guard isFilled else { throw CryptographyError(.library, "the random generator gave no bytes") }
    }

    public static func bytes(_ count: Int) throws(CryptographyError) -> [UInt8] {
        var result = [UInt8](repeating: 0, count: count)
        var spanElements = result.mutableSpan
        var span = unsafe spanElements.mutableBytes
        try fill(&span)
        return result
    }
}

/// Overwrites memory so that the compiler cannot leave it out.
public enum Wipe {
    public static func bytes(_ bytes: inout MutableRawSpan) {
        unsafe bytes.withUnsafeMutableBytes { unsafe OPENSSL_cleanse($0.baseAddress, $0.count) }
    }

    public static func array(_ array: inout [UInt8]) {
        var spanElements = array.mutableSpan
        var span = unsafe spanElements.mutableBytes
        bytes(&span)
    }

    /// Comparison in a time that does not depend on where the two differ.
    public static func isEqual(_ left: RawSpan, _ right: RawSpan) -> Bool {
        guard left.byteCount == right.byteCount else { return false }
        return unsafe left.withUnsafeBytes { first in
            unsafe right.withUnsafeBytes { second in
                unsafe CRYPTO_memcmp(first.baseAddress, second.baseAddress, first.count) == 0
            }
        }
    }
}
