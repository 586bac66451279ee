// FeatureRecordCodec: `features` records to and from columns. Layout: docs/formats.md.

/// Writes `features` records.
public struct FeatureRecordEncoder: Sendable {
    public let featureCount: Int

    public init(featureCount: Int) {
        precondition(featureCount <= Int(UInt16.max), "too many features")
        self.featureCount = featureCount
    }

    /// Appends a whole record: prefix, identity and one row of features with its flags (0 or 1 per feature). Every
    /// value must be finite.
    public func append(
        prefix: RecordPrefix, source: RawSpan, id: RawSpan, values: Span<Float>, imputed: Span<UInt8>,
        outliers: Span<UInt8>, to bytes: inout [UInt8]
    ) {
        precondition(
            values.count == featureCount && imputed.count == featureCount && outliers.count == featureCount,
            "a row of another contract")
        let room =
            RecordPrefix.byteCount + 6 + source.byteCount + id.byteCount + 2 * RecordBody.bitBytes(featureCount)
            + 4 * featureCount
        bytes.append(atMost: room) { cursor in
            prefix.put(to: &cursor)
            RecordBody.put(text: source, to: &cursor)
            RecordBody.put(text: id, to: &cursor)
            cursor.put(littleEndian: UInt16(featureCount))
            RecordBody.put(bits: imputed, to: &cursor)
            RecordBody.put(bits: outliers, to: &cursor)
            for index in 0..<featureCount { cursor.put(littleEndian: values[index].bitPattern) }
        }
    }
}

/// Reads the `features` records of a batch into columns.
public struct FeatureRecordDecoder: Sendable {
    public let featureCount: Int
    /// Hash of the feature contract that every record must follow.
    public let contractHash: UInt64

    public init(featureCount: Int, contractHash: UInt64) {
        self.featureCount = featureCount
        self.contractHash = contractHash
    }

    /// Columns of the right shape, to be kept and used again.
    public func makeColumns() -> FeatureColumns { FeatureColumns(featureCount: featureCount) }

    /// Appends every valid record to `columns`, in order, and every other one to `malformed`.
    public func decode(_ batch: RecordBatch, into columns: inout FeatureColumns, malformed: inout [MalformedRow]) {
        precondition(columns.featureCount == featureCount, "columns of another contract")
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
        _ index: Int, of batch: RecordBatch, into columns: inout FeatureColumns
    ) throws(RecordFormatError) {
        let slice = batch.values[index]
        try batch.withBytes(slice) { (bytes: RawSpan?) throws(RecordFormatError) in
            guard let bytes else { throw RecordFormatError(.emptyValue, "the record has no value (a tombstone)") }
            let prefix = try RecordPrefix(reading: bytes, expecting: .features)
            try RecordBody.checkContract(prefix, expected: contractHash, "feature contract")
            var position = RecordPrefix.byteCount
            let identity = try RecordBody.readIdentity(bytes, &position)
            try RecordBody.readCount(bytes, &position, expected: featureCount, "features")
            let row = columns.rowCount
            try RecordBody.readBits(
                bytes, &position, count: featureCount, row: row, of: &columns.imputed, "imputed bits")
            try RecordBody.readBits(
                bytes, &position, count: featureCount, row: row, of: &columns.outliers, "outlier bits")
            try decodeValues(bytes, &position, into: &columns)
            try RecordBody.checkEnd(bytes, position)
            columns.sources.append(index)
            columns.prefixes.append(prefix)
            columns.identities.append(identity.shifted(by: slice.start))
        }
    }

    private func decodeValues(
        _ bytes: RawSpan, _ position: inout Int, into columns: inout FeatureColumns
    ) throws(RecordFormatError) {
        try RecordBody.need(4 * featureCount, at: position, of: bytes, "features")
        let start = columns.rowCount * featureCount
        var values = columns.values.mutableSpan
        for index in 0..<featureCount {
            let value = Float(bitPattern: bytes.little(UInt32.self, at: position + 4 * index))
            guard value.isFinite else { throw RecordBody.malformed("feature \(index) is not finite") }
            values[start + index] = value
        }
        position += 4 * featureCount
    }
}

extension FeatureColumns {
    /// Room for so many more rows, which `truncate` takes back as far as no row was added.
    fileprivate mutating func makeRoom(rows: Int) {
        let count = (rowCount + rows) * featureCount
        values.append(contentsOf: repeatElement(0, count: count - values.count))
        imputed.append(contentsOf: repeatElement(0, count: count - imputed.count))
        outliers.append(contentsOf: repeatElement(0, count: count - outliers.count))
    }

    fileprivate mutating func truncate() {
        values.removeLast(values.count - rowCount * featureCount)
        imputed.removeLast(imputed.count - rowCount * featureCount)
        outliers.removeLast(outliers.count - rowCount * featureCount)
    }
}
