// StageRunner+Batches: from records to processed batches to the delivery.

import EventContracts
import Glibc
import Kafka
import Logging
import Observability

extension StageRunner {
    // MARK: Collecting

    /// Polls for records and events: records go to the batch in hand, an event is handled.
    func collect(timeoutMilliseconds: Int32, maximum: Int? = nil) throws(StageFailure) {
        let wanted = maximum ?? max(1, intake.room)
        let now = turnStartedAt
        var ends = 0
        var isInterrupted = false
        // Taken out of the runner while records come: its type parameters are in the way of every access to it.
        var intake = Intake(limits: settings.batch, readsHeaders: settings.readsHeaders)
        swap(&intake, &self.intake)
        let polled = consumer.pollRecords(
            maximum: wanted, timeoutMilliseconds: timeoutMilliseconds,
            onPartitionEnd: { partition, offset in
                let place = TopicPartition(partition)
                guard let index = intake.ledgers.firstIndex(where: { $0.partition == place }) else { return }
                ends += intake.ledgers[index].isRebuilding ? 1 : 0
                intake.ledgers[index].reached(position: offset)
            },
            while: { message in
                switch intake.take(message, now: now) {
                case .taken: return true
                case .batchClosed: isInterrupted = true
                case .replayFull: flushKeepingFailure(&intake.replay)
                }
                return !isInterrupted
            })
        swap(&intake, &self.intake)
        // After a batch that closed, an event waits for the next poll.
        isInputDrained = !isInterrupted && polled.messageCount < wanted
        if ends > 0 {
            try flushReplay()
            reportAssignment()
        }
        if let event = polled.event { try handle(event) }
        health.heartbeat(backlog: backlog, advanced: hasAdvanced)
        hasAdvanced = false
    }

    func closeIfDue(now: Int64) {
        // By index: a copy of the batch would make sealing it copy its records.
        let last = hand.count - 1
        guard last >= 0 else { return }
        // Nothing more is there and little is on its way: waiting for the deadline would only cost latency.
        // (The fault that loses the batch in hand at shutdown needs one in hand.)
        let isIdle =
            isInputDrained && hand[last].count > 0 && delivery.batchesInFlight < delivery.eagerBatchesMax
            && !settings.faults.contains(.loseBatchAtShutdown)
        guard isIdle || hand[last].isDue(now: now) else { return }
        intake.closeLast(now: now)
    }

    /// Closes what is open without waiting for its deadline.
    func closeAll() { intake.closeLast(now: RuntimeClock.monotonicMicroseconds) }

    // MARK: Rebuilding

    /// A failure is kept for the next turn: the poll in progress cannot throw it.
    private func flushKeepingFailure(_ replay: inout RecordBatch) {
        do throws(StageFailure) { try flush(&replay) } catch { deferredFailure = error }
    }

    /// Hands what was replayed to the processor.
    func flushReplay() throws(StageFailure) { try flush(&intake.replay) }

    private func flush(_ replay: inout RecordBatch) throws(StageFailure) {
        guard !replay.isEmpty else { return }
        replay.seal()
        let context = ProcessingContext(nowMicroseconds: RuntimeClock.wallMicroseconds, clusterID: clusterID)
        do {
            try processor.rebuild(replay, context: context)
        } catch {
            throw StageFailure("The stage could not rebuild its state from \(settings.inputTopics): \(error)")
        }
        replay.removeAll()
    }

    // MARK: Processing

    /// Moves what is in hand as far as it goes.
    /// - Returns: what stands in the way; nil when nothing closed is left in hand.
    func advance() throws(StageFailure) -> Obstruction? {
        if let failure = deferredFailure { throw failure }
        while true {
            if work == nil {
                guard let next = hand.first, next.isClosed else { return nil }
                work = Work(batch: next)
                hand.removeFirst()
            }
            if let obstruction = try advanceWork() { return obstruction }
        }
    }

    private func advanceWork() throws(StageFailure) -> Obstruction? {
        guard let phase = work?.phase else { return nil }
        switch phase {
        case .collected: return try process()
        case .processed: return try offer()
        case .trial: return try finishTrial()
        }
    }

