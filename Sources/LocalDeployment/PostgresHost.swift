// PostgresHost: the process that owns the private PostgreSQL, so that a supervisor can treat it like any other child.

import Glibc
import Synchronization

/// Runs in its own process (`penstock serve-postgres`): starts the cluster, tells that it is ready, stops it in order
/// on SIGTERM, and ends when the server ends, which makes the supervisor start both anew.
public enum PostgresHost {
    static let checkMilliseconds = 1_000

    /// Call it on the main thread, with the signals blocked by `Supervisor.blockSignals`.
    /// - Parameter onReady: prepares roles and tables and publishes the address; called once the server answers.
    /// - Returns: true after an ordered stop, false when the server ended by itself.
    public static func run(_ postgres: PrivatePostgres, onReady: (PrivatePostgres) throws -> Void) throws -> Bool {
        try postgres.start()
        do {
            try onReady(postgres)
        } catch {
            try postgres.stop()
            throw error
        }
        var signals = sigset_t()
        sigemptyset(&signals)
        for number in [SIGCHLD, SIGTERM, SIGINT, SIGHUP] { sigaddset(&signals, number) }
        while true {
            // The server is a child of this process: its end arrives as SIGCHLD. The time-out only covers a server that
            // was taken over from an earlier process.
            var timeout = timespec(tv_sec: checkMilliseconds / 1_000, tv_nsec: 0)
            let number = sigtimedwait(&signals, nil, &timeout)
            if number == SIGTERM || number == SIGINT || number == SIGHUP {
                try postgres.stop()
                return true
            }
            if !postgres.isServerAlive { return false }
        }
    }
}

extension PrivatePostgres {
    /// Whether the server's process still runs.
    var isServerAlive: Bool {
        guard let server = state.withLock({ $0.server }) else { return (try? connect()) != nil }
        return server.waitForExit(timeoutMilliseconds: 0) == nil
    }
}
