// ByteCursor: puts a record together. An append to an array costs more than the few bytes of most fields.

/// A place in room for bytes; what would not fit traps.
@safe
struct ByteCursor {
    private var next: UnsafeMutableRawPointer
    private let end: UnsafeMutableRawPointer
    /// The day written last: the times of a record mostly share it.
    private var day: Int64 = .min
    private var dayDigits: (yearMonth: UInt64, day: UInt16) = (0, 0)

    fileprivate init(_ room: UnsafeMutableRawBufferPointer) {
        guard let start = room.baseAddress else { preconditionFailure("room of no bytes") }
        unsafe next = start
        unsafe end = start + room.count
    }

    fileprivate func written(since start: UnsafeMutableRawPointer?) -> Int {
        unsafe start.map { unsafe $0.distance(to: next) } ?? 0
    }

    @inline(__always)
    private mutating func take(_ count: Int) -> UnsafeMutableRawPointer {
        precondition(unsafe count <= next.distance(to: end), "more than room was made for")
        defer { unsafe next += count }
        return unsafe next
    }

    /// Writes the bytes of `value` as they lie in memory: the lowest first on this platform's byte order.
    @inline(__always)
    private mutating func store<T: BitwiseCopyable>(_ value: T) {
        unsafe take(MemoryLayout<T>.size).storeBytes(of: value, as: T.self)
    }

    @inline(__always)
    mutating func put(_ byte: UInt8) { store(byte) }

    @inline(__always)
    mutating func put(_ text: StaticString) {
        unsafe take(text.utf8CodeUnitCount).copyMemory(from: text.utf8Start, byteCount: text.utf8CodeUnitCount)
    }

    @inline(__always)
    mutating func put(_ bytes: RawSpan) {
        let place = unsafe take(bytes.byteCount)
        bytes.withUnsafeBytes { source in
            if let start = source.baseAddress { unsafe place.copyMemory(from: start, byteCount: source.count) }
        }
    }

    @inline(__always)
    mutating func put<T: FixedWidthInteger & BitwiseCopyable>(littleEndian value: T) { store(value.littleEndian) }

    /// Decimal digits of an integer.
    mutating func putDecimal(_ value: Int64) {
        if (0..<10).contains(value) { return put(0x30 + UInt8(truncatingIfNeeded: value)) }
        var digits = InlineArray<20, UInt8>(repeating: 0x2d)
        var start = 20
        var rest = value.magnitude
        repeat {
            start -= 1
            digits[start] = 0x30 + UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        } while rest > 0
        // Every value but the longest negative one leaves room for the sign.
        if value < 0 { start -= 1 }
        put(digits.span.bytes.extracting(start..<20))
    }

    /// The shortest text that reads back as the same Float32.
    mutating func putShortest(_ value: Float) {
        precondition(value.isFinite, "JSON has no text for a number that is not finite")
        for byte in value.description.utf8 { put(byte) }
    }

    /// Eight lower-case hexadecimal digits.
    @inline(__always)
    mutating func putHexadecimal(_ value: UInt32) { store(Hexadecimal.characters(of: value)) }

    /// Sixteen lower-case hexadecimal digits.
    @inline(__always)
    mutating func putHexadecimal(_ value: UInt64) {
        putHexadecimal(UInt32(truncatingIfNeeded: value >> 32))
        putHexadecimal(UInt32(truncatingIfNeeded: value))
    }

    /// Four lower-case hexadecimal digits.
    @inline(__always)
    private mutating func putHexadecimal(_ value: UInt16) {
        store(UInt32(truncatingIfNeeded: Hexadecimal.characters(of: UInt32(value)) >> 32))
    }

    /// The 36 characters of an event id.
    mutating func put(_ id: EventID) {
        putHexadecimal(UInt32(truncatingIfNeeded: id.high >> 32))
        put(0x2d)
        putHexadecimal(UInt16(truncatingIfNeeded: id.high >> 16))
        put(0x2d)
        putHexadecimal(UInt16(truncatingIfNeeded: id.high))
        put(0x2d)
        putHexadecimal(UInt16(truncatingIfNeeded: id.low >> 48))
        put(0x2d)
        putHexadecimal(UInt16(truncatingIfNeeded: id.low >> 32))
        putHexadecimal(UInt32(truncatingIfNeeded: id.low))
    }

    /// The 27 characters of `RFC3339.append`.
    mutating func put(time microseconds: Int64) {
        let (day, inDay) = RFC3339.dayAndRest(microseconds)
        if day != self.day {
            let date = RFC3339.civil(daysSinceEpoch: Int(day))
            let year = UInt64(Self.pair(date.year / 100)) | UInt64(Self.pair(date.year % 100)) << 16
            dayDigits.yearMonth = year | 0x2d << 32 | UInt64(Self.pair(date.month)) << 40 | 0x2d << 56
            dayDigits.day = Self.pair(date.day)
            self.day = day
        }
        let second = Int(inDay / 1_000_000)
        let fraction = Int(inDay % 1_000_000)
        store(dayDigits.yearMonth)
        store(dayDigits.day)
        put(0x54)
        store(Self.pair(second / 3_600))
        put(0x3a)
        store(Self.pair(second / 60 % 60))
        put(0x3a)
        store(Self.pair(second % 60))
        put(0x2e)
        store(Self.pair(fraction / 10_000))
        store(Self.pair(fraction / 100 % 100))
        store(Self.pair(fraction % 100))
        put(0x5a)
    }

    /// Two decimal digits of 0...99, the first in the low byte.
    @inline(__always)
    private static func pair(_ value: Int) -> UInt16 {
        let value = UInt32(truncatingIfNeeded: value)
        let tens = value / 10
        return UInt16(truncatingIfNeeded: 0x3030 + tens + (value - tens * 10) << 8)
    }

    /// The 55 characters of a `traceparent`, version 00.
    mutating func put(_ trace: TraceContext) {
        put("00-")
        putHexadecimal(trace.traceHigh)
        putHexadecimal(trace.traceLow)
        put(0x2d)
        putHexadecimal(trace.span)
        put(trace.isSampled ? "-01" : "-00")
    }

    /// A JSON string, quotes included. `text` must be valid UTF-8; its room is six bytes for each of it, and two.
    mutating func putJSON(_ text: RawSpan) {
        put(0x22)
        if text.isPlainJSON {
            put(text)
        } else {
            for index in 0..<text.byteCount {
                let byte = text.little(UInt8.self, at: index)
                if byte < 0x20 || byte == 0x22 || byte == 0x5c { putEscape(byte) } else { put(byte) }
            }
        }
        put(0x22)
    }

    private mutating func putEscape(_ byte: UInt8) {
        var escape: [UInt8] = []
        escape.appendJSONEscape(byte)
        put(escape.span.bytes)
    }
}

extension [UInt8] {
    /// Appends what `write` puts into room for `countMax` bytes.
    @inline(__always)
    mutating func append(atMost countMax: Int, _ write: (inout ByteCursor) -> Void) {
        withUnsafeTemporaryAllocation(byteCount: countMax, alignment: 8) { room in
            var cursor = unsafe ByteCursor(room)
            write(&cursor)
            let written = unsafe cursor.written(since: room.baseAddress)
            unsafe append(contentsOf: UnsafeRawBufferPointer(rebasing: room[..<written]))
        }
    }
}
