// SinkRoles: creating the roles of the sink and of readers.

public import Postgres

/// Roles that `prediction-sink --migrate` gives rights to. Whoever runs it as an owner without the right to create roles
/// has an administrator create them instead.
public enum SinkRoles {
    /// Creates a role that is missing, and sets its password when one is given. Without one, a new role cannot log in:
    /// it only carries rights for others to inherit. Passwords travel and are stored as SCRAM verifiers, so neither the
    /// statement nor the server's log shows them.
    ///
    /// - Parameter roles: names with passwords.
    public static func make(
        _ roles: [(name: String, password: String?)], on connection: PostgresConnection
    ) throws(PostgresError) {
        for (name, password) in roles {
            let role = PostgresConnection.quote(identifier: name)
            let exists = try connection.query("SELECT 1 FROM pg_roles WHERE rolname = $1", [.text(name)]).rowCount > 0
            if let password {
                let verifier = try connection.passwordVerifier(password, role: name)
                try connection.execute(
                    "\(exists ? "ALTER" : "CREATE") ROLE \(role) LOGIN PASSWORD"
                        + " \(PostgresConnection.quote(literal: verifier))")
            } else if !exists {
                try connection.execute("CREATE ROLE \(role) NOLOGIN")
            }
        }
    }
}
