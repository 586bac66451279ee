// WallClock: the time that validity, leases and serials are counted in.

import FoundationEssentials

/// Time since the Unix epoch.
public enum WallClock {
    public static func seconds() -> Int64 { Int64(Date().timeIntervalSince1970) }
    public static func milliseconds() -> Int64 { Int64(Date().timeIntervalSince1970 * 1_000) }
}
