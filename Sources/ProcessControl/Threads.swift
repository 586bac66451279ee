// Threads: a named POSIX thread that runs one closure.

import CProcess
import Glibc

/// Threads outside Swift's cooperative pool, for work that blocks.
public enum Threads {
    private final class Start: Sendable {
        let name: String
        let body: @Sendable () -> Void

        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }

    /// Starts a detached thread. The name is cut to the 15 bytes Linux keeps.
    ///
    /// - Returns: false when the system has no thread left to give.
    @discardableResult
    public static func start(named name: String, _ body: @escaping @Sendable () -> Void) -> Bool {
        let start = Start(name: String(name.prefix(15)), body: body)
        // The thread takes this reference over; it is released here only when no thread came to be.
        let reference = unsafe Unmanaged.passRetained(start)
        var thread = pthread_t()
        let failure = unsafe pthread_create(
            &thread, nil,
            { argument in
                guard let argument = unsafe argument else { return nil }
                let start = unsafe Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
                _ = unsafe penstock_set_thread_name(start.name)
                start.body()
                return nil
            }, reference.toOpaque())
        guard failure == 0 else {
            unsafe reference.release()
            return false
        }
        pthread_detach(thread)
        return true
    }
}
