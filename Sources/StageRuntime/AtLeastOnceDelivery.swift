// AtLeastOnceDelivery: the profile `latency`: an idempotent producer, several batches in flight, offsets committed after.

public import EventContracts
public import Kafka
public import Logging

/// Produces what a stage emitted and reports progress once all of a batch, and of the batches before it, is acknowledged.
///
/// A crash between acknowledgement and commit repeats records in the output topics; the pipeline's promise is kept in
/// PostgreSQL, where the event id is the key. A record that the broker finds too large becomes a dead letter; any other
/// record that cannot be produced stops the process before its offset is committed.
public struct AtLeastOnceDelivery: Delivery {
    public typealias Output = OutputBatch

    public struct Settings: Sendable {
        public var producer: KafkaConfiguration
        /// In the order of `OutputBatch.Emission.topicIndex`.
        public var outputTopics: [String]
        /// The module that refuses records, and where in the pipeline it stands: in the dead letters' headers.
        public var module: String
        public var deadLetterStage: DeadLetterStage
        public var batchesInFlightMax = 8
        /// See `Delivery.eagerBatchesMax`.
        public var eagerBatchesMax = 2
        /// For the output topics to appear at start.
        public var startMillisecondsMax = 30_000
        public var faults: Set<RuntimeFault> = []

        public init(
            producer: KafkaConfiguration, outputTopics: [String], module: String, deadLetterStage: DeadLetterStage
        ) {
            self.producer = producer
            self.outputTopics = outputTopics
            self.module = module
            self.deadLetterStage = deadLetterStage
        }
    }

    /// What is kept of a batch until it lands, to dead-letter a record whose output the broker refuses.
    private struct Held {
        var batch: ProcessedBatch
        var output: OutputBatch
    }

    /// Where the handing over of the newest batch stands.
    private struct HandOver {
        var sequence: Int
        var next = 0
    }

    /// A delivery tag is the batch's sequence and the index of the record in it.
    private static let indexBits: UInt64 = 24

    private let settings: Settings
    private let metrics: StageMetrics
    private let logger: Logger
    private var producer: Producer?
    /// Scratch of `produceRun`.
    private var run: [Producer.BatchRecord] = []
    /// Records handed over with one call, at most.
    private static let runMax = 1_024
    private var topicIndices: [Int] = []
    private var deadLetterIndices: [String: Int] = [:]
    private var writer = DeadLetterWriter(group: "", instance: "", module: "", stage: .transformation)
    private var inputTopics: [String] = []
    private var tracker = DeliveryTracker()
    private var held: [Int: Held] = [:]
    private var handOver: HandOver?
    public private(set) var obstacle: String?

    public init(settings: Settings, metrics: StageMetrics, logger: Logger) {
        self.settings = settings
        self.metrics = metrics
        self.logger = logger
    }

    public var batchesInFlightMax: Int { settings.batchesInFlightMax }
    public var batchesInFlight: Int { tracker.count }
    public var eagerBatchesMax: Int { settings.eagerBatchesMax }
    public var progress: [TopicPartition: Int64] { tracker.progress }

    public mutating func open(_ environment: DeliveryEnvironment) throws(DeliveryFailure) {
        writer = DeadLetterWriter(
            group: environment.group, instance: environment.instance, module: settings.module,
            stage: settings.deadLetterStage)
        inputTopics = environment.inputTopics
        let deadLetterTopics = inputTopics.map { PipelineTopics.deadLetters(of: $0) }
        do {
            let producer = try Producer(configuration: settings.producer)
            self.producer = producer
            _ = try TopicCheck.wait(
                for: settings.outputTopics + deadLetterTopics, servers: settings.producer["bootstrap.servers"] ?? "",
                millisecondsMax: settings.startMillisecondsMax,
                serve: { _ = producer.pollDeliveries(timeoutMilliseconds: $0) { _ in } },
                list: { wait throws(KafkaError) in try producer.topics(timeoutMilliseconds: wait) })
            topicIndices = try settings.outputTopics.map { name throws(KafkaError) in try producer.registerTopic(name) }
            for topic in deadLetterTopics { deadLetterIndices[topic] = try producer.registerTopic(topic) }
        } catch let failure as StageFailure {
            throw DeliveryFailure(.refused, failure.message)
        } catch {
            throw DeliveryFailure(.refused, "Cannot start the producer: \(error)")
        }
    }

