// SinkRows: the sink's outcome of a micro-batch: rows for PostgreSQL, already encoded, and dead letters.

public import EventContracts
public import Postgres
public import StageRuntime

/// Rows of a micro-batch, encoded for binary COPY, with the keys that the delivery decides by.
public struct SinkRows: StageOutput, Sendable {
    /// What identifies a row. The row's index in the writer is its index in `keys`.
    public struct Key: Sendable {
        /// Index of the input record.
        public var source: Int
        public var eventID: EventID
        public var payloadHash: UInt64
        /// Where the event's record stands in `<p>.inputs`.
        public var inputPartition: Int32
        public var inputOffset: Int64
    }

    /// The columns of `SinkMigration.stagingColumns`.
    static let columnCount = 20

    public private(set) var writer = BinaryCopyWriter(columnCount: SinkRows.columnCount)
    public private(set) var keys: [Key] = []
    public private(set) var deadLetters: [OutputBatch.DeadLetter] = []

    public init() {}

    public var emissionCount: Int { keys.count }
    /// Duplicates are known only once PostgreSQL was asked.
    public var duplicateCount: Int { 0 }

    public mutating func removeAll() {
        writer.removeAll()
        keys.removeAll(keepingCapacity: true)
        deadLetters.removeAll(keepingCapacity: true)
    }

    /// Adds a row; `write` must write the columns of `SinkMigration.stagingColumns`.
    mutating func appendRow(_ key: Key, _ write: (inout BinaryCopyWriter) -> Void) {
        writer.beginRow()
        write(&writer)
        keys.append(key)
    }

    public mutating func deadLetter(source: Int, _ code: ErrorCode, _ message: String) {
        deadLetters.append(OutputBatch.DeadLetter(source: source, code: code, message: message))
    }

    public func firstWithoutSingleOutcome(count: Int) -> Int? {
        var outcomes = [UInt8](repeating: 0, count: count)
        for key in keys { outcomes[key.source] &+= 1 }
        for letter in deadLetters { outcomes[letter.source] &+= 1 }
        return outcomes.firstIndex { $0 != 1 }
    }
}

/// The sink's logic: `predictions` records become rows, unreadable ones dead letters.
public struct SinkProcessor: StageProcessor {
    private var decoder = PredictionDecoder()

    public init() {}

    public func makeOutput() -> SinkRows { SinkRows() }

    public mutating func process(_ batch: RecordBatch, context: ProcessingContext, into output: inout SinkRows) {
        for index in 0..<batch.count {
            batch.withBytes(batch.values[index]) { bytes in
                guard let bytes, bytes.byteCount > 0 else {
                    output.deadLetter(source: index, .emptyValue, "the record has no value")
                    return
                }
                do throws(FlatJSON.Fault) {
                    try decoder.decode(bytes, source: index, into: &output)
                } catch {
                    output.deadLetter(source: index, error.code, error.message)
                }
            }
        }
    }
}
