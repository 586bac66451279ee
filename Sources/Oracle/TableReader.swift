// TableReader: reads what the sink wrote to PostgreSQL.

import Postgres

/// Reads the tables that docs/formats.md and the sink's migrations describe, in one snapshot.
public struct TableReader {
    public struct Contents: Sendable {
        public var rows: [PredictionFacts] = []
        public var duplicates: [TableDuplicate] = []
        public var offsets: [Int32: Int64] = [:]
    }

    private let url: String
    private let facts: PipelineFacts
    private static let pageRows = 50_000

    /// - Parameter url: of a role that may read all tables of the sink's schema; may hold a password.
    public init(url: String, facts: PipelineFacts) {
        self.url = url
        self.facts = facts
    }

    /// - Parameter group: the sink's consumer group; nil when only one has offsets of `predictions`.
    public func read(group: String?) throws -> Contents {
        let connection = try PostgresConnection(PostgresOptions(url: url, applicationName: "penstock-oracle"))
        defer { connection.close() }
        return try connection.transaction {
            // One snapshot for rows, duplicates and offsets.
            try connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            return Contents(
                rows: try rows(connection), duplicates: try duplicates(connection),
                offsets: try offsets(connection, group: group))
        }
    }

    private func table(_ name: String) -> String {
        "\(PostgresConnection.quote(identifier: facts.sinkSchema)).\(PostgresConnection.quote(identifier: name))"
    }

    private func rows(_ connection: PostgresConnection) throws -> [PredictionFacts] {
        let columns = """
            event_id, source, id, entity, event_time, published_at, model, model_version, contract, score, label, imputed,
            outliers, payload_hash, input_partition, input_offset
            """
        var rows: [PredictionFacts] = []
        var after = PostgresUUID(high: 0, low: 0)
        while true {
            let result = try connection.query(
                """
                SELECT \(columns) FROM \(table(facts.sinkTable)) WHERE event_id > $1 ORDER BY event_id
                LIMIT \(Self.pageRows)
                """, [.uuid(after)])
            for row in 0..<result.rowCount { rows.append(try Self.row(result, row)) }
            guard result.rowCount == Self.pageRows else { return rows }
            after = try result.value(row: result.rowCount - 1, column: 0)
        }
    }

    private static func row(_ result: PostgresResult, _ row: Int) throws -> PredictionFacts {
        let id: PostgresUUID = try result.value(row: row, column: 0)
        let eventTime: PostgresTimestamp = try result.value(row: row, column: 4)
        let publishedAt: PostgresTimestamp = try result.value(row: row, column: 5)
        return PredictionFacts(
            eventID: EventIdentifier(high: id.high, low: id.low), source: try result.optional(row: row, column: 1),
            id: try result.optional(row: row, column: 2), entity: try result.optional(row: row, column: 3),
            eventTime: eventTime.unixMicroseconds, publishedAt: publishedAt.unixMicroseconds,
            model: try result.value(row: row, column: 6), modelVersion: try result.value(row: row, column: 7),
            contract: try result.value(row: row, column: 8), score: try result.value(row: row, column: 9),
            label: try result.value(row: row, column: 10), imputed: try result.value(row: row, column: 11),
            outliers: try result.value(row: row, column: 12), payload: try result.value(row: row, column: 13),
            origin: Origin(
                partition: try result.value(row: row, column: 14), offset: try result.value(row: row, column: 15)))
    }

    private func duplicates(_ connection: PostgresConnection) throws -> [TableDuplicate] {
        let result = try connection.query(
            """
            SELECT event_id, input_partition, input_offset FROM \(table("duplicates")) WHERE sink_table = $1
            ORDER BY input_partition, input_offset
            """, [.text(facts.sinkTable)])
        return try (0..<result.rowCount).map { row in
            let id: PostgresUUID = try result.value(row: row, column: 0)
            return TableDuplicate(
                eventID: EventIdentifier(high: id.high, low: id.low),
                origin: Origin(
                    partition: try result.value(row: row, column: 1), offset: try result.value(row: row, column: 2)))
        }
    }

    private func offsets(_ connection: PostgresConnection, group: String?) throws -> [Int32: Int64] {
        let topic = "\(facts.root).predictions"
        let result = try connection.query(
            """
            SELECT consumer_group, partition, next_offset FROM \(table("consumer_offsets"))
            WHERE topic = $1 AND ($2::text IS NULL OR consumer_group = $2)
            """, [.text(topic), group.map { .text($0) } ?? .null])
        var offsets: [Int32: Int64] = [:]
        var groups: Set<String> = []
        for row in 0..<result.rowCount {
            groups.insert(try result.value(row: row, column: 0))
            offsets[try result.value(row: row, column: 1)] = try result.value(row: row, column: 2)
        }
        guard groups.count <= 1 else {
            throw OracleError(
                "\(groups.count) groups have offsets of \(topic) (\(groups.sorted().joined(separator: ", "))): name one by "
                    + "--sink-group")
        }
        return offsets
    }
}
