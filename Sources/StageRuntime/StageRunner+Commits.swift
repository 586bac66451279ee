// StageRunner+Commits: the group's offsets and the crash marks beside them.

import Kafka
import Logging
import Observability

extension StageRunner {
    /// Starts a commit when it is time. A delivery that commits the offsets itself leaves nothing to do here.
    func commitIfDue() {
        let now = RuntimeClock.monotonicMicroseconds
        guard !delivery.commitsGroupOffsets, !rejoin.isUnderWay(now: now) else { return }
        let entries = commits.due(now: now, ledgers: ledgers, progress: delivery.progress)
        // Without a name in the group there is nothing to commit: the event that takes the partitions is on its way.
        guard !entries.isEmpty, consumer.isMember else { return }
        // A delivery with a commit of its own passes these points itself.
        let kills = delivery.ownsCommit ? nil : settings.kills
        kills?.pass(.beforeCommit)
        do throws(KafkaError) {
            try consumer.commitAsynchronously(offsets(entries))
            commits.started(entries, now: now)
        } catch {
            logger.warning("Commit could not be started", metadata: [LogKey.error: "\(error)"])
        }
    }

    /// The broker's answer to the commit in flight.
    func finishCommit(_ result: OffsetCommitResult) throws(StageFailure) {
        if !delivery.ownsCommit { settings.kills?.pass(.afterCommit) }
        var failed: Set<TopicPartition>? = []
        if let error = result.error {
            try examine(commitError: error)
            failed = nil
        } else {
            for partition in result.partitions {
                guard let error = partition.error else { continue }
                try examine(commitError: error)
                failed?.insert(TopicPartition(partition.partition))
            }
        }
        confirm(commits.finished(failed: failed, now: RuntimeClock.monotonicMicroseconds))
    }

    /// Commits and waits for the answer.
    /// - Returns: false when it was not confirmed; the caller keeps what depends on it and comes back.
    func commitSynchronously(_ entries: [TopicPartition: GroupCommits.Entry]) throws(StageFailure) -> Bool {
        guard !entries.isEmpty else { return true }
        let now = RuntimeClock.monotonicMicroseconds
        guard !rejoin.isUnderWay(now: now), now >= retryCommitAt, !delivery.hasUnconfirmedCommit, consumer.isMember
        else {
            return false
        }
        do throws(KafkaError) {
            try consumer.commit(offsets(entries), timeoutMilliseconds: Int32(clamping: settings.commitMillisecondsMax))
        } catch {
            try examine(commitError: error)
            retryCommitAt = RuntimeClock.monotonicMicroseconds + 100_000
            return false
        }
        retryCommitAt = 0
        confirm(entries)
        report(.commit, nil)
        return true
    }

    private func confirm(_ entries: [TopicPartition: GroupCommits.Entry]) {
        for (partition, entry) in entries {
            guard let index = ledgerIndex(partition) else { continue }
            ledgers[index].confirmed(offset: entry.offset, mark: entry.mark)
        }
        if !entries.isEmpty, commits.failures == 0 { report(.commit, nil) }
    }

    /// Tells refusals that a rebalance will settle, and those that time may settle, from those that end the process.
    private func examine(commitError error: KafkaError) throws(StageFailure) {
        switch error.code {
        case .rebalanceInProgress:
            rejoin.refused(now: RuntimeClock.monotonicMicroseconds)
            logger.info("Commits wait for the group's rebalance", metadata: [LogKey.error: "\(error)"])
        case .illegalGeneration:
            // Another generation: the revocation is on its way and says what is still ours.
            logger.info("Commit refused by the group", metadata: [LogKey.error: "\(error)"])
        case .fenced:
            throw StageFailure(
                "Another process works on the slot '\(settings.instance)': this one ends (\(error.message))")
        case .authorization:
            throw StageFailure(
                "The brokers do not allow group '\(settings.group)' to commit: grant READ on the group (\(error.message))"
            )
        default:
            guard !error.isFatal else { throw StageFailure("The consumer failed for good: \(error)") }
            logger.warning("Commit not confirmed", metadata: [LogKey.error: "\(error)"])
            report(.commit, "the group's coordinator does not confirm commits: \(error.message)")
        }
    }

    private func offsets(_ entries: [TopicPartition: GroupCommits.Entry]) -> [KafkaPartition: CommittedOffset] {
        var result: [KafkaPartition: CommittedOffset] = [:]
        for (partition, entry) in entries {
            var offset = entry.offset
            if settings.faults.contains(.offsetOffByOne), let index = ledgerIndex(partition),
                offset > ledgers[index].start
            {
                offset += 1
            }
            result[KafkaPartition(partition)] = CommittedOffset(offset: offset, metadata: entry.mark.text)
        }
        return result
    }

    /// Hears what a delivery that commits the offsets itself has done.
    func takeNews() {
        let news = delivery.takeNews()
        for (partition, committed) in news.committed {
            guard let index = ledgerIndex(partition) else { continue }
            let mark = GroupMark(reading: committed.metadata) ?? ledgers[index].crashGuard.mark(at: committed.offset)
            ledgers[index].confirmed(offset: committed.offset, mark: mark)
        }
        guard let reason = news.restart else { return }
        logger.warning(
            "Batches thrown away; reading again from the committed offsets", metadata: [LogKey.reason: "\(reason)"])
        abandonHand()
        restart(ledgers.map(\.partition))
    }

    // MARK: Planted faults

    /// Planted: promises the batch before it is processed.
    func commitBeforeEffect(_ batch: MicroBatch) {
        var entries: [KafkaPartition: CommittedOffset] = [:]
        for range in batch.ranges {
            guard let index = ledgerIndex(range.partition) else { continue }
            let mark = ledgers[index].crashGuard.mark(at: range.end)
            entries[KafkaPartition(range.partition)] = CommittedOffset(offset: range.end, metadata: mark.text)
        }
        try? consumer.commit(entries, timeoutMilliseconds: Int32(clamping: settings.commitMillisecondsMax))
    }

    /// Planted: promises what is in hand without processing it.
    func loseHand() {
        hand.removeAll()
        work = nil
        var entries: [KafkaPartition: CommittedOffset] = [:]
        for ledger in ledgers {
            entries[KafkaPartition(ledger.partition)] = CommittedOffset(
                offset: ledger.collectedEnd, metadata: GroupMark.clean.text)
        }
        try? consumer.commit(entries, timeoutMilliseconds: Int32(clamping: settings.commitMillisecondsMax))
    }
}
