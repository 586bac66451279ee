// KillLoad: clients that go on whatever happens to their broker.

import Kafka
import ProcessControl
import TestSupport

/// The clients of a kill test; each runs on a thread of its own until the ledger says stop.
struct KillLoad: Sendable {
    static let plainTopic = "plain"
    static let transactionTopic = "transactions"
    static let group = "readers"
    static let transactionGroup = "transaction-group"
    static let partitions = 3
    static let recordsPerTransaction = 12
    private static let outstandingMax = 200
    private static let stepMilliseconds: Int32 = 30_000

    let bootstrapServers: String
    let ledger: KillLedger
    let seed: UInt64

    // MARK: Acknowledged records

    /// Sends numbered records until it is stopped, then waits for the last acknowledgement.
    func write() {
        do {
            let producer = try makeProducer(["message.timeout.ms": "120000", "compression.codec": codec])
            let topic = try producer.registerTopic(Self.plainTopic)
            var number: UInt64 = 0
            func note(_ report: Producer.DeliveryReport) {
                if let error = report.error {
                    ledger.report("record \(report.tag) was given up: \(error)")
                } else {
                    ledger.acknowledged(report)
                }
            }
            while !ledger.shouldStop {
                while producer.queuedCount < Self.outstandingMax {
                    let bytes = Self.content(number, seed: seed)
                    try producer.produce(
                        topic: topic, partition: Int32(number % UInt64(Self.partitions)), key: nil,
                        value: bytes.span.bytes, tag: number)
                    number += 1
                }
                _ = producer.pollDeliveries(timeoutMilliseconds: 100, note)
            }
            try producer.flush(timeoutMilliseconds: 2 * Self.stepMilliseconds, note)
        } catch {
            ledger.report("the writer ended: \(error)")
        }
    }

    private var codec: String { ["none", "gzip", "snappy", "lz4", "zstd"][Int(seed % 5)] }

    /// What record `number` holds: its number, then 12 to 300 bytes that follow from it.
    static func content(_ number: UInt64, seed: UInt64) -> [UInt8] {
        var numbers = SeededNumbers(state: seed ^ number &* 0x9E37_79B9)
        let words = Int.random(in: 2...37, using: &numbers)
        var bytes = text(number)
        for _ in 0..<words { bytes += text(numbers.next()) }
        return bytes
    }

