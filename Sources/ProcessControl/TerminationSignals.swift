// TerminationSignals: SIGTERM and SIGINT as values instead of as the end of the process.

import Glibc

/// Holds SIGTERM and SIGINT back from the whole process so that one thread can wait for them. Make it first thing in
/// `main`: threads started before it would still be ended by the signals.
@safe public struct TerminationSignals: Sendable {
    private let signals: sigset_t

    public init() {
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe sigaddset(&signals, SIGTERM)
        unsafe sigaddset(&signals, SIGINT)
        unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
        self.signals = signals
    }

    /// Waits for the next of the signals and returns it.
    public func wait() -> Int32 {
        var signals = signals
        var signal: Int32 = 0
        // Fails only for signals that do not exist, and these do.
        while unsafe sigwait(&signals, &signal) != 0 {}
        return signal
    }
}
