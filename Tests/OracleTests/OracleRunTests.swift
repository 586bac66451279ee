// OracleRunTests: the readers and the program on a real broker protocol and a real PostgreSQL.

import EventContracts
import Foundation
import Kafka
import PipelineContract
import Postgres
import SinkStage
import TestSupport
import Testing

@testable import Oracle

@Suite("The oracle reads topics and tables")
struct OracleRunTests {
    /// A broker and a database that hold what the consumers made of random records.
    private final class Fixture {
        let broker: TestBroker
        let postgres: TestPostgres
        let folder: TemporaryDirectory
        let world: World
        let options: OracleOptions
        private let target: SinkTarget

        init(seed: UInt64, count: Int) throws {
            broker = try TestBroker()
            postgres = try TestPostgres()
            folder = try TemporaryDirectory()
            let housing = SyntheticWorld.repository.appending(path: "topics/housing").path
            let pipeline = try PipelineLoader.load(path: housing)
            for setting in pipeline.topicSettings {
                let isKeyed = setting.partitions > 1
                try broker.cluster.createTopic(setting.topic, partitions: isKeyed ? 2 : 1)
            }
            var generator = RecordGenerator(seed: seed)
            for partition in 0..<2 {
                let records = (0..<count).map { generator.next(partition: partition, offset: $0) }
                try Self.produce(records, to: pipeline.topics.inputs, broker)
            }
            let reader = LogReader(bootstrapServers: broker.bootstrapServers, timeout: .seconds(30))
            let inputs = try reader.read(pipeline.topics.inputs)
            world = try Consumers(folder: URL(filePath: folder.path)).run(inputs, clusterID: try reader.clusterID())
            for topic in [SourceTopic.events, .features, .predictions] {
                let name = "\(pipeline.topics.root).\(topic.rawValue)"
                try Self.produce(world.log(of: topic).records, to: name, broker)
            }
            try Self.produce(
                world.duplicates.records.map { record in
                    var copy = record
                    copy.origin.partition = 0
                    return copy
                }, to: pipeline.topics.duplicates, broker)
            for (topic, letters) in world.deadLetters {
                try Self.produce(letters.records, to: "\(pipeline.topics.root).\(topic.rawValue).dlq", broker)
            }
            target = SinkTarget(
                pipeline.sink, runtimeRole: TestPostgres.runtime, readerRole: TestPostgres.reader)
            var options = OracleOptions(
                pipeline: housing, bootstrapServers: broker.bootstrapServers, postgresURL: postgres.url())
            options.artifacts = folder.path
            self.options = options
            try store(world, predictions: pipeline.topics.predictions)
        }

        private static func produce(_ records: [LogRecord], to topic: String, _ broker: TestBroker) throws {
            let producer = try broker.makeProducer()
            let index = try producer.registerTopic(topic)
            for record in records {
                try producer.produce(
                    topic: index, partition: record.origin.partition, key: record.key?.span.bytes,
                    value: record.value?.span.bytes,
                    headers: record.headers.map { RecordHeader(nameBytes: $0.name, value: $0.value) },
                    timestampMilliseconds: max(record.timestampMilliseconds, 1))
            }
            var failures = 0
            try producer.flush(timeoutMilliseconds: 20_000) { if $0.error != nil { failures += 1 } }
            #expect(failures == 0)
        }

        private func store(_ world: World, predictions: String) throws {
            let connection = try postgres.connect()
            _ = try SinkSchema.migrate(connection, target)
            for row in world.rows {
                let milliseconds = Int64(row.eventID.description.filter { $0 != "-" }.prefix(12), radix: 16) ?? 0
                try connection.query(
                    "SELECT \(target.schema).make_partition($1, $2)", [.text(target.table), .int(milliseconds)])
                try insert(row, connection)
            }
            for duplicate in world.tableDuplicates {
                try connection.query(
                    """
                    INSERT INTO \(target.schema).duplicates
                        (input_partition, input_offset, event_id, sink_table, first_partition, first_offset)
                    VALUES ($1::int8, $2, $3, $4, 0, 0)
                    """,
                    [
                        .int(Int64(duplicate.origin.partition)), .int(duplicate.origin.offset),
                        .uuid(Self.uuid(duplicate.eventID)), .text(target.table),
                    ])
            }
            try SinkOffsets.reset(
                connection, target, group: "penstock.housing.sink", topic: predictions, clusterID: world.clusterID,
                to: world.predictions.ends)
        }

