// OutputWriter: hands what a stage made of a batch to a Kafka producer: emissions, duplicate notices, dead letters.

import EventContracts
public import Kafka
import Logging
import Observability

/// What both Kafka deliveries are told about the stage's outputs.
public struct OutputSettings: Sendable {
    public var producer: KafkaConfiguration
    /// In the order of `OutputBatch.Emission.topicIndex`.
    public var outputTopics: [String]
    /// The module that refuses records, and where in the pipeline it stands: in the dead letters' headers.
    public var module: String
    public var deadLetterStage: DeadLetterStage
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

/// A producer with the stage's topics, and the way of a batch into it. A delivery tag is the batch's sequence and the index
/// of the record in it: emissions first, then duplicate notices, then dead letters.
struct OutputWriter {
    private static let indexBits: UInt64 = 24
    /// Records handed over with one call, at most.
    private static let runMax = 1_024
    /// librdkafka's `batch.size`.
    private static let batchBytes = 1_000_000

    let settings: OutputSettings
    let producer: Producer
    private let metrics: StageMetrics
    private let inputTopics: [String]
    private let letterWriter: DeadLetterWriter
    private var topicIndices: [Int] = []
    private var deadLetterIndices: [String: Int] = [:]
    /// Scratch of `handOverRun`.
    private var run: [Producer.BatchRecord] = []

    /// Makes the client and registers the topics; it connects in the background.
    init(
        settings: OutputSettings, environment: DeliveryEnvironment, metrics: StageMetrics
    ) throws(DeliveryFailure) {
        self.settings = settings
        self.metrics = metrics
        inputTopics = environment.inputTopics
        letterWriter = DeadLetterWriter(
            group: environment.group, instance: environment.instance, module: settings.module,
            stage: settings.deadLetterStage)
        do {
            let producer = try Producer(configuration: settings.producer)
            self.producer = producer
            topicIndices = try settings.outputTopics.map { name throws(KafkaError) in try producer.registerTopic(name) }
            for topic in inputTopics.map({ PipelineTopics.deadLetters(of: $0) }) {
                deadLetterIndices[topic] = try producer.registerTopic(topic)
            }
        } catch {
            throw DeliveryFailure(.refused, "Cannot start the producer: \(error)")
        }
    }

    /// A writer whose topics are there, with batches that each of them takes.
    /// - Parameter settings: get the size of the batches, for later writers.
    static func open(
        _ settings: inout OutputSettings, environment: DeliveryEnvironment, metrics: StageMetrics, logger: Logger
    ) throws(DeliveryFailure) -> OutputWriter {
        let writer = try OutputWriter(settings: settings, environment: environment, metrics: metrics)
        try writer.waitForTopics()
        guard let smaller = writer.smallerBatch() else { return writer }
        logger.notice(
            "Batches are made smaller than their usual size, for a topic takes no larger ones (max.message.bytes)",
            metadata: [LogKey.topic: "\(smaller.topic)", "bytes": "\(smaller.bytes)"])
        do throws(KafkaError) {
            try settings.producer.set("batch.size", "\(smaller.bytes)")
        } catch {
            throw DeliveryFailure(.refused, "The producer's batches cannot be made smaller: \(error)")
        }
        return try OutputWriter(settings: settings, environment: environment, metrics: metrics)
    }

    /// The smallest `max.message.bytes` of the topics, when the producer's batches may be larger: a broker would refuse a
    /// whole batch, and with it records that fit. Brokers that do not tell take the usual size.
    private func smallerBatch() -> (topic: String, bytes: Int)? {
        let usual = settings.producer["batch.size"].flatMap { Int($0) } ?? Self.batchBytes
        let found = try? TopicAdministration(producer).setting(
            "max.message.bytes", of: settings.outputTopics + Array(deadLetterIndices.keys), timeoutMilliseconds: 3_000)
        let sizes = (found ?? [:]).compactMap { topic, value in Int(value).map { (topic: topic, bytes: $0) } }
        return sizes.filter { $0.bytes > 0 && $0.bytes < usual }.min { $0.bytes < $1.bytes }
    }

    /// Waits until output and dead-letter topics exist.
    private func waitForTopics() throws(DeliveryFailure) {
        let deadLetterTopics = inputTopics.map { PipelineTopics.deadLetters(of: $0) }
        do throws(StageFailure) {
            _ = try TopicCheck.wait(
                for: settings.outputTopics + deadLetterTopics, servers: settings.producer["bootstrap.servers"] ?? "",
                millisecondsMax: settings.startMillisecondsMax,
                serve: { _ = producer.pollDeliveries(timeoutMilliseconds: $0) { _ in } },
                list: { wait throws(KafkaError) in try producer.topics(timeoutMilliseconds: wait) })
        } catch {
            throw DeliveryFailure(.refused, error.message)
        }
    }