    public mutating func startPositions(of partitions: [TopicPartition]) throws(DeliveryFailure) -> StartAnswer {
        .positions(Dictionary(uniqueKeysWithValues: partitions.map { ($0, .groupOffset) }))
    }

    public mutating func begin(_ starts: [PartitionStart]) throws(DeliveryFailure) -> DeliveryAnswer {
        for start in starts { tracker.begin(start.partition, at: start.position) }
        return .accepted
    }

    // MARK: Handing over

    public mutating func deliver(
        _ output: OutputBatch, of batch: ProcessedBatch
    ) throws(DeliveryFailure) -> DeliveryAnswer {
        let isResumed = handOver?.sequence == batch.sequence
        if !isResumed {
            if let abandoned = handOver?.sequence { abandon(sequence: abandoned) }
            tracker.open(sequence: batch.sequence, ranges: batch.ranges)
            held[batch.sequence] = Held(batch: batch, output: output)
        }
        var next = handOver.map { isResumed ? $0.next : 0 } ?? 0
        let total = output.emissions.count + output.duplicates.count + output.deadLetters.count
        while next < total {
            // Nearly all records are emissions; many are handed over with one call.
            next += try produceRun(from: next, of: output, batch: batch)
            guard next < total else { break }
            switch try produce(item: next, of: output, batch: batch) {
            case .done: next += 1
            case .queueFull:
                handOver = HandOver(sequence: batch.sequence, next: next)
                try poll(waitMilliseconds: 10)
                guard try produce(item: next, of: output, batch: batch) == .done else {
                    return .later(
                        reason: "the producer's queue is full: the brokers take records more slowly than they come")
                }
                next += 1
            }
        }
        handOver = nil
        land(tracker.complete(sequence: batch.sequence))
        return .accepted
    }

    /// Hands over emissions from `item` on, to one topic, as many as the producer takes at once.
    /// - Returns: how many were taken; what stands in the way of the next one shows when it is produced by itself.
    private mutating func produceRun(
        from item: Int, of output: OutputBatch, batch: ProcessedBatch
    ) throws(DeliveryFailure) -> Int {
        guard let producer, item < output.emissions.count else { return 0 }
        let topicIndex = output.emissions[item].topicIndex
        guard topicIndices.indices.contains(topicIndex) else { return 0 }
        run.removeAll(keepingCapacity: true)
        var end = item
        while end < output.emissions.count, run.count < Self.runMax, output.emissions[end].topicIndex == topicIndex {
            let emission = output.emissions[end]
            let key = batch.records.keys[emission.source]
            run.append(
                Producer.BatchRecord(
                    keyStart: key.start, keyLength: key.length, valueStart: emission.value.start,
                    valueLength: emission.value.length, tag: Self.tag(batch.sequence, end)))
            end += 1
        }
        let outcome = producer.produce(
            topic: topicIndices[topicIndex], run, keys: batch.records.arena.span.bytes,
            values: output.arena.span.bytes)
        tracker.produced(sequence: batch.sequence, count: outcome.count - outcome.failures.count)
        if let obstacle = outcome.obstacle, obstacle.code != .queueFull {
            throw failure(obstacle, topic: settings.outputTopics[topicIndex])
        }
        for (index, error) in outcome.failures {
            let source = output.emissions[item + index].source
            let letter = tooLarge(source: source, topic: settings.outputTopics[topicIndex], error)
            guard try produce(deadLetter: letter, batch: batch, item: item + index, isNew: true) == .done else {
                throw DeliveryFailure(
                    .refused, "The producer's queue has no room for a dead letter: raise queue.buffering.max.*")
            }
        }
        return outcome.count
    }

