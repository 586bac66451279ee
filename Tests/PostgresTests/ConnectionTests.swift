// ConnectionTests: the libpq wrapper against a real server.

import Glibc
import LocalDeployment
import Postgres
import TestSupport
import Testing

extension PostgresTests {
    @Suite("Connection") struct ConnectionTests {
        @Test("Parameters and results keep their values in both formats", arguments: [true, false])
        func roundTrip(binary: Bool) throws {
            let connection = try TestPostgres().connect()
            let uuid = PostgresUUID(high: 0x0123_4567_89ab_8def, low: 0x8123_4567_89ab_cdef)
            let result = try connection.query(
                "SELECT $1::bool, $2::int8, $3::float8, $4::text, $5::bytea, $6::uuid, $7::text, $8::int4",
                [
                    .bool(true), .int(-7), .double(0.1), .text("grüße 'x' \\ 🌊"), .bytes([0, 1, 255]), .uuid(uuid),
                    .null,
                    .int(42),
                ], binary: binary)
            #expect(try result.value(Bool.self, row: 0, column: 0))
            #expect(try result.value(Int64.self, row: 0, column: 1) == -7)
            #expect(try result.value(Double.self, row: 0, column: 2) == 0.1)
            #expect(try result.value(String.self, row: 0, column: 3) == "grüße 'x' \\ 🌊")
            #expect(try result.value([UInt8].self, row: 0, column: 4) == [0, 1, 255])
            #expect(try result.value(PostgresUUID.self, row: 0, column: 5) == uuid)
            #expect(try result.optional(String.self, row: 0, column: 6) == nil)
            #expect(try result.value(Int.self, row: 0, column: 7) == 42)
        }

        @Test("Times are microseconds of Unix, before and after 2000")
        func times() throws {
            let connection = try TestPostgres().connect()
            for microseconds: Int64 in [0, -1, 1_622_505_600_123_456, 946_684_800_000_000] {
                let result = try connection.query(
                    "SELECT $1::timestamptz, $1 = to_timestamp(0) + $2 * interval '1 microsecond'",
                    [.timestamp(microseconds), .int(microseconds)])
                #expect(try result.value(PostgresTimestamp.self, row: 0, column: 0).unixMicroseconds == microseconds)
            }
        }

        @Test("A value of another shape, a NULL and a place outside are errors, not traps")
        func typedReading() throws {
            let connection = try TestPostgres().connect()
            let result = try connection.query("SELECT 'abc'::text AS word, NULL::int8 AS nothing")
            #expect(throws: PostgresError.self) { try result.value(Int64.self, row: 0, column: 1) }
            #expect(throws: PostgresError.self) { try result.value(PostgresUUID.self, row: 0, column: 0) }
            #expect(throws: PostgresError.self) { try result.value(String.self, row: 1, column: 0) }
            #expect(throws: PostgresError.self) { try result.value(String.self, row: 0, column: 9) }
            #expect(try result.columnIndex("nothing") == 1)
            #expect(throws: PostgresError.self) { try result.columnIndex("absent") }
        }

        @Test("Errors carry SQLSTATE, detail and constraint, and say whether to try again")
        func errors() throws {
            let connection = try TestPostgres().connect()
            try connection.execute("CREATE TABLE t (id int CONSTRAINT t_key PRIMARY KEY)")
            try connection.execute("INSERT INTO t VALUES (1)")
            let duplicate = #expect(throws: PostgresError.self) { try connection.execute("INSERT INTO t VALUES (1)") }
            #expect(duplicate?.sqlState == "23505")
            #expect(duplicate?.constraint == "t_key")
            #expect(duplicate?.detail?.contains("(id)=(1)") == true)
            #expect(duplicate?.isDataError == true)
            #expect(duplicate?.isRetriable == false)
            #expect(duplicate?.isConnectionLost == false)
            let division = #expect(throws: PostgresError.self) { try connection.query("SELECT 1 / 0") }
            #expect(division?.sqlState == "22012")
            let syntax = #expect(throws: PostgresError.self) { try connection.execute("SELEKT") }
            #expect(syntax?.sqlState == "42601")
            #expect(try connection.query("SELECT 1").value(Int.self, row: 0, column: 0) == 1)
        }

