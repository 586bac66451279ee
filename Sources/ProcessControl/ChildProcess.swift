// ChildProcess: a program started by this one, never left behind.

import CProcess
import Glibc
import Synchronization

/// A running child. Dropping the last reference kills it, so hold it as long as it shall run.
public final class ChildProcess: Sendable {
    /// How a child ended.
    public enum ExitStatus: Hashable, Sendable {
        case exited(Int32)
        case signalled(Int32)
    }

    /// The child could not be started.
    public struct SpawnError: Error, CustomStringConvertible {
        public var executable: String
        public var errno: Int32

        public var description: String {
            "Cannot start \(executable): \(unsafe String(cString: strerror(errno)))"
        }
    }

    public let processID: Int32
    public let executable: String
    private let status = Mutex<ExitStatus?>(nil)

    /// Starts a program in a process group of its own, with default signal handling and none of this process's open files.
    ///
    /// - Parameters:
    ///   - executable: its path; searched for in PATH when it has no slash.
    ///   - environment: added to this process's environment.
    ///   - outputPath: file that gets standard output and standard error, appended; nil shares this process's own.
    public init(
        executable: String, arguments: [String], environment: [String: String] = [:], outputPath: String? = nil
    ) throws(SpawnError) {
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        if let outputPath {
            unsafe posix_spawn_file_actions_addopen(
                &actions, STDOUT_FILENO, outputPath, O_WRONLY | O_CREAT | O_APPEND, 0o644)
            unsafe posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)
        }
        _ = unsafe penstock_spawn_close_from(&actions, STDERR_FILENO + 1)

        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        var reset = sigset_t()
        unsafe sigemptyset(&none)
        unsafe sigemptyset(&reset)
        for number in [SIGPIPE, SIGTERM, SIGINT] { unsafe sigaddset(&reset, number) }
        unsafe posix_spawnattr_setsigmask(&attributes, &none)
        unsafe posix_spawnattr_setsigdefault(&attributes, &reset)
        unsafe posix_spawnattr_setpgroup(&attributes, 0)
        let flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP
        unsafe posix_spawnattr_setflags(&attributes, Int16(flags))

        let variables = Self.environment(adding: environment)
        var child: pid_t = 0
        let failure = unsafe withCStrings([executable] + arguments) { argv in
            unsafe withCStrings(variables) { envp in
                unsafe posix_spawnp(&child, executable, &actions, &attributes, argv, envp)
            }
        }
        guard failure == 0 else { throw SpawnError(executable: executable, errno: failure) }
        processID = child
        self.executable = executable
    }

    deinit { kill() }

    /// Sends a signal; false when the child has ended already.
    @discardableResult
    public func send(_ signal: Int32) -> Bool {
        status.withLock { status in
            // Under the lock the child cannot be reaped, so its id cannot have been given to another process.
            guard reap(&status, options: WNOHANG) == nil else { return false }
            return Glibc.kill(processID, signal) == 0
        }
    }

    /// How the child ended, or nil while it runs. Never blocks.
    public var exitStatus: ExitStatus? { status.withLock { reap(&$0, options: WNOHANG) } }

    /// Waits for the child's end; nil when it still runs after the time-out (-1 waits without limit).
    public func wait(timeoutMilliseconds: Int32) -> ExitStatus? {
        if let status = exitStatus { return status }
        let descriptor = penstock_pidfd_open(processID)
        guard descriptor >= 0 else {
            // Ended and reaped by another thread meanwhile, or a kernel without process descriptors.
            return exitStatus
        }
        defer { close(descriptor) }
        let deadline = ContinuousClock.now.advanced(by: .milliseconds(Int64(timeoutMilliseconds)))
        var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        var rest = timeoutMilliseconds
        while unsafe poll(&request, 1, rest) < 0 && errno == EINTR {
            guard timeoutMilliseconds >= 0 else { continue }
            rest = Int32(clamping: Int64(max(0, ContinuousClock.now.duration(to: deadline) / .milliseconds(1))))
        }
        return exitStatus
    }

    /// Asks the child to stop (SIGTERM) and kills it when it still runs after the grace period.
    @discardableResult
    public func stop(graceMilliseconds: Int32) -> ExitStatus {
        send(SIGTERM)
        return wait(timeoutMilliseconds: graceMilliseconds) ?? kill()
    }

    /// Kills the child (SIGKILL), with the processes it started in its group, and waits for its end.
    @discardableResult
    public func kill() -> ExitStatus {
        status.withLock { status in
            if let ended = reap(&status, options: WNOHANG) { return ended }
            // A negative id names the child's process group.
            _ = Glibc.kill(-processID, SIGKILL)
            return reap(&status, options: 0) ?? .signalled(SIGKILL)
        }
    }

    private func reap(_ status: inout ExitStatus?, options: Int32) -> ExitStatus? {
        if let status { return status }
        var word: Int32 = 0
        var result = unsafe waitpid(processID, &word, options)
        while result < 0 && errno == EINTR { result = unsafe waitpid(processID, &word, options) }
        // The layout of a wait status, as the macros WIFEXITED, WEXITSTATUS and WTERMSIG read it.
        let signal = word & 0x7f
        if result == processID {
            status = signal == 0 ? .exited((word >> 8) & 0xff) : .signalled(signal)
        } else if result < 0 {
            // Someone else reaped the child: all that is known is that it ended.
            status = .exited(-1)
        }
        return status
    }

    private static func environment(adding extra: [String: String]) -> [String] {
        var result = extra.map { "\($0.key)=\($0.value)" }
        // The list ends with a null pointer; nothing in Penstock changes the environment.
        var next = unsafe penstock_environment()
        while let text = unsafe next?.pointee {
            let variable = unsafe String(cString: text)
            let name = variable.prefix { $0 != "=" }
            if extra[String(name)] == nil { result.append(variable) }
            unsafe next = unsafe next?.advanced(by: 1)
        }
        return result
    }
}

/// Lends a null-terminated array of C strings for a call.
private func withCStrings<R>(_ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> R) -> R {
    let pointers = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(capacity: strings.count + 1)
    for (index, string) in strings.enumerated() {
        unsafe pointers.advanced(by: index).initialize(to: strdup(string))
    }
    unsafe pointers.advanced(by: strings.count).initialize(to: nil)
    // Freed after the call, during which they stay as they are.
    defer {
        for index in strings.indices { unsafe free(pointers[index]) }
        unsafe pointers.deallocate()
    }
    return unsafe body(UnsafePointer(pointers))
}