    private func process() throws(StageFailure) -> Obstruction? {
        guard let batch = work?.batch else { return nil }
        if let reason = processor.obstacle { return .later(reason) }
        guard delivery.batchesInFlight < delivery.batchesInFlightMax else { return .inFlight }
        // A suspicious chunk travels alone: what dies with it dies of it.
        if batch.chunk != nil, delivery.batchesInFlight > 0 { return .inFlight }
        try flushReplay()
        settings.kills?.pass(.afterPoll)
        let (isCondemned, obstruction) = try askCrashGuards(batch)
        if let obstruction { return obstruction }
        if settings.faults.contains(.commitBeforeEffect) { commitBeforeEffect(batch) }

        output.removeAll()
        let started = RuntimeClock.monotonicMicroseconds
        if isCondemned {
            condemn(batch)
        } else {
            let context = ProcessingContext(nowMicroseconds: RuntimeClock.wallMicroseconds, clusterID: clusterID)
            if let poison = settings.poison { dieOfPoison(poison, in: batch.records) }
            do {
                try processor.process(batch.records, context: context, into: &output)
            } catch {
                throw StageFailure("The stage failed on \(batch.description) and stops without committing it: \(error)")
            }
        }
        if let index = output.firstWithoutSingleOutcome(count: batch.count) {
            let origin = batch.records.origins[index]
            throw StageFailure(
                "The stage did not give exactly one outcome to record \(origin.offset) of partition \(origin.partition): "
                    + "this is a fault of the stage; nothing of the batch was committed")
        }
        if !settings.faults.isEmpty, let plain = output as? OutputBatch,
            let altered = RuntimeFault.alter(plain, settings.faults) as? P.Output
        {
            output = altered
        }
        settings.kills?.pass(.afterProcess)
        let ended = RuntimeClock.monotonicMicroseconds
        observe(batch, started: started, ended: ended)
        sequence += 1
        let marks = batch.ranges.map { range in
            ledgerIndex(range.partition).map { ledgers[$0].crashGuard.mark(at: range.end).text } ?? ""
        }
        work?.processed = ProcessedBatch(
            records: batch.records, ranges: batch.ranges, groupMetadata: marks, sequence: sequence)
        work?.processedAt = ended
        work?.phase = .processed
        return nil
    }

    /// Planted: an operator that ends the process on one value.
    private func dieOfPoison(_ poison: [UInt8], in records: RecordBatch) {
        for value in records.values where records.bytes(value)?.firstRange(of: poison) != nil { abort() }
    }

    private func observe(_ batch: MicroBatch, started: Int64, ended: Int64) {
        metrics.batchRecords.observe(Double(batch.count))
        metrics.queueSeconds.observe(Double(started - batch.openedAt) / 1e6)
        metrics.processSeconds.observe(Double(ended - started) / 1e6)
    }

    private func condemn(_ batch: MicroBatch) {
        let origin = batch.records.origins[0]
        logger.critical(
            "A record killed the process whenever it was processed alone; it becomes a dead letter",
            metadata: [
                LogKey.topic: "\(settings.inputTopics[origin.topicIndex])", LogKey.partition: "\(origin.partition)",
                LogKey.offset: "\(origin.offset)", LogKey.code: "\(ErrorCode.poisonRecord.rawValue)",
            ])
        output.deadLetter(
            source: 0, .poisonRecord,
            "the process died \(settings.crashGuardLimits.attemptsMax) times while this record alone was processed: "
                + "look for its cause in the logs before you replay it")
    }

    /// Asks each partition's guard, and writes the marks it wants first.
    private func askCrashGuards(_ batch: MicroBatch) throws(StageFailure) -> (isCondemned: Bool, Obstruction?) {
        var isCondemned = false
        var wanted: [TopicPartition: GroupCommits.Entry] = [:]
        for stretch in batch.stretches {
            guard let index = ledgerIndex(stretch.range.partition) else { continue }
            ledgers[index].crashGuard.received(offset: stretch.firstOffset)
            let position = delivery.progress[stretch.range.partition] ?? stretch.range.start
            switch ledgers[index].crashGuard.step(end: stretch.range.end, records: stretch.records, position: position)
            {
            case .process: break
            case .condemn: isCondemned = true
            case .write(let mark): wanted[stretch.range.partition] = GroupCommits.Entry(offset: position, mark: mark)
            }
        }
        guard !wanted.isEmpty else { return (isCondemned, nil) }
        guard try commitSynchronously(wanted) else { return (false, .commit) }
        return (isCondemned, nil)
    }

    // MARK: Delivering

    private func offer() throws(StageFailure) -> Obstruction? {
        guard let current = work, let processed = current.processed else { return nil }
        let answer = try attempt { () throws(DeliveryFailure) in try delivery.deliver(output, of: processed) }
        switch answer {
        case .later(let reason):
            withdrawTrialIfLong(current)
            return .later(reason)
        case .restart(let reason):
            logger.warning(
                "Batch thrown away; reading again from the stored positions", metadata: [LogKey.reason: "\(reason)"])
            abandonHand()
            restart(ledgers.map(\.partition))
            return nil
        case .accepted: break
        }
        countAccepted(current.batch)
        for range in processed.ranges {
            guard let index = ledgerIndex(range.partition) else { continue }
            ledgers[index].processed(end: range.end)
        }
        awaiting.append(Awaiting(ranges: processed.ranges, processedAt: current.processedAt))
        settleAwaiting()
        if current.batch.chunk != nil {
            work?.phase = .trial
        } else {
            work = nil
        }
        return nil
    }

