// PostgresDelivery+Partitions: partitions by event time: made ahead, made on demand, dropped by retention.

import EventContracts
import Logging
import Postgres
import StageRuntime

/// Time ranges for which the predictions table has partitions, in milliseconds since the Unix epoch.
struct PartitionCatalogue {
    /// Ascending, disjoint.
    private(set) var ranges: [Range<Int64>] = []

    mutating func load(_ connection: PostgresConnection, _ target: SinkTarget) throws(PostgresError) {
        let rows = try connection.query(
            "SELECT lower_ms, upper_ms FROM \(target.qualified("sink_partitions")) WHERE table_name = $1 ORDER BY 1",
            [.text(target.table)])
        var loaded: [Range<Int64>] = []
        for row in 0..<rows.rowCount {
            let lower = try rows.value(Int64.self, row: row, column: 0)
            loaded.append(lower..<(try rows.value(Int64.self, row: row, column: 1)))
        }
        ranges = loaded
    }

    func covers(_ milliseconds: Int64) -> Bool { range(of: milliseconds) != nil }

    func range(of milliseconds: Int64) -> Range<Int64>? {
        let index = position(after: milliseconds) - 1
        guard index >= 0, ranges[index].contains(milliseconds) else { return nil }
        return ranges[index]
    }

    mutating func insert(_ range: Range<Int64>) {
        guard !covers(range.lowerBound) else { return }
        ranges.insert(range, at: position(after: range.lowerBound))
    }

    /// Index of the first range that begins after that time.
    private func position(after milliseconds: Int64) -> Int {
        var low = 0
        var high = ranges.count
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].lowerBound <= milliseconds { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

/// When partitions were last made ahead and dropped.
struct MaintenanceState {
    var dueAt: ContinuousClock.Instant?
    /// The newest event time stored by this process.
    var newestMilliseconds: Int64?
}

extension PostgresDelivery {
    /// Makes the partitions that the batch's event times need. Rows whose time no partition is made for are rejected.
    /// - Returns: false when the limit of one attempt was reached; what was made stays made.
    mutating func preparePartitions(
        for output: SinkRows, rejected: inout Rejections, on connection: PostgresConnection
    ) throws(PostgresError) -> Bool {
        let latest = Self.nowMilliseconds() + Int64(options.daysAheadMax) * 86_400_000
        var made = 0
        for (row, key) in output.keys.enumerated() where !partitions.covers(key.eventID.milliseconds) {
            let time = key.eventID.milliseconds
            guard time <= latest else {
                reject(row, key, "its event time is more than \(options.daysAheadMax) days ahead", &rejected)
                continue
            }
            if made == options.partitionsPerAttemptMax { return false }
            do throws(PostgresError) {
                try makePartition(at: time, on: connection)
                made += 1
            } catch  where ["22008", "54000"].contains(error.sqlState ?? "") {
                reject(row, key, error.message, &rejected)
            }
        }
        if let newest = output.keys.lazy.map(\.eventID.milliseconds).filter({ $0 <= latest }).max() {
            maintenance.newestMilliseconds = max(newest, maintenance.newestMilliseconds ?? newest)
        }
        return true
    }

    private func reject(_ row: Int, _ key: SinkRows.Key, _ reason: String, _ rejected: inout Rejections) {
        rejected[row] = OutputBatch.DeadLetter(
            source: key.source, code: .sinkRejected, message: "no partition for event \(key.eventID): \(reason)")
    }

    @discardableResult
    private mutating func makePartition(
        at milliseconds: Int64, on connection: PostgresConnection
    ) throws(PostgresError) -> Range<Int64> {
        let bounds = try connection.query(
            "SELECT lower_bound, upper_bound FROM \(options.target.qualified("make_partition"))($1, $2)",
            [.text(options.target.table), .int(milliseconds)])
        let lower = try bounds.value(Int64.self, row: 0, column: 0)
        let range = lower..<(try bounds.value(Int64.self, row: 0, column: 1))
        partitions.insert(range)
        return range
    }

    /// Makes partitions ahead of the newest event time and drops expired ones, from time to time. What fails here fails
    /// softly: the next round tries again.
    mutating func maintain() throws(DeliveryFailure) {
        let now = ContinuousClock.now
        if let dueAt = maintenance.dueAt, now < dueAt { return }
        guard let newest = maintenance.newestMilliseconds, let connection = try connected() else { return }
        maintenance.dueAt = now + .milliseconds(options.maintenanceMilliseconds)
        do {
            var time = newest
            let latest = Self.nowMilliseconds() + Int64(options.daysAheadMax) * 86_400_000
            for _ in 0...options.target.partitionsAhead where time <= latest {
                time = try (partitions.range(of: time) ?? makePartition(at: time, on: connection)).upperBound
            }
            guard options.target.retentionMilliseconds != nil else { return }
            let dropped = try connection.query(
                "SELECT \(options.target.qualified("drop_expired_partitions"))($1)", [.text(options.target.table)])
            let count = try dropped.value(Int.self, row: 0, column: 0)
            guard count > 0 else { return }
            logger.notice("Dropped expired partitions", metadata: ["count": "\(count)"])
            try partitions.load(connection, options.target)
        } catch {
            // Most often a lock that a reader holds: dropping can wait.
            _ = try setBack(error, "maintain the partitions")
            if connection.isOpen { succeeded() }
        }
    }

    static func nowMilliseconds() -> Int64 { RuntimeTime.wallMilliseconds }
}
