// SinkSchemaTests: migrations, rights and partitions.

import Glibc
import PipelineContract
import Postgres
import Synchronization
import TestSupport
import Testing

@testable import SinkStage

extension PostgresTests {
    @Suite("Sink schema") struct SinkSchemaTests {
        @Test("Migrating twice changes nothing, and the check is content")
        func idempotent() throws {
            let fixture = try SinkFixture()
            let owner = try fixture.postgres.connect()
            #expect(try SinkSchema.migrate(owner, fixture.target).isEmpty)
            try SinkSchema.check(owner, fixture.target)
            try SinkSchema.check(fixture.postgres.connect(role: TestPostgres.runtime), fixture.target)
        }

        @Test("A second pipeline shares the schema")
        func secondTable() throws {
            let fixture = try SinkFixture()
            var other = fixture.target
            other.table = "other"
            let owner = try fixture.postgres.connect()
            #expect(throws: SinkError.self) { try SinkSchema.check(owner, other) }
            #expect(try SinkSchema.migrate(owner, other) == ["predictions"])
            try SinkSchema.check(owner, other)
            try SinkSchema.check(owner, fixture.target)
        }

        @Test("Processes that migrate at once take turns")
        func concurrent() throws {
            let postgres = try TestPostgres()
            let target = SinkTarget(
                schema: "s", table: "t", span: .month, partitionsAhead: 0, retentionMilliseconds: nil,
                runtimeRole: TestPostgres.runtime, readerRole: TestPostgres.reader)
            let url = postgres.url()
            let applied = Mutex<[String]>([])
            let threads = (0..<4).map { _ in
                Thread {
                    do {
                        let connection = try PostgresConnection(PostgresOptions(url: url))
                        let names = try SinkSchema.migrate(connection, target)
                        applied.withLock { $0 += names }
                    } catch {
                        applied.withLock { $0.append("\(error)") }
                    }
                }
            }
            threads.forEach { $0.join() }
            #expect(applied.withLock { $0.sorted() } == SinkMigration.all.map(\.name).sorted())
        }

        @Test("A changed, a newer and an absent schema are refused with the mend")
        func refused() throws {
            let fixture = try SinkFixture()
            let owner = try fixture.postgres.connect()
            let migrations = fixture.target.qualified("schema_migrations")
            try owner.execute("INSERT INTO \(migrations) VALUES ('', 99, 'future', 'x')")
            let newer = #expect(throws: SinkError.self) { try SinkSchema.check(owner, fixture.target) }
            #expect(newer?.message.contains("does not know") == true)
            #expect(throws: SinkError.self) { try SinkSchema.migrate(owner, fixture.target) }
            try owner.execute("DELETE FROM \(migrations) WHERE version = 99")
            try owner.execute("UPDATE \(migrations) SET checksum = 'edited' WHERE version = 1")
            let edited = #expect(throws: SinkError.self) { try SinkSchema.check(owner, fixture.target) }
            #expect(edited?.message.contains("another text") == true)

            let empty = try TestPostgres()
            let absent = #expect(throws: SinkError.self) { try SinkSchema.check(empty.connect(), fixture.target) }
            #expect(absent?.message.contains("--migrate") == true)
            var stranger = fixture.target
            stranger.runtimeRole = "nobody_here"
            let role = #expect(throws: SinkError.self) { try SinkSchema.migrate(empty.connect(), stranger) }
            #expect(role?.message.contains("CREATE ROLE") == true)
        }

        @Test("The runtime role writes and does nothing else")
        func runtimeRole() throws {
            let fixture = try SinkFixture()
            let runtime = try fixture.postgres.connect(role: TestPostgres.runtime)
            let predictions = fixture.target.predictions
            let offsets = fixture.target.qualified("consumer_offsets")
            for sql in [
                "CREATE TABLE \(fixture.target.qualified("mine")) (id int)", "CREATE SCHEMA mine",
                "DROP TABLE \(predictions)",
                "ALTER TABLE \(predictions) ADD COLUMN x int", "TRUNCATE \(predictions)", "DELETE FROM \(predictions)",
                "UPDATE \(predictions) SET label = 0", "DELETE FROM \(offsets)", "CREATE TABLE public.mine (id int)",
                "DELETE FROM \(fixture.target.qualified("schema_migrations"))", "SELECT * FROM pg_authid",
                "UPDATE \(fixture.target.qualified("sink_tables")) SET retention_ms = 1", "CREATE ROLE mine",
                "DELETE FROM \(fixture.target.qualified("sink_partitions"))",
            ] {
                let error = #expect(throws: PostgresError.self, "\(sql)") { try runtime.execute(sql) }
                #expect(error?.sqlState == "42501", "\(sql)")
            }
        }

