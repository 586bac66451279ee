// Pause: waiting a moment between two looks at something that gives no notice of its own.

import Glibc

enum Pause {
    /// Waits that long; a signal may end it early.
    static func milliseconds(_ milliseconds: Int) {
        _ = poll(nil, 0, Int32(milliseconds))
    }

    /// The same for schedules finer than a millisecond; returns at once when there is nothing to wait for.
    static func microseconds(_ microseconds: Int64) {
        guard microseconds > 0 else { return }
        var time = timespec(
            tv_sec: Int(microseconds / 1_000_000), tv_nsec: Int(microseconds % 1_000_000) * 1_000)
        _ = pselect(0, nil, nil, nil, &time, nil)
    }
}
