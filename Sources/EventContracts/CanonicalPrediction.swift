// CanonicalPrediction: reads a `predictions` record in the very form that `PredictionWriter` gives it.

import Glibc

/// The fields of a `predictions` record whose keys stand in the documented order, without spaces or escapes: what Penstock
/// writes. Any other record, valid JSON or not, is left to a reader of JSON. Ranges are of the record's bytes.
public struct CanonicalPrediction: Sendable {
    public var eventID = EventID(high: 0, low: 0)
    public var source: Range<Int>?
    public var id: Range<Int>?
    public var entity: Range<Int>?
    /// Microseconds since the Unix epoch, as all times here.
    public var eventTime: Int64 = 0
    public var publishTime: Int64 = 0
    public var ingestTime: Int64 = 0
    public var transformTime: Int64 = 0
    public var predictTime: Int64 = 0
    public var model = 0..<0
    public var modelVersion = 0..<0
    /// 16 hexadecimal digits.
    public var contract = 0..<0
    public var score: Float = 0
    public var label: Int32 = 0
    public var imputed: Int32 = 0
    public var outliers: Int32 = 0
    /// 16 hexadecimal digits, and their value.
    public var payload = 0..<0
    public var payloadHash: UInt64 = 0
    public var inputPartition: Int32 = 0
    public var inputOffset: Int64 = 0
    public var traceparent: Range<Int>?

    private var dates = InlineArray<5, DateCache>(repeating: DateCache())

    public init() {}

