// HKDF: key derivation from HMAC, and the digests that go with it.

import COpenSSL

/// The SHA-2 digests that signatures and derivations use.
public enum DigestAlgorithm: Sendable {
    case sha256, sha384, sha512

    public var byteCount: Int {
        switch self {
        case .sha256: 32
        case .sha384: 48
        case .sha512: 64
        }
    }

    var method: OpaquePointer? {
        switch self {
        case .sha256: unsafe EVP_sha256()
        case .sha384: unsafe EVP_sha384()
        case .sha512: unsafe EVP_sha512()
        }
    }

    /// Hash of one message.
    public func digest(_ message: RawSpan) throws(CryptographyError) -> [UInt8] {
        var result = [UInt8](repeating: 0, count: byteCount)
        let isDone = unsafe message.withUnsafeBytes { message in
            unsafe EVP_Digest(message.baseAddress, message.count, &result, nil, method, nil) == 1
        }
        guard isDone else { throw CryptographyError(.library, "the digest is not available") }
        return result
    }

    public func digest(_ message: [UInt8]) throws(CryptographyError) -> [UInt8] {
        unsafe try digest(message.span.bytes)
    }
}

/// HKDF (RFC 5869). Outputs go into the caller's memory; what is in between is wiped.
public enum HKDF {
    /// PRK = HMAC(salt, secret); `output` has the digest's length.
    public static func extract(
        _ algorithm: DigestAlgorithm, salt: [UInt8], secret: RawSpan, into output: inout MutableRawSpan
    ) throws(CryptographyError) {
        guard output.byteCount == algorithm.byteCount else {
            throw CryptographyError(.badInput, "HKDF-Extract gives \(algorithm.byteCount) bytes")
        }
        let key = salt.isEmpty ? [UInt8](repeating: 0, count: algorithm.byteCount) : salt
        let isDone = unsafe secret.withUnsafeBytes { secret in
            unsafe output.withUnsafeMutableBytes { output in
                unsafe HMAC(
                    algorithm.method, key, Int32(key.count), secret.baseAddress?.assumingMemoryBound(to: UInt8.self),
                    secret.count, output.baseAddress?.assumingMemoryBound(to: UInt8.self), nil) != nil
            }
        }
        guard isDone else { throw CryptographyError(.library, "HMAC is not available") }
    }

    /// `output` is filled with HKDF-Expand(prk, info), at most 255 digests.
    public static func expand(
        _ algorithm: DigestAlgorithm, key: RawSpan, info: [UInt8], into output: inout MutableRawSpan
    ) throws(CryptographyError) {
        let size = algorithm.byteCount
        let count = output.byteCount
        guard count <= 255 * size else { throw CryptographyError(.badInput, "HKDF-Expand gives at most 255 digests") }
        var block = [UInt8](repeating: 0, count: size)
        var message: [UInt8] = []
        message.reserveCapacity(size + info.count + 1)
        defer {
            Wipe.array(&block)
            Wipe.array(&message)
        }
        var done = 0
        var number: UInt8 = 1
        while done < count {
            // The capacity is kept, so no copy of a block is left behind in freed memory.
            message.removeAll(keepingCapacity: true)
            if number > 1 { message += block }
            message += info
            message.append(number)
            let isDone = unsafe key.withUnsafeBytes { key in
                unsafe HMAC(
                    algorithm.method, key.baseAddress, Int32(key.count), message, message.count, &block, nil) != nil
            }
            guard isDone else { throw CryptographyError(.library, "HMAC is not available") }
            let part = min(size, count - done)
            unsafe output.withUnsafeMutableBytes { output in
                for index in 0..<part { unsafe output[done + index] = block[index] }
            }
            done += part
            number &+= 1
        }
    }
}
