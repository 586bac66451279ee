// ServerProcess: a child whose parent thread lives as long as it does.

import ProcessControl
import Synchronization

/// A child with its output in a log file. One thread starts it and waits for its end: the kernel ties "die with the
/// parent" (PR_SET_PDEATHSIG, set by setpriv) to the *thread* that started the child, so this one must live as long.
final class ServerProcess: Sendable {
    private let child: ChildProcess

    /// - Parameter workingDirectory: PostgreSQL insists on returning to its working directory, and the user it runs as
    ///   may not be allowed into ours.
    init(command: [String], logPath: String, workingDirectory: String) throws(PrivatePostgresError) {
        // A clean environment: settings such as PGPORT or PGOPTIONS of this process are not meant for this server.
        let path = Host.environment("PATH") ?? "/usr/local/bin:/usr/bin:/bin"
        let arguments = ["-i", "-C", workingDirectory, "PATH=\(path)", "LC_ALL=C.UTF-8"] + command
        let outcome = Handover()
        let isStarted = Threads.start(named: "postgres-parent") {
            do {
                let child = try ChildProcess(executable: "env", arguments: arguments, outputPath: logPath)
                outcome.give(.success(child))
                _ = child.wait(timeoutMilliseconds: -1)
            } catch {
                outcome.give(.failure(PrivatePostgresError("\(error)")))
            }
        }
        guard isStarted else { throw PrivatePostgresError("no thread for \(command[0])") }
        child = try outcome.take()
    }

    func send(_ signal: Int32) { child.send(signal) }

    /// How it ended, or nil when it still runs after that time.
    func waitForExit(timeoutMilliseconds: Int) -> ChildProcess.ExitStatus? {
        child.wait(timeoutMilliseconds: Int32(clamping: timeoutMilliseconds))
    }

    /// Hands the child from its thread to the caller.
    private final class Handover: Sendable {
        private let value = Mutex<Result<ChildProcess, PrivatePostgresError>?>(nil)
        private let signal = StartSignal()

        func give(_ result: Result<ChildProcess, PrivatePostgresError>) {
            value.withLock { $0 = result }
            signal.give()
        }

        func take() throws(PrivatePostgresError) -> ChildProcess {
            signal.wait()
            let result = value.withLock { $0 }
            return try (result ?? .failure(PrivatePostgresError("the process did not start in time"))).get()
        }
    }
}
