// ReferenceTable: labelled or unlabelled rows of a CSV file, in the columns of the event schema.

public import Cryptography
import EventContracts
public import PipelineContract

/// Rows of a CSV file as the events they would be: row r, numeric field c of the schema stands at
/// `r * numericCount + c`, exactly as in `EventColumns`, so that one transform serves both.
///
/// An empty cell is a missing value. Columns that are no field of the schema are left out, but for the label.
public struct ReferenceTable: Sendable {
    /// Rows kept in memory, at most.
    public static let rowCountMax = 5_000_000

    /// Which column holds the label, 0 or 1.
    public enum Label: Sendable, Equatable {
        case none
        case named(String)
        /// The only column that is no field of the schema.
        case onlyOther
    }

    public let path: String
    public let numericCount: Int
    public private(set) var rowCount = 0
    /// Row-major Float64; 0 where missing.
    public private(set) var numeric: [Double] = []
    /// 1 where the number is present; same shape as `numeric`.
    public private(set) var validity: [UInt8] = []
    /// Microseconds since the Unix epoch; empty unless a time column was asked for.
    public private(set) var times: [Int64] = []
    /// 0 or 1; empty unless labels were asked for.
    public private(set) var labels: [UInt8] = []
    /// Line of the file on which each row starts.
    public private(set) var lines: [Int] = []
    /// Name of the label's column.
    public private(set) var labelName: String?
    /// SHA-256 of the file.
    public private(set) var digest = SHA256Digest(words: (0, 0, 0, 0))

    /// - Parameters:
    ///   - features: every field that they use must be a column of the file.
    ///   - timeField: field of the schema with the event time, when it is needed.
    public init(
        path: String, schema: EventSchema, features: FeatureSettings, timeField: String? = nil, label: Label = .none
    ) throws(TransformError) {
        var reader = try CSVReader.open(path: path)
        self.path = path
        let fields = schema.numericFields
        numericCount = fields.count
        let used = Set(features.columns.map(\.field))
        let columns = fields.map { used.contains($0.name) ? reader.column($0.name) : nil }
        for (field, column) in zip(fields, columns) where used.contains(field.name) && column == nil {
            throw reader.fault(
                "the column '\(field.name)' is missing; a feature of the pipeline is made from it (the file has "
                    + "\(reader.header.joined(separator: ", ")))")
        }
        let timeColumn = try Self.timeColumn(timeField, in: reader)
        let labelColumn = try Self.labelColumn(label, schema: schema, in: reader)
        labelName = labelColumn.map { reader.header[$0] }

        while try reader.next() {
            guard rowCount < Self.rowCountMax else {
                throw reader.fault("more than \(Self.rowCountMax) rows; sample the reference data")
            }
            for (field, column) in zip(fields, columns) {
                let value = try column.flatMap { column throws(TransformError) in
                    try Self.value(of: field, column, in: reader)
                }
                numeric.append(value ?? 0)
                validity.append(value == nil ? 0 : 1)
            }
            if let timeColumn { times.append(try Self.time(timeColumn, in: reader)) }
            if let labelColumn { labels.append(try Self.label(labelColumn, in: reader)) }
            lines.append(reader.line)
            rowCount += 1
        }
        guard rowCount > 0 else {
            throw TransformError(.badTable, "\(path) has a header and no rows")
        }
        digest = reader.digest()
    }

    /// The table with its rows in the order of `indices`.
    public func selecting(_ indices: [Int]) -> ReferenceTable {
        var result = self
        result.rowCount = indices.count
        result.numeric = indices.flatMap { numeric[$0 * numericCount..<($0 + 1) * numericCount] }
        result.validity = indices.flatMap { validity[$0 * numericCount..<($0 + 1) * numericCount] }
        if !times.isEmpty { result.times = indices.map { times[$0] } }
        if !labels.isEmpty { result.labels = indices.map { labels[$0] } }
        result.lines = indices.map { lines[$0] }
        return result
    }

    /// A number that the event would carry; one that the ingest stage would refuse is an error, because a transform
    /// must be fitted on what flows through the pipeline.
    private static func value(
        of field: EventSchema.Field, _ column: Int, in reader: borrowing CSVReader
    ) throws(TransformError) -> Double? {
        let value: Double?
        if field.type == .boolean {
            switch try reader.text(column) {
            case "": value = nil
            case "0", "false", "False": value = 0
            case "1", "true", "True": value = 1
            case let text: throw reader.fault("\(field.name) is '\(text.prefix(40))'; write true, false, 1 or 0")
            }
        } else {
            value = try reader.number(column)
        }
        guard let value else { return nil }
        if field.type == .integer, value != value.rounded() {
            throw reader.fault("\(field.name) is \(value), but the event schema declares an integer")
        }
        let isBelow = field.minimum.map { field.isMinimumExclusive ? value <= $0 : value < $0 } ?? false
        let isAbove = field.maximum.map { field.isMaximumExclusive ? value >= $0 : value > $0 } ?? false
        guard !isBelow && !isAbove else {
            throw reader.fault(
                "\(field.name) is \(value), outside the range of the event schema, so such an event would be a dead "
                    + "letter; correct the row, or widen the schema's range")
        }
        return value
    }

    private static func timeColumn(
        _ name: String?, in reader: borrowing CSVReader
    ) throws(TransformError) -> Int? {
        guard let name else { return nil }
        guard let column = reader.column(name) else {
            throw reader.fault("the column '\(name)' with the event time is missing; rows are split by time")
        }
        return column
    }

    private static func time(_ column: Int, in reader: borrowing CSVReader) throws(TransformError) -> Int64 {
        do {
            return try reader.withBytes(column) { bytes throws(RFC3339.Fault) in try RFC3339.parse(bytes) }
        } catch {
            throw reader.fault("\(reader.header[column]) is '\(try reader.text(column).prefix(40))': \(error)")
        }
    }

    private static func labelColumn(
        _ label: Label, schema: EventSchema, in reader: borrowing CSVReader
    ) throws(TransformError) -> Int? {
        switch label {
        case .none: return nil
        case .named(let name):
            guard let column = reader.column(name) else {
                throw reader.fault(
                    "the label column '\(name)' is missing; the file has \(reader.header.joined(separator: ", "))")
            }
            return column
        case .onlyOther:
            let names = Set(schema.fields.map(\.name))
            let others = reader.header.filter { !names.contains($0) }
            guard others.count == 1 else {
                let found = others.isEmpty ? "no column" : "the columns \(others.joined(separator: ", "))"
                throw reader.fault("\(found) could hold the label; name it by --label COLUMN")
            }
            return reader.column(others[0])
        }
    }

    private static func label(_ column: Int, in reader: borrowing CSVReader) throws(TransformError) -> UInt8 {
        switch try reader.number(column) {
        case 0: return 0
        case 1: return 1
        case nil: throw reader.fault("the label \(reader.header[column]) is missing; leave unlabelled rows out")
        case let value?: throw reader.fault("the label \(reader.header[column]) is \(value); it must be 0 or 1")
        }
    }
}
