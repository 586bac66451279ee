// ContainerWriter: seals named files into a container, in bounded memory.

public import Cryptography
import FoundationEssentials
import Glibc
public import SecureMemory

/// A file that goes into a container.
public struct SealedInput {
    enum Source {
        case path(String)
        case bytes([UInt8])
    }

    /// Its name inside the container.
    public var name: String
    let source: Source

    /// A file on disk: read twice, in pieces.
    public init(name: String, path: String) {
        self.name = name
        source = .path(path)
    }

    /// Bytes in memory, for a model that was never on a disk.
    public init(name: String, bytes: [UInt8]) {
        self.name = name
        source = .bytes(bytes)
    }
}

/// What the owner decides about a model.
public struct SealingTerms: Sendable {
    public var name: String
    public var version: String
    public var serial: Int64
    public var owner: String
    public var validity: ContainerHeader.Validity
    public var usage: ContainerHeader.Usage
    public var policySHA256: String
    public var sampleAllowed: Bool
    public var lockMode: LockMode
    public var created: Int64
    public var parent: ContainerHeader.Parent?
    public var contract: String?
    /// Keys that can unwrap the data key besides the key broker.
    public var escrow: [ECPublicKey]

    public init(
        name: String, version: String, serial: Int64, owner: String, validity: ContainerHeader.Validity,
        usage: ContainerHeader.Usage, policySHA256: String, sampleAllowed: Bool = false,
        lockMode: LockMode = .bestEffort, created: Int64, parent: ContainerHeader.Parent? = nil,
        contract: String? = nil, escrow: [ECPublicKey] = []
    ) {
        self.name = name
        self.version = version
        self.serial = serial
        self.owner = owner
        self.validity = validity
        self.usage = usage
        self.policySHA256 = policySHA256
        self.sampleAllowed = sampleAllowed
        self.lockMode = lockMode
        self.created = created
        self.parent = parent
        self.contract = contract
        self.escrow = escrow
    }

    /// Where the key broker keeps the data key.
    public var releaseURI: String { "kbs:///\(owner)/dek/\(name)-\(serial)" }
}

public enum ContainerWriter {
    /// Bytes read at once.
    static let pieceBytes = 1 << 20

    /// Seals files and writes the container beside `path`, renamed into place when it is complete.
    ///
    /// Two passes over the inputs: digests for the header, then encryption; an input that changes in between is refused.
    /// - Parameters:
    ///   - key: the data key; whoever calls hands it to the key broker.
    ///   - signer: the owner's key, or a delegate's for a fine-tuned model.
    ///   - progress: bytes done and bytes in all, of both passes.
    /// - Returns: the header as it was signed.
    @discardableResult
    public static func seal(
        _ inputs: [SealedInput], terms: SealingTerms, key: borrowing SecretBytes, signer: ECPrivateKey,
        to path: String, progress: (Int, Int) -> Void = { _, _ in }
    ) throws -> ContainerHeader {
        let sources = try inputs.sorted { $0.name < $1.name }.map { try InputReader($0) }
        let total = 2 * sources.reduce(0) { $0 + $1.size }
        var done = 0
        func advance(_ count: Int) {
            done += count
            progress(done, total)
        }
        let files = try sources.map { source in
            let hash = StreamingSHA256()
            try source.forEachPiece {
                hash.update($0)
                advance($0.byteCount)
            }
            return ContainerHeader.File(path: source.name, size: Int64(source.size), sha256: hash.finish())
        }
        let header = ContainerHeader(
            name: terms.name, version: terms.version, serial: terms.serial,
            kind: terms.parent == nil ? .base : .finetuned, contract: terms.contract, parent: terms.parent,
            owner: terms.owner,
            keyID: signer.publicKey.keyID, files: files, validity: terms.validity, usage: terms.usage,
            release: .init(
                policySHA256: terms.policySHA256, uri: terms.releaseURI, sampleAllowed: terms.sampleAllowed),
            lockMode: terms.lockMode, created: terms.created)
        let frame = try frame(header, terms: terms, key: key, signer: signer)
        let digest = try DigestAlgorithm.sha256.digest(frame.header)
        try OutputFile.write(to: path) { output in
            try output.write(frame.encoded())
            let sealer = try key.withBytes { try ChunkedEncryption.Sealer(key: $0, context: digest) }
            try output.write(sealer.prefix)
            for (source, file) in zip(sources, files) {
                // The second pass hashes again: the header must describe exactly what is encrypted.
                let hash = StreamingSHA256()
                try source.forEachPiece { piece in
                    hash.update(piece)
                    try sealer.add(piece) { try output.write($0) }
                    advance(piece.byteCount)
                }
                guard hash.finish() == file.sha256 else {
                    throw SealingError(
                        .changedWhileRead, "\(source.place) was changed while it was sealed: seal it again")
                }
            }
            try sealer.finish { try output.write($0) }
        }
        return header
    }

    private static func frame(
        _ header: ContainerHeader, terms: SealingTerms, key: borrowing SecretBytes, signer: ECPrivateKey
    ) throws -> ContainerFrame {
        let bytes = header.json.canonical
        // What we write must be what a reader accepts.
        guard try ContainerHeader(canonical: bytes) == header else {
            throw SealingError(.badHeader, "the header does not survive its own encoding")
        }
        let isDelegate = terms.parent != nil
        let signature = try HeaderSignature.sign(bytes, with: signer, isDelegate: isDelegate)
        let recipients = try recipients(bytes, terms: terms, key: key)
        return ContainerFrame(
            header: bytes, signatures: HeaderSignature.encode([signature]),
            recipients: RecipientBlock.encode(recipients))
    }

