// DateTime: RFC 3339 texts, by the calendar's own arithmetic.

import Foundation

enum DateTime {
    /// Microseconds since the Unix epoch, digits beyond cut off; nil for what is no RFC 3339 date-time. A leap second, at
    /// the end of June or December UTC, counts as the second after it.
    static func microseconds(_ text: String) -> Int64? {
        let form =
            #/([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?(?:([Zz])|([+-])([0-9]{2}):([0-9]{2}))/#
        guard let match = text.wholeMatch(of: form)?.output else { return nil }
        guard let year = Int(match.1), let month = Int(match.2), let day = Int(match.3), let hour = Int(match.4),
            let minute = Int(match.5), let second = Int(match.6), (1...12).contains(month),
            (1...daysInMonth(month, year)).contains(day), hour < 24, minute < 60, second <= 60
        else { return nil }
        var offset = 0
        if let sign = match.9, let hours = match.10.flatMap({ Int($0) }), let minutes = match.11.flatMap({ Int($0) }) {
            guard hours < 24, minutes < 60 else { return nil }
            offset = (hours * 60 + minutes) * (sign == "-" ? -60 : 60)
        }
        let seconds = dayNumber(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset
        if second == 60 {
            // The second after must be the first of January or July.
            let isNewHalfYear = (year - 1...year + 1).contains { candidate in
                [1, 7].contains { dayNumber(candidate, $0, 1) * 86_400 == seconds }
            }
            guard isNewHalfYear else { return nil }
        }
        let fraction = (match.7.map(String.init) ?? "").prefix(6)
        let digits = fraction + String(repeating: "0", count: 6 - fraction.count)
        let result = Int64(seconds) * 1_000_000 + (Int64(digits) ?? 0)
        let earliest = Int64(dayNumber(0, 1, 1)) * 86_400_000_000
        let latest = Int64(dayNumber(10_000, 1, 1)) * 86_400_000_000
        return (earliest..<latest).contains(result) ? result : nil
    }

    private static func isLeap(_ year: Int) -> Bool {
        year.isMultiple(of: 400) || (year.isMultiple(of: 4) && !year.isMultiple(of: 100))
    }

    private static func daysInMonth(_ month: Int, _ year: Int) -> Int {
        [31, isLeap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1]
    }

    /// Days from 1970-01-01 in the proleptic Gregorian calendar, counted year by year in closed form.
    private static func dayNumber(_ year: Int, _ month: Int, _ day: Int) -> Int {
        func leapYears(before year: Int) -> Int {
            // Years 0, 4, 8, … below `year`, without centuries that are no multiple of 400.
            func multiples(_ step: Int) -> Int { Int((Double(year) / Double(step)).rounded(.up)) }
            return multiples(4) - multiples(100) + multiples(400)
        }
        let days = 365 * (year - 1970) + leapYears(before: year) - leapYears(before: 1970)
        return days + (1..<month).reduce(0) { $0 + daysInMonth($1, year) } + day - 1
    }
}
