// RecordReader: walks the records of an uncompressed batch.

/// Where the parts of a record lie within a span.
struct RecordView {
    var timestampDelta: Int64
    var offsetDelta: Int32
    var key: Range<Int>?
    var value: Range<Int>?
    var headers: Range<Int>
    /// The record with its length field.
    var whole: Range<Int>
}

/// Walks records one after another; nil at the end or at the first malformed record (see ``isMalformed``).
///
/// The span is passed to each call, so that the reader itself can be stored.
struct RecordReader {
    private(set) var isMalformed = false
    private var position: Int
    private var remainingRecords: Int32
    private let end: Int

    /// A reader of the batch that starts at `batchStart` of the span it will be given.
    init(_ header: BatchHeader, batchStart: Int = 0) {
        position = batchStart + BatchHeader.size
        end = batchStart + header.byteCount
        remainingRecords = header.recordCount
    }

    /// Whether the batch's records fill it exactly; meaningful after the last one.
    var isAtEnd: Bool { remainingRecords == 0 && position == end }

    mutating func next(_ bytes: RawSpan) -> RecordView? {
        guard remainingRecords > 0, !isMalformed else { return nil }
        remainingRecords -= 1
        guard let view = parse(bytes) else {
            isMalformed = true
            return nil
        }
        position = view.whole.upperBound
        return view
    }

    private func parse(_ bytes: RawSpan) -> RecordView? {
        var at = position
        let limit = min(end, bytes.byteCount)
        guard let length = Self.varint(bytes, &at, limit), length > 0, length <= Int64(limit - at) else { return nil }
        let recordEnd = at + Int(length)
        at += 1
        guard let timestampDelta = Self.varint(bytes, &at, recordEnd),
            let offsetDelta = Self.varint(bytes, &at, recordEnd), let delta = Int32(exactly: offsetDelta), delta >= 0,
            let key = Self.field(bytes, &at, recordEnd), let value = Self.field(bytes, &at, recordEnd)
        else { return nil }
        return RecordView(
            timestampDelta: timestampDelta, offsetDelta: delta, key: key.range, value: value.range,
            headers: at..<recordEnd, whole: position..<recordEnd)
    }

    /// A length-prefixed field; `range` is nil for null.
    static func field(_ bytes: RawSpan, _ at: inout Int, _ limit: Int) -> (range: Range<Int>?, Void)? {
        guard let length = varint(bytes, &at, limit) else { return nil }
        if length == -1 { return (nil, ()) }
        guard length >= 0, length <= Int64(limit - at) else { return nil }
        defer { at += Int(length) }
        return (at..<(at + Int(length)), ())
    }

    /// A zigzag number of variable length.
    static func varint(_ bytes: RawSpan, _ at: inout Int, _ limit: Int) -> Int64? {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while at < limit, shift < 64 {
            let byte: UInt8 = bytes.integer(at: at)
            at += 1
            value |= UInt64(byte & 0x7F) << shift
            if byte & 0x80 == 0 { return Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1) }
            shift += 7
        }
        return nil
    }
}

/// Reads batches into records: for the broker's own topics, for tests and tools.
public enum RecordBatchReader {
    /// The headers of the whole batches in `bytes`, with the byte range of each; stops at the first that is not whole.
    public static func batches(_ bytes: RawSpan) -> [(header: BatchHeader, range: Range<Int>)] {
        var result: [(header: BatchHeader, range: Range<Int>)] = []
        var position = 0
        while bytes.byteCount - position >= BatchHeader.size {
            let header = BatchHeader(bytes, at: position)
            guard header.isPlausible, header.byteCount <= bytes.byteCount - position else { break }
            result.append((header, position..<(position + header.byteCount)))
            position += header.byteCount
        }
        return result
    }

    /// The records of all uncompressed batches in `bytes`, markers left out.
    ///
    /// - Throws: `corruptMessage` for a malformed record, `unsupportedForMessageFormat` for a compressed batch.
    public static func records(_ bytes: RawSpan) throws(LogError) -> [LogRecord] {
        var records: [LogRecord] = []
        for (header, range) in batches(bytes) where !header.isControl {
            guard !header.isCompressed else {
                throw LogError(
                    .unsupportedForMessageFormat,
                    "batch at offset \(header.baseOffset) is compressed; read it with a client")
            }
            var reader = RecordReader(header, batchStart: range.lowerBound)
            while let view = reader.next(bytes) { records.append(record(view, header, bytes)) }
            if reader.isMalformed {
                throw LogError(.corruptMessage, "batch at offset \(header.baseOffset) has a malformed record")
            }
        }
        return records
    }

    private static func record(_ view: RecordView, _ header: BatchHeader, _ bytes: RawSpan) -> LogRecord {
        var headers: [LogRecord.Header] = []
        var at = view.headers.lowerBound
        let end = view.headers.upperBound
        let count = RecordReader.varint(bytes, &at, end) ?? 0
        while headers.count < count, let name = RecordReader.field(bytes, &at, end)?.range,
            let value = RecordReader.field(bytes, &at, end)
        {
            let text = String(decoding: bytes.bytes(name), as: UTF8.self)
            headers.append(LogRecord.Header(text, value.range.map { bytes.bytes($0) }))
        }
        return LogRecord(
            key: view.key.map { bytes.bytes($0) }, value: view.value.map { bytes.bytes($0) },
            timestamp: header.usesAppendTime ? header.maxTimestamp : header.baseTimestamp &+ view.timestampDelta,
            headers: headers, offset: header.baseOffset + Int64(view.offsetDelta))
    }
}
