// PrivatePostgres+Support: passwords, the unprivileged user and the few system calls around the private cluster.

import Glibc

/// Role names and passwords, one pair per line.
struct Credentials: Sendable {
    var passwords: [String: String]

    init(passwords: [String: String]) {
        self.passwords = passwords
    }

    init?(reading path: String) {
        guard let text = Host.readFile(path) else { return nil }
        passwords = [:]
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count == 2 else { return nil }
            passwords[String(words[0])] = String(words[1])
        }
    }

    /// Written beside and renamed, so that a crash leaves the old or the new file.
    func write(to path: String, owner: UnprivilegedUser?) throws(PrivatePostgresError) {
        let lines = passwords.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)\n" }.joined()
        try Host.writeFile("\(path).new", lines, mode: 0o600, owner: owner)
        guard rename("\(path).new", path) == 0 else {
            throw PrivatePostgresError("cannot write \(path): \(Host.lastSystemError())")
        }
    }
}

/// Whom the server runs as when we are root.
struct UnprivilegedUser: Sendable {
    var name: String
    var id: uid_t
    var group: gid_t

    static func choose() throws(PrivatePostgresError) -> UnprivilegedUser {
        for name in ["postgres", "nobody"] {
            if let entry = getpwnam(name) {
                return UnprivilegedUser(name: name, id: entry.pointee.pw_uid, group: entry.pointee.pw_gid)
            }
        }
        throw PrivatePostgresError(
            "PostgreSQL refuses to run as root and there is no user postgres or nobody: create one (useradd postgres)")
    }

    /// The topmost existing directory above `path` that this user may not enter.
    func firstClosedDirectory(above path: String) -> String? {
        var directory = ""
        for part in path.split(separator: "/").dropLast() {
            directory += "/\(part)"
            var info = stat()
            guard stat(directory, &info) == 0 else { return nil }
            let shift: mode_t = info.st_uid == id ? 6 : info.st_gid == group ? 3 : 0
            if info.st_mode >> shift & 1 == 0 { return directory }
        }
        return nil
    }
}

/// A one-shot signal between two threads.
final class StartSignal: Sendable {
    private let ends: [Int32]

    init() {
        var ends: [Int32] = [-1, -1]
        pipe(&ends)
        ends.forEach { _ = fcntl($0, F_SETFD, FD_CLOEXEC) }
        self.ends = ends
    }

    deinit { ends.forEach { _ = close($0) } }

    func give() {
        var byte: UInt8 = 1
        _ = write(ends[1], &byte, 1)
    }

    func wait() {
        Host.waitUntilReadable(ends[0], timeoutMilliseconds: 60_000)
    }
}

/// Small system calls that the private cluster needs.
enum Host {
    /// 32 letters and digits from the system's random generator: nothing to escape in a URL or in SQL, 190 bits.
    static func randomPassword() -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
        var generator = SystemRandomNumberGenerator()
        return String((0..<32).map { _ in alphabet[Int.random(in: 0..<alphabet.count, using: &generator)] })
    }

    static func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

    static func lastSystemError() -> String { String(cString: strerror(errno)) }

    static func absolutePath(_ path: String) -> String {
        guard !path.hasPrefix("/"), let current = getcwd(nil, 0) else { return path }
        defer { free(current) }
        return "\(String(cString: current))/\(path)"
    }

    /// FNV-1a of the path and its last part: the same for the same path in every process.
    static func stableName(of path: String) -> String {
        let hash = path.utf8.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
        return "postgres-\(String(hash, radix: 16))"
    }

    static func readFile(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            bytes += chunk[0..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    static func writeFile(
        _ path: String, _ text: String, mode: mode_t, owner: UnprivilegedUser?
    ) throws(PrivatePostgresError) {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode)
        guard descriptor >= 0 else { throw PrivatePostgresError("cannot write \(path): \(lastSystemError())") }
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        guard fchmod(descriptor, mode) == 0, owner.map({ fchown(descriptor, $0.id, $0.group) == 0 }) ?? true,
            write(descriptor, bytes, bytes.count) == bytes.count
        else { throw PrivatePostgresError("cannot write \(path): \(lastSystemError())") }
    }

    static func makeDirectories(_ path: String, mode: mode_t) throws(PrivatePostgresError) {
        var directory = ""
        for part in path.split(separator: "/") {
            directory += "/\(part)"
            if mkdir(directory, mode) != 0, errno != EEXIST, access(directory, F_OK) != 0 {
                throw PrivatePostgresError("cannot create \(directory): \(lastSystemError())")
            }
        }
    }

    static func directoryEntries(_ path: String) -> [String] {
        guard let stream = opendir(path) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            names.append(
                withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
        }
        return names
    }

    // MARK: - Ports

    /// A port that was free a moment ago.
    static func freePort() -> Int? { boundPort(0) }

    static func isFree(port: Int) -> Bool { boundPort(port) != nil }

    private static func boundPort(_ port: Int) -> Int? {
        guard let wanted = UInt16(exactly: port) else { return nil }
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        // As the server does: ports of connections that linger in TIME_WAIT count as free.
        var reuse: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &reuse, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = wanted.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        return withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                bind(descriptor, generic, length) == 0 && getsockname(descriptor, generic, &length) == 0
            }
        } ? Int(UInt16(bigEndian: address.sin_port)) : nil
    }

    // MARK: - Waiting

    /// True when the descriptor became readable or hung up in that time.
    @discardableResult
    static func waitUntilReadable(_ descriptor: Int32, timeoutMilliseconds: Int) -> Bool {
        let deadline = ContinuousClock.now + .milliseconds(timeoutMilliseconds)
        while true {
            let left = (deadline - ContinuousClock.now).components
            let milliseconds = max(0, left.seconds * 1_000 + left.attoseconds / 1_000_000_000_000_000)
            var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            let ready = poll(&entry, 1, Int32(clamping: milliseconds))
            if ready > 0 { return true }
            if ready == 0 || errno != EINTR { return false }
        }
    }
}
