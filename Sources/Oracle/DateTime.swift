// DateTime: RFC 3339 texts, by the calendar's own arithmetic.

import Foundation

enum DateTime {
    /// Microseconds since the Unix epoch, digits beyond cut off; nil for what is no RFC 3339 date-time. A leap second, at
    /// the end of June or December UTC, counts as the second after it.
    static func microseconds(_ text: String) -> Int64? {
        guard let parts = Parts(text), (1...12).contains(parts.month),
            (1...daysInMonth(parts.month, parts.year)).contains(parts.day), parts.hour < 24, parts.minute < 60,
            parts.second <= 60, abs(parts.offsetHours) < 24, abs(parts.offsetMinutes) < 60
        else { return nil }
        let (year, second) = (parts.year, parts.second)
        let offset = parts.offsetHours * 3_600 + parts.offsetMinutes * 60
        let time = parts.hour * 3_600 + parts.minute * 60 + second
        let seconds = dayNumber(year, parts.month, parts.day) * 86_400 + time - offset
        if second == 60 {
            // The second after must be the first of January or July.
            let isNewHalfYear = (year - 1...year + 1).contains { candidate in
                [1, 7].contains { dayNumber(candidate, $0, 1) * 86_400 == seconds }
            }
            guard isNewHalfYear else { return nil }
        }
        let result = Int64(seconds) * 1_000_000 + Int64(parts.microseconds)
        let earliest = Int64(dayNumber(0, 1, 1)) * 86_400_000_000
        let latest = Int64(dayNumber(10_000, 1, 1)) * 86_400_000_000
        return (earliest..<latest).contains(result) ? result : nil
    }

    /// The numbers of a text of the form `yyyy-mm-ddThh:mm:ss[.fraction](Z|±hh:mm)`, in whatever range.
    private struct Parts {
        var year = 0
        var month = 0
        var day = 0
        var hour = 0
        var minute = 0
        var second = 0
        /// Digits beyond the sixth are cut off.
        var microseconds = 0
        /// Both have the sign of the offset.
        var offsetHours = 0
        var offsetMinutes = 0

        init?(_ text: String) {
            var rest = Substring(text).utf8
            func digit() -> Int? {
                guard let byte = rest.first, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
                rest = rest.dropFirst()
                return Int(byte - UInt8(ascii: "0"))
            }
            func number(_ digits: Int) -> Int? {
                var value = 0
                for _ in 0..<digits {
                    guard let next = digit() else { return nil }
                    value = value * 10 + next
                }
                return value
            }
            func take(_ choices: String) -> Unicode.Scalar? {
                guard let byte = rest.first, choices.utf8.contains(byte) else { return nil }
                rest = rest.dropFirst()
                return Unicode.Scalar(byte)
            }
            guard let year = number(4), take("-") != nil, let month = number(2), take("-") != nil,
                let day = number(2), take("Tt") != nil, let hour = number(2), take(":") != nil,
                let minute = number(2), take(":") != nil, let second = number(2)
            else { return nil }
            (self.year, self.month, self.day) = (year, month, day)
            (self.hour, self.minute, self.second) = (hour, minute, second)
            if take(".") != nil {
                var weight = 100_000
                guard let first = digit() else { return nil }
                microseconds = first * weight
                while let next = digit() {
                    weight /= 10
                    microseconds += next * weight
                }
            }
            if take("Zz") == nil {
                guard let sign = take("+-"), let hours = number(2), take(":") != nil, let minutes = number(2) else {
                    return nil
                }
                (offsetHours, offsetMinutes) = sign == "-" ? (-hours, -minutes) : (hours, minutes)
            }
            guard rest.isEmpty else { return nil }
        }
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
