// RuntimeTime: the wall clock.

import Glibc

enum RuntimeTime {
    /// Milliseconds since the Unix epoch.
    static var wallMilliseconds: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000
    }
}
