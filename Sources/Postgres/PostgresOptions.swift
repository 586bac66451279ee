// PostgresOptions: how to reach a server, and how long to wait for it.

import CLibPQ

/// Where and how to connect. `url` is a libpq URL or conninfo string; whatever it says (TLS, keepalives, several hosts,
/// `options`) wins over the defaults here.
public struct PostgresOptions: Sendable {
    /// `postgresql://user:password@host:port/database?sslmode=…` or `host=… user=…`. May hold a password: never print it.
    public var url: String
    public var applicationName: String
    public var connectTimeoutMilliseconds = 5_000
    /// Longest wait for the answer to one statement. After it the connection is given up, so that a hung server or a
    /// silent network cannot hold the calling thread for ever.
    public var operationTimeoutMilliseconds = 60_000
    /// The kernel gives up a connection whose peer acknowledges nothing for this long.
    public var tcpUserTimeoutMilliseconds = 15_000
    /// Settings of the session (`statement_timeout`, `lock_timeout`, …), applied right after connecting.
    public var settings: [String: String] = [:]

    public init(url: String, applicationName: String = "penstock") {
        self.url = url
        self.applicationName = applicationName
    }

    /// The server's own limits, which end a statement cleanly; the operation time-out above is the net below them.
    public mutating func limit(
        statementMilliseconds: Int? = nil, lockMilliseconds: Int? = nil, idleInTransactionMilliseconds: Int? = nil
    ) {
        if let statementMilliseconds { settings["statement_timeout"] = String(statementMilliseconds) }
        if let lockMilliseconds { settings["lock_timeout"] = String(lockMilliseconds) }
        if let idleInTransactionMilliseconds {
            settings["idle_in_transaction_session_timeout"] = String(idleInTransactionMilliseconds)
        }
    }

    /// Host, port, database and user of the URL, for messages: never the password.
    public var place: String {
        guard let fields = Self.fields(of: url) else { return "an invalid PostgreSQL URL" }
        let host = fields["host"] ?? fields["hostaddr"] ?? "the local socket"
        let port = fields["port"].map { ":\($0)" } ?? ""
        let database = fields["dbname"] ?? fields["user"] ?? ""
        let user = fields["user"].map { " as \($0)" } ?? ""
        return "\(host)\(port)/\(database)\(user)"
    }

    /// What is wrong with the URL, or nil. libpq's own message may repeat the URL and so the password: not passed on.
    public var problem: String? {
        Self.fields(of: url) == nil
            ? "the PostgreSQL URL cannot be read: expected postgresql://user:password@host:port/database"
                + " (special characters in the password as %XX) or libpq's key=value form" : nil
    }

    var password: String? { Self.fields(of: url)?["password"] }

    /// The fields that the URL sets, by libpq's own parser; nil when it refuses.
    static func fields(of url: String) -> [String: String]? {
        var message: UnsafeMutablePointer<CChar>?
        // The list belongs to us until PQconninfoFree; strings are copied before.
        guard let list = unsafe PQconninfoParse(url, &message) else {
            unsafe PQfreemem(message)
            return nil
        }
        defer { unsafe PQconninfoFree(list) }
        var fields: [String: String] = [:]
        var entry = unsafe list
        while let keyword = unsafe entry.pointee.keyword {
            if let value = unsafe entry.pointee.val {
                unsafe fields[String(cString: keyword)] = String(cString: value)
            }
            unsafe entry += 1
        }
        return fields
    }
}
