// VisibilityWatch: notes when each event becomes visible to a read_committed consumer of a topic.

import Foundation
import Kafka
import LocalDeployment
import Synchronization

/// A consumer of one topic on a thread of its own. Predictions hold the publisher's id as JSON, internal records as it is
/// (docs/formats.md): either way the id is found by its prefix, and ends with the event's number.
final class VisibilityWatch: Sendable {
    private struct State {
        /// Microseconds since the Unix epoch by event number; 0 until it came.
        var arrivals: [Int64]
        var count = 0
        var isStopped = false
        var failure: String?
    }

    private let state: Mutex<State>
    private let consumer: Consumer
    private let idPrefix: [UInt8]

    /// Starts at the topic's end; returns when it reads.
    /// - Parameter idPrefix: the ids of the events are this, `-` and their number.
    init(configuration: KafkaConfiguration, topic: String, idPrefix: String, events: Int, isMock: Bool) throws {
        var configuration = configuration
        // As quick as the stages on a broker that answers an empty fetch only when its wait is over.
        try configuration.set("fetch.wait.max.ms", isMock ? "1" : "100")
        state = Mutex(State(arrivals: Array(repeating: 0, count: events)))
        self.idPrefix = Array("\(idPrefix)-".utf8)
        consumer = try Consumer(configuration: configuration)
        let wait = TopicReader.requestMilliseconds
        let partitions = try consumer.topics(named: [topic], timeoutMilliseconds: wait).flatMap(\.partitions)
        try consumer.assign(
            try partitions.map { ($0, try consumer.watermarks($0, timeoutMilliseconds: wait).high) })
    }

    func start() {
        Thread { [self] in follow() }.start()
    }

    var count: Int { state.withLock { $0.count } }

    /// Ends the thread and gives the arrivals.
    func stop() throws -> [Int64] {
        let (arrivals, failure) = state.withLock { state in
            state.isStopped = true
            return (state.arrivals, state.failure)
        }
        consumer.wake()
        if let failure { throw CommandFailure("cannot read what becomes visible: \(failure)") }
        return arrivals
    }

    private func follow() {
        while !state.withLock({ $0.isStopped }) {
            let polled = consumer.pollMessages(maximum: 10_000, timeoutMilliseconds: 100) { message in
                let now = Timestamp.microseconds
                guard let number = message.withValue({ number(in: $0) }) else { return }
                state.withLock { state in
                    guard state.arrivals.indices.contains(number), state.arrivals[number] == 0 else { return }
                    state.arrivals[number] = now
                    state.count += 1
                }
            }
            guard case .error(let error, _, _) = polled.event else { continue }
            state.withLock { $0.failure = "\(error)" }
            if error.isFatal { return }
        }
    }

    /// The event number in a record, or nil when it is none of ours.
    private func number(in value: RawSpan?) -> Int? {
        guard let value else { return nil }
        return value.withUnsafeBytes { bytes in
            guard let start = bytes.firstRange(of: idPrefix)?.upperBound else { return nil }
            var number: Int?
            for byte in bytes[start...] {
                guard (0x30...0x39).contains(byte) else { break }
                number = (number ?? 0) * 10 + Int(byte - 0x30)
            }
            return number
        }
    }
}
