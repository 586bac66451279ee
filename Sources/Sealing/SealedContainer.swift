// SealedContainer: a container that was read and verified; nothing of it is decrypted yet.

public import Cryptography
import FoundationEssentials
import Glibc
public import SecureMemory

/// A sealed model whose frame, signature and lineage are verified. Opening it needs the data key.
public final class SealedContainer {
    public let path: String
    public let header: ContainerHeader
    public let frame: ContainerFrame
    public let recipients: [Recipient]
    private let verifiedSigner: ECPublicKey?
    /// SHA-256 of the header's bytes: the payload is bound to it.
    public let headerSHA256: [UInt8]
    private let file: SourceFile

    /// Reads and verifies everything that needs no data key.
    public convenience init(path: String, trusting owners: TrustedOwners) throws {
        try self.init(path) { header, bytes, signatures throws(SealingError) in
            try owners.verify(header, bytes, signatures)
        }
    }

    /// Reads a container to show what it says of itself; the signature is NOT verified.
    public convenience init(inspecting path: String) throws {
        try self.init(path) { _, _, _ in nil }
    }

    private init(
        _ path: String,
        verify: (ContainerHeader, [UInt8], [HeaderSignature]) throws(SealingError) -> ECPublicKey?
    ) throws {
        file = try SourceFile(path: path, what: "the sealed model")
        frame = try ContainerFrame(reading: file)
        self.path = path
        do throws(SealingError) {
            header = try ContainerHeader(canonical: frame.header)
            recipients = try RecipientBlock.decode(frame.recipients)
            for case .kbs(let uri) in recipients where uri != header.release.uri {
                throw SealingError(.badRecipients, "a recipient names another key broker's place than the header")
            }
            verifiedSigner = try verify(header, frame.header, try HeaderSignature.decode(frame.signatures))
        } catch {
            throw SealingError(error.code, "\(path): \(error.message)")
        }
        headerSHA256 = try DigestAlgorithm.sha256.digest(frame.header)
        let payload = file.size - frame.payloadOffset
        guard payload == ChunkedEncryption.sealedBytes(Int(header.plaintextBytes)) else {
            throw SealingError(
                .truncated,
                "\(path): the payload has \(payload) bytes, the header's files need "
                    + "\(ChunkedEncryption.sealedBytes(Int(header.plaintextBytes))): the file was cut or added to")
        }
    }

    /// SHA-256 of a whole file, 64 hexadecimal digits.
    public static func fileDigest(_ path: String) throws -> String {
        let file = try SourceFile(path: path, what: "the sealed model")
        let hash = StreamingSHA256()
        var offset = 0
        while offset < file.size {
            let piece = try file.bytes(at: offset, count: min(ContainerWriter.pieceBytes, file.size - offset))
            hash.update(piece.span.bytes)
            offset += piece.count
        }
        try file.checkUnchanged()
        return hash.finish()
    }

    /// The key that signed the header, of a container that was verified.
    public var signer: ECPublicKey {
        get throws(SealingError) {
            guard let verifiedSigner else {
                throw SealingError(.untrusted, "\(path): the signature was not verified")
            }
            return verifiedSigner
        }
    }

    /// Whether the file begins with the mark of a sealed model.
    public static func isSealed(_ path: String) -> Bool {
        guard let file = try? SourceFile(path: path, what: "the model"), file.size >= 8 else { return false }
        return (try? file.bytes(at: 0, count: 8)) == ContainerFrame.magic
    }

    /// SHA-256 of the header, in hexadecimal digits.
    public var headerDigest: String { Hex.encode(headerSHA256) }

    /// Refuses a model outside its validity or below the floor.
    /// - Parameters:
    ///   - now: seconds since the Unix epoch.
    ///   - usage: what it is to be opened for.
    ///   - serialMin: the lowest serial that is still accepted.
    public func check(now: Int64, usage: SealedUsage, serialMin: Int64 = 0) throws(SealingError) {
        let title = "\(path): \(header.name) serial \(header.serial)"
        guard now >= header.validity.notBefore else {
            throw SealingError(
                .notYetValid, "\(title) is valid from \(header.validity.notBefore) (Unix time) on, now is \(now)")
        }
        guard now <= header.validity.notAfter else {
            throw SealingError(
                .expired,
                "\(title) was valid until \(header.validity.notAfter) (Unix time): ask its owner for a new one")
        }
        guard header.usage.allow.contains(usage) else {
            throw SealingError(
                .usageDenied, "\(title) may not be used for \(usage.rawValue): its owner did not allow it")
        }
        guard header.serial >= serialMin else {
            throw SealingError(.rollback, "\(title) is older than the oldest serial allowed, \(serialMin)")
        }
    }

