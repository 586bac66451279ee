// TestPostgres: one private PostgreSQL per test process, one database per test.

import Foundation
public import LocalDeployment
public import Postgres
import Synchronization

/// A database of its own in the cluster of this test process. The cluster lives in a folder with a space in its name,
/// does not survive the process, and its folder is removed at the end.
public final class TestPostgres: Sendable {
    public static let owner = "test_owner"
    public static let runtime = "test_sink"
    public static let reader = "test_reader"

    private static let shared = Mutex<PrivatePostgres?>(nil)

    public let database: String
    public let server: PrivatePostgres

    /// Starts the cluster on first use and makes a database with the roles `owner`, `runtime` and `reader`.
    public convenience init() throws {
        try self.init(on: Self.sharedServer())
    }

    /// A database in a cluster of the test's own.
    public init(on server: PrivatePostgres) throws {
        self.server = server
        database = "test_\(UInt64.random(in: 0...UInt64.max))"
        try server.createDatabase(database, owner: Self.owner)
        for role in [Self.runtime, Self.reader] { try server.allow(role: role, toConnectTo: database) }
    }

    public func url(role: String = TestPostgres.owner) -> String { server.url(database: database, role: role) }

    /// A connection of that role to the test's database.
    public func connect(role: String = TestPostgres.owner) throws(PostgresError) -> PostgresConnection {
        var options = PostgresOptions(url: url(role: role), applicationName: "penstock-test")
        // Generous: the server may share a busy machine with many other processes.
        options.connectTimeoutMilliseconds = 30_000
        return try PostgresConnection(options)
    }

    /// The administrator's connection to the test's database.
    public func administrator() throws(PostgresError) -> PostgresConnection {
        try server.connect(database: database)
    }

    /// A cluster of the test's own, for tests that restart or kill the server. Stop it and remove it with `remove`.
    public static func makeServer(
        settings: [String: String] = [:], isDurable: Bool = false
    ) throws -> PrivatePostgres {
        var configuration = PrivatePostgres.Configuration(directory: temporaryDirectory())
        configuration.isDurable = isDurable
        configuration.settings = settings.merging(["max_wal_size": "256MB"]) { given, _ in given }
        let server = try PrivatePostgres(configuration)
        try server.start()
        for role in [owner, runtime, reader] { try server.createRole(role) }
        return server
    }

    public static func remove(_ server: PrivatePostgres) {
        try? server.stop(.immediate)
        try? FileManager.default.removeItem(
            at: URL(fileURLWithPath: server.directory).deletingLastPathComponent())
    }

    private static func sharedServer() throws -> PrivatePostgres {
        try shared.withLock { shared in
            if let shared { return shared }
            let server = try makeServer()
            shared = server
            // Runs when the test process exits in order; in any other death the kernel stops the server.
            atexit { TestPostgres.removeShared() }
            return server
        }
    }

    private static func removeShared() {
        let server = shared.withLock { shared in
            defer { shared = nil }
            return shared
        }
        if let server { remove(server) }
    }

    /// In memory where there is room for it: each database is some 300 files, which some disks take long to delete.
    private static func temporaryDirectory() -> String {
        var space = statvfs()
        let isRoomy = statvfs("/dev/shm", &space) == 0 && space.f_bavail * space.f_frsize > 4 << 30
        let root = isRoomy && access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"
        return "\(root)/penstock-test-\(getpid())-\(UInt32.random(in: 0...UInt32.max))/data with a space"
    }
}
