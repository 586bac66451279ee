// TemporaryDirectory: a directory that is removed with its contents.

import Glibc

/// A new directory under TMPDIR, removed when the value goes away.
public final class TemporaryDirectory: Sendable {
    public let path: String

    public init() throws {
        let base = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array("\(base)/penstock-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw POSIXFailure(call: "mkdtemp", number: errno) }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { Self.remove(path) }

    /// A path inside.
    public func file(_ name: String) -> String { "\(path)/\(name)" }

    private static func remove(_ path: String) {
        var information = stat()
        guard lstat(path, &information) == 0 else { return }
        guard information.st_mode & S_IFMT == S_IFDIR else {
            unlink(path)
            return
        }
        if let directory = opendir(path) {
            while let entry = readdir(directory) {
                let name = withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                if name != "." && name != ".." { remove("\(path)/\(name)") }
            }
            closedir(directory)
        }
        rmdir(path)
    }
}

/// A system call that failed.
public struct POSIXFailure: Error, CustomStringConvertible {
    public var call: String
    public var number: Int32

    public var description: String { "\(call): \(String(cString: strerror(number)))" }
}
