// TerminationSignals: SIGTERM and SIGINT as values instead of as the end of the process.

import Glibc
import Synchronization

/// The write end of the pipe that the handler writes to; -1 before the first `TerminationSignals`.
private let handlerPipe = Atomic<Int32>(-1)

/// Turns SIGTERM and SIGINT into values that one thread can wait for. Make it first thing in `main`.
///
/// A handler writes the signal's number into a pipe. Blocking the signals and waiting with `sigwait` would not do:
/// a mask holds for one thread, and libraries start threads of their own before `main` (OpenBLAS does), as does the
/// concurrency runtime. The kernel may hand the signal to any of those, and that would end the process.
@safe public struct TerminationSignals: Sendable {
    private let readEnd: Int32

    public init() {
        var ends: [Int32] = [-1, -1]
        // Without descriptors the signals keep their default: they end the process.
        guard unsafe pipe(&ends) == 0 else {
            readEnd = -1
            return
        }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        readEnd = ends[0]
        handlerPipe.store(ends[1], ordering: .sequentiallyConsistent)
        var action = sigaction()
        // Only calls that are safe in a handler (signal-safety(7)), and errno as it was.
        unsafe action.__sigaction_handler.sa_handler = { signal in
            let saved = errno
            var number = UInt8(truncatingIfNeeded: signal)
            _ = unsafe write(handlerPipe.load(ordering: .relaxed), &number, 1)
            errno = saved
        }
        action.sa_flags = SA_RESTART
        unsafe sigaction(SIGTERM, &action, nil)
        unsafe sigaction(SIGINT, &action, nil)
    }

    /// Waits for the next of the signals and returns it.
    public func wait() -> Int32 {
        var number: UInt8 = 0
        while true {
            let count = unsafe read(readEnd, &number, 1)
            if count == 1 { return Int32(number) }
            // Only an interruption is worth another try; without a pipe no signal ever comes this way.
            if count < 0 && errno == EINTR { continue }
            pause()
        }
    }
}
