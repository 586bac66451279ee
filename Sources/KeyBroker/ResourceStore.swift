// ResourceStore: resources on disk, each encrypted and bound to its path.

import Attestation
import Cryptography
import FoundationEssentials
import Glibc
import Sealing
import SecureMemory

/// Files below a folder, encrypted with AES-256-GCM under the broker's key-encryption key; the path is authenticated, so
/// that a file put elsewhere does not open.
final class ResourceStore: Sendable {
    private let folder: String
    private let key: ProtectedRegion

    /// - Parameter keyPath: 32 random bytes, mode 0600; made when absent.
    init(folder: String, keyPath: String) throws {
        self.folder = folder
        key = try Self.key(keyPath)
    }

    private static func key(_ path: String) throws -> ProtectedRegion {
        let region = try ProtectedRegion(byteCount: AES256GCM.keyBytes, mode: .required, isSecret: true)
        if access(path, F_OK) != 0 {
            try region.withMutableBytes { try SecureRandom.fill(&$0) }
            try region.withBytes { bytes in
                var copy = bytes.withUnsafeBytes { Array($0) }
                defer { Wipe.array(&copy) }
                try OutputFile.write(to: path, mode: 0o600) { try $0.write(copy) }
            }
            return region
        }
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & 0o077 == 0, status.st_size == AES256GCM.keyBytes else {
            throw SealingError(
                .badKeyFile, "\(path) is not a key-encryption key: it has 32 bytes and is readable by its owner alone")
        }
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        defer { close(descriptor) }
        let count = region.withMutableBytes { span in
            span.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, $0.count) }
        }
        guard count == AES256GCM.keyBytes else { throw SealingError(.badKeyFile, "\(path) cannot be read") }
        return region
    }

    private func path(_ name: String) -> String { "\(folder)/\(name)" }

    /// The resource in protected memory; nil when there is none.
    func read(_ name: String) throws -> ProtectedRegion? {
        guard let data = FileManager.default.contents(atPath: path(name)) else { return nil }
        let bytes = Array(data)
        let head = AES256GCM.nonceBytes
        guard bytes.count >= head + AES256GCM.tagBytes else { throw BrokerProblem(.store, "the store is damaged") }
        let result = try ProtectedRegion(
            byteCount: bytes.count - head - AES256GCM.tagBytes, mode: .bestEffort, isSecret: true)
        let cipher = try key.withBytes { try AES256GCM(key: $0, .open) }
        do throws(CryptographyError) {
            try result.withMutableBytes { output throws(CryptographyError) in
                try cipher.open(
                    bytes.span.bytes.extracting(head..<bytes.count), nonce: bytes.span.bytes.extracting(0..<head),
                    associatedData: Array(name.utf8).span.bytes, into: &output)
            }
        } catch {
            throw BrokerProblem(.store, "a stored resource does not open: the file or the key was changed")
        }
        return result
    }

    /// Writes a resource whole or not at all, readable by the broker alone.
    func write(_ name: String, _ value: RawSpan) throws {
        let nonce = try SecureRandom.bytes(AES256GCM.nonceBytes)
        var sealed = [UInt8](repeating: 0, count: value.byteCount + AES256GCM.tagBytes)
        let cipher = try key.withBytes { try AES256GCM(key: $0, .seal) }
        var span = sealed.mutableSpan
        var bytes = span.mutableBytes
        try cipher.seal(value, nonce: nonce.span.bytes, associatedData: Array(name.utf8).span.bytes, into: &bytes)
        let path = path(name)
        let parent = path[..<(path.lastIndex(of: "/") ?? path.startIndex)]
        try FileManager.default.createDirectory(
            atPath: String(parent), withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        let content = nonce + sealed
        try OutputFile.write(to: path, mode: 0o600) { try $0.write(content) }
    }
}
