// SinkSchema: applying and checking the migrations.

import PipelineContract
public import Postgres

/// The state of the sink's schema. `migrate` runs as the owner of the schema, `check` as anyone who may read it.
public enum SinkSchema {
    private struct Applied {
        var name: String
        var checksum: String
    }

    /// Applies what is missing, one transaction each, and renews rights and settings. Safe to run at any time and by
    /// several processes at once: they take turns.
    ///
    /// - Returns: names of the migrations applied now.
    /// - Throws: `SinkError` for a schema that this version does not know, `PostgresError`.
    @discardableResult
    public static func migrate(_ connection: PostgresConnection, _ target: SinkTarget) throws -> [String] {
        if let problem = target.problem { throw SinkError(problem) }
        let key: [PostgresValue] = [.text("penstock.migrations.\(target.schema)")]
        try connection.query("SELECT pg_advisory_lock(hashtextextended($1, 0))", key)
        defer { _ = try? connection.query("SELECT pg_advisory_unlock(hashtextextended($1, 0))", key) }
        try requireRoles(connection, target)
        try prepare(connection, target)
        let applied = try appliedMigrations(connection, target)
        try refuseUnknown(applied, target)
        var names: [String] = []
        for migration in SinkMigration.all where applied[migration.version] == nil {
            try connection.transaction {
                try connection.execute(target.fill(migration.sql))
                try connection.query(
                    "INSERT INTO \(target.qualified("schema_migrations")) (sink_table, version, name, checksum)"
                        + " VALUES ($1, $2::int8, $3, $4)",
                    [
                        .text(scope(of: migration, target)), .int(Int64(migration.version)), .text(migration.name),
                        .text(migration.checksum),
                    ])
            }
            names.append(migration.name)
        }
        try connection.transaction {
            try connection.execute(target.fill(SinkMigration.grants))
            try connection.query(
                "INSERT INTO \(target.qualified("sink_tables")) VALUES ($1, $2, $3::int8) ON CONFLICT (table_name)"
                    + " DO UPDATE SET partition_span = excluded.partition_span, retention_ms = excluded.retention_ms",
                [
                    .text(target.table), .text(target.span.rawValue),
                    target.retentionMilliseconds.map { .int($0) } ?? .null,
                ])
        }
        return names
    }

    /// Refuses a schema that is not exactly the one this version writes.
    public static func check(_ connection: PostgresConnection, _ target: SinkTarget) throws {
        if let problem = target.problem { throw SinkError(problem) }
        let exists = try connection.query(
            "SELECT to_regclass($1) IS NOT NULL", [.text(target.qualified("schema_migrations"))])
        guard try exists.value(Bool.self, row: 0, column: 0) else {
            throw SinkError(
                "wrong schema: \(connection.place) has no Penstock tables in schema \(target.schema). \(mend)")
        }
        let applied = try appliedMigrations(connection, target)
        try refuseUnknown(applied, target)
        let missing = SinkMigration.all.filter { applied[$0.version] == nil }
        guard missing.isEmpty else {
            let names = missing.map { "\($0.version) (\($0.name))" }.joined(separator: ", ")
            throw SinkError(
                "wrong schema: table \(target.schema).\(target.table) in \(connection.place) lacks migration \(names)."
                    + " \(mend)")
        }
    }

    private static let mend = "Run prediction-sink --migrate with the owner's PostgreSQL URL"

    private static func scope(of migration: SinkMigration, _ target: SinkTarget) -> String {
        migration.scope == .schema ? "" : target.table
    }

    private static func requireRoles(_ connection: PostgresConnection, _ target: SinkTarget) throws {
        for role in [target.runtimeRole, target.readerRole] {
            let found = try connection.query("SELECT 1 FROM pg_roles WHERE rolname = $1", [.text(role)])
            guard found.rowCount == 1 else {
                throw SinkError(
                    "the role \(role) does not exist in \(connection.place): create it as an administrator with"
                        + " CREATE ROLE \(PostgresConnection.quote(identifier: role)) LOGIN PASSWORD '…', or let"
                        + " prediction-sink --migrate make it by setting PENSTOCK_SINK_PASSWORD")
            }
        }
    }

    private static func prepare(_ connection: PostgresConnection, _ target: SinkTarget) throws(PostgresError) {
        let known = try connection.query("SELECT 1 FROM pg_namespace WHERE nspname = $1", [.text(target.schema)])
        if known.rowCount == 0 { try connection.execute(target.fill("CREATE SCHEMA {schema}")) }
        try connection.execute(
            target.fill(
                """
                CREATE TABLE IF NOT EXISTS {schema}.schema_migrations (
                    sink_table text NOT NULL,
                    version integer NOT NULL,
                    name text NOT NULL,
                    checksum text NOT NULL,
                    applied_at timestamptz NOT NULL DEFAULT now(),
                    PRIMARY KEY (sink_table, version)
                )
                """))
    }

    private static func appliedMigrations(
        _ connection: PostgresConnection, _ target: SinkTarget
    ) throws(PostgresError) -> [Int: Applied] {
        let rows = try connection.query(
            "SELECT version, name, checksum FROM \(target.qualified("schema_migrations"))"
                + " WHERE sink_table IN ('', $1)", [.text(target.table)])
        var applied: [Int: Applied] = [:]
        for row in 0..<rows.rowCount {
            applied[try rows.value(Int.self, row: row, column: 0)] = Applied(
                name: try rows.value(row: row, column: 1), checksum: try rows.value(row: row, column: 2))
        }
        return applied
    }

    private static func refuseUnknown(_ applied: [Int: Applied], _ target: SinkTarget) throws(SinkError) {
        for (version, row) in applied.sorted(by: { $0.key < $1.key }) {
            guard let known = SinkMigration.all.first(where: { $0.version == version }) else {
                throw SinkError(
                    "wrong schema: \(target.schema) has migration \(version) (\(row.name)), which this version of"
                        + " prediction-sink does not know: use the newer version that made it")
            }
            guard known.checksum == row.checksum else {
                throw SinkError(
                    "wrong schema: migration \(version) (\(row.name)) of \(target.schema) was made by another text"
                        + " (checksum \(row.checksum), expected \(known.checksum)): use the version that made it, or"
                        + " another sink.schema")
            }
        }
    }
}
