// AtomicFile: replaces a file as a whole or not at all.

import Glibc

/// Writes files so that a reader, or a crash, sees the old content or the new one, never a part.
public enum AtomicFile {
    /// Writes to a temporary file beside `path`, syncs it and renames it over `path`; makes missing folders.
    public static func write(_ bytes: [UInt8], to path: String) throws(TransformError) {
        let folder = Self.folder(of: path)
        try makeFolder(folder)
        let temporary = "\(path).\(getpid()).\(UInt64.random(in: 0...UInt64.max)).tmp"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw failure(path, errno) }
        var error = writeAll(bytes, to: descriptor)
        if error == 0, fsync(descriptor) != 0 { error = errno }
        if close(descriptor) != 0, error == 0 { error = errno }
        if error == 0, rename(temporary, path) != 0 { error = errno }
        guard error == 0 else {
            unlink(temporary)
            throw failure(path, error)
        }
        syncFolder(folder)
    }

    /// The content of a file that may be there; nil when it is not.
    public static func existing(_ path: String, bytesMax: Int) throws(TransformError) -> [UInt8]? {
        guard access(path, F_OK) == 0 else { return nil }
        return try FileInput.contents(of: path, bytesMax: bytesMax)
    }

    /// The folder of a path, `.` for a bare name.
    public static func folder(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// The last part of a path.
    public static func name(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return path }
        return String(path[path.index(after: slash)...])
    }

    private static func writeAll(_ bytes: [UInt8], to descriptor: Int32) -> Int32 {
        var written = 0
        while written < bytes.count {
            let count = bytes.withUnsafeBytes { buffer in
                Glibc.write(descriptor, buffer.baseAddress?.advanced(by: written), buffer.count - written)
            }
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { return errno }
            written += count
        }
        return 0
    }

    private static func makeFolder(_ folder: String) throws(TransformError) {
        guard access(folder, F_OK) != 0 else { return }
        let parent = Self.folder(of: folder)
        if parent != folder { try makeFolder(parent) }
        guard mkdir(folder, 0o755) == 0 || errno == EEXIST else {
            throw TransformError(
                .fileAccess, "cannot make the folder \(folder): \(systemError(errno)); choose another folder")
        }
    }

    /// Makes the rename itself durable; a file system that cannot sync folders needs no word.
    private static func syncFolder(_ folder: String) {
        let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        fsync(descriptor)
        close(descriptor)
    }

    private static func failure(_ path: String, _ error: Int32) -> TransformError {
        TransformError(
            .fileAccess,
            "cannot write \(path): \(systemError(error)); allow writing to \(folder(of: path)) or choose another folder"
        )
    }
}
