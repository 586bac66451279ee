// Interrupt: Ctrl-C and SIGTERM as something a command looks at, so that it can stop what it started.

import Glibc

enum Interrupt {
    private static func signals() -> sigset_t {
        var signals = sigset_t()
        sigemptyset(&signals)
        for number in [SIGINT, SIGTERM, SIGHUP] { sigaddset(&signals, number) }
        return signals
    }

    /// From now on the signals wait to be looked at. Call it before any thread is made.
    static func hold() {
        var signals = signals()
        pthread_sigmask(SIG_BLOCK, &signals, nil)
    }

    /// Throws when one of the signals has come.
    static func check() throws(CommandFailure) {
        var signals = signals()
        var none = timespec()
        guard sigtimedwait(&signals, nil, &none) < 0 else {
            throw CommandFailure("interrupted; everything that was started is stopped")
        }
    }

    /// Waits for one of the signals, at most that long; true when it came.
    static func wait(milliseconds: Int) -> Bool {
        var signals = signals()
        var timeout = timespec(tv_sec: milliseconds / 1_000, tv_nsec: milliseconds % 1_000 * 1_000_000)
        return sigtimedwait(&signals, nil, &timeout) > 0
    }
}
