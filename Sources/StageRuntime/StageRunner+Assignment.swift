// StageRunner+Assignment: partitions come and go.

import Kafka
import Logging
import Observability

extension StageRunner {
    func handle(_ change: Rebalance) throws(StageFailure) {
        if let error = change.error {
            logger.error("Rebalance failed", metadata: [LogKey.error: "\(error)"])
            abandonHand()
            lose(ledgers.map(\.partition))
            try answer("the failed rebalance") { () throws(KafkaError) in
                guard isCooperative else { return try consumer.unassign() }
                try consumer.incrementalUnassign(try consumer.assignment())
            }
            return
        }
        let partitions = change.partitions.map { TopicPartition($0) }
        let kind = change.kind == .assign ? "assign" : change.isLost ? "lost" : "revoke"
        metrics.countRebalance(kind)
        logger.info("Partitions: \(kind)", metadata: [LogKey.partitions: "\(partitions)"])
        switch change.kind {
        case .assign:
            if isCooperative { rejoin.assigned(now: RuntimeClock.monotonicMicroseconds) }
            pendingStarts += partitions.map { PendingStart(partition: $0) }
            retryStartsAt = 0
            retryCommitAt = 0
            hasAssignment = true
            try settleStarts()
            // The group waits for the answer, and a member that does not give it can neither commit nor join the next
            // generation. So partitions whose start is not settled are left out of it, and assigned when it is.
            if partitions.isEmpty
                || pendingStarts.contains(where: { partitions.contains($0.partition) && !$0.isAssigned })
            {
                try answer("the assignment") { () throws(KafkaError) in try assignToClient([]) }
            }
            reportAssignment()
        case .revoke:
            rejoin.revoking()
            try revoke(partitions, isLost: change.isLost)
        }
    }

    private func answer(_ what: String, _ body: () throws(KafkaError) -> Void) throws(StageFailure) {
        do throws(KafkaError) {
            try body()
        } catch {
            guard !error.isFatal else { throw StageFailure("The consumer failed for good: \(error)") }
            // The group moved on meanwhile: the next rebalance event says how things stand.
            logger.warning("The group did not take the answer to \(what)", metadata: [LogKey.error: "\(error)"])
        }
    }

    var isCooperative: Bool { consumer.rebalanceProtocol == "COOPERATIVE" }

    func assignToClient(_ starts: [(partition: KafkaPartition, offset: Int64)]) throws(KafkaError) {
        guard isCooperative else { return try consumer.assign(starts) }
        try consumer.incrementalAssign(starts)
    }

    /// What readiness says about partitions that are not being processed yet.
    func reportAssignment() {
        let waiting = pendingStarts.map(\.partition)
        if !hasAssignment {
            report(.assignment, "waiting for the consumer group's first assignment")
        } else if !waiting.isEmpty {
            if conditions[.assignment] == nil { report(.assignment, "settling the start of \(waiting)") }
        } else {
            report(.assignment, nil)
        }
        let rebuilding = ledgers.filter(\.isRebuilding).map(\.partition)
        report(.rebuild, rebuilding.isEmpty ? nil : "replaying \(rebuilding) to rebuild the stage's state")
        metrics.assignedPartitions.set(ledgers.count)
    }

    // MARK: End

    /// Partitions go to another member: finish or abandon what is in hand, drain, commit, and let go.
    private func revoke(_ partitions: [TopicPartition], isLost: Bool) throws(StageFailure) {
        var abandoned: [TopicPartition] = []
        if isLost {
            // Someone else may work on them already: nothing of it may be committed any more.
            abandonHand()
            abandoned = ledgers.map(\.partition)
        } else if !(try finishHand(millisecondsMax: settings.drainMillisecondsMax)) {
            abandonHand()
            abandoned = ledgers.map(\.partition)
        }
        let owned = partitions.filter { ledgerIndex($0) != nil }
        let pendingAssigned = pendingStarts.filter { $0.isAssigned && partitions.contains($0.partition) }
        if isLost {
            lose(owned)
        } else {
            _ = try release(owned, millisecondsMax: settings.drainMillisecondsMax)
        }
        pendingStarts.removeAll { partitions.contains($0.partition) }
        try answer("the revocation") { () throws(KafkaError) in
            guard isCooperative else { return try consumer.unassign() }
            try consumer.incrementalUnassign((owned + pendingAssigned.map(\.partition)).map { KafkaPartition($0) })
        }
        if isCooperative { rejoin.revoked(isLost: isLost) }
        restart(abandoned.filter { !partitions.contains($0) })
        reportAssignment()
    }

