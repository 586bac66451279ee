// StageRunner+Lifecycle: start, events, the watchdog's round, and the end.

import Kafka
import Logging
import Observability

extension StageRunner {
    private var servers: String { settings.consumer["bootstrap.servers"] ?? "" }

    // MARK: Start

    /// Waits for brokers and topics, opens the delivery and joins the group.
    /// - Returns: false when a stop was requested meanwhile.
    func start() throws(StageFailure) -> Bool {
        for fault in settings.faults {
            logger.critical(
                "PLANTED FAULT: this process is wrong on purpose", metadata: [LogKey.reason: "\(fault.rawValue)"])
        }
        report(.assignment, "waiting for the brokers and topics")
        let isThere = try TopicCheck.wait(
            for: settings.inputTopics, servers: servers, millisecondsMax: settings.startMillisecondsMax,
            isStopRequested: { control.isStopRequested }, serve: { serveEvents($0) },
            list: { wait throws(KafkaError) in try consumer.topics(timeoutMilliseconds: wait) })
        guard isThere else { return false }
        guard let id = consumer.clusterID(timeoutMilliseconds: Int32(clamping: settings.requestMillisecondsMax)) else {
            throw StageFailure(
                "The cluster at \(servers) does not tell its id: brokers before 0.10.1 are not supported")
        }
        clusterID = id
        try attempt { () throws(DeliveryFailure) in
            try delivery.open(
                DeliveryEnvironment(
                    stage: settings.stage, group: settings.group, instance: settings.instance, clusterID: id,
                    inputTopics: settings.inputTopics, consumer: consumer))
        }
        do throws(KafkaError) {
            try consumer.subscribe(topics: settings.inputTopics)
        } catch {
            throw StageFailure("Cannot join group '\(settings.group)': \(error)")
        }
        health.markReady()
        reportAssignment()
        health.heartbeat(backlog: 0, advanced: true)
        logger.info(
            "Started",
            metadata: [
                LogKey.group: "\(settings.group)", LogKey.clusterID: "\(id)", LogKey.bootstrapServers: "\(servers)",
            ])
        return true
    }

    /// Before the group is joined only log lines and errors come; errors are told by what is asked.
    private func serveEvents(_ milliseconds: Int32) {
        let polled = consumer.pollMessages(maximum: 1, timeoutMilliseconds: milliseconds) { _ in }
        if case .log(let line) = polled.event { line.write(to: logger) }
    }

    // MARK: Events

    func handle(_ event: ConsumerEvent) throws(StageFailure) {
        switch event {
        case .rebalance(let change): try handle(change)
        case .offsetCommit(let result): try finishCommit(result)
        case .error(let error, let partition, _):
            try handle(error, partition: partition.map { TopicPartition($0) })
        case .statistics: break
        case .log(let line): line.write(to: logger)
        }
    }

    private func handle(_ error: KafkaError, partition: TopicPartition?) throws(StageFailure) {
        if error.isFatal, error.code != .fenced { throw StageFailure("The consumer failed for good: \(error)") }
        switch error.code {
        case .offsetOutOfRange:
            guard let partition else { return }
            try repair(partition)
        case .authorization, .authentication:
            throw StageFailure(
                "The brokers at \(servers) do not let group '\(settings.group)' read \(settings.inputTopics): check the "
                    + "credentials and grant READ (\(error.message))")
        case .fenced:
            throw StageFailure(
                "Another process works on the slot '\(settings.instance)' of group '\(settings.group)': this one ends "
                    + "(\(error.message))")
        case .brokerUnavailable where error.name == "_ALL_BROKERS_DOWN":
            report(.broker, "no Kafka broker answers at \(servers)")
        case .pollIntervalExceeded:
            logger.error(
                "A step took longer than max.poll.interval.ms; the group took the partitions away",
                metadata: [LogKey.error: "\(error)"])
        default:
            logger.warning("Consumer reported an error", metadata: [LogKey.error: "\(error)"])
        }
    }

    /// The position lies outside the log while reading: the log's start overtook it.
    private func repair(_ partition: TopicPartition) throws(StageFailure) {
        guard let index = ledgerIndex(partition) else { return }
        let position = ledgers[index].nextOffset
        do throws(KafkaError) {
            let wait = Int32(clamping: settings.requestMillisecondsMax)
            let watermarks = try consumer.watermarks(KafkaPartition(partition), timeoutMilliseconds: wait)
            guard position <= watermarks.high else {
                return deferBeyondEnd(partition, position: position, end: watermarks.high)
            }
            let first = max(position, ledgers[index].collectedEnd)
            let lost = first..<max(first, watermarks.low)
            if !lost.isEmpty, !raiseLoss(partition, lost) { return }
            ledgers[index].skip(to: watermarks.low)
            try consumer.seek([(KafkaPartition(partition), ledgers[index].nextOffset)], timeoutMilliseconds: wait)
        } catch {
            logger.warning(
                "Cannot find the log's start yet",
                metadata: [LogKey.partition: "\(partition)", LogKey.error: "\(error)"])
            restart([partition])
        }
    }

