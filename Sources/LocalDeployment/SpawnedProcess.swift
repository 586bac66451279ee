// SpawnedProcess: spawning, reaping and looking at processes.

import FoundationEssentials
import Glibc

/// What to run.
public struct Launch: Sendable, Equatable {
    /// Absolute path of the program.
    public var executable: String
    /// Without the program's own name.
    public var arguments: [String]
    /// Added to this process's environment.
    public var environment: [String: String]

    public init(executable: String, arguments: [String] = [], environment: [String: String] = [:]) {
        self.executable = executable
        self.arguments = arguments
        self.environment = environment
    }
}

public enum SpawnedProcess {
    public enum Input: Sendable {
        case null
        /// This end of a pipe becomes the child's standard input.
        case descriptor(Int32)
    }

    /// Starts a process in its own process group, so that Ctrl-C reaches the supervisor alone, with default signal
    /// handling and with its output appended to `log`. Call it from the main thread: a child's parent-death signal is
    /// bound to the thread that spawned it.
    /// - Parameter isDetached: starts a new session, so that the process outlives the terminal.
    public static func spawn(
        _ launch: Launch, log: String, input: Input = .null, isDetached: Bool = false
    ) throws(DeploymentError) -> Int32 {
        guard access(launch.executable, X_OK) == 0 else {
            throw DeploymentError(
                .missingProgram,
                "the program \(launch.executable) is missing or not executable; build it with 'make build'")
        }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        var all = sigset_t()
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        let startsSession: Int32 = 0x80  // POSIX_SPAWN_SETSID, a GNU extension that the Glibc module leaves out.
        let group = isDetached ? startsSession : Int32(POSIX_SPAWN_SETPGROUP)
        posix_spawnattr_setflags(
            &attributes, Int16(group | Int32(POSIX_SPAWN_SETSIGMASK) | Int32(POSIX_SPAWN_SETSIGDEF)))

        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        switch input {
        case .null: posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        case .descriptor(let descriptor): posix_spawn_file_actions_adddup2(&actions, descriptor, 0)
        }
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        // What other libraries opened without close-on-exec must not leak; a descriptor closed meanwhile does no harm.
        let descriptors = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
        for descriptor in descriptors.compactMap({ Int32($0) }) where descriptor > 2 {
            posix_spawn_file_actions_addclose(&actions, descriptor)
        }

        var environment = Self.environment
        for (name, value) in launch.environment { environment[name] = value }
        var pid: pid_t = 0
        let result = withCStrings([launch.executable] + launch.arguments) { arguments in
            withCStrings(environment.map { "\($0)=\($1)" }) { variables in
                posix_spawn(&pid, launch.executable, &actions, &attributes, arguments, variables)
            }
        }
        guard result == 0 else {
            throw DeploymentError(
                .spawn, "cannot start \(launch.executable): \(String(cString: strerror(result))) (log \(log))")
        }
        return pid
    }

    /// How a child ended; nil while it runs, or when it is not ours. Only this process id is asked for: other parts of
    /// a process may have children of their own.
    public static func reap(_ pid: Int32) -> ChildExit? {
        var raw: Int32 = 0
        while true {
            let result = waitpid(pid, &raw, WNOHANG)
            if result == pid { return status(raw) }
            guard result < 0, errno == EINTR else { return nil }
        }
    }

    public static func signal(_ pid: Int32, _ number: Int32) {
        guard pid > 1 else { return }
        _ = kill(pid, number)
    }

    /// The environment of this process.
    public static var environment: [String: String] {
        var result: [String: String] = [:]
        var cursor = environ
        while let entry = cursor.pointee {
            let text = String(cString: entry)
            if let split = text.firstIndex(of: "=") {
                result[String(text[..<split])] = String(text[text.index(after: split)...])
            }
            cursor += 1
        }
        return result
    }

    private static func status(_ raw: Int32) -> ChildExit {
        raw & 0x7f == 0 ? .code((raw >> 8) & 0xff) : .signal(raw & 0x7f)
    }

    private static func withCStrings<R>(
        _ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> R
    ) -> R {
        let pointers: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) } + [nil]
        defer { pointers.forEach { free($0) } }
        return body(pointers)
    }
}
