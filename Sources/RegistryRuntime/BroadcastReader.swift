// BroadcastReader: reads whole topics by manual assignment, outside any group; every process sees every record.

public import Kafka
import StageRuntime

/// One record of a broadcast topic.
public struct BroadcastRecord: Sendable {
    public var topic: String
    public var partition: Int32
    public var offset: Int64
    /// Milliseconds since the Unix epoch.
    public var timestampMilliseconds: Int64
    public var key: [UInt8]?
    public var value: [UInt8]?
}

/// Reads all partitions of its topics from their start, and goes on as records come. Not for use by two threads.
public final class BroadcastReader {
    public static let requestMilliseconds: Int32 = 10_000
    private static let recordsPerPoll = 1_000
    private static let catchUpMillisecondsMax: Int64 = 60_000

    private let consumer: Consumer
    private let partitions: [KafkaPartition]
    /// Offsets at which the brokers said that a partition ended: behind its last record there may be markers of
    /// transactions, which no record tells of.
    private var ends: [KafkaPartition: Int64] = [:]
    public let topics: [String]

    /// Looks the topics up and assigns their partitions.
    ///
    /// - Parameters:
    ///   - configuration: of a consumer; its group is not used.
    ///   - recordsMax: per partition, the newest ones; nil reads all.
    ///   - startMilliseconds: longest wait for brokers and topics.
    ///   - isStopRequested: ends that wait with `StopRequested`.
    /// - Throws: `StageFailure` when a topic does not exist or no broker answers.
    public init(
        configuration: KafkaConfiguration, topics: [String], recordsMax: Int64? = nil, startMilliseconds: Int = 10_000,
        isStopRequested: () -> Bool = { false }
    ) throws {
        var configuration = configuration
        // What retention removed before a reader came is no loss here: these topics are read for what they hold.
        try configuration.set("auto.offset.reset", "earliest")
        try configuration.set("enable.partition.eof", "true")
        try configuration.set("fetch.wait.max.ms", "20")
        consumer = try Consumer(configuration: configuration)
        self.topics = topics
        let consumer = self.consumer
        let isThere = try TopicCheck.wait(
            for: topics, servers: configuration["bootstrap.servers"] ?? "?", millisecondsMax: startMilliseconds,
            isStopRequested: isStopRequested,
            serve: { _ = consumer.pollMessages(maximum: 1, timeoutMilliseconds: $0) { _ in } },
            list: { wait throws(KafkaError) in try consumer.topics(timeoutMilliseconds: wait) })
        guard isThere else { throw StopRequested() }
        partitions = try consumer.topics(named: topics, timeoutMilliseconds: Self.requestMilliseconds)
            .flatMap(\.partitions)
        var starts: [(partition: KafkaPartition, offset: Int64)] = []
        for partition in partitions {
            guard let recordsMax else {
                starts.append((partition, KafkaOffset.beginning))
                continue
            }
            let marks = try consumer.watermarks(partition, timeoutMilliseconds: Self.requestMilliseconds)
            starts.append((partition, max(marks.low, marks.high - recordsMax)))
        }
        try consumer.assign(starts)
    }

    /// Gives every record that is in the topics now to `body`, then returns.
    /// - Parameter isStopRequested: looked at between polls; true ends the call early.
    /// - Throws: `timedOut` when nothing comes for a minute although the topics hold more.
    public func catchUp(
        isStopRequested: () -> Bool = { false }, _ body: (BroadcastRecord) throws -> Void
    ) throws {
        var open: [KafkaPartition: Int64] = [:]
        for partition in partitions {
            let marks = try consumer.watermarks(partition, timeoutMilliseconds: Self.requestMilliseconds)
            if marks.high > marks.low { open[partition] = marks.high }
        }
        let clock = ContinuousClock()
        var deadline = clock.now + .milliseconds(Self.catchUpMillisecondsMax)
        while true {
            let positions = try consumer.positions(partitions)
            open = open.filter { max(positions[$0.key] ?? 0, ends[$0.key] ?? 0) < $0.value }
            guard !open.isEmpty, !isStopRequested() else { return }
            if try poll(timeoutMilliseconds: 100, body) > 0 {
                deadline = clock.now + .milliseconds(Self.catchUpMillisecondsMax)
            }
            guard clock.now < deadline else {
                throw KafkaError(
                    code: .timedOut, message: "No more records came from \(open.keys.sorted()) although they hold some",
                    isRetriable: true)
            }
        }
    }

    /// Waits up to the time-out for records and gives them to `body`.
    /// - Returns: how many came.
    @discardableResult
    public func poll(timeoutMilliseconds: Int32, _ body: (BroadcastRecord) throws -> Void) throws -> Int {
        let polled = try consumer.pollMessages(
            maximum: Self.recordsPerPoll, timeoutMilliseconds: timeoutMilliseconds
        ) { message in
            let topic = consumer.topicName(at: message.topicIndex) ?? "?"
            try body(
                BroadcastRecord(
                    topic: topic, partition: message.partition, offset: message.offset,
                    timestampMilliseconds: message.timestampMilliseconds, key: message.key, value: message.value))
        }
        if case .error(let error, let partition, let offset) = polled.event {
            if error.code == .partitionEnd {
                if let partition { ends[partition] = max(ends[partition] ?? 0, offset) }
            } else if error.isFatal || error.code == .authorization || error.code == .unknownTopicOrPartition {
                throw error
            }
        }
        return polled.messageCount
    }

    /// Ends the wait of a `poll` in progress early. For use from another thread.
    public var wake: @Sendable () -> Void {
        let consumer = consumer
        return { consumer.wake() }
    }
}
