// RFC3339: date-times as text, from and to microseconds since the Unix epoch.

/// Date-times of RFC 3339 (https://www.rfc-editor.org/rfc/rfc3339#section-5.6).
public enum RFC3339 {
    /// Why a text is not a date-time.
    public enum Fault: Error, Sendable, CustomStringConvertible {
        case form
        case date
        case time
        case offset

        public var description: String {
            switch self {
            case .form: "it does not have the form 2021-06-01T12:00:00Z or 2021-06-01T12:00:00.123456+02:00"
            case .date: "its year, month and day are no date of the calendar, in UTC between 0000 and 9999"
            case .time: "its hour, minute or second is out of range"
            case .offset: "its offset from UTC is out of range"
            }
        }
    }

    /// 0000-01-01T00:00:00Z.
    public static let microsecondsMin: Int64 = -62_167_219_200_000_000
    /// 9999-12-31T23:59:59.999999Z.
    public static let microsecondsMax: Int64 = 253_402_300_799_999_999

    /// Microseconds since the Unix epoch. Strict: seconds and an offset are needed; digits beyond microseconds are cut
    /// off. A leap second (23:59:60 UTC at the end of June or December) counts as the second after it.
    public static func parse(_ text: RawSpan) throws(Fault) -> Int64 {
        guard text.byteCount >= 20 else { throw .form }
        let year = try number(text, 0, 4)
        let month = try number(text, 5, 2)
        let day = try number(text, 8, 2)
        let hour = try number(text, 11, 2)
        let minute = try number(text, 14, 2)
        let second = try number(text, 17, 2)
        guard byte(text, 4) == 0x2d, byte(text, 7) == 0x2d, byte(text, 10) | 0x20 == 0x74,
            byte(text, 13) == 0x3a, byte(text, 16) == 0x3a
        else { throw .form }
        guard (1...12).contains(month), day >= 1, day <= days(year, month) else { throw .date }
        guard hour <= 23, minute <= 59, second <= 60 else { throw .time }
        var position = 19
        let fraction = try microseconds(text, &position)
        let offset = try offsetSeconds(text, position)
        let dayNumber = Int64(daysSinceEpoch(year, month, day))
        let seconds = dayNumber * 86_400 + Int64(hour * 3_600 + minute * 60 + second - offset)
        if second == 60 { try checkLeapSecond(endingAt: seconds) }
        let result = seconds * 1_000_000 + Int64(fraction)
        guard (microsecondsMin...microsecondsMax).contains(result) else { throw .date }
        return result
    }

    /// Appends `2021-06-01T00:00:00.000000Z`, 27 characters. Values outside the years 0000 to 9999 are clamped.
    public static func append(_ microseconds: Int64, to bytes: inout [UInt8]) {
        bytes.append(atMost: 27) { $0.put(time: microseconds) }
    }

    /// Days since the Unix epoch, and microseconds since the day began, of a value clamped to the years 0000 to 9999.
    static func dayAndRest(_ microseconds: Int64) -> (day: Int64, rest: Int64) {
        let (day, rest) = floorDivide(min(max(microseconds, microsecondsMin), microsecondsMax), 86_400_000_000)
        return (day, rest)
    }

    /// The text of `append`, for messages.
    public static func text(_ microseconds: Int64) -> String {
        var bytes: [UInt8] = []
        append(microseconds, to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }

    @inline(__always)
    private static func byte(_ text: RawSpan, _ index: Int) -> UInt8 { text.little(UInt8.self, at: index) }

    private static func number(_ text: RawSpan, _ start: Int, _ length: Int) throws(Fault) -> Int {
        var value = 0
        for index in start..<(start + length) {
            let digit = byte(text, index) &- 0x30
            guard digit <= 9 else { throw .form }
            value = value * 10 + Int(digit)
        }
        return value
    }

    /// The optional fraction at `position`, in microseconds.
    private static func microseconds(_ text: RawSpan, _ position: inout Int) throws(Fault) -> Int {
        guard byte(text, position) == 0x2e else { return 0 }
        position += 1
        let start = position
        var value = 0
        var scale = 100_000
        while position < text.byteCount, byte(text, position) &- 0x30 <= 9 {
            value += Int(byte(text, position) - 0x30) * scale
            scale /= 10
            position += 1
        }
        guard position > start else { throw .form }
        return value
    }

    /// The offset that ends the text, in seconds east of UTC.
    private static func offsetSeconds(_ text: RawSpan, _ position: Int) throws(Fault) -> Int {
        let left = text.byteCount - position
        guard left > 0 else { throw .form }
        let sign = byte(text, position)
        if sign | 0x20 == 0x7a, left == 1 { return 0 }
        guard sign == 0x2b || sign == 0x2d, left == 6, byte(text, position + 3) == 0x3a else { throw .form }
        let hours = try number(text, position + 1, 2)
        let minutes = try number(text, position + 4, 2)
        guard hours <= 23, minutes <= 59 else { throw .offset }
        return (hours * 3_600 + minutes * 60) * (sign == 0x2b ? 1 : -1)
    }

    /// The second after a leap second starts 1 January or 1 July, UTC.
    private static func checkLeapSecond(endingAt seconds: Int64) throws(Fault) {
        let (day, inDay) = floorDivide(seconds, 86_400)
        let date = civil(daysSinceEpoch: Int(day))
        guard inDay == 0, date.day == 1, date.month == 1 || date.month == 7 else { throw .time }
    }

    private static func days(_ year: Int, _ month: Int) -> Int {
        switch month {
        case 4, 6, 9, 11: 30
        case 2: year.isMultiple(of: 4) && (!year.isMultiple(of: 100) || year.isMultiple(of: 400)) ? 29 : 28
        default: 31
        }
    }

    /// Days from 1970-01-01 of a date of the proleptic Gregorian calendar
    /// (https://howardhinnant.github.io/date_algorithms.html, `days_from_civil`).
    private static func daysSinceEpoch(_ year: Int, _ month: Int, _ day: Int) -> Int {
        let shifted = month <= 2 ? year - 1 : year
        let era = (shifted >= 0 ? shifted : shifted - 399) / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }

    /// The inverse, `civil_from_days` of the same page.
    static func civil(daysSinceEpoch: Int) -> (year: Int, month: Int, day: Int) {
        let days = daysSinceEpoch + 719_468
        let era = (days >= 0 ? days : days - 146_096) / 146_097
        let dayOfEra = days - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shifted = (5 * dayOfYear + 2) / 153
        let month = shifted < 10 ? shifted + 3 : shifted - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * shifted + 2) / 5 + 1)
    }

    private static func floorDivide(_ value: Int64, _ divisor: Int64) -> (quotient: Int64, remainder: Int64) {
        let (quotient, remainder) = value.quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }
}