    private func countAccepted(_ batch: MicroBatch) {
        metrics.batches.add(1)
        metrics.duplicates.add(output.duplicateCount)
        for letter in output.deadLetters { metrics.countDeadLetter(letter.code) }
        var counts = [Int](repeating: 0, count: settings.inputTopics.count)
        for origin in batch.records.origins { counts[origin.topicIndex] += 1 }
        for (index, count) in counts.enumerated() where count > 0 {
            metrics.countConsumed(topic: settings.inputTopics[index], count)
        }
    }

    /// Moves partitions that have come to rest over offsets that hold no record, through the delivery like a batch.
    func passIdleEnds(now: Int64) throws(StageFailure) {
        guard now >= nextIdleLook, hand.isEmpty, work == nil, delivery.batchesInFlight == 0 else { return }
        nextIdleLook = now + Int64(settings.commitIntervalMilliseconds) * 1_000
        let since = now - Int64(settings.idleMilliseconds) * 1_000
        var ranges: [OffsetRange] = []
        var marks: [String] = []
        for ledger in ledgers {
            guard let end = ledger.idleEnd(before: since) else { continue }
            ranges.append(OffsetRange(partition: ledger.partition, start: ledger.collectedEnd, end: end))
            marks.append(ledger.crashGuard.mark(at: end).text)
        }
        guard !ranges.isEmpty else { return }
        output.removeAll()
        sequence += 1
        var records = RecordBatch()
        records.seal()
        let batch = ProcessedBatch(records: records, ranges: ranges, groupMetadata: marks, sequence: sequence)
        switch try attempt({ () throws(DeliveryFailure) in try delivery.deliver(output, of: batch) }) {
        case .later: delivery.abandon(sequence: sequence)
        case .restart(let reason):
            logger.notice("Reading again from the stored positions", metadata: [LogKey.reason: "\(reason)"])
            restart(ledgers.map(\.partition))
        case .accepted:
            for range in ranges {
                guard let index = ledgerIndex(range.partition) else { continue }
                ledgers[index].passed(end: range.end)
            }
        }
    }

    /// Waits until a chunk is durable, then commits it by itself.
    private func finishTrial() throws(StageFailure) -> Obstruction? {
        guard let current = work, let range = current.batch.ranges.first, let index = ledgerIndex(range.partition)
        else {
            work = nil
            return nil
        }
        guard let durable = delivery.progress[range.partition], durable >= range.end else {
            withdrawTrialIfLong(current)
            return .inFlight
        }
        let entry = GroupCommits.Entry(offset: durable, mark: ledgers[index].crashGuard.mark(at: durable))
        guard try commitSynchronously([range.partition: entry]) else { return .commit }
        if !ledgers[index].crashGuard.isSuspicious {
            logger.notice(
                "Suspicious range passed",
                metadata: [LogKey.partition: "\(range.partition)", LogKey.offset: "\(durable)"])
        }
        work = nil
        return nil
    }

    /// A chunk that was processed and waits for long killed nobody; a kill while it waits shall not count against it.
    private func withdrawTrialIfLong(_ current: Work) {
        guard current.batch.chunk != nil, let range = current.batch.ranges.first,
            let index = ledgerIndex(range.partition), let mark = ledgers[index].crashGuard.withdrawal(),
            RuntimeClock.monotonicMicroseconds - current.processedAt > Int64(settings.trialMillisecondsMax) * 1000,
            let position = delivery.progress[range.partition]
        else { return }
        // Best effort: it is tried again with the next turn.
        _ = try? commitSynchronously([range.partition: GroupCommits.Entry(offset: position, mark: mark)])
    }

    /// Notes which batches became durable since the last look.
    func settleAwaiting() {
        let now = RuntimeClock.monotonicMicroseconds
        let progress = delivery.progress
        while let first = awaiting.first {
            let isDurable = first.ranges.allSatisfy { range in
                // A partition that left is not waited for.
                progress[range.partition].map { $0 >= range.end } ?? true
            }
            guard isDurable else { return }
            metrics.deliverSeconds.observe(Double(now - first.processedAt) / 1e6)
            hasAdvanced = true
            awaiting.removeFirst()
        }
    }

    /// Throws away what is in hand, the batch being offered included.
    func abandonHand() {
        if let processed = work?.processed { delivery.abandon(sequence: processed.sequence) }
        work = nil
        hand.removeAll()
        intake.replay.removeAll()
    }
}

extension MicroBatch: CustomStringConvertible {
    var description: String {
        let places = ranges.map { "\($0.partition) \($0.start)..<\($0.end)" }
        return "\(count) records (\(places.joined(separator: ", ")))"
    }
}