    private static func recipients(
        _ header: [UInt8], terms: SealingTerms, key: borrowing SecretBytes
    ) throws -> [Recipient] {
        var result = [Recipient.kbs(uri: terms.releaseURI)]
        for recipient in terms.escrow {
            result.append(try wrap(key, to: recipient, headerSHA256: DigestAlgorithm.sha256.digest(header)))
        }
        return result
    }

    static func wrap(
        _ key: borrowing SecretBytes, to recipient: ECPublicKey, headerSHA256: [UInt8]
    ) throws -> Recipient {
        let keyID = recipient.keyID
        let info = RecipientBlock.info(headerSHA256: headerSHA256, keyID: keyID)
        return .hpke(keyID: keyID, sealed: try key.withBytes { try HPKE.seal($0, to: recipient, info: info) })
    }

    /// Writes `container` again with other recipients; header, signatures and payload stay byte for byte.
    /// - Parameters:
    ///   - key: the data key, taken from a recipient or the key broker.
    ///   - escrow: who can unwrap it from now on, besides the key broker.
    public static func rewrap(
        _ container: SealedContainer, key: borrowing SecretBytes, escrow: [ECPublicKey], to path: String
    ) throws {
        var recipients = [Recipient.kbs(uri: container.header.release.uri)]
        for recipient in escrow {
            recipients.append(try wrap(key, to: recipient, headerSHA256: container.headerSHA256))
        }
        var frame = container.frame
        frame.recipients = RecipientBlock.encode(recipients)
        let source = try SourceFile(path: container.path, what: "the sealed model")
        try OutputFile.write(to: path) { output in
            try output.write(frame.encoded())
            var offset = container.frame.payloadOffset
            while offset < source.size {
                let count = min(pieceBytes, source.size - offset)
                try output.write(try source.bytes(at: offset, count: count))
                offset += count
            }
            try source.checkUnchanged()
        }
    }
}

/// Reads an input in pieces, as often as asked.
private final class InputReader {
    let name: String
    let size: Int
    let place: String
    private let input: SealedInput
    private let file: SourceFile?

    init(_ input: SealedInput) throws {
        guard ContainerHeader.isPlain(input.name) else {
            throw SealingError(.badHeader, "'\(input.name)' cannot be a file's name in a container")
        }
        name = input.name
        self.input = input
        switch input.source {
        case .path(let path):
            let opened = try SourceFile(path: path, what: "the file to seal")
            file = opened
            size = opened.size
            place = path
        case .bytes(let bytes):
            file = nil
            size = bytes.count
            place = input.name
        }
    }

    func forEachPiece(_ body: (RawSpan) throws -> Void) throws {
        if case .bytes(let bytes) = input.source { return try body(bytes.span.bytes) }
        guard let file else { return }
        let buffer = try ProtectedRegion(byteCount: min(max(size, 1), ContainerWriter.pieceBytes), mode: .bestEffort)
        var offset = 0
        while offset < size {
            let count = min(buffer.byteCount, size - offset)
            try buffer.withMutableBytes { span in
                try span.withUnsafeMutableBytes { try file.read(at: offset, into: .init(rebasing: $0[..<count])) }
            }
            try buffer.withBytes { try body($0.extracting(0..<count)) }
            offset += count
        }
        try file.checkUnchanged()
    }
}

/// A file that appears whole or not at all.
public final class OutputFile {
    private let descriptor: Int32
    private let path: String
    private var pending: [UInt8] = []
    private static let bufferBytes = 1 << 20

    private init(_ path: String, mode: mode_t) throws {
        self.path = path
        descriptor = Glibc.open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        guard descriptor >= 0 else {
            throw SealingError(.cannotWrite, "\(path) cannot be written: \(String(cString: strerror(errno)))")
        }
    }

    deinit { close(descriptor) }

    /// Writes beside `path`, syncs, and renames into place; leaves nothing behind when `body` throws.
    public static func write(to path: String, mode: UInt32 = 0o644, _ body: (OutputFile) throws -> Void) throws {
        let temporary = "\(path).\(getpid()).new"
        unlink(temporary)
        do {
            let output = try OutputFile(temporary, mode: mode)
            try body(output)
            try output.flush()
            guard fsync(output.descriptor) == 0, rename(temporary, path) == 0 else {
                throw SealingError(.cannotWrite, "\(path) cannot be written: \(String(cString: strerror(errno)))")
            }
        } catch {
            unlink(temporary)
            throw error
        }
    }

    public func write(_ bytes: [UInt8]) throws {
        pending += bytes
        if pending.count >= Self.bufferBytes { try flush() }
    }

    private func flush() throws {
        var done = 0
        while done < pending.count {
            let count = pending.withUnsafeBytes {
                Glibc.write(descriptor, $0.baseAddress?.advanced(by: done), $0.count - done)
            }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                throw SealingError(.cannotWrite, "\(path) cannot be written: \(String(cString: strerror(errno)))")
            }
            done += count
        }
        pending.removeAll(keepingCapacity: true)
    }
}
