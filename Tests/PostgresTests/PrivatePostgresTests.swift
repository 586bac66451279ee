// PrivatePostgresTests: the private cluster.

import Glibc
import LocalDeployment
import Postgres
import TestSupport
import Testing

extension PostgresTests {
    @Suite("Private cluster") struct PrivatePostgresTests {
        @Test("A cluster in a path with a space keeps data, passwords and port over stop, crash and a second owner")
        func lifecycle() throws {
            let server = try TestPostgres.makeServer(isDurable: true)
            defer { TestPostgres.remove(server) }
            #expect(server.directory.contains(" "))
            try server.createDatabase("d", owner: TestPostgres.owner)
            let url = server.url(database: "d", role: TestPostgres.owner)
            try PostgresConnection(PostgresOptions(url: url)).execute("CREATE TABLE t AS SELECT 1 AS id")

            try server.stop()
            #expect(throws: PostgresError.self) { try PostgresConnection(PostgresOptions(url: url)) }
            try server.start()
            #expect(try count(url) == 1)

            server.kill()
            try server.start()
            #expect(try count(url) == 1)

            try server.stop()
            let second = try PrivatePostgres(PrivatePostgres.Configuration(directory: server.directory))
            try second.start()
            let adopting = try PrivatePostgres(PrivatePostgres.Configuration(directory: server.directory))
            try adopting.start()
            #expect(adopting.port == second.port)
            #expect(try count(adopting.url(database: "d", role: TestPostgres.owner)) == 1)
            try adopting.stop()
            try second.stop()
        }

        @Test("Only named roles connect, only over loopback, only with the password")
        func access() throws {
            let postgres = try TestPostgres()
            let connection = try postgres.administrator()
            let addresses = try connection.execute("SHOW listen_addresses")
            #expect(try addresses.value(String.self, row: 0, column: 0) == "127.0.0.1")
            let sockets = try connection.execute("SHOW unix_socket_directories")
            #expect(try sockets.value(String.self, row: 0, column: 0) == "")
            var info = stat()
            #expect(stat("\(postgres.server.directory)/credentials", &info) == 0)
            #expect(info.st_mode & 0o777 == 0o600)
            let other = "test_outsider"
            try postgres.server.createRole(other)
            let refused = #expect(throws: PostgresError.self) { try postgres.connect(role: other) }
            #expect(refused?.sqlState == "42501")
            let noPassword = "postgresql://\(TestPostgres.owner)@127.0.0.1:\(postgres.server.port)/\(postgres.database)"
            #expect(throws: PostgresError.self) { try PostgresConnection(PostgresOptions(url: noPassword)) }
        }

        @Test("A directory that cannot be made, and one without its passwords, are told with the mend")
        func badDirectories() throws {
            let server = try PrivatePostgres(PrivatePostgres.Configuration(directory: "/proc/penstock"))
            let error = #expect(throws: (any Error).self) { try server.start() }
            #expect(String(describing: error).contains("/proc/penstock"))
            let whole = try TestPostgres.makeServer()
            defer { TestPostgres.remove(whole) }
            try whole.stop(.immediate)
            unlink("\(whole.directory)/credentials")
            let lost = try PrivatePostgres(PrivatePostgres.Configuration(directory: whole.directory))
            let missing = #expect(throws: (any Error).self) { try lost.start() }
            #expect(String(describing: missing).contains("credentials is missing"))
        }

        private func count(_ url: String) throws -> Int {
            try PostgresConnection(PostgresOptions(url: url)).query("SELECT count(*) FROM t")
                .value(Int.self, row: 0, column: 0)
        }
    }
}
