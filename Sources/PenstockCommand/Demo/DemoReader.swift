// DemoReader: reads back where every record of the demo ended up.

import EventContracts
import Foundation
import Kafka
import PipelineContract
import Postgres

struct DemoReader {
    let contract: Pipeline
    let connection: PostgresConnection
    let reader: TopicReader

    private var table: String { PostgresConnection.table(contract.sink) }
    private var duplicates: String {
        "\(PostgresConnection.quote(identifier: contract.sink.schema)).duplicates"
    }

    struct Counts: Equatable {
        var rows: Int
        var deadLetters: Int
        var duplicates: Int

        var total: Int { rows + deadLetters + duplicates }
    }

    /// Cheap counts for the progress line: a topic may show a record twice, the checks at the end do not rest on them.
    func counts() throws -> Counts {
        Counts(
            rows: try connection.rowCount(contract.sink),
            deadLetters: try reader.count(contract.topics.deadLetterTopics),
            duplicates: try reader.count([contract.topics.duplicates])
                + connection.query(
                    "SELECT count(*) FROM \(duplicates) WHERE sink_table = $1", [.text(contract.sink.table)]
                )
                .value(Int.self, row: 0, column: 0))
    }

    func outcome() throws -> DemoOutcome {
        var outcome = DemoOutcome()
        let rows = try connection.query(
            "SELECT input_partition, input_offset, coalesce(id, ''), to_char(event_time AT TIME ZONE 'UTC', 'YYYY-MM'),"
                + " score FROM \(table)")
        for row in 0..<rows.rowCount {
            outcome.rows.append(
                DemoOutcome.Row(
                    origin: Publisher.Position(
                        partition: try rows.value(row: row, column: 0), offset: try rows.value(row: row, column: 1)),
                    id: try rows.value(row: row, column: 2), month: try rows.value(row: row, column: 3),
                    score: try rows.value(row: row, column: 4)))
        }
        let repeats = try connection.query(
            "SELECT input_partition, input_offset FROM \(duplicates) WHERE sink_table = $1",
            [.text(contract.sink.table)])
        for row in 0..<repeats.rowCount {
            outcome.duplicates.append(
                Publisher.Position(
                    partition: try repeats.value(row: row, column: 0), offset: try repeats.value(row: row, column: 1)))
        }
        try readNotices(into: &outcome)
        return outcome
    }

    private struct Notice: Decodable {
        var input_partition: Int32
        var input_offset: Int64
    }

    private func readNotices(into outcome: inout DemoOutcome) throws {
        let decoder = JSONDecoder()
        try reader.readAll([contract.topics.duplicates]) { record in
            let notice = try decoder.decode(Notice.self, from: Data(record.value ?? []))
            outcome.duplicates.append(
                Publisher.Position(partition: notice.input_partition, offset: notice.input_offset))
        }
        try reader.readAll(contract.topics.deadLetterTopics) { record in
            outcome.deadLetters.append(
                DemoOutcome.DeadLetter(
                    origin: try origin(of: record), code: record.header("x-error-code") ?? "(none)", key: record.key,
                    value: record.value, headers: Self.originalHeaders(record)))
        }
    }

    /// Where the input record stands from which a dead letter stems.
    private func origin(of record: ReadRecord) throws -> Publisher.Position {
        // Later stages dead-letter internal records, whose prefix names the input; predictions name it in their JSON.
        if record.topic != PipelineTopics.deadLetters(of: contract.topics.inputs), let value = record.value {
            if record.topic == PipelineTopics.deadLetters(of: contract.topics.predictions) {
                let notice = try JSONDecoder().decode(Notice.self, from: Data(value))
                return Publisher.Position(partition: notice.input_partition, offset: notice.input_offset)
            }
            let kind: RecordPrefix.Kind =
                record.topic == PipelineTopics.deadLetters(of: contract.topics.events) ? .event : .features
            let prefix = try RecordPrefix(reading: value.span.bytes, expecting: kind)
            return Publisher.Position(partition: prefix.inputPartition, offset: prefix.inputOffset)
        }
        guard let partition = record.header("__connect.errors.partition").flatMap({ Int32($0) }),
            let offset = record.header("__connect.errors.offset").flatMap({ Int64($0) })
        else {
            throw CommandFailure("\(record.topic)/\(record.partition)/\(record.offset) does not name its origin")
        }
        return Publisher.Position(partition: partition, offset: offset)
    }

    /// The headers that were there before the stage added its own behind them.
    private static func originalHeaders(_ record: ReadRecord) -> [OutgoingEvent.Header] {
        record.headers.filter { header in
            !header.name.hasPrefix("__connect.errors.") && !header.name.hasPrefix("x-error-")
                && header.name != "x-original-timestamp"
        }.map { OutgoingEvent.Header(name: $0.name, value: $0.value ?? []) }
    }

    /// Percentiles per hop, computed by PostgreSQL from the time columns.
    /// - Parameter idPrefix: only rows whose publisher's id begins so.
    static func latencies(
        _ connection: PostgresConnection, _ sink: SinkSettings, idPrefix: String? = nil
    ) throws -> [HopLatency] {
        let hops = [
            ("publish -> ingest", "published_at", "ingested_at"),
            ("ingest -> transform", "ingested_at", "transformed_at"),
            ("transform -> predict", "transformed_at", "predicted_at"),
            ("predict -> store", "predicted_at", "stored_at"),
            ("publish -> store", "published_at", "stored_at"),
        ]
        return try hops.map { name, from, to in
            let seconds = "extract(epoch FROM \(to) - \(from))::float8"
            let result = try connection.query(
                "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY s), percentile_cont(0.9) WITHIN GROUP (ORDER BY s),"
                    + " percentile_cont(0.99) WITHIN GROUP (ORDER BY s), max(s) "
                    + " FROM (SELECT \(seconds) AS s FROM \(PostgresConnection.table(sink))"
                    + " WHERE $1::text IS NULL OR id LIKE $1 || '-%') t",
                [idPrefix.map { .text($0) } ?? .null])
            func value(_ column: Int) throws -> Double { try result.optional(row: 0, column: column) ?? .nan }
            return HopLatency(hop: name, p50: try value(0), p90: try value(1), p99: try value(2), max: try value(3))
        }
    }

    struct Span {
        /// From the first publication to the last row.
        var seconds: Double
        var models: [String]
    }

    func span() throws -> Span {
        let times = try connection.query(
            "SELECT extract(epoch FROM max(stored_at) - min(published_at))::float8 FROM \(table)")
        let models = try connection.query(
            "SELECT DISTINCT model, model_version, contract FROM \(table) ORDER BY 1, 2, 3")
        return Span(
            seconds: try times.optional(row: 0, column: 0) ?? .nan,
            models: try (0..<models.rowCount).map { row in
                let words: [String] = try (0..<3).map { try models.value(row: row, column: $0) }
                return "\(words[0]) version \(words[1]), contract \(words[2])"
            })
    }
}