    private enum Handed { case done, queueFull }

    private mutating func produce(
        item: Int, of output: OutputBatch, batch: ProcessedBatch
    ) throws(DeliveryFailure) -> Handed {
        let emissionCount = output.emissions.count
        let plainCount = emissionCount + output.duplicates.count
        guard item < plainCount else {
            return try produce(deadLetter: output.deadLetters[item - plainCount], batch: batch, item: item, isNew: true)
        }
        let emission = item < emissionCount ? output.emissions[item] : output.duplicates[item - emissionCount]
        guard let producer, topicIndices.indices.contains(emission.topicIndex) else {
            throw DeliveryFailure(
                .refused, "The stage emitted to output topic \(emission.topicIndex), which it does not have")
        }
        let start = emission.value.start
        let value = output.arena.span.bytes.extracting(start..<(start + emission.value.length))
        do {
            try batch.records.withBytes(batch.records.keys[emission.source]) { key throws(KafkaError) in
                try producer.produce(
                    topic: topicIndices[emission.topicIndex], key: key, value: value,
                    tag: Self.tag(batch.sequence, item))
            }
            tracker.produced(sequence: batch.sequence)
            return .done
        } catch {
            switch error.code {
            case .queueFull: return .queueFull
            case .messageTooLarge:
                let letter = tooLarge(source: emission.source, topic: settings.outputTopics[emission.topicIndex], error)
                return try produce(deadLetter: letter, batch: batch, item: item, isNew: true)
            default: throw failure(error, topic: settings.outputTopics[emission.topicIndex])
            }
        }
    }

    /// - Parameter isNew: the record is not yet counted as outstanding.
    private mutating func produce(
        deadLetter letter: OutputBatch.DeadLetter, batch: ProcessedBatch, item: Int, isNew: Bool
    ) throws(DeliveryFailure) -> Handed {
        guard !settings.faults.contains(.swallowDeadLetter) else { return .done }
        let record = writer.record(
            letter, of: batch.records, inputTopics: inputTopics, nowMicroseconds: RuntimeClock.wallMicroseconds)
        guard let producer, let topic = deadLetterIndices[record.topic] else {
            throw DeliveryFailure(.refused, "The dead-letter topic '\(record.topic)' is not known")
        }
        do {
            try producer.produce(
                topic: topic, key: record.key?.span.bytes, value: record.value?.span.bytes,
                headers: record.headers.map { RecordHeader(nameBytes: $0.name, value: $0.value) },
                tag: Self.tag(batch.sequence, item))
            if isNew { tracker.produced(sequence: batch.sequence) }
            return .done
        } catch {
            guard error.code != .queueFull else { return .queueFull }
            throw failure(error, topic: record.topic)
        }
    }

    private static func tag(_ sequence: Int, _ item: Int) -> UInt64 { UInt64(sequence) << indexBits | UInt64(item) }

    // MARK: Acknowledgements

    public mutating func poll(waitMilliseconds: Int) throws(DeliveryFailure) {
        guard let producer else { return }
        var wait = Int32(clamping: waitMilliseconds)
        // One event per call of the producer; a bounded number of rounds, so that a flood of log lines cannot hold the loop.
        for _ in 0..<16 {
            var landed = false
            var refused: [(tag: UInt64, error: KafkaError)] = []
            let polled = producer.pollDeliveries(timeoutMilliseconds: wait) { report in
                if let error = report.error {
                    refused.append((report.tag, error))
                } else {
                    land(tracker.acknowledged(sequence: Int(report.tag >> Self.indexBits)))
                    landed = true
                }
            }
            wait = 0
            if landed { obstacle = nil }
            for (tag, error) in refused { try resolve(tag: tag, error: error) }
            guard let event = polled.event else { return }
            try handle(event)
        }
    }

