// POSIXFileSystem: the file system of the operating system.

import Glibc

/// Files of the operating system.
public struct POSIXFileSystem: FileSystem {
    /// The operating system's files.
    public init() {}

    public func open(_ path: String, create: Bool) throws(FileError) -> any LogFile {
        let flags = O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0)
        return POSIXFile(
            descriptor: try Self.retrying("open", path) { unsafe Glibc.open(path, flags, 0o644) }, path: path)
    }

    public func rename(_ path: String, to newPath: String) throws(FileError) {
        _ = try Self.retrying("rename to \(newPath)", path) { unsafe Glibc.rename(path, newPath) }
    }

    public func remove(_ path: String) throws(FileError) {
        try Self.ignoringNotFound { () throws(FileError) in
            _ = try Self.retrying("remove", path) { unsafe unlink(path) }
        }
    }

    public func removeDirectory(_ path: String) throws(FileError) {
        try Self.ignoringNotFound { () throws(FileError) in
            _ = try Self.retrying("remove directory", path) { unsafe rmdir(path) }
        }
    }

    public func createDirectory(_ path: String) throws(FileError) {
        guard unsafe mkdir(path, 0o755) != 0, errno != EEXIST else { return }
        throw Self.failure("create directory", path, errno)
    }

    public func list(_ path: String) throws(FileError) -> [String]? {
        guard let directory = unsafe opendir(path) else {
            if errno == ENOENT || errno == ENOTDIR { return nil }
            throw Self.failure("list", path, errno)
        }
        defer { unsafe closedir(directory) }
        var names: [String] = []
        // The entry lives until the next readdir or closedir; its name is copied at once.
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                unsafe pointer.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }

    public func syncDirectory(_ path: String) throws(FileError) {
        let descriptor = try Self.retrying("open directory", path) { unsafe Glibc.open(path, O_RDONLY | O_CLOEXEC) }
        defer { close(descriptor) }
        _ = try Self.retrying("sync directory", path) { fsync(descriptor) }
    }

    public func lock(_ path: String) throws(FileError) -> any AnyObject & Sendable {
        let descriptor = try Self.retrying("open", path) {
            unsafe Glibc.open(path, O_RDWR | O_CLOEXEC | O_CREAT, 0o644)
        }
        let file = POSIXFile(descriptor: descriptor, path: path)
        guard flock(descriptor, LOCK_EX | LOCK_NB) != 0 else { return file }
        if errno == EWOULDBLOCK { throw FileError(.locked, "\(path) is locked by another process") }
        throw Self.failure("lock", path, errno)
    }

    /// Calls until the result is not an interruption.
    static func retrying(_ operation: String, _ path: String, _ call: () -> Int32) throws(FileError) -> Int32 {
        while true {
            let result = call()
            if result >= 0 { return result }
            if errno != EINTR { throw failure(operation, path, errno) }
        }
    }

    static func failure(_ operation: String, _ path: String, _ number: Int32) -> FileError {
        let code: FileError.Code =
            switch number {
            case ENOENT: .notFound
            case ENOSPC, EDQUOT: .noSpace
            default: .other
            }
        let reason = unsafe String(cString: strerror(number))
        return FileError(code, "\(path): \(operation): \(reason)")
    }

    private static func ignoringNotFound(_ body: () throws(FileError) -> Void) throws(FileError) {
        do {
            try body()
        } catch {
            if error.code != .notFound { throw error }
        }
    }
}

/// One open descriptor; closed with the object.
final class POSIXFile: LogFile {
    private let descriptor: Int32
    private let path: String

    init(descriptor: Int32, path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    deinit { close(descriptor) }

    func write(_ bytes: RawSpan, at position: Int64) throws(FileError) {
        var written = 0
        while written < bytes.byteCount {
            // The pointers live within the closure only.
            let count = unsafe bytes.withUnsafeBytes { buffer in
                unsafe pwrite(
                    descriptor, buffer.baseAddress.map { unsafe $0 + written }, buffer.count - written,
                    off_t(position) + off_t(written))
            }
            if count > 0 {
                written += count
            } else if count == 0 || errno != EINTR {
                throw POSIXFileSystem.failure("write", path, count == 0 ? ENOSPC : errno)
            }
        }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at position: Int64) throws(FileError) -> Int {
        var filled = 0
        while filled < buffer.count {
            let count = unsafe pread(
                descriptor, buffer.baseAddress.map { unsafe $0 + filled }, buffer.count - filled,
                off_t(position) + off_t(filled))
            if count == 0 { break }
            if count > 0 {
                filled += count
            } else if errno != EINTR {
                throw POSIXFileSystem.failure("read", path, errno)
            }
        }
        return filled
    }

    func sync() throws(FileError) {
        _ = try POSIXFileSystem.retrying("sync", path) { fdatasync(descriptor) }
    }

    func truncate(to size: Int64) throws(FileError) {
        _ = try POSIXFileSystem.retrying("truncate", path) { ftruncate(descriptor, off_t(size)) }
    }

    func size() throws(FileError) -> Int64 {
        var status = stat()
        _ = try POSIXFileSystem.retrying("stat", path) { unsafe fstat(descriptor, &status) }
        return Int64(status.st_size)
    }
}
