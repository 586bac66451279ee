// DataDirectory: where a local deployment keeps its state, and the lock that lets only one supervisor use it.

import FoundationEssentials
import Glibc

/// The folder of one local deployment. Paths may contain spaces.
public struct DataDirectory: Sendable, Equatable {
    /// Absolute path.
    public let path: String

    /// `explicit`, else `PENSTOCK_DATA`, else `.penstock` in the working directory.
    public init(explicit: String?, environment: [String: String]) {
        let chosen = explicit ?? environment["PENSTOCK_DATA"].flatMap { $0.isEmpty ? nil : $0 } ?? ".penstock"
        path = Self.absolute(chosen)
    }

    public init(path: String) {
        self.path = Self.absolute(path)
    }

    public var logs: String { "\(path)/logs" }
    public var stateFile: String { "\(path)/state.json" }
    public var lockFile: String { "\(path)/lock" }
    public var artifacts: String { "\(path)/artifacts" }
    public var postgres: String { "\(path)/postgres" }
    /// Short-lived files: addresses and ports that the processes tell.
    public var run: String { "\(path)/run" }
    /// Marks a folder as ours, so that the demo never empties somebody else's.
    public var marker: String { "\(path)/.penstock-data" }

    public func log(of process: String) -> String { "\(logs)/\(process).log" }

    /// Makes the folder and those in it that every deployment needs.
    public func prepare() throws(DeploymentError) {
        for directory in [path, logs, run] {
            let problem = Self.makeDirectory(directory)
            guard problem == 0 else {
                throw DeploymentError(
                    .dataDirectory,
                    "cannot create the data directory \(directory): \(String(cString: strerror(problem))); "
                        + "choose a writable one with --data DIR or PENSTOCK_DATA")
            }
        }
        guard access(path, W_OK | X_OK) == 0, access(logs, W_OK | X_OK) == 0, access(run, W_OK | X_OK) == 0 else {
            throw DeploymentError(
                .dataDirectory,
                "the data directory \(path) is not writable for this user; "
                    + "choose a writable one with --data DIR or PENSTOCK_DATA")
        }
        // PostgreSQL, which may run as another user, must be able to pass through, nobody else may write.
        _ = chmod(path, 0o755)
        _ = chmod(logs, 0o700)
        let descriptor = open(marker, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else {
            throw DeploymentError(
                .dataDirectory,
                "cannot write into the data directory \(path): \(String(cString: strerror(errno))); "
                    + "choose a writable one with --data DIR or PENSTOCK_DATA")
        }
        close(descriptor)
    }

    /// Empties the folder but for `kept` names, after checking that it is one of ours.
    public func clear(keeping kept: Set<String>) throws(DeploymentError) {
        guard let names = try? FileManager.default.contentsOfDirectory(atPath: path), !names.isEmpty else { return }
        guard names.contains(".penstock-data") else {
            throw DeploymentError(
                .dataDirectory,
                "\(path) is not empty and was not made by penstock; name another folder with --data DIR")
        }
        for name in names where !kept.contains(name) && name != ".penstock-data" && name != "lock" {
            do {
                try FileManager.default.removeItem(atPath: "\(path)/\(name)")
            } catch {
                throw DeploymentError(
                    .dataDirectory, "cannot remove \(path)/\(name): \(error); remove it by hand")
            }
        }
    }

    /// The lock is held as long as the returned value lives, and by no process after this one ended.
    public func lock() throws(DeploymentError) -> DataDirectoryLock {
        let descriptor = open(lockFile, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else {
            throw DeploymentError(
                .dataDirectory,
                "cannot open \(lockFile): \(String(cString: strerror(errno))); choose another folder with --data DIR")
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            throw DeploymentError(
                .alreadyRunning,
                "another supervisor uses \(path): choose another folder with --data DIR, or stop it: "
                    + "penstock down --data \(Self.quoted(path))")
        }
        return DataDirectoryLock(descriptor: descriptor)
    }

    /// Whether a supervisor holds the lock now.
    public var isLocked: Bool {
        let descriptor = open(lockFile, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else { return true }
        return false
    }

    /// A path as a shell takes it.
    public static func quoted(_ text: String) -> String {
        let isPlain = text.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x2f, 0x3a, 0x5f, 0x2c, 0x3d, 0x40: true
            default: false
            }
        }
        guard !isPlain || text.isEmpty else { return text }
        return "'\(text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''"))'"
    }

    static func absolute(_ path: String) -> String {
        let full = path.hasPrefix("/") ? path : "\(FileManager.default.currentDirectoryPath)/\(path)"
        var parts: [Substring] = []
        for part in full.split(separator: "/") where part != "." {
            if part == ".." { _ = parts.popLast() } else { parts.append(part) }
        }
        return "/" + parts.joined(separator: "/")
    }

    /// Makes a folder and those above it; returns an errno, 0 when it is there.
    private static func makeDirectory(_ path: String) -> Int32 {
        var prefix = ""
        for part in path.split(separator: "/") {
            prefix += "/\(part)"
            if mkdir(prefix, 0o755) != 0, errno != EEXIST, errno != EISDIR {
                // An existing folder above may be read-only: only the last one's failure counts.
                let problem = errno
                guard access(prefix, F_OK) == 0 else { return problem }
            }
        }
        var status = stat()
        guard stat(path, &status) == 0 else { return errno }
        return status.st_mode & S_IFMT == S_IFDIR ? 0 : ENOTDIR
    }
}

/// Releases the lock of a data directory when it goes away.
public struct DataDirectoryLock: ~Copyable {
    private let descriptor: Int32

    init(descriptor: Int32) { self.descriptor = descriptor }

    deinit { close(descriptor) }
}
