// SinkTarget: which tables of which schema a sink writes, and who may do what there.

public import PipelineContract
import Postgres

/// The tables of one pipeline in PostgreSQL. Names are unquoted; they are quoted wherever they enter SQL.
public struct SinkTarget: Sendable, Equatable {
    public var schema: String
    public var table: String
    public var span: SinkSettings.PartitionSpan
    /// Partitions made ahead of the newest event time.
    public var partitionsAhead: Int
    public var retentionMilliseconds: Int64?
    /// The role of `prediction-sink`: writes, and may neither change nor drop a table.
    public var runtimeRole: String
    /// The role of those who read predictions.
    public var readerRole: String

    public static let defaultRuntimeRole = "penstock_sink"
    public static let defaultReaderRole = "penstock_reader"

    public init(
        _ settings: SinkSettings, runtimeRole: String = SinkTarget.defaultRuntimeRole,
        readerRole: String = SinkTarget.defaultReaderRole
    ) {
        self.init(
            schema: settings.schema, table: settings.table, span: settings.partitionSpan,
            partitionsAhead: settings.partitionsAhead, retentionMilliseconds: settings.retentionMilliseconds,
            runtimeRole: runtimeRole, readerRole: readerRole)
    }

    public init(
        schema: String, table: String, span: SinkSettings.PartitionSpan, partitionsAhead: Int,
        retentionMilliseconds: Int64?, runtimeRole: String = SinkTarget.defaultRuntimeRole,
        readerRole: String = SinkTarget.defaultReaderRole
    ) {
        self.schema = schema
        self.table = table
        self.span = span
        self.partitionsAhead = partitionsAhead
        self.retentionMilliseconds = retentionMilliseconds
        self.runtimeRole = runtimeRole
        self.readerRole = readerRole
    }

    /// Tables of the schema that every pipeline shares.
    static let sharedTables = [
        "schema_migrations", "sink_tables", "sink_partitions", "consumer_offsets", "dead_letter_outbox", "duplicates",
    ]

    /// Names of partitions append 10 characters, and PostgreSQL cuts names off at 63 bytes.
    static let tableNameBytesMax = 50

    /// Why the names cannot be used, or nil.
    var problem: String? {
        if Self.sharedTables.contains(table) {
            return "sink.table \"\(table)\" is the name of a table that Penstock needs itself: choose another one"
        }
        if table.isEmpty || table.utf8.count > Self.tableNameBytesMax {
            return "sink.table must have 1 to \(Self.tableNameBytesMax) bytes"
        }
        if schema.contains("$") || table.contains("$") { return "sink.schema and sink.table must not contain $" }
        if schema.isEmpty || schema.utf8.count > 63 || schema.hasPrefix("pg_") {
            return "sink.schema must have 1 to 63 bytes and not begin with pg_"
        }
        return nil
    }

    /// `"schema"."name"`.
    func qualified(_ name: String) -> String {
        "\(PostgresConnection.quote(identifier: schema)).\(PostgresConnection.quote(identifier: name))"
    }

    var predictions: String { qualified(table) }

    /// Fills the placeholders of a statement: `{schema}`, `{table}` (identifiers), `{schema:text}` (literal).
    func fill(_ template: String) -> String {
        let values = [
            ("{schema:text}", PostgresConnection.quote(literal: schema)),
            ("{schema}", PostgresConnection.quote(identifier: schema)),
            ("{table}", PostgresConnection.quote(identifier: table)),
            ("{runtime}", PostgresConnection.quote(identifier: runtimeRole)),
            ("{reader}", PostgresConnection.quote(identifier: readerRole)),
        ]
        return values.reduce(template) { text, pair in text.replacing(pair.0, with: pair.1) }
    }
}

/// The sink's schema or offsets are not as they must be. The message names the place and the mend.
public struct SinkError: Error, Sendable, CustomStringConvertible {
    public var message: String
    public var description: String { message }

    init(_ message: String) {
        self.message = message
    }
}
