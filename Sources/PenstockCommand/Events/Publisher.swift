// Publisher: sends events at a chosen rate and knows where each of them went.

import Kafka
import LocalDeployment

/// One producer for one topic. The position of every record comes back through its delivery report.
final class Publisher {
    struct Position: Hashable, Sendable {
        var partition: Int32
        var offset: Int64
    }

    /// Longest wait for the last delivery reports.
    static let flushMillisecondsMax: Int32 = 60_000

    private let producer: Producer
    private let topic: Int
    /// By the order of sending; nil while under way.
    private(set) var positions: [Position?] = []
    private(set) var deliveredCount = 0
    private(set) var failure: KafkaError?

    init(configuration: KafkaConfiguration, topic: String) throws {
        producer = try Producer(configuration: configuration)
        self.topic = try producer.registerTopic(topic)
    }

    var sentCount: Int { positions.count }

    /// Queues one event; waits for room when the producer's queue is full.
    /// - Parameter timestampMilliseconds: of the record; 0 stands for now.
    func send(_ event: OutgoingEvent, timestampMilliseconds: Int64 = 0) throws {
        let tag = UInt64(positions.count + 1)
        let headers = event.headers.map { RecordHeader($0.name, $0.value) }
        while true {
            if let failure { throw failure }
            do throws(KafkaError) {
                try produce(event, headers: headers, timestamp: timestampMilliseconds, tag: tag)
                positions.append(nil)
                return
            } catch {
                guard error.code == .queueFull else { throw error }
                poll(milliseconds: 50)
            }
        }
    }

    private func produce(
        _ event: OutgoingEvent, headers: [RecordHeader], timestamp: Int64, tag: UInt64
    ) throws(KafkaError) {
        func send(_ key: RawSpan?, _ value: RawSpan?) throws(KafkaError) {
            try producer.produce(
                topic: topic, key: key, value: value, headers: headers, timestampMilliseconds: timestamp, tag: tag)
        }
        switch (event.key, event.value) {
        case (let key?, let value?): try send(key.span.bytes, value.span.bytes)
        case (let key?, nil): try send(key.span.bytes, nil)
        case (nil, let value?): try send(nil, value.span.bytes)
        case (nil, nil): try send(nil, nil)
        }
    }

    /// Takes the delivery reports that are there, waiting for the first one at most that long.
    func poll(milliseconds: Int32) {
        let polled = producer.pollDeliveries(timeoutMilliseconds: milliseconds) { take($0) }
        if case .error(let error) = polled.event, error.isFatal { failure = error }
    }

    private func take(_ report: Producer.DeliveryReport) {
        if let error = report.error {
            failure = failure ?? error
        } else if report.tag > 0, Int(report.tag) <= positions.count {
            positions[Int(report.tag) - 1] = Position(partition: report.partition, offset: report.offset)
            deliveredCount += 1
        }
    }

    /// Waits until every event has arrived.
    func finish() throws {
        try producer.flush(timeoutMilliseconds: Self.flushMillisecondsMax) { take($0) }
        if let failure { throw failure }
        guard deliveredCount == positions.count else {
            throw CommandFailure(
                "\(positions.count - deliveredCount) of \(positions.count) events were not acknowledged")
        }
    }

    /// Sends all events at `rate` per second (0: as fast as they go), calling `onProgress` some times a second.
    func sendAll(
        count: Int, rate: Double, event: (Int) throws -> OutgoingEvent, onProgress: (Int) throws -> Void
    ) throws {
        let clock = ContinuousClock()
        let start = clock.now
        var sent = 0
        while sent < count {
            let elapsed = start.duration(to: clock.now) / .seconds(1)
            let due = rate > 0 ? min(count, Int(elapsed * rate) + 1) : min(count, sent + 1_000)
            while sent < due {
                try send(try event(sent))
                sent += 1
            }
            poll(milliseconds: rate > 0 ? 5 : 0)
            try onProgress(sent)
        }
        try finish()
    }
}
