// PrivatePostgres: a PostgreSQL cluster of our own, for one machine and for tests.

import Glibc
public import Postgres
import Synchronization

/// Why the private PostgreSQL cannot be made or started.
public struct PrivatePostgresError: Error, Sendable, CustomStringConvertible {
    /// The place and the way to mend it.
    public var message: String
    public var description: String { message }

    init(_ message: String) {
        self.message = message
    }
}

/// A private PostgreSQL cluster: created on first use, reused afterwards, reachable on 127.0.0.1 only, with random
/// passwords (SCRAM-SHA-256) in a file that only its user can read. It has no Unix socket, because a socket's path may
/// have 107 bytes at most and a data directory's need not.
///
/// PostgreSQL refuses to run as root. Started by root, the cluster therefore belongs to the user `postgres` (else
/// `nobody`); if that user cannot reach the wanted directory, because a parent is closed to it, the cluster lives under
/// `/var/lib/penstock` instead and `notices` says so.
///
/// All calls block; use a thread of your own.
public final class PrivatePostgres: Sendable {
    public struct Configuration: Sendable {
        /// Where the cluster and its passwords live; created if absent.
        public var directory: String
        /// Fixed port; nil takes the one of last time if it is free, else a free one.
        public var port: Int?
        /// Stop the server when this process dies, however it dies.
        public var endsWithParent = true
        /// Off: no fsync, for tests that may lose everything in a crash of the machine.
        public var isDurable = true
        /// Further settings of postgresql.conf, which win over the defaults.
        public var settings: [String: String] = [:]
        public var startTimeoutMilliseconds = 30_000

        public init(directory: String) {
            self.directory = directory
        }
    }

    public enum StopMode: Sendable {
        /// Rolls back what is open, writes a checkpoint (SIGINT).
        case fast
        /// As in a crash: recovery at the next start (SIGQUIT).
        case immediate
    }

    /// The cluster's superuser.
    public static let administrator = "penstock_admin"

    /// What a person should know, such as a directory chosen in place of the wanted one.
    public let notices: [String]
    /// Where the cluster really lives.
    public let directory: String
    let configuration: Configuration
    let binaries: String
    let user: UnprivilegedUser?

    struct State {
        var port = 0
        var server: ServerProcess?
        /// A server that an earlier process started and that still runs.
        var isAdopted = false
        var credentials: Credentials?
    }
    let state = Mutex(State())

    /// Finds the binaries and settles user and place; creates nothing yet.
    public init(_ configuration: Configuration) throws(PrivatePostgresError) {
        self.configuration = configuration
        binaries = try Self.findBinaries()
        let wanted = Host.absolutePath(configuration.directory)
        guard geteuid() == 0 else {
            user = nil
            directory = wanted
            notices = []
            return
        }
        let user = try UnprivilegedUser.choose()
        self.user = user
        guard let closed = user.firstClosedDirectory(above: wanted) else {
            directory = wanted
            notices = []
            return
        }
        directory = "/var/lib/penstock/\(Host.stableName(of: wanted))"
        notices = [
            "PostgreSQL runs as \(user.name) because it refuses to run as root, and \(user.name) may not enter"
                + " \(closed): the cluster lives in \(directory) instead of \(wanted)."
                + " To have it there, run as an ordinary user, or chmod o+x \(closed)."
        ]
    }

    public var port: Int { state.withLock { $0.port } }

    var dataDirectory: String { "\(directory)/cluster" }
    var logPath: String { "\(directory)/postgresql.log" }
    var credentialsPath: String { "\(directory)/credentials" }

    /// The URL for a role that was created here, or for the administrator. It holds the password: do not print it.
    public func url(database: String = "postgres", role: String = PrivatePostgres.administrator) -> String {
        let (port, password) = state.withLock { ($0.port, $0.credentials?.passwords[role] ?? "") }
        return "postgresql://\(role):\(password)@127.0.0.1:\(port)/\(database)"
    }

    /// A connection of the administrator.
    public func connect(database: String = "postgres") throws(PostgresError) -> PostgresConnection {
        try PostgresConnection(PostgresOptions(url: url(database: database), applicationName: "penstock-private"))
    }

    /// Creates the role if it is missing; gives it a random password, kept for later starts. Idempotent.
    public func createRole(_ name: String, attributes: String = "") throws {
        let connection = try connect()
        let password: String
        if let known = state.withLock({ $0.credentials?.passwords[name] }) {
            password = known
        } else {
            password = Host.randomPassword()
            try storePassword(password, of: name)
        }
        let quoted = PostgresConnection.quote(identifier: name)
        let exists = try connection.query("SELECT 1 FROM pg_roles WHERE rolname = $1", [.text(name)]).rowCount > 0
        let verb = exists ? "ALTER" : "CREATE"
        let literal = PostgresConnection.quote(literal: password)
        try connection.execute("\(verb) ROLE \(quoted) WITH LOGIN \(attributes) PASSWORD \(literal)")
    }

    /// Creates the database if it is missing. Idempotent.
    public func createDatabase(_ name: String, owner: String = PrivatePostgres.administrator) throws(PostgresError) {
        let connection = try connect()
        guard try connection.query("SELECT 1 FROM pg_database WHERE datname = $1", [.text(name)]).rowCount == 0 else {
            return
        }
        let quoted = PostgresConnection.quote(identifier: name)
        try connection.execute("CREATE DATABASE \(quoted) OWNER \(PostgresConnection.quote(identifier: owner))")
        try connection.execute("REVOKE CONNECT ON DATABASE \(quoted) FROM PUBLIC")
    }

    /// Lets a role connect to a database: nobody may but those named.
    public func allow(role: String, toConnectTo database: String) throws(PostgresError) {
        try connect().execute(
            "GRANT CONNECT ON DATABASE \(PostgresConnection.quote(identifier: database))"
                + " TO \(PostgresConnection.quote(identifier: role))")
    }

    public func dropDatabase(_ name: String) throws(PostgresError) {
        try connect().execute("DROP DATABASE IF EXISTS \(PostgresConnection.quote(identifier: name)) WITH (FORCE)")
    }

    /// The last lines of the server's log, for messages.
    public var logTail: String {
        guard let text = Host.readFile(logPath) else { return "" }
        return text.split(separator: "\n").suffix(5).joined(separator: "\n")
    }

    private func storePassword(_ password: String, of role: String) throws(PrivatePostgresError) {
        let credentials = state.withLock { state in
            state.credentials?.passwords[role] = password
            return state.credentials
        }
        try credentials?.write(to: credentialsPath, owner: user)
    }

    private static func findBinaries() throws(PrivatePostgresError) -> String {
        let packaged = Host.directoryEntries("/usr/lib/postgresql").compactMap { Int($0) }.sorted(by: >)
            .map { "/usr/lib/postgresql/\($0)/bin" }
        let path = Host.environment("PATH")?.split(separator: ":").map(String.init) ?? []
        for directory in packaged + path
        where access("\(directory)/postgres", X_OK) == 0 && access("\(directory)/initdb", X_OK) == 0 {
            return directory
        }
        throw PrivatePostgresError(
            "no PostgreSQL server found in /usr/lib/postgresql/*/bin or PATH: install it (apt install postgresql-15),"
                + " or give the URL of a running one")
    }
}
