// RecordBody: what the bodies of `events` and `features` have in common: identity, bit sets, bounds-checked reading.

/// A row of a batch that is not a valid internal record; the stage turns it into a dead letter.
public struct MalformedRow: Sendable {
    /// Batch index of the record.
    public var source: Int
    public var error: RecordFormatError

    public init(source: Int, error: RecordFormatError) {
        self.source = source
        self.error = error
    }
}

/// Reading and writing of the parts after the prefix. Every read checks its length against the record first.
enum RecordBody {
    /// Longest text in an internal record; the next length stands for "missing".
    static let textBytesMax = 65_534
    static let missingText: UInt16 = 65_535

    static func malformed(_ message: String) -> RecordFormatError { RecordFormatError(.malformedRecord, message) }

    /// u16 length and bytes.
    @inline(__always)
    static func put(text: RawSpan, to cursor: inout ByteCursor) {
        precondition(text.byteCount <= textBytesMax, "a text of an internal record is too long")
        cursor.put(littleEndian: UInt16(text.byteCount))
        cursor.put(text)
    }

    /// Bytes that `put(bits:)` writes for so many flags.
    static func bitBytes(_ count: Int) -> Int { (count + 7) / 8 }

    /// ceil(n/8) bytes; bit f%8 of byte f/8 is set where `flags[f]` is not 0.
    @inline(__always)
    static func put(bits flags: Span<UInt8>, to cursor: inout ByteCursor) {
        var byte: UInt8 = 0
        for index in 0..<flags.count {
            byte |= (flags[index] == 0 ? 0 : 1) << UInt8(truncatingIfNeeded: index & 7)
            guard index & 7 == 7 else { continue }
            cursor.put(byte)
            byte = 0
        }
        if flags.count & 7 != 0 { cursor.put(byte) }
    }

    static func need(_ count: Int, at position: Int, of bytes: RawSpan, _ what: StaticString) throws(RecordFormatError)
    {
        guard bytes.byteCount - position >= count else {
            throw malformed(
                "the record of \(bytes.byteCount) bytes ends within its \(what) (\(count) bytes at \(position))")
        }
    }

    static func readCount(
        _ bytes: RawSpan, _ position: inout Int, expected: Int, _ what: StaticString
    ) throws(RecordFormatError) {
        try need(2, at: position, of: bytes, what)
        let found = Int(bytes.little(UInt16.self, at: position))
        guard found == expected else { throw malformed("the record has \(found) \(what), its contract \(expected)") }
        position += 2
    }

    /// Reads a text and returns its place relative to the record; null where missing is allowed.
    static func readText(
        _ bytes: RawSpan, _ position: inout Int, mayBeMissing: Bool, _ what: StaticString
    ) throws(RecordFormatError) -> RecordBatch.Slice {
        try need(2, at: position, of: bytes, what)
        let length = bytes.little(UInt16.self, at: position)
        position += 2
        if length == missingText {
            guard mayBeMissing else { throw malformed("the \(what) has the length that stands for missing") }
            return .null
        }
        try need(Int(length), at: position, of: bytes, what)
        let range = position..<(position + Int(length))
        guard bytes.extracting(range).isUTF8 else { throw malformed("the \(what) at byte \(position) is not UTF-8") }
        position = range.upperBound
        return RecordBatch.Slice(start: range.lowerBound, length: range.count)
    }

    /// Bit `index` of those at `position`, 0 or 1.
    @inline(__always)
    static func bit(_ index: Int, of bytes: RawSpan, at position: Int) -> UInt8 {
        (bytes.little(UInt8.self, at: position + (index >> 3)) >> UInt8(truncatingIfNeeded: index & 7)) & 1
    }

    /// Reads one byte (0 or 1) per bit into row `row` of `flags`. The spare bits of the last byte must be 0.
    static func readBits(
        _ bytes: RawSpan, _ position: inout Int, count: Int, row: Int, of flags: inout [UInt8], _ what: StaticString
    ) throws(RecordFormatError) {
        let length = bitBytes(count)
        try need(length, at: position, of: bytes, what)
        if count % 8 != 0, bytes.little(UInt8.self, at: position + length - 1) >> UInt8(count % 8) != 0 {
            throw malformed("the \(what) have a bit beyond the last field")
        }
        var target = flags.mutableSpan
        for index in 0..<count { target[row * count + index] = bit(index, of: bytes, at: position) }
        position += length
    }

    static func readIdentity(_ bytes: RawSpan, _ position: inout Int) throws(RecordFormatError) -> Identity {
        let source = try readText(bytes, &position, mayBeMissing: false, "source")
        let id = try readText(bytes, &position, mayBeMissing: false, "id")
        return Identity(source: source, id: id)
    }

    static func checkContract(
        _ prefix: RecordPrefix, expected: UInt64, _ what: StaticString
    ) throws(RecordFormatError) {
        guard prefix.contractHash != expected else { return }
        throw RecordFormatError(
            .contractMismatch,
            """
            the record follows \(what) \(Hexadecimal.text(prefix.contractHash)), this consumer \
            \(Hexadecimal.text(expected)): run both stages with one pipeline.yaml, then replay the record
            """)
    }

    static func checkEnd(_ bytes: RawSpan, _ position: Int) throws(RecordFormatError) {
        guard position == bytes.byteCount else {
            throw malformed("\(bytes.byteCount - position) bytes follow the end of the record")
        }
    }
}

extension RecordBatch.Slice {
    /// The same range counted from an earlier origin.
    func shifted(by start: Int) -> RecordBatch.Slice {
        isNull ? self : RecordBatch.Slice(start: self.start + start, length: length)
    }
}

extension Identity {
    func shifted(by start: Int) -> Identity {
        Identity(source: source.shifted(by: start), id: id.shifted(by: start))
    }
}