    private static func text(_ number: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: number >> UInt64(56 - 8 * $0)) }
    }

    // MARK: Transactions

    /// Commits and aborts by turns of chance, each time with a group's offset in the transaction.
    func transact() {
        var numbers = SeededNumbers(state: seed &+ 1)
        while !ledger.shouldStop {
            do {
                let producer = try makeProducer([
                    "transactional.id": "killed", "transaction.timeout.ms": "20000", "message.timeout.ms": "20000",
                ])
                let group = try makeConsumer(group: Self.transactionGroup)
                try retrying { () throws(KafkaError) in
                    try producer.initializeTransactions(timeoutMilliseconds: Self.stepMilliseconds)
                }
                while !ledger.shouldStop {
                    let commits = Bool.random(using: &numbers)
                    guard try runTransaction(producer, group, commits: commits) else { break }
                }
            } catch {
                ledger.report("the transactional producer ended: \(error)")
                return
            }
        }
    }

    /// One transaction; false when the producer cannot go on and another must take its place.
    private func runTransaction(_ producer: Producer, _ group: Consumer, commits: Bool) throws -> Bool {
        let number = ledger.withState { state in
            state.transactions.append(.open)
            return state.transactions.count - 1
        }
        func ended(_ outcome: KillLedger.Outcome) { ledger.withState { $0.transactions[number] = outcome } }
        do {
            try producer.beginTransaction()
            let topic = try producer.registerTopic(Self.transactionTopic)
            for index in 0..<Self.recordsPerTransaction {
                let bytes = Array("\(number) \(index)".utf8)
                try producer.produce(
                    topic: topic, partition: Int32(index % Self.partitions), key: nil, value: bytes.span.bytes)
            }
            try producer.flush(timeoutMilliseconds: Self.stepMilliseconds)
            try retrying { () throws(KafkaError) in
                try producer.sendOffsets(
                    [KafkaPartition(topic: Self.plainTopic, partition: 0): CommittedOffset(offset: Int64(number + 1))],
                    of: group, timeoutMilliseconds: Self.stepMilliseconds)
            }
            ledger.passed(.transactionEnd)
            guard commits else {
                try abort(producer)
                ended(.aborted)
                return true
            }
            try retrying { () throws(KafkaError) in
                try producer.commitTransaction(timeoutMilliseconds: Self.stepMilliseconds)
            }
            ended(.committed)
            return true
        } catch {
            // Decided by the next producer's start at the latest, nobody can say how.
            guard error.requiresAbort, !error.isFatal, (try? abort(producer)) != nil else {
                ended(.unknown)
                return false
            }
            ended(.aborted)
            return true
        }
    }

    private func abort(_ producer: Producer) throws(KafkaError) {
        try retrying { () throws(KafkaError) in
            try producer.abortTransaction(timeoutMilliseconds: Self.stepMilliseconds)
        }
        // Reports of what the abort threw away.
        try producer.flush(timeoutMilliseconds: Self.stepMilliseconds)
    }

    /// Calls again what librdkafka says may be called again.
    private func retrying(_ body: () throws(KafkaError) -> Void) throws(KafkaError) {
        let attemptsMax = 5
        for attempt in 1...attemptsMax {
            do {
                return try body()
            } catch {
                guard error.isRetriable, !error.requiresAbort, attempt < attemptsMax else { throw error }
            }
        }
    }

    // MARK: The group

    /// Reads and commits as a group's member; every so often a new member takes its place, which must begin where the
    /// group had committed.
    func consume() {
        var numbers = SeededNumbers(state: seed &+ 2)
        while !ledger.shouldStop {
            do {
                let consumer = try makeConsumer(group: Self.group)
                try consumer.subscribe(topics: [Self.plainTopic])
                try follow(consumer, commits: Int.random(in: 20...80, using: &numbers))
                try consumer.close(timeoutMilliseconds: Self.stepMilliseconds)
            } catch let error as KafkaError where error.code == .timedOut {
                // It could not leave; its session will end.
                continue
            } catch {
                ledger.report("the group's member ended: \(error)")
                return
            }
        }
    }

    private func follow(_ consumer: Consumer, commits: Int) throws {
        var next: [Int32: Int64] = [:]
        var count = 0
        while count < commits, !ledger.shouldStop {
            let before = next
            let polled = consumer.pollMessages(maximum: 100, timeoutMilliseconds: 100) { message in
                if let expected = next[message.partition], expected != message.offset {
                    ledger.report("the member read \(message.offset) of \(message.partition), \(expected) was next")
                }
                next[message.partition] = message.offset + 1
            }
            if case .rebalance(let change) = polled.event {
                try answer(change, consumer, &next)
            } else if next != before, try commit(next, consumer) {
                count += 1
            }
        }
    }

    /// An assignment begins at the committed offsets, which are those that were confirmed or asked for at last.
    private func answer(_ change: Rebalance, _ consumer: Consumer, _ next: inout [Int32: Int64]) throws {
        guard change.kind == .assign else {
            for partition in change.partitions { next[partition.partition] = nil }
            return try consumer.incrementalUnassign(change.partitions)
        }
        var committed: [KafkaPartition: CommittedOffset] = [:]
        try retrying { () throws(KafkaError) in
            committed = try consumer.committed(change.partitions, timeoutMilliseconds: Self.stepMilliseconds)
        }
        for partition in change.partitions {
            let offset = committed[partition]?.offset
            if !ledger.allows(offset, of: partition.partition) {
                let confirmed = ledger.withState { $0.confirmed[partition.partition] }
                ledger.report("\(partition) begins at \(offset ?? -1), \(confirmed ?? -1) was confirmed")
            }
            next[partition.partition] = offset ?? 0
        }
        try consumer.incrementalAssign(
            change.partitions.map { ($0, committed[$0]?.offset ?? KafkaOffset.beginning) })
    }

    /// False when the outcome is unknown.
    private func commit(_ next: [Int32: Int64], _ consumer: Consumer) throws -> Bool {
        ledger.passed(.groupCommit)
        ledger.withState { state in
            for (partition, offset) in next { state.attempted[partition, default: []].insert(offset) }
        }
        do {
            try consumer.commit(
                Dictionary(
                    uniqueKeysWithValues: next.map {
                        (KafkaPartition(topic: Self.plainTopic, partition: $0), CommittedOffset(offset: $1))
                    }), timeoutMilliseconds: Self.stepMilliseconds)
        } catch {
            return false
        }
        ledger.withState { state in
            state.confirmed.merge(next) { $1 }
            for partition in next.keys { state.attempted[partition] = nil }
            state.commitCount += 1
        }
        return true
    }

    // MARK: Clients

    private func makeProducer(_ settings: [String: String]) throws -> Producer {
        var configuration = try KafkaConfiguration.producerDefaults(
            bootstrapServers: bootstrapServers, clientID: TestBroker.uniqueName("killed"))
        for (name, value) in Self.haste.merging(settings, uniquingKeysWith: { $1 }) {
            try configuration.set(name, value)
        }
        return try Producer(configuration: configuration)
    }

    func makeConsumer(group: String, _ settings: [String: String] = [:]) throws -> Consumer {
        var configuration = try KafkaConfiguration.consumerDefaults(
            bootstrapServers: bootstrapServers, group: group, clientID: TestBroker.uniqueName("killed"))
        for (name, value) in Self.haste.merging(settings, uniquingKeysWith: { $1 }) {
            try configuration.set(name, value)
        }
        try configuration.set("session.timeout.ms", "3000")
        try configuration.set("heartbeat.interval.ms", "200")
        return try Consumer(configuration: configuration)
    }

    /// Clients that are back soon after the broker is.
    private static let haste = [
        "statistics.interval.ms": "0", "reconnect.backoff.ms": "5", "reconnect.backoff.max.ms": "50",
        "retry.backoff.ms": "10", "log.connection.close": "false",
    ]
}
