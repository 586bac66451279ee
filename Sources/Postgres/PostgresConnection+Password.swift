// PostgresConnection+Password: passwords that leave this process only as verifiers.

import CLibPQ

extension PostgresConnection {
    /// What the server stores in place of a role's password (SCRAM-SHA-256), computed here.
    public func passwordVerifier(_ password: String, role: String) throws(PostgresError) -> String {
        let handle = unsafe try open()
        guard let text = unsafe PQencryptPasswordConn(handle, password, role, "scram-sha-256") else {
            throw PostgresError(.usage, "cannot make a password verifier for the role \(role)")
        }
        // The text belongs to us until PQfreemem; the string is a copy.
        defer { unsafe PQfreemem(text) }
        return unsafe String(cString: text)
    }
}
