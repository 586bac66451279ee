// SinkOffsets: the consumer's positions in PostgreSQL, for the delivery and for `penstock offsets`.

public import Postgres

/// One row of `consumer_offsets`.
public struct StoredOffset: Sendable, Equatable {
    public var group: String
    public var topic: String
    public var partition: Int32
    public var clusterID: String
    public var nextOffset: Int64
    /// The last processed record; nil when none was processed yet.
    public var last: Fingerprint?
    /// Microseconds since the Unix epoch.
    public var updatedAt: Int64
}

/// Reading and setting offsets. The process that works on a group should be stopped before its offsets are set: a
/// running one notices (its next batch misses the compare-and-set) and reads on from the new position.
public enum SinkOffsets {
    /// Offsets of a group, or of all groups, ordered.
    public static func show(
        _ connection: PostgresConnection, _ target: SinkTarget, group: String? = nil
    ) throws(PostgresError) -> [StoredOffset] {
        let rows = try connection.query(
            """
            SELECT consumer_group, topic, partition, cluster_id, next_offset, last_offset, last_timestamp_ms, last_hash,
                updated_at
            FROM \(target.qualified("consumer_offsets"))
            WHERE $1::text IS NULL OR consumer_group = $1
            ORDER BY consumer_group, topic, partition
            """, [group.map { .text($0) } ?? .null])
        var offsets: [StoredOffset] = []
        for row in 0..<rows.rowCount {
            var last: Fingerprint?
            if let offset = try rows.optional(Int64.self, row: row, column: 5),
                let timestamp = try rows.optional(Int64.self, row: row, column: 6),
                let hash = try rows.optional(Int64.self, row: row, column: 7)
            {
                last = Fingerprint(offset: offset, timestampMilliseconds: timestamp, hash: hash)
            }
            offsets.append(
                StoredOffset(
                    group: try rows.value(row: row, column: 0), topic: try rows.value(row: row, column: 1),
                    partition: try rows.value(row: row, column: 2), clusterID: try rows.value(row: row, column: 3),
                    nextOffset: try rows.value(row: row, column: 4), last: last,
                    updatedAt: try rows.value(PostgresTimestamp.self, row: row, column: 8).unixMicroseconds))
        }
        return offsets
    }

    /// Sets positions and binds them to a cluster; what was known of the last record is forgotten. The caller turns
    /// "earliest" and "latest" into offsets by asking the broker.
    public static func reset(
        _ connection: PostgresConnection, _ target: SinkTarget, group: String, topic: String, clusterID: String,
        to offsets: [Int32: Int64]
    ) throws {
        try connection.transaction {
            for (partition, offset) in offsets.sorted(by: { $0.key < $1.key }) {
                try connection.query(
                    """
                    INSERT INTO \(target.qualified("consumer_offsets"))
                        (consumer_group, topic, partition, cluster_id, next_offset)
                    VALUES ($1, $2, $3::int8, $4, $5)
                    ON CONFLICT (consumer_group, topic, partition) DO UPDATE SET cluster_id = excluded.cluster_id,
                        next_offset = excluded.next_offset, last_offset = NULL, last_timestamp_ms = NULL,
                        last_hash = NULL, updated_at = now()
                    """, [.text(group), .text(topic), .int(Int64(partition)), .text(clusterID), .int(offset)])
            }
        }
    }

    /// Binds the group's existing positions to another cluster without moving them: for a cluster whose id changed while
    /// its topics stayed (a restore). Gives the number of partitions.
    @discardableResult
    public static func adopt(
        _ connection: PostgresConnection, _ target: SinkTarget, group: String, topic: String, clusterID: String
    ) throws(PostgresError) -> Int {
        try connection.query(
            """
            UPDATE \(target.qualified("consumer_offsets")) SET cluster_id = $3, updated_at = now()
            WHERE consumer_group = $1 AND topic = $2
            """, [.text(group), .text(topic), .text(clusterID)]
        ).affectedRows
    }
}
