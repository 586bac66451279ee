// LogTime: RFC 3339 times with microseconds, without Foundation.

import Glibc

enum LogTime {
    /// Microseconds since the Unix epoch.
    static var nowMicroseconds: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000
    }

    /// For instance `2026-11-21T05:27:16.000001Z`.
    static func text(_ microseconds: Int64) -> String {
        let (seconds, fraction) = floorDivide(microseconds, by: 1_000_000)
        let (days, second) = floorDivide(seconds, by: 86_400)
        let (year, month, day) = date(ofDay: days)
        let clock = [second / 3_600, second / 60 % 60, second % 60].map { pad($0, 2) }.joined(separator: ":")
        return "\(pad(year, 4))-\(pad(month, 2))-\(pad(day, 2))T\(clock).\(pad(fraction, 6))Z"
    }

    private static func floorDivide(_ value: Int64, by divisor: Int64) -> (Int64, Int64) {
        let (quotient, rest) = value.quotientAndRemainder(dividingBy: divisor)
        return rest < 0 ? (quotient - 1, rest + divisor) : (quotient, rest)
    }

    /// Civil date of a day counted from 1970-01-01, in years that start in March (H. Hinnant, "chrono-compatible
    /// low-level date algorithms", days_from_civil's inverse).
    private static func date(ofDay day: Int64) -> (Int64, Int64, Int64) {
        let daysPerEra: Int64 = 146_097
        let (era, dayOfEra) = floorDivide(day + 719_468, by: daysPerEra)
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * monthFromMarch + 2) / 5 + 1)
    }

    private static func pad(_ value: Int64, _ width: Int) -> String {
        let digits = String(value)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
}
