// PostgresDelivery+Batch: one micro-batch, one transaction.

import EventContracts
import Logging
import Observability
import Postgres
public import StageRuntime

extension PostgresDelivery {
    /// Rows that PostgreSQL refuses, by their index in the output.
    typealias Rejections = [Int: OutputBatch.DeadLetter]

    /// What a committed transaction did.
    struct Stored {
        var inserted = 0
        /// The same record came again after an earlier delivery of it had committed.
        var redelivered = 0
        /// Records with the identity and payload of a stored one.
        var duplicates = 0
        /// Those of the processor first.
        var letters: [OutputBatch.DeadLetter] = []
        var processorLetters = 0
    }

    public mutating func deliver(
        _ output: SinkRows, of batch: ProcessedBatch
    ) throws(DeliveryFailure) -> DeliveryAnswer {
        guard let connection = try connected() else { return .later(reason: obstacle ?? "PostgreSQL is away") }
        do {
            if unknownCommit == batch.sequence, let answer = try resolve(batch, on: connection) {
                succeeded()
                return answer
            }
            var rejected: Rejections = [:]
            guard try preparePartitions(for: output, rejected: &rejected, on: connection) else {
                return .later(reason: "making partitions for the batch's event times")
            }
            let stored = try storeIsolatingBadRows(output, of: batch, rejected: rejected, on: connection)
            landed(batch, stored)
            return .accepted
        } catch is Overtaken {
            connection.rollBack()
            return .restart(reason: Overtaken.reason)
        } catch {
            if let error = error as? PostgresError, error.kind == .commitOutcomeUnknown {
                unknownCommit = batch.sequence
            }
            return .later(reason: try setBack(error, "store a batch"))
        }
    }

    private mutating func landed(_ batch: ProcessedBatch, _ stored: Stored) {
        for range in batch.ranges { progress[range.partition] = range.end }
        unknownCommit = nil
        let stage = environment.stage
        registry.counter(MetricNames.rowsWritten, stage, options.target.table).add(stored.inserted)
        registry.counter(MetricNames.duplicates, stage).add(stored.duplicates)
        // The runner counts the dead letters of the processor; those found here come after them.
        for letter in stored.letters.dropFirst(stored.processorLetters) {
            registry.counter(MetricNames.deadLetters, stage, letter.code.rawValue).add(1)
        }
        if stored.redelivered > 0 {
            logger.info("Rows were stored already", metadata: ["count": "\(stored.redelivered)"])
        }
        if !stored.letters.isEmpty { outbox.isPending = true }
        succeeded()
    }

    /// Finds out whether the COMMIT without an answer happened: the offsets tell. Nil when it did not.
    private mutating func resolve(_ batch: ProcessedBatch, on connection: PostgresConnection) throws -> DeliveryAnswer?
    {
        let offsets = try SinkOffsets.show(connection, options.target, group: environment.group)
        func stored(_ partition: TopicPartition) -> Int64? {
            offsets.first { $0.topic == partition.topic && $0.partition == partition.partition }?.nextOffset
        }
        unknownCommit = nil
        if batch.ranges.allSatisfy({ stored($0.partition) == $0.end }) {
            logger.notice("A commit without an answer had happened")
            landed(batch, Stored())
            outbox.isPending = true
            return .accepted
        }
        if batch.ranges.allSatisfy({ stored($0.partition) == $0.start }) { return nil }
        throw Overtaken()
    }

    private mutating func storeIsolatingBadRows(
        _ output: SinkRows, of batch: ProcessedBatch, rejected: Rejections, on connection: PostgresConnection
    ) throws -> Stored {
        var rejected = rejected
        do {
            if let stored = try storeDirectly(output, of: batch, rejected: rejected, on: connection) { return stored }
            return try store(output, of: batch, rejected: rejected, on: connection)
        } catch let error as PostgresError where error.isDataError {
            connection.rollBack()
            // A partition may have been dropped by retention since we looked.
            if error.isMissingPartition { try partitions.load(connection, options.target) }
            _ = try preparePartitions(for: output, rejected: &rejected, on: connection)
            let candidates = output.keys.indices.filter { rejected[$0] == nil }
            for (row, error) in try badRows(among: candidates, output, on: connection) {
                rejected[row] = OutputBatch.DeadLetter(
                    source: output.keys[row].source, code: .sinkRejected,
                    message: "PostgreSQL refuses the row: \(error.message) [\(error.sqlState ?? "")]")
            }
        }
        return try store(output, of: batch, rejected: rejected, on: connection)
    }

    /// Rows without a conflict need no staging: COPY into the table costs half as much. A row that is there already ends the
    /// attempt, which leaves nothing behind, and after it the next batches go through staging at once.
    /// - Returns: nil when staging is to decide.
    private mutating func storeDirectly(
        _ output: SinkRows, of batch: ProcessedBatch, rejected: Rejections, on connection: PostgresConnection
    ) throws -> Stored? {
        guard direct.isWorthTrying else { return nil }
        do {
            let stored = try store(output, of: batch, rejected: rejected, isDirect: true, on: connection)
            direct.succeeded()
            return stored
        } catch let error as PostgresError where error.isConflict {
            direct.failed()
            return nil
        }
    }

    /// The transaction.
    private func store(
        _ output: SinkRows, of batch: ProcessedBatch, rejected: Rejections, isDirect: Bool = false,
        on connection: PostgresConnection
    ) throws -> Stored {
        try connection.execute("BEGIN")
        do {
            var stored = Stored()
            stored.processorLetters = output.deadLetters.count
            stored.letters = output.deadLetters + rejected.sorted { $0.key < $1.key }.map(\.value)
            try insert(output, rejected, isDirect: isDirect, into: &stored, on: connection)
            try fillOutbox(stored.letters, of: batch.records, on: connection)
            options.hooks.beforeCompareAndSet?()
            try advance(batch, on: connection)
            options.hooks.beforeCommit?()
            try connection.commit()
            options.hooks.afterCommit?()
            return stored
        } catch {
            connection.rollBack()
            throw error
        }
    }