        @Test("A wrong password is told with its SQLSTATE and without the password")
        func wrongPassword() throws {
            let postgres = try TestPostgres()
            let url = "postgresql://\(TestPostgres.owner):not-the-secret@127.0.0.1:\(postgres.server.port)/x"
            let error = #expect(throws: PostgresError.self) { try PostgresConnection(PostgresOptions(url: url)) }
            #expect(error?.sqlState == "28P01")
            #expect(error?.isRetriable == false)
            #expect(error?.description.contains("not-the-secret") == false)
        }

        @Test("A URL that cannot be read is not repeated in the message")
        func badURL() {
            for url in [
                "postgresql://u:topsecret@[::1/x", "host=x password=topsecret nonsense", "postgresql://h/d?topsecret=1",
            ] {
                let error = #expect(throws: PostgresError.self) { try PostgresConnection(PostgresOptions(url: url)) }
                #expect(error?.kind == .usage)
                #expect(error?.description.contains("topsecret") == false)
            }
        }

        @Test("An absent server is a retriable connection error")
        func absentServer() {
            let error = #expect(throws: PostgresError.self) {
                try PostgresConnection(PostgresOptions(url: "postgresql://u:p@127.0.0.1:1/d"))
            }
            #expect(error?.kind == .connection)
            #expect(error?.isRetriable == true)
        }

