// RegistryClock: the wall clock as facts of the registry carry it.

import EventContracts
import Glibc

public enum RegistryClock {
    /// RFC 3339 with microseconds.
    public static var now: String {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return RFC3339.text(Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000)
    }
}
