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
        prefix.append(to: &bytes)
        RecordBody.append(text: source, to: &bytes)
        RecordBody.append(text: id, to: &bytes)
        bytes.appendLittleEndian(UInt16(featureCount))
        RecordBody.append(bits: imputed, to: &bytes)
        RecordBody.append(bits: outliers, to: &bytes)
        for index in 0..<featureCount {
            bytes.appendLittleEndian(values[index].bitPattern)
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
        for index in 0..<batch.count {
            do {
                try decode(index, of: batch, into: &columns)
            } catch {
                columns.truncate()
                malformed.append(MalformedRow(source: index, error: error))
            }
        }
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
            try RecordBody.readBits(
                bytes, &position, count: featureCount, into: &columns.imputed, "imputed bits")
            try RecordBody.readBits(
                bytes, &position, count: featureCount, into: &columns.outliers, "outlier bits")
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
        for index in 0..<featureCount {
            let value = Float(bitPattern: bytes.little(UInt32.self, at: position + 4 * index))
            guard value.isFinite else { throw RecordBody.malformed("feature \(index) is not finite") }
            columns.values.append(value)
        }
        position += 4 * featureCount
    }
}

extension FeatureColumns {
    /// Drops what a record that turned out malformed has left behind.
    fileprivate mutating func truncate() {
        values.removeLast(values.count - rowCount * featureCount)
        imputed.removeLast(imputed.count - rowCount * featureCount)
        outliers.removeLast(outliers.count - rowCount * featureCount)
    }
}
