// EventRecordCodec: `events` records to and from columns. Layout: docs/formats.md.

/// Writes `events` records. The body comes first, because the prefix holds its hash:
/// `appendBody`, then `appendText` once per text field, then `append` with the finished prefix.
public struct EventRecordEncoder: Sendable {
    /// Longest source, id or text field, in bytes.
    public static let textBytesMax = RecordBody.textBytesMax

    public let numericCount: Int
    public let textCount: Int

    /// - Parameters: numbers of the schema's numeric and text fields, at most 65,535 each.
    public init(numericCount: Int, textCount: Int) {
        precondition(numericCount <= Int(UInt16.max) && textCount <= Int(UInt16.max), "too many fields")
        self.numericCount = numericCount
        self.textCount = textCount
    }

    /// Appends the head of a body: counts, validity and numbers of one row. A missing number is written as 0.
    public func appendBody(numeric: Span<Double>, validity: Span<UInt8>, to bytes: inout [UInt8]) {
        precondition(numeric.count == numericCount && validity.count == numericCount, "a row of another schema")
        bytes.append(atMost: 4 + RecordBody.bitBytes(numericCount) + 8 * numericCount) { cursor in
            cursor.put(littleEndian: UInt16(numericCount))
            cursor.put(littleEndian: UInt16(textCount))
            RecordBody.put(bits: validity, to: &cursor)
            for index in 0..<numericCount {
                cursor.put(littleEndian: validity[index] == 0 ? 0 : numeric[index].bitPattern)
            }
        }
    }

    /// Appends the next text field of the body; nil stands for missing.
    public func appendText(_ text: RawSpan?, to bytes: inout [UInt8]) {
        guard let text else { return bytes.appendLittleEndian(RecordBody.missingText) }
        bytes.append(atMost: 2 + text.byteCount) { RecordBody.put(text: text, to: &$0) }
    }

    /// Appends a whole record. `source` and `id` are empty when the publisher gave none.
    public func append(
        prefix: RecordPrefix, source: RawSpan, id: RawSpan, body: RawSpan, to bytes: inout [UInt8]
    ) {
        let room = RecordPrefix.byteCount + 4 + source.byteCount + id.byteCount + body.byteCount
        bytes.append(atMost: room) { cursor in
            prefix.put(to: &cursor)
            RecordBody.put(text: source, to: &cursor)
            RecordBody.put(text: id, to: &cursor)
            cursor.put(body)
        }
    }
}

/// Reads the `events` records of a batch into columns.
public struct EventRecordDecoder: Sendable {
    public let numericCount: Int
    public let textCount: Int
    /// Hash of the event schema that every record must follow.
    public let contractHash: UInt64

    public init(numericCount: Int, textCount: Int, contractHash: UInt64) {
        self.numericCount = numericCount
        self.textCount = textCount
        self.contractHash = contractHash
    }

    /// Columns of the right shape, to be kept and used again.
    public func makeColumns() -> EventColumns { EventColumns(numericCount: numericCount, textCount: textCount) }

    /// Appends every valid record to `columns`, in order, and every other one to `malformed`.
    public func decode(_ batch: RecordBatch, into columns: inout EventColumns, malformed: inout [MalformedRow]) {
        precondition(
            columns.numericCount == numericCount && columns.textCount == textCount, "columns of another schema")
        columns.makeRoom(rows: batch.count)
        for index in 0..<batch.count {
            do {
                try decode(index, of: batch, into: &columns)
            } catch {
                // What it left in its row, the next one overwrites.
                malformed.append(MalformedRow(source: index, error: error))
            }
        }
        columns.truncate()
    }

    private func decode(
        _ index: Int, of batch: RecordBatch, into columns: inout EventColumns
    ) throws(RecordFormatError) {
        let slice = batch.values[index]
        try batch.withBytes(slice) { (bytes: RawSpan?) throws(RecordFormatError) in
            guard let bytes else { throw RecordFormatError(.emptyValue, "the record has no value (a tombstone)") }
            let prefix = try RecordPrefix(reading: bytes, expecting: .event)
            try RecordBody.checkContract(prefix, expected: contractHash, "event schema")
            var position = RecordPrefix.byteCount
            let identity = try RecordBody.readIdentity(bytes, &position)
            try decodeBody(bytes, &position, start: slice.start, into: &columns)
            columns.sources.append(index)
            columns.prefixes.append(prefix)
            columns.identities.append(identity.shifted(by: slice.start))
        }
    }

    private func decodeBody(
        _ bytes: RawSpan, _ position: inout Int, start: Int, into columns: inout EventColumns
    ) throws(RecordFormatError) {
        try RecordBody.readCount(bytes, &position, expected: numericCount, "numeric fields")
        try RecordBody.readCount(bytes, &position, expected: textCount, "text fields")
        let (row, bits) = (columns.rowCount, position)
        try RecordBody.readBits(
            bytes, &position, count: numericCount, row: row, of: &columns.validity, "validity bits")
        try RecordBody.need(8 * numericCount, at: position, of: bytes, "numbers")
        try decodeNumbers(bytes, at: position, validityAt: bits, row: row, into: &columns)
        position += 8 * numericCount
        for index in 0..<textCount {
            let text = try RecordBody.readText(bytes, &position, mayBeMissing: true, "text field")
            columns.texts[row * textCount + index] = text.shifted(by: start)
        }
        try RecordBody.checkEnd(bytes, position)
    }

    private func decodeNumbers(
        _ bytes: RawSpan, at position: Int, validityAt bits: Int, row: Int, into columns: inout EventColumns
    ) throws(RecordFormatError) {
        let start = row * numericCount
        var numeric = columns.numeric.mutableSpan
        for index in 0..<numericCount {
            let value = Double(bitPattern: bytes.little(UInt64.self, at: position + 8 * index))
            guard value.isFinite, RecordBody.bit(index, of: bytes, at: bits) != 0 || value.bitPattern == 0 else {
                throw RecordBody.malformed("numeric field \(index) is not finite, or missing with a value")
            }
            numeric[start + index] = value
        }
    }
}

extension EventColumns {
    /// Room for so many more rows, which `truncate` takes back as far as no row was added.
    fileprivate mutating func makeRoom(rows: Int) {
        let count = rowCount + rows
        numeric.append(contentsOf: repeatElement(0, count: count * numericCount - numeric.count))
        validity.append(contentsOf: repeatElement(0, count: count * numericCount - validity.count))
        texts.append(contentsOf: repeatElement(.null, count: count * textCount - texts.count))
    }

    fileprivate mutating func truncate() {
        numeric.removeLast(numeric.count - rowCount * numericCount)
        validity.removeLast(validity.count - rowCount * numericCount)
        texts.removeLast(texts.count - rowCount * textCount)
    }
}