    /// Reads a record. Keep the value from record to record: it remembers the dates that it has seen.
    /// - Returns: false when the record does not have the canonical form; the fields mean nothing then.
    public mutating func read(_ bytes: RawSpan) -> Bool {
        var scan = Scan(count: bytes.byteCount)
        guard scan.take(#"{"v":1,"event_id":""#, bytes), let eventID = scan.eventID(bytes),
            scan.take(#"","source":"#, bytes), scan.string(bytes, orNull: &source),
            scan.take(#","id":"#, bytes), scan.string(bytes, orNull: &id),
            scan.take(#","entity":"#, bytes), scan.string(bytes, orNull: &entity),
            scan.take(#","event_time":""#, bytes), let event = scan.time(bytes, &dates[0]),
            scan.take(#"","published_at":""#, bytes), let published = scan.time(bytes, &dates[1]),
            scan.take(#"","ingested_at":""#, bytes), let ingested = scan.time(bytes, &dates[2]),
            scan.take(#"","transformed_at":""#, bytes), let transformed = scan.time(bytes, &dates[3]),
            scan.take(#"","predicted_at":""#, bytes), let predicted = scan.time(bytes, &dates[4]),
            scan.take(#"","model":""#, bytes), let model = scan.text(bytes),
            scan.take(#","model_version":""#, bytes), let modelVersion = scan.text(bytes),
            scan.take(#","contract":""#, bytes), let contract = scan.hash(bytes),
            scan.take(#"","score":"#, bytes), let score = scan.score(bytes),
            scan.take(#","label":"#, bytes), let label = scan.integer(bytes),
            scan.take(#","imputed":"#, bytes), let imputed = scan.integer(bytes),
            scan.take(#","outliers":"#, bytes), let outliers = scan.integer(bytes),
            scan.take(#","payload":""#, bytes), let payload = scan.hash(bytes),
            scan.take(#"","input_partition":"#, bytes), let partition = scan.integer(bytes),
            scan.take(#","input_offset":"#, bytes), let offset = scan.integer(bytes),
            scan.take(#","traceparent":"#, bytes), scan.string(bytes, orNull: &traceparent),
            scan.take("}", bytes), scan.position == bytes.byteCount,
            let label = Int32(exactly: label), let imputed = Int32(exactly: imputed),
            let outliers = Int32(exactly: outliers), let partition = Int32(exactly: partition),
            !scan.hasWideCharacter || bytes.isUTF8
        else { return false }
        self.eventID = eventID
        eventTime = event
        publishTime = published
        ingestTime = ingested
        transformTime = transformed
        predictTime = predicted
        self.model = model
        self.modelVersion = modelVersion
        self.contract = contract.text
        self.score = score
        self.label = label
        self.imputed = imputed
        self.outliers = outliers
        self.payload = payload.text
        payloadHash = payload.value
        inputPartition = partition
        inputOffset = offset
        return true
    }
}

/// A date of the calendar as its ten characters, and the day that it is.
private struct DateCache: Sendable {
    var yearMonth: UInt64 = 0
    var dayDigits: UInt16 = 0
    var day: Int64 = 0
}

/// A place in a record. Every step gives false or nil, and stays where it is, when the bytes are not what is sought.
private struct Scan {
    var position = 0
    let count: Int
    /// A byte above 0x7f was passed: the record must be checked to be UTF-8.
    var hasWideCharacter = false

    init(count: Int) { self.count = count }

    @inline(__always)
    mutating func take(_ text: StaticString, _ bytes: RawSpan) -> Bool {
        let length = text.utf8CodeUnitCount
        guard position + length <= count else { return false }
        let place = position
        let isSame = bytes.withUnsafeBytes { bytes in
            unsafe bytes.baseAddress.map { unsafe memcmp($0 + place, text.utf8Start, length) == 0 } ?? false
        }
        if isSame { position += length }
        return isSame
    }

    mutating func string(_ bytes: RawSpan, orNull value: inout Range<Int>?) -> Bool {
        if take("\"", bytes) {
            value = text(bytes)
            return value != nil
        }
        value = nil
        return take("null", bytes)
    }

    /// The rest of a string whose quotation mark was passed, without escapes.
    mutating func text(_ bytes: RawSpan) -> Range<Int>? {
        var place = position
        var wide: UInt64 = 0
        while place + 8 <= count {
            let word = bytes.little(UInt64.self, at: place)
            let found = SpecialBytes.inJSONString(word)
            if found != 0 {
                place += found.trailingZeroBitCount / 8
                wide |= word
                break
            }
            wide |= word
            place += 8
        }
        hasWideCharacter = hasWideCharacter || wide & 0x8080_8080_8080_8080 != 0
        while place < count {
            let byte = bytes.little(UInt8.self, at: place)
            guard byte >= 0x20, byte != 0x5c else { return nil }
            if byte == 0x22 {
                defer { position = place + 1 }
                return position..<place
            }
            if byte > 0x7f { hasWideCharacter = true }
            place += 1
        }
        return nil
    }

    mutating func eventID(_ bytes: RawSpan) -> EventID? {
        guard position + 36 <= count else { return nil }
        guard let id = EventID(canonical: bytes.extracting(position..<position + 36)) else { return nil }
        position += 36
        return id
    }

    mutating func hash(_ bytes: RawSpan) -> (text: Range<Int>, value: UInt64)? {
        guard position + 16 <= count else { return nil }
        let range = position..<position + 16
        guard let value = Hexadecimal.parse(bytes.extracting(range)) else { return nil }
        position += 16
        return (range, value)
    }

    /// Digits as `RFC3339.append` writes them.
    mutating func time(_ bytes: RawSpan, _ known: inout DateCache) -> Int64? {
        guard position + 27 <= count else { return nil }
        let yearMonth = bytes.little(UInt64.self, at: position)
        let day = bytes.little(UInt16.self, at: position + 8)
        if yearMonth != known.yearMonth || day != known.dayDigits {
            guard let time = try? RFC3339.parse(bytes.extracting(position..<position + 27)),
                // Its text again must be this one: no other offset, no leap second.
                isCanonical(time, bytes)
            else { return nil }
            known = DateCache(yearMonth: yearMonth, dayDigits: day, day: RFC3339.dayAndRest(time).day)
            position += 27
            return time
        }
        // T12:34:5 and 6.123456 and Z
        let clock = bytes.little(UInt64.self, at: position + 10)
        let rest = bytes.little(UInt64.self, at: position + 18)
        let zone = bytes.little(UInt8.self, at: position + 26)
        guard clock & 0x00ff_0000_ff00_00ff == 0x003a_0000_3a00_0054, rest & 0xff00 == 0x2e00, zone == 0x5a,
            let first = Self.digits(clock & 0xff00_ffff_00ff_ff00 | 0x0030_0000_3000_0030),
            let second = Self.digits(rest & 0xffff_ffff_ffff_00ff | 0x3000)
        else { return nil }
        func digit(_ word: UInt64, _ index: UInt64) -> Int64 { Int64(truncatingIfNeeded: word >> (8 * index) & 0xff) }
        let hours = digit(first, 1) * 10 + digit(first, 2)
        let minutes = digit(first, 4) * 10 + digit(first, 5)
        let seconds = digit(first, 7) * 10 + digit(second, 0)
        guard hours <= 23, minutes <= 59, seconds <= 59 else { return nil }
        var fraction: Int64 = 0
        for index in 2..<8 as Range<UInt64> { fraction = fraction * 10 + digit(second, index) }
        position += 27
        return known.day * 86_400_000_000 + ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + fraction
    }

    private func isCanonical(_ time: Int64, _ bytes: RawSpan) -> Bool {
        var text: [UInt8] = []
        RFC3339.append(time, to: &text)
        return text.indices.allSatisfy { text[$0] == bytes.little(UInt8.self, at: position + $0) }
    }

    /// The values of eight decimal digits, each in its byte; nil when one is none.
    @inline(__always)
    private static func digits(_ word: UInt64) -> UInt64? {
        let high: UInt64 = 0xf0f0_f0f0_f0f0_f0f0
        let threes: UInt64 = 0x3030_3030_3030_3030
        guard word & high == threes, (word &+ 0x0606_0606_0606_0606) & high == threes else { return nil }
        return word & 0x0f0f_0f0f_0f0f_0f0f
    }

    /// An integer of at most 18 digits, as JSON writes it.
    mutating func integer(_ bytes: RawSpan) -> Int64? {
        var place = position
        let isNegative = place < count && bytes.little(UInt8.self, at: place) == 0x2d
        if isNegative { place += 1 }
        let start = place
        var value: Int64 = 0
        while place < count {
            let digit = bytes.little(UInt8.self, at: place) &- 0x30
            guard digit <= 9 else { break }
            value = value &* 10 &+ Int64(digit)
            place += 1
        }
        let length = place - start
        guard length >= 1, length <= 18, length == 1 || bytes.little(UInt8.self, at: start) != 0x30 else { return nil }
        position = place
        return isNegative ? -value : value
    }

    /// A JSON number of few digits, rounded to the nearest Float32 as the standard library's parser does; nil for one that
    /// needs more care, and for what is no number.
    mutating func score(_ bytes: RawSpan) -> Float? {
        var place = position
        func byte() -> UInt8 { place < count ? bytes.little(UInt8.self, at: place) : 0 }
        var mantissa: UInt64 = 0
        var digits = 0
        func digitRun() -> Int {
            let start = place
            while byte() &- 0x30 <= 9 {
                mantissa = mantissa &* 10 &+ UInt64(byte() &- 0x30)
                place += 1
            }
            digits += place - start
            return place - start
        }
        let isNegative = byte() == 0x2d
        if isNegative { place += 1 }
        let startsWithZero = byte() == 0x30
        let whole = digitRun()
        guard whole == 1 || whole > 1 && !startsWithZero else { return nil }
        var scale = 0
        if byte() == 0x2e {
            place += 1
            scale = digitRun()
            guard scale > 0 else { return nil }
        }
        // An exponent is left to the JSON reader. Up to 15 digits and 10^22 are exact in a Float64, so that their quotient is
        // the nearest one to the text.
        guard byte() | 0x20 != 0x65, digits <= 15, scale < Self.powers.count else { return nil }
        let wide = Double(mantissa) / Self.powers[scale]
        // Halfway between two Float32 the text may lie on either side of what a Float64 holds.
        guard wide.bitPattern & 0x1fff_ffff != 0x1000_0000, wide == 0 || wide >= 1e-30 else { return nil }
        position = place
        return isNegative ? -Float(wide) : Float(wide)
    }

    private static let powers: [Double] = [
        1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
    ]
}
