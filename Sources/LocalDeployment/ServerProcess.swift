// ServerProcess: a child process that lives on a thread of its own, so that it can follow this process into death.

import Glibc
import Synchronization

/// A child with its output in a log file. One thread starts it and waits for it: the kernel ties "die with the parent"
/// (PR_SET_PDEATHSIG, set by setpriv) to the *thread* that started the child, which must therefore live as long.
final class ServerProcess: Sendable {
    private struct State {
        var id: pid_t = 0
        var startError: Int32 = 0
        var hasStarted = false
        var exitStatus: Int32?
    }
    private let state = Mutex(State())
    /// Readable (hung up) once the child has ended; the write end is closed by the waiting thread.
    private let exitPipe: [Int32]

    /// - Parameter isDetached: in a session of its own, out of reach of the terminal's signals.
    init(
        command: [String], logPath: String, workingDirectory: String, isDetached: Bool
    ) throws(PrivatePostgresError) {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw PrivatePostgresError("no pipe: \(Host.lastSystemError())") }
        ends.forEach { _ = fcntl($0, F_SETFD, FD_CLOEXEC) }
        exitPipe = ends
        let started = StartSignal()
        Host.startThread { [self] in
            run(command, logPath: logPath, workingDirectory: workingDirectory, isDetached: isDetached) {
                started.signal()
            }
        }
        started.wait()
        let error = state.withLock { $0.startError }
        guard error == 0 else {
            throw PrivatePostgresError("cannot run \(command[0]): \(String(cString: strerror(error)))")
        }
    }

    deinit { Glibc.close(exitPipe[0]) }

    var id: pid_t { state.withLock { $0.id } }

    /// Signals the child while it has not been reaped, so that never another process is hit.
    func send(_ signal: Int32) {
        state.withLock { state in
            guard state.exitStatus == nil, state.id > 0 else { return }
            _ = Glibc.kill(state.id, signal)
        }
    }

    /// The status as of waitpid, or nil when the child still runs after that time.
    func waitForExit(timeoutMilliseconds: Int) -> Int32? {
        Host.waitUntilReadable(exitPipe[0], timeoutMilliseconds: timeoutMilliseconds)
        return state.withLock { $0.exitStatus }
    }

    private func run(
        _ command: [String], logPath: String, workingDirectory: String, isDetached: Bool, onStart: () -> Void
    ) {
        let (error, child) = spawn(
            command, logPath: logPath, workingDirectory: workingDirectory, isDetached: isDetached)
        state.withLock {
            $0.id = child
            $0.startError = error
            if error != 0 { $0.exitStatus = -1 }
        }
        onStart()
        if error == 0 {
            // Wait without reaping, then reap and record under the lock: the id stays ours as long as `send` may use it.
            var info = siginfo_t()
            while waitid(P_PID, id_t(child), &info, WEXITED | WNOWAIT) != 0, errno == EINTR {}
            state.withLock {
                var status: Int32 = 0
                while waitpid(child, &status, 0) < 0, errno == EINTR {}
                $0.exitStatus = status
            }
        }
        Glibc.close(exitPipe[1])
    }

    /// POSIX_SPAWN_SETSID, which glibc shows to GNU sources only.
    private static let newSession: Int32 = 0x80

    private func spawn(
        _ command: [String], logPath: String, workingDirectory: String, isDetached: Bool
    ) -> (error: Int32, id: pid_t) {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, logPath, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        // Nothing of ours leaks into the server. A descriptor that is closed in between does no harm.
        for descriptor in Host.directoryEntries("/proc/self/fd").compactMap({ Int32($0) }) where descriptor > 2 {
            posix_spawn_file_actions_addclose(&actions, descriptor)
        }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // Signals as a fresh program expects them, whatever this process blocks or ignores. A group of its own keeps the
        // terminal's Ctrl-C away: whoever started the server stops it in order.
        var all = sigset_t()
        sigfillset(&all)
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setsigmask(&attributes, &none)
        var flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK
        flags |= isDetached ? Self.newSession : POSIX_SPAWN_SETPGROUP
        posix_spawnattr_setflags(&attributes, Int16(truncatingIfNeeded: flags))
        // The user that the server runs as may not be allowed into our working directory, and PostgreSQL insists on
        // returning to it. glibc shows no way to change it in posix_spawn; env does it.
        let whole = ["env", "-C", workingDirectory] + command
        var arguments: [UnsafeMutablePointer<CChar>?] = whole.map { strdup($0) } + [nil]
        let kept = ["PATH", "HOME", "TZ"].compactMap { name in Host.environment(name).map { "\(name)=\($0)" } }
        var variables: [UnsafeMutablePointer<CChar>?] = (kept + ["LC_ALL=C.UTF-8"]).map { strdup($0) } + [nil]
        defer { (arguments + variables).forEach { free($0) } }
        var child: pid_t = 0
        let error = posix_spawnp(&child, whole[0], &actions, &attributes, &arguments, &variables)
        return (error, error == 0 ? child : 0)
    }
}
