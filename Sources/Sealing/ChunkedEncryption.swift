// ChunkedEncryption: C2SP chunked-encryption v1 with SHA-512 and AES-256-GCM (Cobblestone-256).

import Cryptography
import SecureMemory

/// A message of any size in chunks of 16 KiB, each authenticated, none of which can be moved, dropped or added
/// (https://c2sp.org/chunked-encryption). Layout: salt (24), commitment (32), chunks with a 16-byte tag each; the last
/// chunk is always shorter than the others, perhaps empty.
public enum ChunkedEncryption {
    public static let keyBytes = 32
    public static let saltBytes = 24
    public static let commitmentBytes = 32
    public static let prefixBytes = saltBytes + commitmentBytes
    public static let chunkBytes = 16_384
    static let sealedChunkBytes = chunkBytes + AES256GCM.tagBytes
    private static let label = Array("c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM".utf8) + [0]

    /// Bytes of the sealed message.
    public static func sealedBytes(_ count: Int) -> Int {
        prefixBytes + count + (count / chunkBytes + 1) * AES256GCM.tagBytes
    }

    /// Bytes of the message in `sealed` bytes; nil when no message has that length.
    public static func plaintextBytes(_ sealed: Int) -> Int? {
        let rest = sealed - prefixBytes
        guard rest >= 0 else { return nil }
        let last = rest % sealedChunkBytes
        guard last >= AES256GCM.tagBytes else { return nil }
        return rest / sealedChunkBytes * chunkBytes + last - AES256GCM.tagBytes
    }

    /// The message's own key, base nonce and commitment. The input key is not needed afterwards.
    final class Keys {
        private let bytes: ProtectedRegion
        /// No secret without the key.
        private let baseNonce: [UInt8]
        let commitment: [UInt8]

        init(inputKey: RawSpan, salt: [UInt8], context: [UInt8]) throws {
            let bytes = try ProtectedRegion(byteCount: 76, mode: .bestEffort, isSecret: true)
            try bytes.withMutableBytes { output in
                try HKDF.expand(.sha512, key: inputKey, info: label + salt + context, into: &output)
            }
            baseNonce = bytes.withBytes { span in span.withUnsafeBytes { Array($0[32..<44]) } }
            commitment = bytes.withBytes { span in span.withUnsafeBytes { Array($0[44...]) } }
            self.bytes = bytes
        }

        func cipher(_ direction: AES256GCM.Direction) throws -> AES256GCM {
            try bytes.withBytes { try AES256GCM(key: $0.extracting(0..<32), direction) }
        }

        /// Base nonce XOR the chunk's number as a big-endian integer.
        func nonce(_ chunk: UInt64) -> [UInt8] {
            var nonce = baseNonce
            for index in 0..<8 { nonce[11 - index] ^= UInt8(truncatingIfNeeded: chunk >> UInt64(8 * index)) }
            return nonce
        }
    }

    /// Seals a message that comes in pieces. Feed it with `add`, end with `finish`.
    public final class Sealer {
        private let keys: Keys
        private let cipher: AES256GCM
        private let pending: ProtectedRegion
        private var pendingCount = 0
        private var chunk: UInt64 = 0
        private var sealed = [UInt8](repeating: 0, count: sealedChunkBytes)
        /// Salt and commitment; they come first.
        public let prefix: [UInt8]

        /// - Parameter salt: random unless a test vector names it.
        public init(key: RawSpan, context: [UInt8], salt: [UInt8]? = nil) throws {
            let salt = try salt ?? SecureRandom.bytes(saltBytes)
            keys = try Keys(inputKey: key, salt: salt, context: context)
            cipher = try keys.cipher(.seal)
            pending = try ProtectedRegion(byteCount: chunkBytes, mode: .bestEffort)
            prefix = salt + keys.commitment
        }

        /// Gives each chunk that is full to `output`.
        public func add(_ bytes: RawSpan, output: ([UInt8]) throws -> Void) throws {
            var offset = 0
            while offset < bytes.byteCount {
                let count = min(chunkBytes - pendingCount, bytes.byteCount - offset)
                pending.copy(bytes.extracting(offset..<offset + count), at: pendingCount)
                pendingCount += count
                offset += count
                if pendingCount == chunkBytes { try flush(output) }
            }
        }

        /// The last chunk, which is always short.
        public func finish(output: ([UInt8]) throws -> Void) throws { try flush(output) }

        private func flush(_ output: ([UInt8]) throws -> Void) throws {
            let count = pendingCount
            // Taken out while it is written to, and put back to keep its memory.
            var sealed: [UInt8] = []
            swap(&sealed, &self.sealed)
            defer { swap(&sealed, &self.sealed) }
            if sealed.count != count + AES256GCM.tagBytes {
                sealed = [UInt8](repeating: 0, count: count + AES256GCM.tagBytes)
            }
            let nonce = keys.nonce(chunk)
            try pending.withBytes { text in
                var target = sealed.mutableSpan
                var bytes = target.mutableBytes
                try cipher.seal(text.extracting(0..<count), nonce: nonce.span.bytes, into: &bytes)
            }
            try output(sealed)
            chunk += 1
            pendingCount = 0
        }
    }

    /// Opens chunks in order, each straight into the caller's memory.
    public final class Opener {
        private let keys: Keys
        private let cipher: AES256GCM

        /// Checks the commitment before anything is decrypted.
        public init(key: RawSpan, prefix: RawSpan, context: [UInt8]) throws {
            guard prefix.byteCount == prefixBytes else {
                throw SealingError(.truncated, "the payload ends within its first \(prefixBytes) bytes")
            }
            let bytes = prefix.withUnsafeBytes { Array($0) }
            keys = try Keys(inputKey: key, salt: Array(bytes[..<saltBytes]), context: context)
            let commitment = keys.commitment
            guard Wipe.isEqual(commitment.span.bytes, bytes.span.bytes.extracting(saltBytes..<prefixBytes)) else {
                throw SealingError(.wrongKey, "the key commitment does not match: this is not the container's data key")
            }
            cipher = try keys.cipher(.open)
        }

        /// Opens chunk number `chunk` into `output`, which has the chunk's length.
        public func open(_ sealed: RawSpan, chunk: UInt64, into output: inout MutableRawSpan) throws {
            let nonce = keys.nonce(chunk)
            do throws(CryptographyError) {
                try cipher.open(sealed, nonce: nonce.span.bytes, into: &output)
            } catch {
                guard error.code == .notAuthentic else { throw error }
                throw SealingError(.corrupt, "chunk \(chunk) of the payload was changed, moved or cut")
            }
        }
    }
}