    /// The data key from an `hpke` recipient, for the owner's tools and for escrow.
    public func dataKey(with key: ECPrivateKey) throws -> SecretBytes {
        _ = try signer
        let identifier = key.publicKey.keyID
        for case .hpke(let keyID, let sealed) in recipients where keyID == identifier {
            var result = try SecretBytes(byteCount: ChunkedEncryption.keyBytes)
            let info = RecipientBlock.info(headerSHA256: headerSHA256, keyID: keyID)
            do throws(CryptographyError) {
                try result.withMutableBytes { output throws(CryptographyError) in
                    try HPKE.open(sealed, with: key, info: info, into: &output)
                }
            } catch {
                throw SealingError(.wrongKey, "\(path): the recipient of \(keyID) does not open: \(error.message)")
            }
            return result
        }
        throw SealingError(
            .wrongKey,
            "\(path): the key \(identifier) is no recipient of this container; `penstock model inspect` lists them")
    }

    /// Decrypts into protected memory and verifies every file before anything is published.
    ///
    /// - Parameters:
    ///   - lockMode: of the memory for the model; the header may demand more.
    ///   - progress: bytes done and bytes in all.
    public func open(
        with key: borrowing SecretBytes, lockMode: LockMode, progress: (Int, Int) -> Void = { _, _ in }
    ) throws -> OpenedModel {
        _ = try signer
        let mode: LockMode = header.lockMode == .required ? .required : lockMode
        let total = Int(header.plaintextBytes)
        let arena = try ProtectedRegion(byteCount: total, mode: mode)
        let prefix = try file.bytes(at: frame.payloadOffset, count: ChunkedEncryption.prefixBytes)
        let opener = try key.withBytes { key in
            try ChunkedEncryption.Opener(key: key, prefix: prefix.span.bytes, context: headerSHA256)
        }
        let digests = ArenaDigests(header.files, arena: arena)
        let size = ChunkedEncryption.chunkBytes + AES256GCM.tagBytes
        let batch = 64
        var sealed = [UInt8](repeating: 0, count: batch * size)
        var offset = frame.payloadOffset + ChunkedEncryption.prefixBytes
        var chunk: UInt64 = 0
        var done = 0
        do {
            while offset < file.size {
                let count = min(sealed.count, file.size - offset)
                try sealed.withUnsafeMutableBytes { try file.read(at: offset, into: .init(rebasing: $0[..<count])) }
                var position = 0
                while position < count {
                    let length = min(size, count - position)
                    let plain = length - AES256GCM.tagBytes
                    try arena.withMutableBytes(at: done, count: plain) { output in
                        try opener.open(
                            sealed.span.bytes.extracting(position..<position + length), chunk: chunk, into: &output)
                    }
                    chunk += 1
                    done += plain
                    position += length
                }
                offset += count
                try digests.advance(to: done)
                progress(done, total)
            }
            try digests.finish()
            try file.checkUnchanged()
        } catch {
            digests.cancel()
            arena.wipe()
            guard let error = error as? SealingError else { throw error }
            throw SealingError(error.code, "\(path): \(error.message)")
        }
        arena.protect()
        return OpenedModel(header: header, arena: arena)
    }
}

/// SHA-256 over pieces, usable as a stored property and more than once.
struct StreamingSHA256 {
    private final class Box {
        var hash: SHA256? = SHA256()
    }
    private let box = Box()

    func update(_ bytes: RawSpan) { box.hash?.update(bytes) }

    /// The digest so far, in hexadecimal digits; begins anew.
    func finish() -> String {
        guard let hash = box.hash.take() else { return "" }
        box.hash = SHA256()
        return hash.finish().hexadecimal
    }
}

/// An opened model in protected, read-only memory. Wiped when the last reference goes.
public final class OpenedModel: Sendable {
    public let header: ContainerHeader
    private let arena: ProtectedRegion

    init(header: ContainerHeader, arena: ProtectedRegion) {
        self.header = header
        self.arena = arena
    }

    public var isLocked: Bool { arena.kind != .unlocked }

    /// Lends a file's bytes; nil when the model has no such file.
    public func withFile<R>(_ path: String, _ body: (RawSpan) throws -> R) throws -> R? {
        var offset = 0
        for file in header.files {
            if file.path == path {
                return try arena.withBytes { try body($0.extracting(offset..<offset + Int(file.size))) }
            }
            offset += Int(file.size)
        }
        return nil
    }

    /// A copy of a small file that is no secret of its own, such as a manifest.
    public func copy(of path: String, bytesMax: Int = 16 << 20) throws -> [UInt8]? {
        try withFile(path) { bytes in
            guard bytes.byteCount <= bytesMax else {
                throw SealingError(.badHeader, "the file '\(path)' has more than \(bytesMax) bytes")
            }
            return bytes.withUnsafeBytes { Array($0) }
        }
    }

    /// Overwrites the model now, whoever still holds it.
    public func wipe() { arena.wipe() }
}
