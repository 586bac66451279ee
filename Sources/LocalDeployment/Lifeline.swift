// Lifeline: ends this process together with the one that started it.

import Foundation
import Glibc

/// A process started with `--exit-with-parent` holds the reading end of a pipe as its standard input. The kernel closes
/// the other end when the parent ends, however it ends; no signal handler can be skipped.
public enum Lifeline {
    /// Sends SIGTERM to this process when standard input ends.
    public static func watchStandardInput() {
        let thread = Thread {
            var byte: UInt8 = 0
            while true {
                let count = read(0, &byte, 1)
                if count > 0 || (count < 0 && errno == EINTR) { continue }
                kill(getpid(), SIGTERM)
                return
            }
        }
        thread.stackSize = 128 << 10
        thread.start()
    }

    /// A pipe whose reading end goes to a child; both ends close on exec.
    public static func pipe() throws(DeploymentError) -> (reading: Int32, writing: Int32) {
        var ends: [Int32] = [0, 0]
        guard Glibc.pipe(&ends) == 0 else {
            throw DeploymentError(.spawn, "cannot make a pipe: \(String(cString: strerror(errno)))")
        }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        return (ends[0], ends[1])
    }
}
