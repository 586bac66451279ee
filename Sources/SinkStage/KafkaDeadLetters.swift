// KafkaDeadLetters: the sink's own producer for its outbox, and the probe that compares single records.

public import Kafka
public import StageRuntime

/// Publishes the outbox with an idempotent producer, in the profile `latency`: after a crash a letter may come twice.
public struct KafkaDeadLetterPublisher: DeadLetterPublisher {
    private let configuration: KafkaConfiguration
    private var producer: Producer?
    private var topics: [String: Int] = [:]

    /// - Parameter configuration: of a producer, idempotent, with `bootstrap.servers`.
    public init(configuration: KafkaConfiguration) {
        self.configuration = configuration
    }

    public mutating func open(letterTopics: [String]) throws(DeliveryFailure) {
        do {
            let producer = try Producer(configuration: configuration)
            for topic in letterTopics { topics[topic] = try producer.registerTopic(topic) }
            self.producer = producer
        } catch {
            throw DeliveryFailure(.refused, "cannot start the producer of dead letters: \(error)")
        }
    }

    public mutating func publish(
        _ record: DeadLetterRecord, of origin: LetterOrigin, tag: UInt64
    ) throws(DeliveryFailure) -> Bool {
        guard let producer else { return false }
        do throws(KafkaError) {
            let topic = try index(of: record.topic, producer)
            let headers = record.headers.map { RecordHeader(nameBytes: $0.name, value: $0.value) }
            // A nil array and an empty one stay apart: null is not empty.
            let key = record.key
            let value = record.value
            try producer.produce(
                topic: topic, key: key?.span.bytes, value: value?.span.bytes, headers: headers, tag: tag)
            return true
        } catch {
            guard error.isRetriable, !error.isFatal else {
                throw DeliveryFailure(.refused, "a dead letter cannot be published to \(record.topic): \(error)")
            }
            return false
        }
    }

    private mutating func index(of topic: String, _ producer: Producer) throws(KafkaError) -> Int {
        if let known = topics[topic] { return known }
        let index = try producer.registerTopic(topic)
        topics[topic] = index
        return index
    }

    public mutating func poll(waitMilliseconds: Int) -> (arrived: [UInt64], failed: [UInt64]) {
        var arrived: [UInt64] = []
        var failed: [UInt64] = []
        _ = producer?.pollDeliveries(timeoutMilliseconds: Int32(clamping: waitMilliseconds)) { report in
            if report.error == nil { arrived.append(report.tag) } else { failed.append(report.tag) }
        }
        return (arrived, failed)
    }

    public mutating func close() { producer = nil }
}

/// Reads single records with a consumer of its own, outside any group.
public struct KafkaRecordProbe: RecordProbe {
    private let configuration: KafkaConfiguration
    private let timeoutMilliseconds: Int32

    /// - Parameter configuration: of a consumer, with `bootstrap.servers` and security settings.
    public init(configuration: KafkaConfiguration, timeoutMilliseconds: Int32 = 5_000) {
        self.configuration = configuration
        self.timeoutMilliseconds = timeoutMilliseconds
    }

    public mutating func record(topic: String, partition: Int32, offset: Int64) -> ProbedRecord {
        do {
            let consumer = try Consumer(configuration: configuration)
            let place = KafkaPartition(topic: topic, partition: partition)
            let watermarks = try consumer.watermarks(place, timeoutMilliseconds: timeoutMilliseconds)
            if offset < watermarks.low { return .expired }
            if offset >= watermarks.high { return .beyondEnd }
            try consumer.registerTopic(topic)
            try consumer.assign([(partition: place, offset: offset)])
            let deadline = ContinuousClock.now + .milliseconds(Int(timeoutMilliseconds))
            var found: Fingerprint?
            while found == nil, ContinuousClock.now < deadline {
                _ = consumer.poll(timeoutMilliseconds: 100) { message in
                    found = Fingerprint(
                        offset: message.offset, timestampMilliseconds: message.timestampMilliseconds, key: message.key,
                        value: message.value)
                }
            }
            return found.map { .found($0) } ?? .unavailable("no answer within \(timeoutMilliseconds) ms")
        } catch {
            return .unavailable("\(error)")
        }
    }
}
