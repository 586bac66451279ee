// EventRecord and FeatureRecord: bodies of the internal records. Layout: docs/formats.md.

/// The publisher's own source and id, carried beside the event id.
public struct Identity: Sendable {
    /// Slices into the batch's arena (UTF-8).
    public var source: RecordBatch.Slice
    public var id: RecordBatch.Slice

    public init(source: RecordBatch.Slice, id: RecordBatch.Slice) {
        self.source = source
        self.id = id
    }
}

/// Decoded `events` records of a batch in columns. Row r, numeric column c stands at `r * numericCount + c`.
public struct EventColumns: Sendable {
    public let numericCount: Int
    public let textCount: Int
    /// Batch index of each row.
    public var sources: [Int] = []
    public var prefixes: [RecordPrefix] = []
    public var identities: [Identity] = []
    /// Row-major Float64; 0 where missing.
    public var numeric: [Double] = []
    /// 1 where the number is present; same shape as `numeric`.
    public var validity: [UInt8] = []
    /// Row-major slices of the batch's arena; null where missing.
    public var texts: [RecordBatch.Slice] = []

    public init(numericCount: Int, textCount: Int) {
        self.numericCount = numericCount
        self.textCount = textCount
    }

    public var rowCount: Int { sources.count }

    public mutating func removeAll() {
        sources.removeAll(keepingCapacity: true)
        prefixes.removeAll(keepingCapacity: true)
        identities.removeAll(keepingCapacity: true)
        numeric.removeAll(keepingCapacity: true)
        validity.removeAll(keepingCapacity: true)
        texts.removeAll(keepingCapacity: true)
    }
}

/// Decoded `features` records of a batch. Row r, feature f stands at `r * featureCount + f`.
public struct FeatureColumns: Sendable {
    public let featureCount: Int
    public var sources: [Int] = []
    public var prefixes: [RecordPrefix] = []
    public var identities: [Identity] = []
    /// Row-major Float32 model input.
    public var values: [Float] = []
    /// 1 where the value was imputed / flagged as an outlier; same shape as `values`.
    public var imputed: [UInt8] = []
    public var outliers: [UInt8] = []

    public init(featureCount: Int) {
        self.featureCount = featureCount
    }

    public var rowCount: Int { sources.count }

    public mutating func removeAll() {
        sources.removeAll(keepingCapacity: true)
        prefixes.removeAll(keepingCapacity: true)
        identities.removeAll(keepingCapacity: true)
        values.removeAll(keepingCapacity: true)
        imputed.removeAll(keepingCapacity: true)
        outliers.removeAll(keepingCapacity: true)
    }
}