    // MARK: Watch

    /// Once a second: lag, watchdog, figures.
    func tickIfDue() {
        let now = RuntimeClock.monotonicMicroseconds
        guard now >= nextTick else { return }
        nextTick = now + 1_000_000
        var positions: [TopicPartition: (position: Int64, lag: Int64?)] = [:]
        let progress = delivery.progress
        backlog = 0
        for index in ledgers.indices {
            let partition = ledgers[index].partition
            if let high = consumer.cachedWatermarks(KafkaPartition(partition))?.high {
                ledgers[index].highWatermark = max(high, ledgers[index].nextOffset)
            }
            let durable = progress[partition] ?? ledgers[index].processedEnd
            let lag = ledgers[index].lag(durable: durable)
            positions[partition] = (durable, lag)
            backlog += lag ?? 0
            if let lag { metrics.setLag(partition, lag) }
        }
        probeBrokers()
        reportAssignment()
        let isExcused = blockedSince != nil || !conditions.isEmpty
        let standstills = watchdog.observe(positions, isExcused: isExcused, now: now)
        for standstill in standstills {
            logger.critical(
                "Alive but not advancing",
                metadata: [
                    LogKey.partition: "\(standstill.partition)", LogKey.lag: "\(standstill.lag)",
                    LogKey.durationMilliseconds: "\(standstill.seconds * 1000)",
                ])
        }
        health.setStandstills(
            standstills.map { "\($0.partition) has \($0.lag) records waiting and did not move for \($0.seconds) s" })
    }

    /// Nothing tells that brokers are back but their answers: asks for one while they are thought to be away.
    private func probeBrokers() {
        guard conditions[.broker] != nil else { return }
        if (try? consumer.topics(timeoutMilliseconds: 500)) != nil { report(.broker, nil) }
    }

    // MARK: End

    /// Stops in order: finish the batch in hand, drain, commit with a farewell, leave the group.
    func stop() throws(StageFailure) {
        report(.stopping, "the process is stopping")
        logger.info("Stopping")
        if settings.faults.contains(.loseBatchAtShutdown) {
            loseHand()
            lose(ledgers.map(\.partition))
        }
        // What was thrown away before is not in flight any more.
        takeNews()
        let started = RuntimeClock.monotonicMicroseconds
        let isFinished = try finishHand(millisecondsMax: settings.drainMillisecondsMax)
        // What could not be delivered was not committed either: the next owner reads it again.
        if !isFinished { abandonHand() }
        let deadline = started + Int64(settings.drainMillisecondsMax) * 1000
        func rest() -> Int { Int(max(0, deadline - RuntimeClock.monotonicMicroseconds) / 1000) }
        let isDrained = try drain(ledgers.map(\.partition), millisecondsMax: rest())
        // What was on its way is the next owner's work then; nothing of it is committed.
        let isLost = consumer.assignmentLost
        // Nothing new shall come in while the last commit is tried.
        pauseAll()
        retryCommitAt = 0
        while !ledgers.isEmpty, !(try commitFarewell(ledgers.map(\.partition))) {
            guard rest() > 0 else {
                logger.warning("Last commit not confirmed; the next owner repeats what is uncommitted")
                break
            }
            // A rebalance in progress refuses commits until it is over; its events say what is still ours to commit.
            try collect(timeoutMilliseconds: 50, maximum: 1)
            hand.removeAll()
        }
        let partitions = ledgers.map(\.partition)
        delivery.end(partitions, lost: false)
        processor.forget(partitions)
        leaveGroup(millisecondsMax: settings.requestMillisecondsMax)
        delivery.close()
        guard isDrained || isLost else {
            throw StageFailure(
                "The outputs of the last batches were not acknowledged within \(settings.drainMillisecondsMax) ms; they are "
                    + "not committed and will be processed again: check the brokers at \(servers)")
        }
        logger.info("Stopped")
    }

    /// Ends after a failure: the effects that are durable may stay uncommitted, never the other way round.
    func fail(_ failure: StageFailure) {
        report(.stopping, failure.message)
        // A failure that the process noticed is not a death: the chunk in trial is no evidence against its records.
        for ledger in ledgers {
            guard let mark = ledger.crashGuard.withdrawal(), let offset = ledger.committed else { continue }
            retryCommitAt = 0
            _ = try? commitSynchronously([ledger.partition: GroupCommits.Entry(offset: offset, mark: mark)])
        }
        delivery.end(ledgers.map(\.partition), lost: true)
        delivery.close()
        leaveGroup(millisecondsMax: 2_000)
    }

    private func leaveGroup(millisecondsMax: Int) {
        do throws(KafkaError) {
            try consumer.close(timeoutMilliseconds: Int32(clamping: millisecondsMax))
        } catch {
            logger.warning(
                "The group was not left in order; it notices after the session time-out",
                metadata: [LogKey.error: "\(error)"])
        }
    }
}
