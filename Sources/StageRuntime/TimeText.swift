// TimeText: instants as RFC 3339 text, and the two clocks of the runtime.

import Glibc

/// RFC 3339 in UTC with microseconds: `2021-06-01T00:00:00.000000Z`.
enum TimeText {
    static func rfc3339(microseconds: Int64) -> String {
        let (days, inDay) = microseconds.quotientAndRemainderFloor(dividingBy: 86_400_000_000)
        let (year, month, day) = civil(days: days)
        let seconds = inDay / 1_000_000
        func padded(_ value: Int64, _ width: Int) -> String {
            let digits = String(value)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        let date = "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))"
        let time = "\(padded(seconds / 3600, 2)):\(padded(seconds / 60 % 60, 2)):\(padded(seconds % 60, 2))"
        return "\(date)T\(time).\(padded(inDay % 1_000_000, 6))Z"
    }

    /// Days since 1970-01-01 to the proleptic Gregorian calendar (H. Hinnant, "chrono-compatible low-level date
    /// algorithms", civil_from_days).
    private static func civil(days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = days + 719_468
        let (era, dayOfEra) = shifted.quotientAndRemainderFloor(dividingBy: 146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthIndex = (5 * dayOfYear + 2) / 153
        let month = monthIndex < 10 ? monthIndex + 3 : monthIndex - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * monthIndex + 2) / 5 + 1)
    }
}

extension Int64 {
    fileprivate func quotientAndRemainderFloor(dividingBy divisor: Int64) -> (Int64, Int64) {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }
}

/// Wall clock for what other processes read, monotonic clock for durations and deadlines.
enum RuntimeClock {
    /// Microseconds since the Unix epoch.
    static var wallMicroseconds: Int64 { microseconds(CLOCK_REALTIME) }
    /// Microseconds since an arbitrary start; never goes back.
    static var monotonicMicroseconds: Int64 { microseconds(CLOCK_MONOTONIC) }

    private static func microseconds(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000
    }
}