        @Test("The partition function serves known tables only, in a sane range, whatever the caller's search path")
        func partitionFunction() throws {
            let fixture = try SinkFixture()
            let runtime = try fixture.postgres.connect(role: TestPostgres.runtime)
            try runtime.execute("SET search_path = pg_temp")
            try runtime.execute(
                "CREATE FUNCTION pg_temp.date_trunc(text, timestamptz) RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'"
            )
            let make = "SELECT lower_bound, upper_bound FROM \(fixture.target.qualified("make_partition"))($1, $2)"
            let table = PostgresValue.text(fixture.target.table)
            let bounds = try runtime.query(make, [table, .int(1_622_505_600_000)])
            #expect(try bounds.value(Int64.self, row: 0, column: 0) == 1_622_505_600_000)
            #expect(try bounds.value(Int64.self, row: 0, column: 1) == 1_625_097_600_000)
            for (name, time) in [("other", 0), (fixture.target.table, -1), (fixture.target.table, 9_999_999_999_999)] {
                #expect(throws: PostgresError.self) {
                    try runtime.query(make, [.text(name), .int(Int64(time))])
                }
            }
            #expect(try fixture.count("sink_partitions") == 1)
        }

        @Test("A span changed later fits between the partitions that are there")
        func changedSpan() throws {
            let fixture = try SinkFixture(span: "week")
            let owner = try fixture.postgres.connect()
            let make = "SELECT lower_bound, upper_bound FROM \(fixture.target.qualified("make_partition"))($1, $2)"
            let table = PostgresValue.text(fixture.target.table)
            // Monday 2021-06-07 is in the middle of the month.
            try owner.query(make, [table, .int(1_623_110_400_000)])
            var monthly = fixture.target
            monthly.span = .month
            try SinkSchema.migrate(owner, monthly)
            let before = try owner.query(make, [table, .int(1_622_505_600_000)])
            #expect(try before.value(Int64.self, row: 0, column: 1) == 1_623_024_000_000)
            let after = try owner.query(make, [table, .int(1_624_000_000_000)])
            #expect(try after.value(Int64.self, row: 0, column: 0) == 1_623_628_800_000)
            #expect(try after.value(Int64.self, row: 0, column: 1) == 1_625_097_600_000)
        }

        @Test("Creators of one partition at once agree")
        func concurrentCreators() throws {
            let fixture = try SinkFixture()
            let url = fixture.postgres.url(role: TestPostgres.runtime)
            let function = fixture.target.qualified("make_partition")
            let table = fixture.target.table
            let failures = Mutex<[String]>([])
            let threads = (0..<4).map { _ in
                Thread {
                    do {
                        let connection = try PostgresConnection(PostgresOptions(url: url))
                        for month in 0..<6 {
                            try connection.query(
                                "SELECT \(function)($1, $2)",
                                [.text(table), .int(1_622_505_600_000 + Int64(month) * 2_700_000_000)])
                        }
                    } catch {
                        failures.withLock { $0.append("\(error)") }
                    }
                }
            }
            threads.forEach { $0.join() }
            #expect(failures.withLock { $0 } == [])
        }

        @Test("The reader sees predictions and duplicates, nothing else, and changes nothing")
        func readerRole() throws {
            let fixture = try SinkFixture()
            let reader = try fixture.postgres.connect(role: TestPostgres.reader)
            try reader.execute("SELECT * FROM \(fixture.target.predictions)")
            try reader.execute("SELECT * FROM \(fixture.target.qualified("duplicates"))")
            for table in ["consumer_offsets", "dead_letter_outbox", "schema_migrations"] {
                let error = #expect(throws: PostgresError.self) {
                    try reader.execute("SELECT * FROM \(fixture.target.qualified(table))")
                }
                #expect(error?.sqlState == "42501")
            }
            #expect(throws: PostgresError.self) { try reader.execute("DELETE FROM \(fixture.target.predictions)") }
            #expect(throws: PostgresError.self) {
                try reader.query(
                    "SELECT \(fixture.target.qualified("make_partition"))($1, 0)", [.text(fixture.target.table)])
            }
        }

        @Test("Names that clash, are too long or hold a dollar are refused")
        func names() throws {
            let fixture = try SinkFixture()
            for (schema, table) in [
                ("s", "duplicates"), ("s", String(repeating: "x", count: 51)), ("pg_s", "t"), ("s", "a$$"),
            ] {
                var target = fixture.target
                target.schema = schema
                target.table = table
                #expect(target.problem != nil)
                #expect(throws: SinkError.self) { try SinkSchema.migrate(fixture.postgres.connect(), target) }
            }
        }
    }
}
