// ExactDelivery+Transaction: the end of a transaction, and the way back when it does not come.

import EventContracts
import Kafka
import Logging
import Observability

extension ExactDelivery {
    // MARK: The end

    /// Hands everything over, adds the offsets, waits for every acknowledgement, commits. After a failure the transaction is
    /// void or its outcome is looked up; `news` tells the runner.
    mutating func endTransaction() throws(DeliveryFailure) {
        guard let open = transaction, let producer = writer?.producer, let consumer = environment?.consumer else {
            return
        }
        guard !consumer.assignmentLost else { return reinitialize("the assignment was lost") }
        guard try handOverWaiting() else { return }
        do throws(KafkaError) {
            // While the partitions are registered, which takes as long.
            try producer.sendOffsets(
                open.offsets(faults: settings.outputs.faults), of: consumer,
                timeoutMilliseconds: Int32(clamping: settings.requestMillisecondsMax))
        } catch {
            return try giveUp("the offsets could not be added to the transaction", error)
        }
        // Before the commit: librdkafka's own wait inside it goes in steps of 10 ms.
        guard try isAcknowledged(open, producer) else { return }
        settings.kills?.pass(.beforeCommit)
        do throws(KafkaError) {
            try producer.commitTransaction(timeoutMilliseconds: Int32(clamping: settings.requestMillisecondsMax))
        } catch {
            guard error.requiresAbort || error.isFatal else {
                // A time-out: it may have happened. Nothing is processed until that is known.
                unconfirmed = open
                transaction = nil
                return try giveUp("the end of a transaction was not confirmed", error, restarts: false)
            }
            return try giveUp("the transaction was refused", error)
        }
        settings.kills?.pass(.afterCommit)
        landed(open)
    }

    /// Hands the batches that waited to the producer.
    /// - Returns: false when the transaction is void.
    private mutating func handOverWaiting() throws(DeliveryFailure) -> Bool {
        let deadline = RuntimeClock.monotonicMicroseconds + Int64(settings.requestMillisecondsMax) * 1_000
        let known = oversized
        let isOversized: ((RecordBatch.Origin) -> Bool)? = known.isEmpty ? nil : { known.contains($0) }
        let ahead = known.isEmpty ? handOverOpeners() : [:]
        while let sequence = transaction?.waiting.first, let held = transaction?.batches[sequence] {
            var (next, queued) = (0, 0)
            while try writer?.handOver(
                held.output, of: held.batch, from: &next, queued: &queued, isOversized: isOversized,
                ahead: ahead[sequence] ?? []) != .done
            {
                guard RuntimeClock.monotonicMicroseconds < deadline else {
                    reinitialize("the brokers took no more records")
                    return false
                }
                try serveProducer(waitMilliseconds: 10)
                guard transaction != nil else { return false }
            }
            transaction?.waiting.removeFirst()
        }
        return transaction != nil
    }

    /// Hands the first record of each partition over, where the others would take longer than the partitions' registration.
    /// - Returns: what was handed over, by the batch's sequence.
    private mutating func handOverOpeners() -> [Int: [Int]] {
        guard let open = transaction, open.records >= settings.openersRecordsMin else { return [:] }
        var openers = PartitionOpeners()
        var handed: [Int: [Int]] = [:]
        for sequence in open.waiting {
            guard let held = open.batches[sequence] else { continue }
            let items = openers.next(in: held.output, of: held.batch.records)
            if items.isEmpty { continue }
            handed[sequence] = writer?.handOver(openers: items, of: held.output, batch: held.batch)
        }
        return handed
    }

    /// Takes the delivery reports of the whole transaction.
    private mutating func isAcknowledged(
        _ open: Transaction, _ producer: Producer
    ) throws(DeliveryFailure) -> Bool {
        var refused: [(tag: UInt64, error: KafkaError)] = []
        do throws(KafkaError) {
            try producer.flush(timeoutMilliseconds: Int32(clamping: settings.requestMillisecondsMax)) { report in
                if let error = report.error { refused.append((report.tag, error)) }
            }
        } catch {
            try giveUp("the brokers did not acknowledge a transaction's records in time", error)
            return false
        }
        guard !refused.isEmpty else { return true }
        try note(refused, of: open)
        return false
    }

    /// Records that were not delivered end the transaction.
    mutating func note(_ refused: [(tag: UInt64, error: KafkaError)], of open: Transaction?) throws(DeliveryFailure) {
        guard let first = refused.first else { return }
        for (tag, error) in refused where error.code == .messageTooLarge {
            let (sequence, item) = OutputWriter.parts(of: tag)
            guard let held = open?.batches[sequence], let emission = OutputWriter.emission(item, of: held.output) else {
                throw DeliveryFailure(
                    .refused, "A dead letter is larger than the broker takes: raise max.message.bytes of the topic")
            }
            oversized.insert(held.batch.records.origins[emission.source])
        }
        try giveUp("a record was not delivered", first.error)
    }

    private mutating func landed(_ done: Transaction) {
        let now = RuntimeClock.monotonicMicroseconds
        // By time, not by transaction: short ones and long ones follow each other.
        let passed = Double(max(1_000, now - max(committedAt, done.openedAt - Self.rateMicroseconds)))
        let weight = min(1, 2 * passed / Double(Self.rateMicroseconds))
        recentRate += weight * (Double(done.records) * 1e6 / passed - recentRate)
        committedAt = now
        transaction = nil
        obstacle = nil
        oversized.removeAll()
        metrics.transactionsCommitted.add(1)
        settle(done)
        for held in done.batches.values { writer?.countProduced(held.output) }
    }

