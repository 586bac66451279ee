// PostgresError: what went wrong in PostgreSQL or on the way to it, with enough to decide what to do next.

/// An error of the server, of the connection or of the use of this module. Never contains a password.
public struct PostgresError: Error, Sendable, CustomStringConvertible {
    public enum Kind: String, Sendable {
        /// The server answered with an error; `sqlState` is set.
        case server
        /// No connection, or it broke. What was under way may or may not have had its effect.
        case connection
        /// The server did not answer in time; the connection was given up.
        case timeout
        /// The connection broke while COMMIT was under way: the transaction may have committed.
        case commitOutcomeUnknown
        /// A result does not have the shape that the caller asked for, or a call was made out of order.
        case usage
    }

    public var kind: Kind
    /// Five characters of SQLSTATE (PostgreSQL documentation, appendix A), where the server gave one.
    public var sqlState: String?
    public var severity: String?
    public var message: String
    public var detail: String?
    public var hint: String?
    public var constraint: String?
    public var table: String?
    public var column: String?
    /// The server's context ("COPY staging, line 3"), where it gave one.
    public var context: String?
    private var hasLostConnection: Bool

    init(
        _ kind: Kind, _ message: String, sqlState: String? = nil, severity: String? = nil, lostConnection: Bool = false
    ) {
        self.kind = kind
        self.message = message
        self.sqlState = sqlState
        self.severity = severity
        hasLostConnection = lostConnection
    }

    /// The connection cannot be used any more; open a new one.
    public var isConnectionLost: Bool {
        hasLostConnection || kind == .connection || kind == .timeout || kind == .commitOutcomeUnknown
    }

    /// The same work may succeed later without anyone's help: lost connections, serialization failures, deadlocks,
    /// lacking resources (disk full among them), a server that stops or starts, lock and statement time-outs.
    public var isRetriable: Bool {
        guard let sqlState else { return kind != .usage }
        switch sqlState {
        case "40001", "40P01", "55P03", "57014", "25P03", "25006": return true
        default: return ["08", "53"].contains(sqlState.prefix(2)) || sqlState.hasPrefix("57P0")
        }
    }

    /// A value does not fit its column or constraint (classes 22 and 23): repeating the same row fails again.
    public var isDataError: Bool {
        guard let sqlState else { return false }
        return ["22", "23"].contains(sqlState.prefix(2))
    }

    public var description: String {
        var text = "PostgreSQL: \(message)"
        if let sqlState { text += " [\(sqlState)]" }
        if let detail { text += " (\(detail))" }
        if let hint { text += "; \(hint)" }
        return text
    }
}

/// A NOTICE, WARNING or the like that the server sent beside a result.
public struct PostgresNotice: Sendable {
    public var severity: String
    public var sqlState: String
    public var message: String
}
