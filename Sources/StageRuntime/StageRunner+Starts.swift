// StageRunner+Starts: where newly assigned partitions start, and the alarm when the log no longer has it.

import EventContracts
import Kafka
import Logging
import Observability

extension StageRunner {
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

    /// Whether the process may go on with a plan; if not, the failure is kept for the loop. Says nothing yet about a plan
    /// that it may go on with: the start may have to be tried again.
    private func examine(_ plan: StartPlan) -> Bool {
        if plan.resolution.isBeyondEnd {
            deferBeyondEnd(plan.start.partition, position: plan.resolution.position, end: plan.watermarks.high)
            return false
        }
        guard let lost = plan.resolution.lostRange, settings.lostRangePolicy == .stop else { return true }
        return raiseLoss(plan.start.partition, lost)
    }

    /// Logs and counts what an earlier process and the log left, once the partition is being read.
    private func announce(_ plan: StartPlan) {
        if plan.crashGuard.isSuspicious, plan.start.crashGuard == nil, let until = plan.crashGuard.chunkEndMax {
            metrics.restartSuspects.add(Int(clamping: until - plan.resolution.position))
            logger.warning(
                "An earlier process ended without a farewell; what it had in hand is processed in small steps",
                metadata: [
                    LogKey.partition: "\(plan.start.partition)", LogKey.firstOffset: "\(plan.resolution.position)",
                    LogKey.lastOffset: "\(until - 1)",
                ])
        }
        if let lost = plan.resolution.lostRange { _ = raiseLoss(plan.start.partition, lost) }
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
            announce(plan)
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