        @Test("A server that accepts and never speaks does not hold the caller")
        func silentServer() throws {
            let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            defer { close(listener) }
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                    _ = bind(listener, generic, length)
                    _ = listen(listener, 1)
                    _ = getsockname(listener, generic, &length)
                }
            }
            var options = PostgresOptions(url: "postgresql://u:p@127.0.0.1:\(UInt16(bigEndian: address.sin_port))/d")
            options.connectTimeoutMilliseconds = 100
            let error = #expect(throws: PostgresError.self) { try PostgresConnection(options) }
            #expect(error?.kind == .timeout)
            #expect(error?.isRetriable == true)
        }

        @Test("A terminated backend is a lost connection")
        func terminated() throws {
            let postgres = try TestPostgres()
            let connection = try postgres.connect()
            let administrator = try postgres.administrator()
            try administrator.query("SELECT pg_terminate_backend($1::int4)", [.int(Int64(connection.backendProcessID))])
            let error = #expect(throws: PostgresError.self) { try connection.query("SELECT 1") }
            #expect(error?.isConnectionLost == true)
            #expect(error?.isRetriable == true)
            #expect(throws: PostgresError.self) { try connection.query("SELECT 1") }
        }

        @Test("A hung backend gives the caller back at the deadline, and the connection is not used again")
        func hungBackend() throws {
            let postgres = try TestPostgres()
            var options = PostgresOptions(url: postgres.url())
            options.operationTimeoutMilliseconds = 200
            let connection = try PostgresConnection(options)
            let process = connection.backendProcessID
            postgres.server.signalBackend(process, SIGSTOP)
            defer { postgres.server.signalBackend(process, SIGCONT) }
            let error = #expect(throws: PostgresError.self) { try connection.query("SELECT 1") }
            #expect(error?.kind == .timeout)
            #expect(error?.isConnectionLost == true)
            #expect(!connection.isOpen)
        }

        @Test("The server ends a statement at statement_timeout, and another thread can cancel it")
        func timeouts() throws {
            let postgres = try TestPostgres()
            var options = PostgresOptions(url: postgres.url())
            options.limit(statementMilliseconds: 50)
            let limited = try PostgresConnection(options)
            let error = #expect(throws: PostgresError.self) { try limited.query("SELECT pg_sleep(60)") }
            #expect(error?.sqlState == "57014")
            #expect(limited.isOpen)

            let connection = try postgres.connect()
            let cancellation = try #require(connection.makeCancellation())
            let waiter = try postgres.administrator()
            let process = Int64(connection.backendProcessID)
            let canceller = Thread {
                // Waits until the statement runs, so that the request cannot come too early.
                _ = try? waiter.query(
                    "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = \(process)"
                        + " AND wait_event = 'PgSleep') LOOP PERFORM pg_stat_clear_snapshot(); PERFORM pg_sleep(0.01); END LOOP; END $$"
                )
                try? cancellation.cancel()
            }
            let cancelled = #expect(throws: PostgresError.self) { try connection.query("SELECT pg_sleep(60)") }
            canceller.join()
            #expect(cancelled?.sqlState == "57014")
            #expect(connection.isOpen)
        }

        @Test("Notices reach the handler")
        func notices() throws {
            var messages: [String] = []
            let connection = try PostgresConnection(PostgresOptions(url: try TestPostgres().url())) {
                messages.append("\($0.severity): \($0.message)")
            }
            try connection.execute("DO $$ BEGIN RAISE NOTICE 'hello'; END $$")
            #expect(messages == ["NOTICE: hello"])
        }

        @Test("A prepared statement runs many times; the URL's settings win over the defaults")
        func prepared() throws {
            let postgres = try TestPostgres()
            let connection = try PostgresConnection(PostgresOptions(url: postgres.url() + "?application_name=mine"))
            #expect(try connection.query("SHOW application_name").value(String.self, row: 0, column: 0) == "mine")
            try connection.prepare("double", "SELECT $1::int8 * 2")
            for value: Int64 in 0..<10 {
                let result = try connection.executePrepared("double", [.int(value)])
                #expect(try result.value(Int64.self, row: 0, column: 0) == value * 2)
            }
        }

        @Test("A scope commits, rolls back on an error, and tells a COMMIT that became a ROLLBACK")
        func transactions() throws {
            let connection = try TestPostgres().connect()
            try connection.execute("CREATE TABLE t (id int)")
            try connection.transaction { try connection.execute("INSERT INTO t VALUES (1)") }
            struct Stop: Error {}
            #expect(throws: Stop.self) {
                try connection.transaction {
                    try connection.execute("INSERT INTO t VALUES (2)")
                    throw Stop()
                }
            }
            let failed = #expect(throws: PostgresError.self) {
                try connection.transaction { _ = try? connection.execute("SELECT 1 / 0") }
            }
            #expect(failed?.sqlState == "25P02")
            #expect(try connection.query("SELECT id FROM t").column(Int.self, 0) == [1])
        }

        @Test("A connection lost in COMMIT says that the outcome is unknown")
        func unknownCommit() throws {
            let postgres = try TestPostgres()
            let connection = try postgres.connect()
            let administrator = try postgres.administrator()
            let error = #expect(throws: PostgresError.self) {
                try connection.transaction {
                    try connection.execute("CREATE TABLE t (id int)")
                    try administrator.query(
                        "SELECT pg_terminate_backend($1::int4)", [.int(Int64(connection.backendProcessID))])
                }
            }
            #expect(error?.kind == .commitOutcomeUnknown)
            #expect(error?.isRetriable == true)
        }

        @Test("Quoting keeps identifiers and literals whole")
        func quoting() throws {
            let connection = try TestPostgres().connect()
            let name = "a \"b\" ' \\ ü"
            try connection.execute("CREATE TABLE \(PostgresConnection.quote(identifier: name)) (id int)")
            let literal = PostgresConnection.quote(literal: name)
            let found = try connection.execute("SELECT relname FROM pg_class WHERE relname = \(literal)")
            #expect(try found.column(String.self, 0) == [name])
        }
    }
}