    /// A record came back undelivered.
    private mutating func resolve(tag: UInt64, error: KafkaError) throws(DeliveryFailure) {
        let sequence = Int(tag >> Self.indexBits)
        // Its partitions were lost, or its batch was given up: nobody waits for it.
        guard let held = held[sequence] else { return }
        let item = Int(tag & (1 << Self.indexBits - 1))
        let emissions = held.output.emissions
        let plainCount = emissions.count + held.output.duplicates.count
        guard error.code == .messageTooLarge, item < plainCount else {
            throw failure(error, topic: item < plainCount ? "the output topic" : "the dead-letter topic")
        }
        let emission = item < emissions.count ? emissions[item] : held.output.duplicates[item - emissions.count]
        let letter = tooLarge(source: emission.source, topic: settings.outputTopics[emission.topicIndex], error)
        // Queue full here is as good as impossible (a report has just left the queue) and bounded by the drain.
        guard try produce(deadLetter: letter, batch: held.batch, item: item, isNew: false) == .done else {
            throw DeliveryFailure(
                .refused, "The producer's queue has no room for a dead letter: raise queue.buffering.max.*")
        }
        // The dead letter takes the place of the record that was outstanding, unless a planted fault swallowed it.
        if settings.faults.contains(.swallowDeadLetter) { land(tracker.acknowledged(sequence: sequence)) }
    }

    private func tooLarge(source: Int, topic: String, _ error: KafkaError) -> OutputBatch.DeadLetter {
        metrics.countDeadLetter(.outputTooLarge)
        return OutputBatch.DeadLetter(
            source: source, code: .outputTooLarge,
            message: "the output record for '\(topic)' is larger than the broker or producer takes (\(error.name)): "
                + "raise max.message.bytes of the topic and message.max.bytes of the producer, or make the record smaller"
        )
    }

    private mutating func handle(_ event: ProducerEvent) throws(DeliveryFailure) {
        switch event {
        case .error(let error):
            if error.isFatal { throw failure(producer?.fatalError ?? error, topic: nil) }
            if error.code == .authorization || error.code == .authentication { throw failure(error, topic: nil) }
            if error.code == .brokerUnavailable { obstacle = "no broker takes records: \(error.message)" }
            logger.warning("Producer reported an error", metadata: ["error": "\(error)"])
        case .statistics: break
        case .log(let line): line.write(to: logger)
        }
    }

    private func failure(_ error: KafkaError, topic: String?) -> DeliveryFailure {
        let place = topic.map { "A record for \($0) could not be produced" } ?? "The producer failed"
        return DeliveryFailure(
            error.code == .fenced ? .fenced : .refused, "\(place); nothing of its batch was committed: \(error)")
    }

    private mutating func land(_ sequences: [Int]) {
        for sequence in sequences {
            guard let landed = held.removeValue(forKey: sequence) else { continue }
            var counts = [Int](repeating: 0, count: topicIndices.count)
            for emission in landed.output.emissions { counts[emission.topicIndex] += 1 }
            for notice in landed.output.duplicates { counts[notice.topicIndex] += 1 }
            for (index, count) in counts.enumerated() where count > 0 {
                metrics.countProduced(topic: settings.outputTopics[index], count)
            }
        }
    }

    public mutating func abandon(sequence: Int) {
        guard handOver?.sequence == sequence else { return }
        tracker.abandon(sequence: sequence)
        held[sequence] = nil
        handOver = nil
    }

    // MARK: Ends

    public mutating func drain(
        _ partitions: [TopicPartition]?, timeoutMilliseconds: Int
    ) throws(DeliveryFailure) -> Bool {
        let deadline = RuntimeClock.monotonicMicroseconds + Int64(timeoutMilliseconds) * 1000
        while tracker.isInFlight(partitions) {
            guard RuntimeClock.monotonicMicroseconds < deadline else { return false }
            try poll(waitMilliseconds: 10)
        }
        return true
    }

    public mutating func end(_ partitions: [TopicPartition], lost: Bool) {
        tracker.forget(partitions)
    }

    public mutating func close() {
        guard let producer else { return }
        // After a drain nothing is queued; after a failure what is queued shall not be sent: its batch is not committed.
        try? producer.purge(includingInFlight: true)
        self.producer = nil
    }
}
