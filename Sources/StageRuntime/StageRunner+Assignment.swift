// StageRunner+Assignment: partitions come, start at a settled position, and go.

import EventContracts
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
            if isCooperative { rejoin.assigned() }
            pendingStarts += partitions.map { PendingStart(partition: $0) }
            retryStartsAt = 0
            retryCommitAt = 0
            hasAssignment = true
            try settleStarts()
            // The group waits for the answer, and a member that does not give it can neither commit nor join the next
            // generation. So partitions whose start is not settled are left out of it, and assigned when it is.
            if partitions.isEmpty || pendingStarts.contains(where: { partitions.contains($0.partition) && !$0.isAssigned }) {
                try answer("the assignment") { () throws(KafkaError) in try assignToClient([]) }
            }
            reportAssignment()
        case .revoke:
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

    private var isCooperative: Bool { consumer.rebalanceProtocol == "COOPERATIVE" }

    private func assignToClient(_ starts: [(partition: KafkaPartition, offset: Int64)]) throws(KafkaError) {
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

    // MARK: Start

    /// Settles where the pending partitions start and begins to read them. Tries again later when a store or a broker does
    /// not answer; the loop goes on meanwhile.
    func settleStarts() throws(StageFailure) {
        guard !pendingStarts.isEmpty, RuntimeClock.monotonicMicroseconds >= retryStartsAt else { return }
        let pending = pendingStarts
        do throws(KafkaError) {
            if let reason = try settle(pending) {
                report(.assignment, reason)
                retryStartsAt = RuntimeClock.monotonicMicroseconds + 100_000
            }
        } catch {
            if error.isFatal || error.code == .authorization || error.code == .authentication {
                throw StageFailure("Cannot settle where to start in group '\(settings.group)': \(error)")
            }
            report(.assignment, "cannot settle where to start: \(error.message)")
            retryStartsAt = RuntimeClock.monotonicMicroseconds + 100_000
        }
        if let failure = deferredFailure { throw failure }
        reportAssignment()
    }

    /// - Returns: why it cannot be settled now; nil when the partitions are being read.
    private func settle(_ pending: [PendingStart]) throws(KafkaError) -> String? {
        let partitions = pending.map(\.partition)
        guard let stored = keepingFailure({ () throws(DeliveryFailure) in try delivery.startPositions(of: partitions) })
        else { return "stopping" }
        let positions: [TopicPartition: StartPosition]
        switch stored {
        case .later(let reason): return reason
        case .positions(let found): positions = found
        }
        let wait = Int32(clamping: settings.requestMillisecondsMax)
        let committed = try consumer.committed(partitions.map { KafkaPartition($0) }, timeoutMilliseconds: wait)
        var plans: [StartPlan] = []
        for start in pending {
            let place = KafkaPartition(start.partition)
            let watermarks = try consumer.watermarks(place, timeoutMilliseconds: wait)
            let plan = StartPlan(
                start: start, position: positions[start.partition] ?? .groupOffset, committed: committed[place],
                watermarks: watermarks, pipelineStart: settings.start, limits: settings.crashGuardLimits)
            guard examine(plan) else { return "stopping" }
            plans.append(plan)
        }
        let starts = plans.map(\.partitionStart)
        switch keepingFailure({ () throws(DeliveryFailure) in try delivery.begin(starts) }) {
        case nil: return "stopping"
        case .later(let reason), .restart(let reason): return reason
        case .accepted: break
        }
        for index in plans.indices { plans[index].replayFrom = try replayStart(plans[index]) }
        guard writeStartMarks(plans) else { return "the group's coordinator does not confirm the commit at the start" }
        try read(plans)
        return nil
    }

    /// Logs and counts what a plan says about loss.
    /// - Returns: false when the process must stop.
    private func examine(_ plan: StartPlan) -> Bool {
        if plan.resolution.isBeyondEnd {
            deferBeyondEnd(plan.start.partition, position: plan.resolution.position, end: plan.watermarks.high)
            return false
        }
        if plan.crashGuard.isSuspicious, plan.start.crashGuard == nil, let until = plan.crashGuard.chunkEndMax {
            metrics.restartSuspects.add(Int(clamping: until - plan.resolution.position))
            logger.warning(
                "An earlier process ended without a farewell; what it had in hand is processed in small steps",
                metadata: [
                    LogKey.partition: "\(plan.start.partition)", LogKey.firstOffset: "\(plan.resolution.position)",
                    LogKey.lastOffset: "\(until - 1)",
                ])
        }
        guard let lost = plan.resolution.lostRange else { return true }
        return raiseLoss(plan.start.partition, lost)
    }

    func deferBeyondEnd(_ partition: TopicPartition, position: Int64, end: Int64) {
        deferredFailure = StageFailure(
            "The stored position \(position) of \(partition) lies beyond the end of its log (\(end)): the topic was made anew "
                + "or truncated; reset the offsets of group '\(settings.group)' if that was meant")
    }

    /// Loss is never silent.
    /// - Returns: false when the policy is to stop.
    func raiseLoss(_ partition: TopicPartition, _ lost: Range<Int64>) -> Bool {
        metrics.countLost(partition, Int64(lost.count))
        logger.critical(
            "Records left the log before they were processed: raise the topic's retention, or look why the stage was behind",
            metadata: [
                LogKey.topic: "\(partition.topic)", LogKey.partition: "\(partition.partition)",
                LogKey.firstOffset: "\(lost.lowerBound)", LogKey.lastOffset: "\(lost.upperBound - 1)",
                LogKey.count: "\(lost.count)",
            ])
        guard settings.lostRangePolicy == .stop else { return true }
        deferredFailure = StageFailure(
            "\(partition) lost offsets \(lost.lowerBound) to \(lost.upperBound - 1) before they were processed, and the "
                + "policy is to stop: reset the group's offsets to go on")
        return false
    }

    /// Where replay starts: bounded by count, and by age when nothing is waiting. With records waiting, the age of the first
    /// of them is not known, and a younger bound than the stage asked for could miss a repeat. A broker that finds no record
    /// young enough may also be one that cannot look up by time (librdkafka's mock): then the count alone decides.
    private func replayStart(_ plan: StartPlan) throws(KafkaError) -> Int64 {
        let position = plan.resolution.position
        guard let rewind = processor.rewind else { return position }
        let byCount = StartResolution.replayFrom(
            position: position, low: plan.watermarks.low, recordsMax: rewind.recordsMax)
        guard byCount < position, position >= plan.watermarks.high else { return byCount }
        let since = RuntimeClock.wallMicroseconds / 1000 - rewind.ageMillisecondsMax
        guard since > 0 else { return byCount }
        let place = KafkaPartition(plan.start.partition)
        let found = try consumer.offsets(
            forTimes: [place: since], timeoutMilliseconds: Int32(clamping: settings.requestMillisecondsMax))
        guard let offset = found[place], offset >= 0 else { return byCount }
        return min(position, max(byCount, offset))
    }

    /// Marks the partitions as being worked on, before the first record is.
    private func writeStartMarks(_ plans: [StartPlan]) -> Bool {
        var entries: [TopicPartition: GroupCommits.Entry] = [:]
        for plan in plans {
            let position = plan.resolution.position
            entries[plan.start.partition] = GroupCommits.Entry(
                offset: position, mark: plan.crashGuard.mark(at: position))
        }
        do throws(StageFailure) {
            guard try commitSynchronously(entries) else { return false }
        } catch {
            deferredFailure = error
            return false
        }
        return true
    }

    private func read(_ plans: [StartPlan]) throws(KafkaError) {
        let fresh = plans.filter { !$0.start.isAssigned }
        let sought = plans.filter { $0.start.isAssigned }
        if !fresh.isEmpty {
            try assignToClient(fresh.map { (KafkaPartition($0.start.partition), $0.replayFrom) })
        }
        let settled = Set(plans.map(\.start.partition))
        for index in pendingStarts.indices where settled.contains(pendingStarts[index].partition) {
            // Should the seek fail, the next attempt must seek too.
            pendingStarts[index].isAssigned = true
        }
        if !sought.isEmpty {
            try consumer.seek(
                sought.map { (KafkaPartition($0.start.partition), $0.replayFrom) },
                timeoutMilliseconds: Int32(clamping: settings.requestMillisecondsMax))
        }
        if isPaused { try consumer.pause(plans.map { KafkaPartition($0.start.partition) }) }
        for plan in plans {
            var ledger = PartitionLedger(
                partition: plan.start.partition,
                topicIndex: settings.inputTopics.firstIndex(of: plan.start.partition.topic) ?? 0,
                start: plan.resolution.position, replayFrom: plan.replayFrom, crashGuard: plan.crashGuard)
            let mark = plan.crashGuard.mark(at: plan.resolution.position)
            ledger.confirmed(offset: plan.resolution.position, mark: mark)
            ledger.highWatermark = plan.watermarks.high
            ledgers.append(ledger)
        }
        pendingStarts.removeAll { settled.contains($0.partition) }
        logger.info(
            "Reading",
            metadata: [
                LogKey.partitions: .array(plans.map { .string("\($0.start.partition)@\($0.resolution.position)") })
            ])
    }

    /// Runs what may throw a delivery's failure inside what throws Kafka's; the failure is kept for the loop.
    private func keepingFailure<T>(_ body: () throws(DeliveryFailure) -> T) -> T? {
        do throws(DeliveryFailure) {
            return try body()
        } catch {
            deferredFailure = StageFailure(error.message)
            return nil
        }
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

/// Where one partition starts, and why.
struct StartPlan {
    var start: PendingStart
    var watermarks: Watermarks
    var resolution: StartResolution
    var crashGuard: CrashGuard
    /// The first offset to read.
    var replayFrom: Int64

    init(
        start: PendingStart, position: StartPosition, committed: CommittedOffset?, watermarks: Watermarks,
        pipelineStart: StageSettings.PipelineStart, limits: CrashGuardLimits
    ) {
        self.start = start
        self.watermarks = watermarks
        let stored: Int64?
        switch position {
        case .groupOffset: stored = committed?.offset
        case .at(let offset): stored = offset
        case .pipelineStart: stored = nil
        }
        resolution = StartResolution(stored: stored, low: watermarks.low, high: watermarks.high, start: pipelineStart)
        replayFrom = resolution.position
        crashGuard =
            start.crashGuard
            ?? CrashGuard(
                mark: committed.flatMap { GroupMark(reading: $0.metadata) }, markOffset: committed?.offset,
                position: resolution.position, highWatermark: watermarks.high, limits: limits)
    }

    var partitionStart: PartitionStart {
        PartitionStart(
            partition: start.partition, position: resolution.position, stored: resolution.stored,
            lostRange: resolution.lostRange)
    }
}
