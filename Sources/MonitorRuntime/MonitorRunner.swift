// MonitorRunner: reads topics, drives the logic, and makes outputs, state and positions durable in one transaction.

import EventContracts
import Glibc
public import Kafka
public import Logging
public import Observability
public import StageRuntime

/// The loop of a monitor. One instance of a program works at a time: a second one fences the first, which stops.
public final class MonitorRunner<Logic: MonitorLogic> {
    /// Time for one request to the brokers.
    static var requestMilliseconds: Int32 { 10_000 }
    static var pollRecordsMax: Int { 5_000 }

    let settings: MonitorSettings
    private(set) var logic: Logic
    let control: StageControl
    let health: HealthState
    let logger: Logger
    let consumer: Consumer
    let producer: Producer
    private let lagOf: @Sendable (TopicPartition) -> Gauge
    private var topicIndices: [String: Int] = [:]
    /// Next offset to take, per partition.
    private var positions: [TopicPartition: Int64] = [:]
    /// Below these the logic only rebuilds.
    private var snapshotPositions: [TopicPartition: Int64] = [:]
    private var recordsSinceSnapshot = 0
    private var lastSnapshot = ContinuousClock.now
    private var hasFreshRecords = false

    /// - Parameter configuration: of the consumer and of the producer; the runner adds what it needs.
    public init(
        settings: MonitorSettings, logic: Logic, consumer: KafkaConfiguration, producer: KafkaConfiguration,
        control: StageControl, health: HealthState, registry: MetricsRegistry, group: String, logger: Logger
    ) throws(StageFailure) {
        self.settings = settings
        self.logic = logic
        self.control = control
        self.health = health
        self.logger = logger
        lagOf = { partition in
            registry.gauge(
                MetricNames.consumerGroupLag, group, partition.topic, String(partition.partition))
        }
        do {
            var consumer = consumer
            try consumer.set("isolation.level", "read_committed")
            try consumer.set("queued.min.messages", "20000")
            // The end of the state topic may hold no record (transaction markers): only this tells that it is reached.
            try consumer.set("enable.partition.eof", "true")
            var producer = producer
            // One id for every instance: whoever comes last is the one that works.
            try producer.makeTransactional("\(group).\(settings.program)")
            self.consumer = try Consumer(configuration: consumer)
            self.producer = try Producer(configuration: producer)
        } catch {
            throw StageFailure(exitCode: 2, "The Kafka settings are refused: \(error)")
        }
    }

    /// Runs until a stop is asked for.
    public func run() throws(StageFailure) {
        control.setWake { [consumer] in consumer.wake() }
        defer { control.setWake(nil) }
        try start()
        health.markReady()
        while !control.isStopRequested {
            try turn()
        }
        health.fail("stopping", "The process is stopping.")
        if hasFreshRecords { try commit() }
    }

    private func turn() throws(StageFailure) {
        let count = try poll()
        do {
            try logic.tick(nowMicroseconds: Self.now)
        } catch {
            throw StageFailure("\(settings.program): \(error)")
        }
        let isDue =
            hasFreshRecords
            && (recordsSinceSnapshot >= settings.recordsMax
                || lastSnapshot.duration(to: .now) >= .milliseconds(settings.snapshotMilliseconds))
        let outputs = logic.takeOutputs()
        if !outputs.isEmpty || isDue { try commit(outputs) }
        health.heartbeat(backlog: reportLag(), advanced: count > 0)
    }

