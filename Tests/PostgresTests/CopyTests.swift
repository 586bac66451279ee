// CopyTests: binary COPY.

import Postgres
import TestSupport
import Testing

extension PostgresTests {
    @Suite("COPY") struct CopyTests {
        private let columns =
            "b bool, s int2, i int4, l int8, f float4, d float8, t text, u uuid, at timestamptz, raw bytea"

        private func append(_ writer: inout BinaryCopyWriter, _ number: Int64) {
            writer.beginRow()
            writer.write(number % 2 == 0)
            writer.write(Int16(truncatingIfNeeded: number))
            writer.write(Int32(truncatingIfNeeded: number))
            writer.write(number)
            writer.write(Float(number) / 4)
            writer.write(Double(number) / 8)
            writer.write("row \(number)")
            writer.write(uuid: PostgresUUID(high: UInt64(number), low: 7))
            writer.write(timestamp: number * 1_000_000)
            if number == 3 { writer.writeNull() } else { writer.write(bytes: [1, 2, 3]) }
        }

        @Test("Rows of every type arrive as they were, and the writer is used again")
        func roundTrip() throws {
            let connection = try TestPostgres().connect()
            try connection.execute("CREATE TABLE t (\(columns))")
            var writer = BinaryCopyWriter(columnCount: 10)
            for _ in 0..<2 {
                try connection.execute("TRUNCATE t")
                writer.removeAll()
                for number: Int64 in 0..<1_000 { append(&writer, number) }
                #expect(try connection.copy("COPY t FROM STDIN (FORMAT binary)", from: writer) == 1_000)
                let row = try connection.query("SELECT * FROM t WHERE l = 3")
                #expect(try !row.value(Bool.self, row: 0, column: 0))
                #expect(try row.value(Int16.self, row: 0, column: 1) == 3)
                #expect(try row.value(Int32.self, row: 0, column: 2) == 3)
                #expect(try row.value(Float.self, row: 0, column: 4) == 0.75)
                #expect(try row.value(Double.self, row: 0, column: 5) == 0.375)
                #expect(try row.value(String.self, row: 0, column: 6) == "row 3")
                #expect(try row.value(PostgresUUID.self, row: 0, column: 7) == PostgresUUID(high: 3, low: 7))
                #expect(try row.value(PostgresTimestamp.self, row: 0, column: 8).unixMicroseconds == 3_000_000)
                #expect(row.isNull(row: 0, column: 9))
            }
        }

        @Test("Any range of rows can be sent, and a large one goes through in pieces")
        func ranges() throws {
            let connection = try TestPostgres().connect()
            try connection.execute("CREATE TABLE t (l int8, t text)")
            var writer = BinaryCopyWriter(columnCount: 2)
            let filler = String(repeating: "x", count: 1_000)
            for number: Int64 in 0..<5_000 {
                writer.beginRow()
                writer.write(number)
                writer.write(filler)
            }
            #expect(try connection.copy("COPY t FROM STDIN (FORMAT binary)", from: writer, rows: [10..<4_990]) == 4_980)
            #expect(try connection.copy("COPY t FROM STDIN (FORMAT binary)", from: writer, rows: [4_999..<5_000]) == 1)
            #expect(try connection.copy("COPY t FROM STDIN (FORMAT binary)", from: writer, rows: [3..<3]) == 0)
            let bounds = try connection.query("SELECT min(l), max(l), count(*) FROM t")
            #expect(try bounds.value(Int.self, row: 0, column: 0) == 10)
            #expect(try bounds.value(Int.self, row: 0, column: 1) == 4_999)
            #expect(try bounds.value(Int.self, row: 0, column: 2) == 4_981)
        }

        @Test("A bad row is a data error that names it, and the connection goes on")
        func badRow() throws {
            let connection = try TestPostgres().connect()
            try connection.execute("CREATE TABLE t (l int8 CHECK (l < 5), t text)")
            var writer = BinaryCopyWriter(columnCount: 2)
            for number: Int64 in 0..<10 {
                writer.beginRow()
                writer.write(number)
                writer.write(bytes: number == 2 ? [0xff, 0xfe] : [0x61])
            }
            let encoding = #expect(throws: PostgresError.self) {
                try connection.copy("COPY t FROM STDIN (FORMAT binary)", from: writer)
            }
            #expect(encoding?.isDataError == true)
            #expect(encoding?.context?.contains("line 3") == true)
            let check = #expect(throws: PostgresError.self) {
                try connection.copy("COPY t FROM STDIN (FORMAT binary)", from: writer, rows: [3..<10])
            }
            #expect(check?.sqlState == "23514")
            #expect(try connection.copy("COPY t FROM STDIN (FORMAT binary)", from: writer, rows: [3..<5]) == 2)
        }

        @Test("A COPY that is refused and a statement that is no COPY leave the connection usable")
        func refused() throws {
            let connection = try TestPostgres().connect()
            let writer = BinaryCopyWriter(columnCount: 1)
            let absent = #expect(throws: PostgresError.self) {
                try connection.copy("COPY absent FROM STDIN (FORMAT binary)", from: writer)
            }
            #expect(absent?.sqlState == "42P01")
            let other = #expect(throws: PostgresError.self) { try connection.copy("SELECT 1", from: writer) }
            #expect(other?.kind == .usage)
            #expect(try connection.query("SELECT 1").rowCount == 1)
        }

        @Test("A backend that dies in a COPY is a lost connection")
        func lostDuringCopy() throws {
            let postgres = try TestPostgres()
            let connection = try postgres.connect()
            let administrator = try postgres.administrator()
            try connection.execute("CREATE TABLE t (l int8)")
            var writer = BinaryCopyWriter(columnCount: 1)
            for number: Int64 in 0..<100 {
                writer.beginRow()
                writer.write(number)
            }
            try administrator.query("SELECT pg_terminate_backend($1::int4)", [.int(Int64(connection.backendProcessID))])
            let error = #expect(throws: PostgresError.self) {
                try connection.copy("COPY t FROM STDIN (FORMAT binary)", from: writer)
            }
            #expect(error?.isConnectionLost == true)
            #expect(try administrator.query("SELECT count(*) FROM t").value(Int.self, row: 0, column: 0) == 0)
        }
    }
}
