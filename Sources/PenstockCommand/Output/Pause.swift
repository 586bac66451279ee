// Pause: waiting a moment between two looks at something that gives no notice of its own.

import Glibc

enum Pause {
    /// Waits that long; a signal may end it early.
    static func milliseconds(_ milliseconds: Int) {
        _ = poll(nil, 0, Int32(milliseconds))
    }
}