    private mutating func settle(_ done: Transaction) {
        for (partition, range) in done.ranges where progress[partition] != nil {
            progress[partition] = range.end
            news.committed[partition] = CommittedOffset(
                offset: range.end, metadata: done.metadata[partition] ?? "")
        }
    }

    // MARK: The way back

    /// Decides what an error means: the end of the process, or a new producer and a restart.
    mutating func giveUp(
        _ what: String, _ error: KafkaError, restarts: Bool = true
    ) throws(DeliveryFailure) {
        if error.code == .authorization || error.code == .authentication {
            throw DeliveryFailure(
                .refused,
                "The brokers do not allow transactions under '\(slot)': grant WRITE and DESCRIBE on the transactional id "
                    + "and READ on the group (\(error.message))")
        }
        let fatal = writer?.producer.fatalError ?? (error.isFatal ? error : nil)
        // Not another process: the session timed out between the look at the assignment and the request.
        if error.name == "FENCED_INSTANCE_ID", fatal == nil, environment?.consumer?.isMember == false {
            return reinitialize("the assignment was lost")
        }
        if error.code == .fenced || fatal?.code == .fenced {
            throw DeliveryFailure(
                .fenced,
                "Another process works on the slot '\(slot)', or this one stood still for longer than its transaction may "
                    + "last: this one ends and commits nothing more (\(error.message))")
        }
        logger.warning("Transaction given up: \(what)", metadata: ["error": "\(error)"])
        reinitialize("\(what): \(error.message)", restarts: restarts)
    }

    /// Destroys the producer and makes a new one, which ends the old transaction at the coordinator and fences what is
    /// still on its way.
    mutating func reinitialize(_ reason: String, restarts: Bool = true) {
        abortQuietly()
        transaction = nil
        phase = .initializing
        obstacle = "a new transactional producer is starting: \(reason)"
        if restarts {
            news.restart = reason
            metrics.transactionsAborted.add(1)
        }
        writer = nil
        retryAt = 0
    }

    func abortQuietly() { try? writer?.producer.purge(includingInFlight: true) }

    /// Serves reports and events, and brings a producer that is not ready further.
    mutating func serveProducer(waitMilliseconds: Int) throws(DeliveryFailure) {
        if let producer = writer?.producer {
            var refused: [(tag: UInt64, error: KafkaError)] = []
            var wait = Int32(clamping: waitMilliseconds)
            for _ in 0..<16 {
                let polled = producer.pollDeliveries(timeoutMilliseconds: wait) { report in
                    if let error = report.error { refused.append((report.tag, error)) }
                }
                wait = 0
                guard let event = polled.event else { break }
                try handle(event)
                if writer == nil { return }
            }
            if transaction != nil { try note(refused, of: transaction) }
        }
        switch phase {
        case .ready: break
        case .initializing: try initialize()
        case .resolving(let old): try resolve(old)
        }
    }

    private mutating func handle(_ event: ProducerEvent) throws(DeliveryFailure) {
        switch event {
        case .error(let error):
            if error.isFatal || error.code == .authorization || error.code == .authentication {
                return try giveUp("the producer failed", error)
            }
            logger.warning("Producer reported an error", metadata: ["error": "\(error)"])
        case .statistics: break
        case .log(let line): line.write(to: logger)
        }
    }

    private mutating func initialize() throws(DeliveryFailure) {
        guard RuntimeClock.monotonicMicroseconds >= retryAt, let environment else { return }
        if writer == nil {
            writer = try OutputWriter(settings: settings.outputs, environment: environment, metrics: metrics)
        }
        guard let producer = writer?.producer else { return }
        do throws(KafkaError) {
            try producer.initializeTransactions(timeoutMilliseconds: 1_000)
        } catch {
            guard error.isRetriable, !error.isFatal else {
                retryAt = RuntimeClock.monotonicMicroseconds + 200_000
                return try giveUp("the transactional id could not be initialised", error, restarts: false)
            }
            obstacle = "the transactional id '\(slot)' cannot be initialised: \(error.message)"
            return
        }
        obstacle = nil
        if let old = unconfirmed {
            unconfirmed = nil
            phase = .resolving(old)
            try resolve(old)
        } else {
            phase = .ready
        }
    }

    /// The coordinator has ended the old transaction by now: the committed offsets tell how.
    private mutating func resolve(_ old: Transaction) throws(DeliveryFailure) {
        let now = RuntimeClock.monotonicMicroseconds
        guard now >= retryAt, let consumer = environment?.consumer else { return }
        guard !old.ranges.isEmpty else {
            phase = .ready
            return
        }
        let wanted = old.offsets(faults: settings.outputs.faults)
        do throws(KafkaError) {
            let found = try consumer.committed(
                Array(wanted.keys), timeoutMilliseconds: Int32(clamping: settings.requestMillisecondsMax))
            phase = .ready
            obstacle = nil
            if wanted.allSatisfy({ found[$0.key]?.offset == $0.value.offset }) {
                logger.notice("A transaction whose end was not confirmed had been committed")
                settle(old)
            } else {
                logger.notice("A transaction whose end was not confirmed had been aborted")
                news.restart = "a transaction whose end was not confirmed had been aborted"
                metrics.transactionsAborted.add(1)
            }
        } catch {
            retryAt = now + 200_000
            obstacle = "the outcome of a transaction cannot be looked up: \(error.message)"
        }
    }
}