    // MARK: Handing over

    enum Handed { case done, queueFull }

    /// Hands a batch over from item `next` on, which moves with it.
    ///
    /// - Parameters:
    ///   - queued: records that were queued and will be reported, added up.
    ///   - isOversized: tells of input records whose output a broker refused as too large before: they are dead-lettered.
    ///   - ahead: items that were handed over already, rising.
    /// - Returns: `queueFull` when item `next` has to be tried again later.
    mutating func handOver(
        _ output: OutputBatch, of batch: ProcessedBatch, from next: inout Int, queued: inout Int,
        isOversized: ((RecordBatch.Origin) -> Bool)? = nil, ahead: [Int] = []
    ) throws(DeliveryFailure) -> Handed {
        let total = output.emissions.count + output.duplicates.count + output.deadLetters.count
        while next < total {
            let stop = ahead.first { $0 >= next }
            guard next != stop else {
                next += 1
                continue
            }
            // Nearly all records are emissions; many are handed over with one call.
            if isOversized == nil {
                let taken = try handOverRun(from: next, to: stop ?? total, of: output, batch: batch, queued: &queued)
                next += taken
                if taken > 0 { continue }
            }
            switch try handOver(item: next, of: output, batch: batch, queued: &queued, isOversized: isOversized) {
            case .done: next += 1
            case .queueFull: return .queueFull
            }
        }
        return .done
    }

    /// Hands emissions over ahead of the rest of their batch, as far as the producer takes them.
    /// - Returns: the items that were queued.
    mutating func handOver(
        openers items: [Int], of output: OutputBatch, batch: ProcessedBatch
    ) -> [Int] {
        var queued: [Int] = []
        for item in items {
            let topicIndex = output.emissions[item].topicIndex
            guard topicIndices.indices.contains(topicIndex) else { break }
            run.removeAll(keepingCapacity: true)
            run.append(record(item, of: output, batch: batch))
            let outcome = producer.produce(
                topic: topicIndices[topicIndex], run, keys: batch.records.arena.span.bytes,
                values: output.arena.span.bytes)
            // What stands in the way shows again when the item's turn comes.
            guard outcome.obstacle == nil, outcome.failures.isEmpty else { break }
            queued.append(item)
        }
        return queued
    }

    private func record(_ item: Int, of output: OutputBatch, batch: ProcessedBatch) -> Producer.BatchRecord {
        let emission = output.emissions[item]
        let key = batch.records.keys[emission.source]
        return Producer.BatchRecord(
            keyStart: key.start, keyLength: key.length, valueStart: emission.value.start,
            valueLength: emission.value.length, tag: Self.tag(batch.sequence, item))
    }

    /// Hands over emissions from `item` to `limit`, to one topic, as many as the producer takes at once.
    /// - Returns: how many were taken; what stands in the way of the next one shows when it is produced by itself.
    private mutating func handOverRun(
        from item: Int, to limit: Int, of output: OutputBatch, batch: ProcessedBatch, queued: inout Int
    ) throws(DeliveryFailure) -> Int {
        guard item < output.emissions.count else { return 0 }
        let topicIndex = output.emissions[item].topicIndex
        guard topicIndices.indices.contains(topicIndex) else { return 0 }
        run.removeAll(keepingCapacity: true)
        var end = item
        let endMax = min(limit, output.emissions.count, item + Self.runMax)
        while end < endMax, output.emissions[end].topicIndex == topicIndex {
            run.append(record(end, of: output, batch: batch))
            end += 1
        }
        let outcome = producer.produce(
            topic: topicIndices[topicIndex], run, keys: batch.records.arena.span.bytes,
            values: output.arena.span.bytes)
        queued += outcome.count - outcome.failures.count
        if let obstacle = outcome.obstacle, obstacle.code != .queueFull {
            throw failure(obstacle, topic: settings.outputTopics[topicIndex])
        }
        for (index, error) in outcome.failures {
            let source = output.emissions[item + index].source
            let letter = tooLarge(source: source, topic: settings.outputTopics[topicIndex], error.name)
            try replace(item: item + index, by: letter, of: batch, queued: &queued)
        }
        return outcome.count
    }

