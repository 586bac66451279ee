// TroubledDisk: files of the operating system that fail or wait when a test says so.

import Dispatch
import EmbeddedLog
import Synchronization

/// What is wrong with the disk at the moment.
final class TroubledDisk: Sendable {
    private struct State {
        var isFull = false
        var failsSync = false
    }

    private let state = Mutex(State())
    /// Taken while syncs have to wait.
    private let gate = DispatchSemaphore(value: 1)

    /// Writes stop half way for want of space.
    var isFull: Bool {
        get { state.withLock { $0.isFull } }
        set { state.withLock { $0.isFull = newValue } }
    }

    var failsSync: Bool {
        get { state.withLock { $0.failsSync } }
        set { state.withLock { $0.failsSync = newValue } }
    }

    /// Has syncs wait until they are released.
    func holdSyncs() { gate.wait() }

    func releaseSyncs() { gate.signal() }

    fileprivate func passSync() {
        gate.wait()
        gate.signal()
    }
}

struct TroubledFileSystem: FileSystem {
    let disk: TroubledDisk
    private let files = POSIXFileSystem()

    init(disk: TroubledDisk) { self.disk = disk }

    func open(_ path: String, create: Bool) throws(FileError) -> any LogFile {
        TroubledFile(file: try files.open(path, create: create), disk: disk)
    }
    func rename(_ path: String, to newPath: String) throws(FileError) { try files.rename(path, to: newPath) }
    func remove(_ path: String) throws(FileError) { try files.remove(path) }
    func removeDirectory(_ path: String) throws(FileError) { try files.removeDirectory(path) }
    func createDirectory(_ path: String) throws(FileError) { try files.createDirectory(path) }
    func list(_ path: String) throws(FileError) -> [String]? { try files.list(path) }
    func syncDirectory(_ path: String) throws(FileError) { try files.syncDirectory(path) }
    func lock(_ path: String) throws(FileError) -> any AnyObject & Sendable { try files.lock(path) }
}

private final class TroubledFile: LogFile {
    private let file: any LogFile
    private let disk: TroubledDisk

    init(file: any LogFile, disk: TroubledDisk) {
        self.file = file
        self.disk = disk
    }

    func write(_ bytes: RawSpan, at position: Int64) throws(FileError) {
        guard disk.isFull else { return try file.write(bytes, at: position) }
        try file.write(bytes.extracting(0..<(bytes.byteCount / 2)), at: position)
        throw FileError(.noSpace, "no space left")
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at position: Int64) throws(FileError) -> Int {
        try file.read(into: buffer, at: position)
    }

    func sync() throws(FileError) {
        disk.passSync()
        guard !disk.failsSync else { throw FileError(.other, "the disk failed") }
        try file.sync()
    }

    func truncate(to size: Int64) throws(FileError) { try file.truncate(to: size) }
    func size() throws(FileError) -> Int64 { try file.size() }
}
