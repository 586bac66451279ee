// ContainerFile: the frame of a container on disk: magic, header, signatures, recipients, payload.

import FoundationEssentials
import Glibc

/// The parts of a container before its payload, as they stand.
public struct ContainerFrame: Sendable, Equatable {
    /// 89 "SMC1" 0D 0A 1A: not text, and damaged by a transfer that changes line ends.
    public static let magic: [UInt8] = [0x89, 0x53, 0x4d, 0x43, 0x31, 0x0d, 0x0a, 0x1a]
    public static let recipientBytesMax = 1 << 20

    public var header: [UInt8]
    public var signatures: [UInt8]
    public var recipients: [UInt8]

    /// Where the payload begins.
    public var payloadOffset: Int { 8 + 12 + header.count + signatures.count + recipients.count }

    public func encoded() -> [UInt8] {
        func framed(_ bytes: [UInt8]) -> [UInt8] {
            let count = UInt32(bytes.count)
            return [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: count >> UInt32($0)) } + bytes
        }
        return Self.magic + framed(header) + framed(signatures) + framed(recipients)
    }
}

/// An open file that is read at given places and compared with what it was when it was opened.
final class SourceFile {
    let path: String
    let size: Int
    private let descriptor: Int32
    private let identity: [Int]

    init(path: String, what: String) throws(SealingError) {
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        self.path = path
        guard descriptor >= 0 else {
            throw SealingError(.unreadable, "\(path): \(what) cannot be opened: \(String(cString: strerror(errno)))")
        }
        guard let status = Self.status(descriptor) else {
            close(descriptor)
            throw SealingError(.unreadable, "\(path): \(what) is not a plain file")
        }
        size = status[0]
        identity = status
    }

    deinit { close(descriptor) }

    /// Size, device, inode, change times.
    private static func status(_ descriptor: Int32) -> [Int]? {
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
        return [
            Int(status.st_size), Int(bitPattern: UInt(status.st_dev)), Int(bitPattern: UInt(status.st_ino)),
            status.st_mtim.tv_sec, status.st_mtim.tv_nsec,
        ]
    }

    /// Throws when the file was written to since it was opened.
    func checkUnchanged() throws(SealingError) {
        guard Self.status(descriptor) == identity else {
            throw SealingError(.changedWhileRead, "\(path) was changed while it was read: try again when it is at rest")
        }
    }

    /// Fills `buffer` from `offset`; throws when the file ends before.
    func read(at offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws(SealingError) {
        var done = 0
        while done < buffer.count {
            let count = pread(descriptor, buffer.baseAddress?.advanced(by: done), buffer.count - done, offset + done)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                throw SealingError(
                    .truncated, "\(path) ends at byte \(offset + done), where \(buffer.count - done) bytes more belong")
            }
            done += count
        }
    }

    func bytes(at offset: Int, count: Int) throws(SealingError) -> [UInt8] {
        var result = [UInt8](repeating: 0, count: count)
        var problem: SealingError?
        result.withUnsafeMutableBytes { buffer in
            do throws(SealingError) { try read(at: offset, into: buffer) } catch { problem = error }
        }
        if let problem { throw problem }
        return result
    }
}

extension ContainerFrame {
    /// Reads the frame of a container with every limit checked before memory is asked for.
    init(reading file: SourceFile) throws(SealingError) {
        let magic = try file.size >= 8 ? file.bytes(at: 0, count: 8) : []
        guard magic == Self.magic else {
            throw SealingError(.notSealed, "\(file.path) is no sealed model (it does not begin with the mark of SMC1)")
        }
        var offset = 8
        func part(_ name: String, _ limit: Int) throws(SealingError) -> [UInt8] {
            let prefix = try file.bytes(at: offset, count: 4)
            let count = prefix.reduce(0) { $0 << 8 | Int($1) }
            guard count <= limit, count > 0 else {
                throw SealingError(
                    .badHeader, "\(file.path): the \(name) would have \(count) bytes, 1 to \(limit) are read")
            }
            let bytes = try file.bytes(at: offset + 4, count: count)
            offset += 4 + count
            return bytes
        }
        header = try part("header", ContainerHeader.byteCountMax)
        signatures = try part("signature block", HeaderSignature.blockBytesMax)
        recipients = try part("recipient block", Self.recipientBytesMax)
    }
}
