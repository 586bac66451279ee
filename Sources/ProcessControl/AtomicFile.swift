// AtomicFile: files that readers see whole or not at all.

import Glibc

/// Small files that one process writes for another to read, for instance an address or a port.
public enum AtomicFile {
    /// Writes the bytes beside the path and renames the file into place.
    public static func write(_ text: String, to path: String) throws(FileError) {
        let temporary = "\(path).\(getpid()).tmp"
        guard let file = unsafe fopen(temporary, "we") else { throw FileError(path: temporary, errno: errno) }
        let bytes = Array(text.utf8)
        let written = unsafe fwrite(bytes, 1, bytes.count, file)
        let closed = unsafe fclose(file)
        guard written == bytes.count, closed == 0, unsafe rename(temporary, path) == 0 else {
            let error = FileError(path: path, errno: errno)
            _ = unsafe unlink(temporary)
            throw error
        }
    }

    /// A file could not be written.
    public struct FileError: Error, CustomStringConvertible {
        public var path: String
        public var errno: Int32

        public var description: String { "Cannot write \(path): \(unsafe String(cString: strerror(errno)))" }
    }
}