    static var now: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000
    }

    // MARK: - Start

    private func start() throws(StageFailure) {
        let deadline = ContinuousClock.now + .milliseconds(settings.startMillisecondsMax)
        let partitions = try retrying(until: deadline) { () throws(KafkaError) in try self.inputPartitions() }
        try retrying(until: deadline) { () throws(KafkaError) in
            try self.producer.initializeTransactions(timeoutMilliseconds: Self.requestMilliseconds)
        }
        let snapshot = try retrying(until: deadline) { () throws(KafkaError) in try self.lastSnapshotBytes() }
        if let snapshot { try restore(snapshot) }
        try retrying(until: deadline) { () throws(KafkaError) in try self.assign(partitions) }
        logger.info(
            snapshot == nil ? "Starting without a snapshot" : "Going on from the snapshot",
            metadata: [LogKey.partitions: "\(partitions.count)"])
    }

    /// Brokers that are not there yet, and topics that are still being made, are waited for.
    private func retrying<R>(
        until deadline: ContinuousClock.Instant, _ body: () throws(KafkaError) -> R
    ) throws(StageFailure) -> R {
        while true {
            do {
                return try body()
            } catch {
                guard !error.isFatal, error.code != .authentication, error.code != .authorization,
                    ContinuousClock.now < deadline, !control.isStopRequested
                else { throw StageFailure("Cannot start: \(error)") }
                health.fail("broker", "\(error)")
                // The wait serves the client's own events; a stop ends it.
                _ = consumer.pollMessages(maximum: 1, timeoutMilliseconds: 200) { _ in }
            }
        }
    }

    private func inputPartitions() throws(KafkaError) -> [KafkaPartition] {
        let names = settings.inputTopics + [settings.stateTopic]
        let found = try consumer.topics(named: names, timeoutMilliseconds: Self.requestMilliseconds)
        let missing = names.filter { name in !found.contains { $0.name == name && $0.partitionCount > 0 } }
        guard missing.isEmpty else {
            throw KafkaError(
                code: .unknownTopicOrPartition,
                message: "the topics \(missing.joined(separator: ", ")) do not exist: penstock topics apply")
        }
        for (index, name) in settings.inputTopics.enumerated() { topicIndices[name] = index }
        for name in settings.outputTopics + [settings.stateTopic] { _ = try producer.registerTopic(name) }
        health.clear("broker")
        return found.filter { $0.name != settings.stateTopic }.flatMap(\.partitions)
    }

    private func restore(_ bytes: [UInt8]) throws(StageFailure) {
        do {
            let snapshot = try RecordJSON.decode(Snapshot<Logic.State>.self, from: bytes)
            guard snapshot.v == 1 else {
                throw RecordFormatError(
                    .unsupportedFormatVersion, "it has format version \(snapshot.v), this program knows 1")
            }
            try logic.restore(snapshot.state)
            for position in snapshot.positions {
                snapshotPositions[TopicPartition(topic: position.topic, partition: position.partition)] = position.next
            }
        } catch {
            throw StageFailure(
                "The snapshot in \(settings.stateTopic) cannot be used (\(error)): run the version that wrote it, or "
                    + "delete the topic's record with key \(settings.program) to start afresh")
        }
    }

    private func assign(_ partitions: [KafkaPartition]) throws(KafkaError) {
        var starts: [(KafkaPartition, Int64)] = []
        for partition in partitions {
            let own = TopicPartition(topic: partition.topic, partition: partition.partition)
            let ends = try consumer.watermarks(partition, timeoutMilliseconds: Self.requestMilliseconds)
            let fresh = settings.startsAtEnd ? ends.high : ends.low
            let wanted = snapshotPositions[own].map { min($0, logic.rebuildPositions[own] ?? $0) } ?? fresh
            // Beyond the end: the log was made anew since the snapshot.
            let position = wanted > ends.high ? ends.low : max(wanted, ends.low)
            if position > wanted || wanted > ends.high, snapshotPositions[own] != nil {
                logger.error(
                    "The log does not hold the position of the snapshot",
                    metadata: [
                        LogKey.topic: "\(partition.topic)", LogKey.partition: "\(partition.partition)",
                        LogKey.firstOffset: "\(wanted)", LogKey.lastOffset: "\(position)",
                    ])
            }
            if let snapshot = snapshotPositions[own], snapshot > ends.high { snapshotPositions[own] = position }
            positions[own] = max(position, snapshotPositions[own] ?? position)
            starts.append((partition, position))
        }
        try consumer.assign(starts)
    }

    // MARK: - Records

    private func poll() throws(StageFailure) -> Int {
        var fresh = RecordBatch()
        var old = RecordBatch()
        let polled = consumer.pollMessages(
            maximum: Self.pollRecordsMax, timeoutMilliseconds: Int32(settings.tickMilliseconds)
        ) { message in
            guard let topic = consumer.topicName(at: message.topicIndex), let index = topicIndices[topic] else {
                return
            }
            let own = TopicPartition(topic: topic, partition: message.partition)
            let origin = RecordBatch.Origin(topicIndex: index, partition: message.partition, offset: message.offset)
            let time = message.timestampMilliseconds
            message.withKeyAndValue { key, value in
                if message.offset < snapshotPositions[own] ?? 0 {
                    old.append(origin: origin, timestampMilliseconds: time, key: key, value: value)
                } else {
                    fresh.append(origin: origin, timestampMilliseconds: time, key: key, value: value)
                    positions[own] = message.offset + 1
                }
            }
        }
        if case .error(let error, let partition, _) = polled.event { try handle(error, partition) }
        do {
            if !old.isEmpty {
                old.seal()
                try logic.rebuild(old)
            }
            if !fresh.isEmpty {
                fresh.seal()
                try logic.take(fresh)
                recordsSinceSnapshot += fresh.count
                hasFreshRecords = true
            }
        } catch {
            throw StageFailure("\(settings.program): \(error)")
        }
        return polled.messageCount
    }

    private func handle(_ error: KafkaError, _ partition: KafkaPartition?) throws(StageFailure) {
        if error.isFatal { throw StageFailure("\(error)") }
        switch error.code {
        case .offsetOutOfRange:
            // Loss is never silent: it ends the process, and the start that follows says what was lost.
            throw StageFailure("\(partition.map { "\($0): " } ?? "")\(error): records were lost before they were read")
        case .authentication, .authorization: throw StageFailure("\(error)")
        case .partitionEnd: return
        default: logger.warning("Kafka consumer", metadata: [LogKey.error: "\(error)"])
        }
    }

    private func reportLag() -> Int64 {
        var backlog: Int64 = 0
        for (partition, position) in positions {
            let kafka = KafkaPartition(topic: partition.topic, partition: partition.partition)
            guard let ends = consumer.cachedWatermarks(kafka) else { continue }
            let lag = max(0, ends.high - position)
            lagOf(partition).set(Double(lag))
            backlog += lag
        }
        return backlog
    }

    // MARK: - Transactions

    private func commit(_ given: [MonitorOutput] = []) throws(StageFailure) {
        logic.willSnapshot(at: positions)
        let outputs = given + logic.takeOutputs()
        do {
            let snapshot = Snapshot(
                program: settings.program,
                positions: positions.sorted { $0.key < $1.key }.map {
                    .init(topic: $0.key.topic, partition: $0.key.partition, next: $0.value)
                }, state: logic.state)
            let value = try RecordJSON.encode(snapshot)
            try write(outputs + [MonitorOutput(topic: settings.stateTopic, key: settings.program, value: value)])
        } catch {
            throw StageFailure("\(settings.program) cannot write its state: \(error)")
        }
        recordsSinceSnapshot = 0
        hasFreshRecords = false
        lastSnapshot = .now
        let offsets = positions.map {
            (KafkaPartition(topic: $0.key.topic, partition: $0.key.partition), CommittedOffset(offset: $0.value))
        }
        // For `penstock lag` only: the snapshot is what counts.
        try? consumer.commitAsynchronously(Dictionary(uniqueKeysWithValues: offsets))
    }

    private func write(_ records: [MonitorOutput]) throws(KafkaError) {
        let header = RecordHeader(
            CloudEventBinding.contentTypeHeader, text: CloudEventBinding.structuredContentType)
        try producer.beginTransaction()
        do throws(KafkaError) {
            var failure: KafkaError?
            for record in records {
                try producer.produce(
                    topic: try producer.registerTopic(record.topic), key: record.key.span.bytes,
                    value: record.value.span.bytes, headers: record.topic == settings.stateTopic ? [] : [header])
            }
            try producer.flush(timeoutMilliseconds: Self.requestMilliseconds) { failure = failure ?? $0.error }
            if let failure { throw failure }
            try commitTransaction()
        } catch {
            // The process ends and the next one reads the last snapshot: what is in memory is not durable.
            if !error.isFatal { try? producer.abortTransaction(timeoutMilliseconds: Self.requestMilliseconds) }
            throw error
        }
    }

    private func commitTransaction() throws(KafkaError) {
        let attemptsMax = 3
        for attempt in 1...attemptsMax {
            do throws(KafkaError) {
                return try producer.commitTransaction(timeoutMilliseconds: Self.requestMilliseconds)
            } catch {
                guard error.isRetriable, !error.isFatal, !error.requiresAbort, attempt < attemptsMax else {
                    throw error
                }
            }
        }
    }
}