    /// Drains, commits with a farewell, and forgets.
    /// - Returns: false when not everything in flight was acknowledged in time.
    func release(_ partitions: [TopicPartition], millisecondsMax: Int) throws(StageFailure) -> Bool {
        guard !partitions.isEmpty else { return true }
        let isDrained = try drain(partitions, millisecondsMax: millisecondsMax)
        retryCommitAt = 0
        if !(try commitFarewell(partitions)) {
            logger.warning(
                "Last commit not confirmed; the next owner repeats what is uncommitted",
                metadata: [LogKey.partitions: "\(partitions)"])
        }
        forget(partitions, isLost: false)
        return isDrained
    }

    func drain(_ partitions: [TopicPartition], millisecondsMax: Int) throws(StageFailure) -> Bool {
        let isDrained = try attempt { () throws(DeliveryFailure) in
            try delivery.drain(partitions, timeoutMilliseconds: millisecondsMax)
        }
        settleAwaiting()
        return isDrained
    }

    /// Commits what is durable, with the mark that nobody died.
    func commitFarewell(_ partitions: [TopicPartition]) throws(StageFailure) -> Bool {
        var entries: [TopicPartition: GroupCommits.Entry] = [:]
        for partition in partitions {
            guard let index = ledgerIndex(partition), let durable = delivery.progress[partition] else { continue }
            entries[partition] = GroupCommits.Entry(
                offset: durable, mark: ledgers[index].crashGuard.markAtRelease(offset: durable))
        }
        return try commitSynchronously(entries)
    }

    func lose(_ partitions: [TopicPartition]) { forget(partitions, isLost: true) }

    private func forget(_ partitions: [TopicPartition], isLost: Bool) {
        delivery.end(partitions, lost: isLost)
        processor.forget(partitions)
        commits.forget(partitions)
        for partition in partitions { metrics.removeLag(partition) }
        ledgers.removeAll { partitions.contains($0.partition) }
        settleAwaiting()
    }

    /// Partitions that stay ours are read again from the stored position, with the processor's state rebuilt: what it knows
    /// of records that were thrown away would make them repeats of themselves.
    func restart(_ partitions: [TopicPartition]) {
        let guards = partitions.compactMap { partition in
            ledgerIndex(partition).map { index in
                var crashGuard = ledgers[index].crashGuard
                if let mark = crashGuard.withdrawal() { crashGuard.confirmed(mark) }
                return PendingStart(partition: partition, isAssigned: true, crashGuard: crashGuard)
            }
        }
        guard !guards.isEmpty else { return }
        forget(guards.map(\.partition), isLost: true)
        pendingStarts += guards
        retryStartsAt = 0
        reportAssignment()
    }

    /// Processes and delivers what is in hand, open batches included.
    /// - Returns: false when it did not come to an end in time, or the delivery cannot take it now.
    func finishHand(millisecondsMax: Int) throws(StageFailure) -> Bool {
        let deadline = RuntimeClock.monotonicMicroseconds + Int64(millisecondsMax) * 1000
        closeAll()
        while let obstruction = try advance() {
            guard obstruction == .inFlight, RuntimeClock.monotonicMicroseconds < deadline else { return false }
            try attempt { () throws(DeliveryFailure) in try delivery.poll(waitMilliseconds: 5) }
        }
        return true
    }
}