    private func insert(
        _ output: SinkRows, _ rejected: Rejections, isDirect: Bool, into stored: inout Stored,
        on connection: PostgresConnection
    ) throws(PostgresError) {
        let rows = rejected.isEmpty ? Array(output.keys.indices) : output.keys.indices.filter { rejected[$0] == nil }
        let count = rows.count
        guard count > 0 else { return }
        guard !isDirect else {
            stored.inserted = try connection.copy(
                "COPY \(options.target.predictions) (\(SinkMigration.stagingColumns)) FROM STDIN (FORMAT binary)",
                from: output.writer, rows: Self.ranges(of: rows))
            options.hooks.afterCopy?()
            return
        }
        // The staged rows are numbered from 0, in the order of `rows`.
        try connection.executePrepared("rewind")
        try connection.copy(Self.copyStatement, from: output.writer, rows: Self.ranges(of: rows))
        options.hooks.afterCopy?()
        stored.inserted = try connection.executePrepared("insert").affectedRows
        guard stored.inserted < count else { return }
        // Some ids were there before, in the table or in this batch.
        let others = try connection.executePrepared("others")
        stored.redelivered = count - stored.inserted - others.rowCount
        guard others.rowCount > 0 else { return }
        stored.duplicates = try connection.executePrepared("duplicates", [.text(options.target.table)]).affectedRows
        for row in 0..<others.rowCount where try !others.value(Bool.self, row: row, column: 1) {
            let key = output.keys[rows[try others.value(Int.self, row: row, column: 0)]]
            let partition = try others.value(Int64.self, row: row, column: 2)
            let offset = try others.value(Int64.self, row: row, column: 3)
            stored.letters.append(
                OutputBatch.DeadLetter(
                    source: key.source, code: .conflictingDuplicate,
                    message: "event \(key.eventID) is stored already with another payload, from input partition"
                        + " \(partition), offset \(offset)"))
        }
    }

    static let copyStatement =
        "COPY pg_temp.penstock_staging (\(SinkMigration.stagingColumns)) FROM STDIN (FORMAT binary)"

    /// The fence: moves the offsets only from where this batch began.
    private func advance(_ batch: ProcessedBatch, on connection: PostgresConnection) throws {
        let marks = batch.ranges.map { range in
            lastRecord(of: range, in: batch.records).map { Fingerprint(of: $0, in: batch.records) }
        }
        let moved = try connection.executePrepared(
            "advance",
            [
                .text(environment.group), .text(environment.clusterID),
                Self.array(batch.ranges.map { "\"\($0.partition.topic)\"" }),
                Self.array(batch.ranges.map { "\($0.partition.partition)" }),
                Self.array(batch.ranges.map { "\($0.start)" }), Self.array(batch.ranges.map { "\($0.end)" }),
                Self.array(marks.map { $0.map { "\($0.offset)" } }),
                Self.array(marks.map { $0.map { "\($0.timestampMilliseconds)" } }),
                Self.array(marks.map { $0.map { "\($0.hash)" } }),
            ])
        guard moved.affectedRows == batch.ranges.count else { throw Overtaken() }
    }

    /// Index of the last record of a range; nil when it holds none.
    private func lastRecord(of range: OffsetRange, in records: RecordBatch) -> Int? {
        guard let topic = environment.inputTopics.firstIndex(of: range.partition.topic) else { return nil }
        return records.origins.lastIndex { origin in
            origin.partition == range.partition.partition && origin.topicIndex == topic
        }
    }

    /// An array literal. Topic names consist of letters, digits, dots, hyphens and underscores.
    static func array(_ elements: [String?]) -> PostgresValue {
        .text("{\(elements.map { $0 ?? "NULL" }.joined(separator: ","))}")
    }

    // MARK: - Bad rows

    /// Bisects: tries rows in transactions that are rolled back, until each bad one stands alone.
    private func badRows(
        among rows: [Int], _ output: SinkRows, on connection: PostgresConnection
    ) throws(PostgresError) -> [(row: Int, error: PostgresError)] {
        guard !rows.isEmpty else { return [] }
        do throws(PostgresError) {
            try connection.execute("BEGIN")
            try connection.copy(Self.copyStatement, from: output.writer, rows: Self.ranges(of: rows))
            try connection.executePrepared("insert")
            connection.rollBack()
            return []
        } catch  where error.isDataError {
            connection.rollBack()
            if rows.count == 1 { return [(rows[0], error)] }
            let middle = rows.count / 2
            return try badRows(among: Array(rows[..<middle]), output, on: connection)
                + badRows(among: Array(rows[middle...]), output, on: connection)
        }
    }

    /// Ascending indices as ranges.
    static func ranges(of indices: [Int]) -> [Range<Int>] {
        var ranges: [Range<Int>] = []
        for index in indices {
            if let last = ranges.last, last.upperBound == index {
                ranges[ranges.count - 1] = last.lowerBound..<index + 1
            } else {
                ranges.append(index..<index + 1)
            }
        }
        return ranges
    }
}

extension PostgresError {
    /// A row of that key is there (unique_violation), or two instances wait for each other's (deadlock_detected).
    var isConflict: Bool { sqlState == "23505" || sqlState == "40P01" }

    /// "no partition of relation … found for row": check_violation without the name of a constraint.
    var isMissingPartition: Bool { sqlState == "23514" && constraint == nil }
}
