// ProcessControl: what every Penstock process does about signals and its parent before it opens a socket.

import CProcess
import Glibc

/// Settings of the whole process; call them first thing in `main`.
public enum ProcessControl {
    /// A peer that closes its connection must be an error of the write, not the end of the process.
    public static func ignoreBrokenPipe() { _ = signal(SIGPIPE, SIG_IGN) }

    /// Has this process stop (SIGTERM) when its parent ends, however it ends; a process that does not stop within
    /// `graceSeconds` is killed.
    ///
    /// Watches the parent through a process descriptor, not through `PR_SET_PDEATHSIG` alone: that signal is sent when the
    /// *thread* that started this process ends, which a thread pool may do while the parent lives on. It is the fallback
    /// for kernels without process descriptors.
    ///
    /// - Returns: false when the parent has ended already; the process should then exit.
    public static func exitWithParent(graceSeconds: Int32 = 15) -> Bool {
        let parent = getppid()
        let descriptor = penstock_pidfd_open(parent)
        // A parent that ended before this line left us to another one: its id no longer is our parent's.
        guard getppid() == parent else { return false }
        guard descriptor >= 0 else {
            _ = penstock_set_parent_death_signal(SIGTERM)
            return getppid() == parent
        }
        let watch = ParentWatch(descriptor: descriptor, graceMilliseconds: graceSeconds * 1_000)
        guard Threads.start(named: "parent-watch", { watch.run() }) else {
            _ = penstock_set_parent_death_signal(SIGTERM)
            return getppid() == parent
        }
        return true
    }
}

/// Waits for the parent's end on a thread of its own.
private struct ParentWatch: Sendable {
    let descriptor: Int32
    let graceMilliseconds: Int32

    func run() {
        var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        // -1 waits without limit; a signal that interrupts the wait is no end of the parent.
        while unsafe poll(&request, 1, -1) < 0 && errno == EINTR {}
        kill(getpid(), SIGTERM)
        _ = poll(nil, 0, graceMilliseconds)
        kill(getpid(), SIGKILL)
    }
}