    private func handOver(
        item: Int, of output: OutputBatch, batch: ProcessedBatch, queued: inout Int,
        isOversized: ((RecordBatch.Origin) -> Bool)?
    ) throws(DeliveryFailure) -> Handed {
        guard let emission = Self.emission(item, of: output) else {
            let plainCount = output.emissions.count + output.duplicates.count
            return try produce(
                deadLetter: output.deadLetters[item - plainCount], batch: batch, item: item, queued: &queued)
        }
        guard topicIndices.indices.contains(emission.topicIndex) else {
            throw DeliveryFailure(
                .refused, "The stage emitted to output topic \(emission.topicIndex), which it does not have")
        }
        let topic = settings.outputTopics[emission.topicIndex]
        if let isOversized, isOversized(batch.records.origins[emission.source]) {
            let letter = tooLarge(source: emission.source, topic: topic, "MSG_SIZE_TOO_LARGE")
            return try produce(deadLetter: letter, batch: batch, item: item, queued: &queued)
        }
        let start = emission.value.start
        let value = output.arena.span.bytes.extracting(start..<(start + emission.value.length))
        do {
            try batch.records.withBytes(batch.records.keys[emission.source]) { key throws(KafkaError) in
                try producer.produce(
                    topic: topicIndices[emission.topicIndex], key: key, value: value,
                    tag: Self.tag(batch.sequence, item))
            }
            queued += 1
            return .done
        } catch {
            switch error.code {
            case .queueFull: return .queueFull
            case .messageTooLarge:
                let letter = tooLarge(source: emission.source, topic: topic, error.name)
                return try produce(deadLetter: letter, batch: batch, item: item, queued: &queued)
            default: throw failure(error, topic: topic)
            }
        }
    }

    private func produce(
        deadLetter letter: OutputBatch.DeadLetter, batch: ProcessedBatch, item: Int, queued: inout Int
    ) throws(DeliveryFailure) -> Handed {
        guard !settings.faults.contains(.swallowDeadLetter) else { return .done }
        var record = letterWriter.record(
            letter, of: batch.records, inputTopics: inputTopics, nowMicroseconds: RuntimeClock.wallMicroseconds)
        if settings.faults.contains(.alterDeadLetter) { record.value?.append(0) }
        guard let topic = deadLetterIndices[record.topic] else {
            throw DeliveryFailure(.refused, "The dead-letter topic '\(record.topic)' is not known")
        }
        do {
            try producer.produce(
                topic: topic, key: record.key?.span.bytes, value: record.value?.span.bytes,
                headers: record.headers.map { RecordHeader(nameBytes: $0.name, value: $0.value) },
                tag: Self.tag(batch.sequence, item))
            queued += 1
            return .done
        } catch {
            guard error.code != .queueFull else { return .queueFull }
            throw failure(error, topic: record.topic)
        }
    }

    /// Produces a dead letter in place of an item that the producer or a broker refused.
    func replace(
        item: Int, by letter: OutputBatch.DeadLetter, of batch: ProcessedBatch, queued: inout Int
    ) throws(DeliveryFailure) {
        // Queue full here is as good as impossible (a record has just left the queue) and bounded by the drain.
        guard try produce(deadLetter: letter, batch: batch, item: item, queued: &queued) == .done else {
            throw DeliveryFailure(
                .refused, "The producer's queue has no room for a dead letter: raise queue.buffering.max.*")
        }
    }

    // MARK: Items

    static func tag(_ sequence: Int, _ item: Int) -> UInt64 { UInt64(sequence) << indexBits | UInt64(item) }

    static func parts(of tag: UInt64) -> (sequence: Int, item: Int) {
        (Int(tag >> indexBits), Int(tag & (1 << indexBits - 1)))
    }

    /// The emission or duplicate notice behind an item; nil for a dead letter.
    static func emission(_ item: Int, of output: OutputBatch) -> OutputBatch.Emission? {
        if item < output.emissions.count { return output.emissions[item] }
        let notice = item - output.emissions.count
        return notice < output.duplicates.count ? output.duplicates[notice] : nil
    }

    func tooLarge(source: Int, topic: String, _ errorName: String) -> OutputBatch.DeadLetter {
        metrics.countDeadLetter(.outputTooLarge)
        return OutputBatch.DeadLetter(
            source: source, code: .outputTooLarge,
            message: "the output record for '\(topic)' is larger than the broker or producer takes (\(errorName)): "
                + "raise max.message.bytes of the topic and message.max.bytes of the producer, or make the record smaller"
        )
    }

    func failure(_ error: KafkaError, topic: String?) -> DeliveryFailure {
        let place = topic.map { "A record for \($0) could not be produced" } ?? "The producer failed"
        return DeliveryFailure(
            error.code == .fenced ? .fenced : .refused, "\(place); nothing of its batch was committed: \(error)")
    }

    func countProduced(_ output: OutputBatch) {
        var counts = [Int](repeating: 0, count: topicIndices.count)
        for emission in output.emissions { counts[emission.topicIndex] += 1 }
        for notice in output.duplicates { counts[notice.topicIndex] += 1 }
        for (index, count) in counts.enumerated() where count > 0 {
            metrics.countProduced(topic: settings.outputTopics[index], count)
        }
    }
}
