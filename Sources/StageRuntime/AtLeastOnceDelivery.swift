// AtLeastOnceDelivery: the profile `latency`: an idempotent producer, several batches in flight, offsets committed after.

public import EventContracts
import Kafka
public import Logging

/// Produces what a stage emitted and reports progress once all of a batch, and of the batches before it, is acknowledged.
///
/// A crash between acknowledgement and commit repeats records in the output topics; the pipeline's promise is kept in
/// PostgreSQL, where the event id is the key. A record that the broker finds too large becomes a dead letter; any other
/// record that cannot be produced stops the process before its offset is committed.
public struct AtLeastOnceDelivery: Delivery {
    public typealias Output = OutputBatch

    public struct Settings: Sendable {
        public var outputs: OutputSettings
        public var batchesInFlightMax = 8
        /// See `Delivery.eagerBatchesMax`.
        public var eagerBatchesMax = 2

        public init(outputs: OutputSettings) {
            self.outputs = outputs
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

    private var settings: Settings
    private let metrics: StageMetrics
    private let logger: Logger
    private var writer: OutputWriter?
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
        writer = try OutputWriter.open(&settings.outputs, environment: environment, metrics: metrics, logger: logger)
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
        if try handOver(output, of: batch, from: &next) == .queueFull {
            handOver = HandOver(sequence: batch.sequence, next: next)
            try poll(waitMilliseconds: 10)
            guard try handOver(output, of: batch, from: &next) == .done else {
                handOver = HandOver(sequence: batch.sequence, next: next)
                return .later(
                    reason: "the producer's queue is full: the brokers take records more slowly than they come")
            }
        }
        handOver = nil
        land(tracker.complete(sequence: batch.sequence))
        return .accepted
    }

    private mutating func handOver(
        _ output: OutputBatch, of batch: ProcessedBatch, from next: inout Int
    ) throws(DeliveryFailure) -> OutputWriter.Handed {
        var queued = 0
        defer { tracker.produced(sequence: batch.sequence, count: queued) }
        guard let handed = try writer?.handOver(output, of: batch, from: &next, queued: &queued) else {
            throw DeliveryFailure(.refused, "The producer was closed before the batch came")
        }
        return handed
    }

    // MARK: Acknowledgements

    public mutating func poll(waitMilliseconds: Int) throws(DeliveryFailure) {
        guard let producer = writer?.producer else { return }
        var wait = Int32(clamping: waitMilliseconds)
        // One event per call of the producer; a bounded number of rounds, so that a flood of log lines cannot hold the loop.
        for _ in 0..<16 {
            // Reports come in runs of one batch: counted, and told to the tracker by the run.
            var run = (sequence: 0, count: 0)
            var refused: [(tag: UInt64, error: KafkaError)] = []
            let polled = producer.pollDeliveries(timeoutMilliseconds: wait) { report in
                if let error = report.error { return refused.append((report.tag, error)) }
                let sequence = OutputWriter.parts(of: report.tag).sequence
                if sequence != run.sequence {
                    land(tracker.acknowledged(sequence: run.sequence, count: run.count))
                    run = (sequence, 0)
                }
                run.count += 1
            }
            land(tracker.acknowledged(sequence: run.sequence, count: run.count))
            wait = 0
            if run.count > 0 { obstacle = nil }
            for (tag, error) in refused { try resolve(tag: tag, error: error) }
            guard let event = polled.event else { return }
            try handle(event)
        }
    }

    /// A record came back undelivered.
    private mutating func resolve(tag: UInt64, error: KafkaError) throws(DeliveryFailure) {
        let (sequence, item) = OutputWriter.parts(of: tag)
        // Its partitions were lost, or its batch was given up: nobody waits for it.
        guard let held = held[sequence], let writer else { return }
        let emission = OutputWriter.emission(item, of: held.output)
        guard error.code == .messageTooLarge, let emission else {
            throw writer.failure(error, topic: emission == nil ? "the dead-letter topic" : "the output topic")
        }
        let letter = writer.tooLarge(
            source: emission.source, topic: settings.outputs.outputTopics[emission.topicIndex], error.name)
        // The dead letter takes the place of the record that was outstanding, unless a planted fault swallowed it.
        var queued = 0
        try writer.replace(item: item, by: letter, of: held.batch, queued: &queued)
        if queued == 0 { land(tracker.acknowledged(sequence: sequence)) }
    }

    private mutating func handle(_ event: ProducerEvent) throws(DeliveryFailure) {
        switch event {
        case .error(let error):
            if let writer, error.isFatal || error.code == .authorization || error.code == .authentication {
                throw writer.failure(error.isFatal ? writer.producer.fatalError ?? error : error, topic: nil)
            }
            if error.code == .brokerUnavailable { obstacle = "no broker takes records: \(error.message)" }
            logger.warning("Producer reported an error", metadata: ["error": "\(error)"])
        case .statistics: break
        case .log(let line): line.write(to: logger)
        }
    }

    private mutating func land(_ sequences: [Int]) {
        for sequence in sequences {
            guard let landed = held.removeValue(forKey: sequence) else { continue }
            writer?.countProduced(landed.output)
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
        // After a drain nothing is queued; after a failure what is queued shall not be sent: its batch is not committed.
        try? writer?.producer.purge(includingInFlight: true)
        writer = nil
    }
}
