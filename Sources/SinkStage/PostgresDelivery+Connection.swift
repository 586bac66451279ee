// PostgresDelivery+Connection: connecting, and what to do when PostgreSQL says no.

import Glibc
import Logging
import Observability
import Postgres
import StageRuntime

/// Exponential backoff with full jitter.
struct Backoff {
    private let millisecondsMin: Int
    private let millisecondsMax: Int
    private var failures = 0
    private var retryAt: ContinuousClock.Instant?

    init(millisecondsMin: Int, millisecondsMax: Int) {
        self.millisecondsMin = millisecondsMin
        self.millisecondsMax = millisecondsMax
    }

    var isWaiting: Bool { retryAt.map { ContinuousClock.now < $0 } ?? false }

    mutating func failed() {
        let ceiling = min(millisecondsMax, millisecondsMin << min(failures, 16))
        failures += 1
        retryAt = .now + .milliseconds(Int.random(in: millisecondsMin...max(millisecondsMin, ceiling)))
    }

    mutating func succeeded() {
        failures = 0
        retryAt = nil
    }

    /// Waits until the next attempt is due. For the start only, where there is nothing else to do.
    func wait() {
        guard let retryAt else { return }
        let left = (retryAt - .now).components
        let milliseconds = max(0, left.seconds * 1_000 + left.attoseconds / 1_000_000_000_000_000 + 1)
        _ = poll(nil, 0, Int32(clamping: milliseconds))
    }
}

extension PostgresDelivery {
    /// The connection, made if needed; nil while it is not the time (`obstacle` says why).
    mutating func connected() throws(DeliveryFailure) -> PostgresConnection? {
        if let connection, connection.isOpen { return backoff.isWaiting ? nil : connection }
        guard !backoff.isWaiting else { return nil }
        connection = nil
        do {
            let logger = logger
            let fresh = try PostgresConnection(options.connection) { notice in
                logger.info("PostgreSQL notice", metadata: ["message": "\(notice.message)"])
            }
            try SinkSchema.check(fresh, options.target)
            try Self.prepareSession(fresh, options)
            try partitions.load(fresh, options.target)
            connection = fresh
            return fresh
        } catch {
            _ = try setBack(error, "connect")
            return nil
        }
    }

    /// Notes the failure and schedules the next attempt. Gives the reason for a person.
    /// - Throws: `DeliveryFailure` when another attempt cannot help.
    mutating func setBack(_ error: any Error, _ what: String) throws(DeliveryFailure) -> String {
        if let failure = error as? DeliveryFailure { throw failure }
        guard let error = error as? PostgresError else { throw DeliveryFailure(.refused, "\(error)") }
        // A failed connection names what failed and where by itself.
        let isNamed = error.message.hasPrefix("cannot connect")
        guard error.isRetriable else {
            throw DeliveryFailure(
                .refused, isNamed ? "\(error)" : "cannot \(what) in \(options.connection.place): \(error)")
        }
        if error.isConnectionLost {
            connection?.close()
            connection = nil
        } else {
            connection?.rollBack()
        }
        backoff.failed()
        let reason = isNamed ? "\(error)" : "cannot \(what): \(error)"
        if obstacle == nil { logger.warning("PostgreSQL has to wait", metadata: ["reason": "\(reason)"]) }
        obstacle = reason
        registry.counter(MetricNames.retries, environment.stage, what).add(1)
        return reason
    }

    mutating func succeeded() {
        backoff.succeeded()
        guard obstacle != nil else { return }
        obstacle = nil
        logger.notice("PostgreSQL works again")
    }

    /// Once per connection: the staging table and the statements.
    private static func prepareSession(_ connection: PostgresConnection, _ options: Options) throws(PostgresError) {
        let target = options.target
        let columns = SinkMigration.stagingColumns
        try connection.execute(
            """
            CREATE TEMPORARY TABLE penstock_staging ON COMMIT DELETE ROWS
            AS SELECT \(columns), 0 AS ordinal FROM \(target.predictions) WITH NO DATA;
            ALTER TABLE pg_temp.penstock_staging ALTER ordinal SET NOT NULL,
                ALTER ordinal ADD GENERATED ALWAYS AS IDENTITY (MINVALUE 0 START 0)
            """)
        // Numbers the rows of one COPY in their order.
        try connection.prepare("rewind", "SELECT setval('pg_temp.penstock_staging_ordinal_seq', 0, false)")
        try connection.prepare(
            "insert",
            """
            INSERT INTO \(target.predictions) (\(columns))
            SELECT DISTINCT ON (event_id) \(columns) FROM pg_temp.penstock_staging ORDER BY event_id, ordinal
            ON CONFLICT (event_id) DO NOTHING
            """)
        // LATERAL keeps the planner, which knows nothing of the staging table's size, from scanning whole partitions.
        let others = """
            FROM pg_temp.penstock_staging s CROSS JOIN LATERAL (
                SELECT p.input_partition, p.input_offset, p.payload_hash FROM \(target.predictions) p
                WHERE p.event_id = s.event_id
            ) p
            WHERE (p.input_partition, p.input_offset) <> (s.input_partition, s.input_offset)
            """
        try connection.prepare(
            "others",
            "SELECT s.ordinal, p.payload_hash = s.payload_hash, p.input_partition, p.input_offset \(others)"
                + " ORDER BY s.ordinal")
        try connection.prepare(
            "duplicates",
            """
            INSERT INTO \(target.qualified("duplicates"))
                (input_partition, input_offset, event_id, sink_table, first_partition, first_offset)
            SELECT DISTINCT s.input_partition, s.input_offset, s.event_id, $1::text, p.input_partition, p.input_offset
            \(others) AND p.payload_hash = s.payload_hash
            ON CONFLICT DO NOTHING
            """)
        let comparison = options.faults.noCompareAndSet ? "" : "AND o.next_offset = v.start"
        try connection.prepare(
            "advance",
            """
            UPDATE \(target.qualified("consumer_offsets")) o
            SET next_offset = v.next, last_offset = coalesce(v.last_offset, o.last_offset),
                last_timestamp_ms = coalesce(v.last_timestamp_ms, o.last_timestamp_ms),
                last_hash = coalesce(v.last_hash, o.last_hash), updated_at = now()
            FROM unnest($3::text[], $4::int4[], $5::int8[], $6::int8[], $7::int8[], $8::int8[], $9::int8[])
                AS v (topic, partition, start, next, last_offset, last_timestamp_ms, last_hash)
            WHERE o.consumer_group = $1 AND o.cluster_id = $2 AND o.topic = v.topic AND o.partition = v.partition
                \(comparison)
            """)
    }
}