        private func insert(_ row: PredictionFacts, _ connection: PostgresConnection) throws {
            func text(_ value: String?) -> PostgresValue { value.map { .text($0) } ?? .null }
            try connection.query(
                """
                INSERT INTO \(target.schema).\(target.table)
                    (event_id, source, id, entity, event_time, published_at, ingested_at, transformed_at, predicted_at,
                    model, model_version, contract, score, label, imputed, outliers, payload_hash, input_partition,
                    input_offset)
                VALUES ($1, $2, $3, $4, $5, $6, $6, $6, $6, $7, $8, $9, $10::float8, $11::int8, $12::int8, $13::int8, $14,
                    $15::int8, $16)
                """,
                [
                    .uuid(Self.uuid(row.eventID)), text(row.source), text(row.id), text(row.entity),
                    .timestamp(row.eventTime), .timestamp(row.publishedAt), .text(row.model), .text(row.modelVersion),
                    .text(row.contract), .double(row.score), .int(Int64(row.label)), .int(Int64(row.imputed)),
                    .int(Int64(row.outliers)), .text(row.payload), .int(Int64(row.origin.partition)),
                    .int(row.origin.offset),
                ])
        }

        private static func uuid(_ id: EventIdentifier) -> PostgresUUID {
            let digits = id.description.filter { $0 != "-" }
            return PostgresUUID(
                high: UInt64(digits.prefix(16), radix: 16) ?? 0, low: UInt64(digits.suffix(16), radix: 16) ?? 0)
        }

        func execute(_ sql: String) throws { _ = try postgres.connect().execute(sql) }
    }

    @Test("A right pipeline is content; a lost row, a changed row, a wrong offset and a lost letter are found")
    func wholeRun() throws {
        let fixture = try Fixture(seed: 77, count: 200)
        let report = try OracleRun.check(fixture.options)
        #expect(report.isContent, "\(report.text)")
        #expect(report.published == 400)
        #expect(report.rows == fixture.world.rows.count)

        let row = fixture.world.rows[3].eventID
        try fixture.execute("UPDATE penstock.housing_predictions SET score = score + 0.01 WHERE event_id = '\(row)'")
        #expect(try OracleRun.check(fixture.options).violationsByKind == ["wrong-score": 1])
        try fixture.execute("DELETE FROM penstock.housing_predictions WHERE event_id = '\(row)'")
        let lost = try OracleRun.check(fixture.options)
        #expect(lost.violationsByKind == ["missing-row": 1, "accounting": 1])
        #expect(lost.violations.first?.eventID == row.description)
        try fixture.execute("UPDATE penstock.consumer_offsets SET next_offset = next_offset - 1 WHERE partition = 1")
        #expect(try OracleRun.check(fixture.options).violationsByKind["wrong-offset"] == 1)
    }

    @Test("What cannot be read is one clear message")
    func unreadable() throws {
        let broker = try TestBroker()
        let housing = SyntheticWorld.repository.appending(path: "topics/housing").path
        var options = OracleOptions(
            pipeline: housing, bootstrapServers: broker.bootstrapServers,
            postgresURL: "postgresql://nobody@127.0.0.1:1/x")
        options.artifacts = "/nowhere"
        let files = #expect(throws: OracleError.self) { try OracleRun.check(options) }
        #expect(files?.message.contains("/nowhere/transform.json") == true)
        let folder = try TemporaryDirectory()
        _ = try Consumers(folder: URL(filePath: folder.path))
        options.artifacts = folder.path
        let topic = #expect(throws: OracleError.self) { try OracleRun.check(options) }
        #expect(topic?.message.contains("penstock.housing.inputs does not exist") == true)
        for suffix in ["inputs", "predictions"] {
            try broker.cluster.createTopic("penstock.housing.\(suffix)", partitions: 1)
        }
        let database = #expect(throws: OracleError.self) { try OracleRun.check(options) }
        #expect(database?.message.hasPrefix("PostgreSQL") == true)
        let pipeline = #expect(throws: OracleError.self) { try PipelineFacts(path: "/nowhere/pipeline.yaml") }
        #expect(pipeline?.message.contains("cannot read /nowhere/pipeline.yaml") == true)
    }
}
