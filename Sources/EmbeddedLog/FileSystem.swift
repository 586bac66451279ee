// FileSystem: every operation on the disk goes through these two protocols.

/// The operations the log needs of a file system. Dispatch costs nanoseconds per call, never per byte.
///
/// Promises the log relies on: a file's bytes are durable after ``LogFile/sync()``; a name (creation, rename, removal)
/// is durable after ``syncDirectory(_:)`` of its directory; a rename is atomic. Nothing else.
public protocol FileSystem: Sendable {
    /// Opens a file; `create` makes it if it is missing.
    func open(_ path: String, create: Bool) throws(FileError) -> any LogFile
    /// Renames within one directory, replacing what has the new name.
    func rename(_ path: String, to newPath: String) throws(FileError)
    /// Removes a file; a missing one is no error.
    func remove(_ path: String) throws(FileError)
    /// Removes an empty directory; a missing one is no error.
    func removeDirectory(_ path: String) throws(FileError)
    /// Makes a directory; an existing one is no error.
    func createDirectory(_ path: String) throws(FileError)
    /// Names in a directory, in no order; nil if the path is missing or no directory.
    func list(_ path: String) throws(FileError) -> [String]?
    /// Makes the directory's entries durable.
    func syncDirectory(_ path: String) throws(FileError)
    /// Takes the lock file for this process; the lock lasts as long as the result lives.
    func lock(_ path: String) throws(FileError) -> any AnyObject & Sendable
}

/// An open file; positions are absolute. Closed when the last reference goes. ``sync()`` may run on another thread.
public protocol LogFile: AnyObject, Sendable {
    /// Writes all bytes or throws; after a throw any part may have been written.
    func write(_ bytes: RawSpan, at position: Int64) throws(FileError)
    /// Reads up to the buffer's size; fewer bytes only at the end of the file.
    func read(into buffer: UnsafeMutableRawBufferPointer, at position: Int64) throws(FileError) -> Int
    /// Makes the file's bytes and size durable.
    func sync() throws(FileError)
    /// Sets the size.
    func truncate(to size: Int64) throws(FileError)
    /// The size in bytes.
    func size() throws(FileError) -> Int64
}

/// An operation that the operating system refused.
public struct FileError: Error, Sendable, CustomStringConvertible {
    /// The cases the log treats differently.
    public enum Code: Sendable { case notFound, noSpace, locked, other }
    /// The kind of failure.
    public var code: Code
    /// The operation, the path, the reason.
    public var message: String

    /// A failure with its kind and a message.
    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { message }
}
