// PostgresConnection+Transaction: transactions in a scope.

extension PostgresConnection {
    /// Runs `body` between BEGIN and COMMIT. An error rolls back and is passed on. When the connection breaks during
    /// COMMIT nobody knows whether it happened: the error then has the kind `commitOutcomeUnknown`, and the caller has
    /// to find out on a new connection.
    @discardableResult
    public func transaction<R>(_ body: () throws -> R) throws -> R {
        try execute("BEGIN")
        let result: R
        do {
            result = try body()
        } catch {
            rollBack()
            throw error
        }
        try commit()
        return result
    }

    /// COMMIT, which must not turn out a ROLLBACK: PostgreSQL answers so when a statement before had failed.
    public func commit() throws(PostgresError) {
        let outcome: PostgresResult
        do {
            outcome = try execute("COMMIT")
        } catch {
            guard error.isConnectionLost else { throw error }
            var unknown = error
            unknown.kind = .commitOutcomeUnknown
            throw unknown
        }
        guard outcome.commandTag == "COMMIT" else {
            throw PostgresError(.server, "the transaction had failed and was rolled back", sqlState: "25P02")
        }
    }

    /// Ends the transaction under way, if any. A connection on which even that fails is closed, which rolls back too.
    public func rollBack() {
        guard isOpen, isInTransaction else { return }
        do {
            try execute("ROLLBACK")
        } catch {
            close()
        }
    }
}
