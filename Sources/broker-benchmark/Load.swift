// Load: the client's side of the measurements.

import Dispatch
import Glibc
import Kafka
import ProcessControl
import Synchronization

/// Produces to and reads from the broker as fast as librdkafka goes, or at a fixed rate.
struct Load {
    /// Records handed to librdkafka in one call.
    private static let recordsPerCall = 1_000
    /// Records in librdkafka's queue at most.
    private static let queuedMax = 200_000
    private static let warmUpRecords = 100_000
    private static let stallMilliseconds: Int32 = 60_000

    let broker: BrokerUnderTest
    let options: BenchmarkOptions

    // MARK: In

    func warmUp() throws {
        _ = try send(Self.warmUpRecords)
    }

    /// From the first record handed over until the last acknowledgement.
    func produce() throws -> Report.Throughput {
        try measured(records: options.records) { try send(options.records) }
    }

    private func send(_ count: Int) throws {
        let producer = try makeProducer(lingerMilliseconds: "5")
        let topic = try producer.registerTopic(BrokerUnderTest.topic)
        let noKeys: [UInt8] = []
        // Incompressible and different from each other, though compression is off.
        var generator = SystemRandomNumberGenerator()
        let arena = (0..<Self.recordsPerCall * options.size).map { _ in
            UInt8.random(in: .min ... .max, using: &generator)
        }
        let records = (0..<Self.recordsPerCall).map {
            Producer.BatchRecord(
                keyStart: 0, keyLength: -1, valueStart: $0 * options.size, valueLength: options.size, tag: 0)
        }
        var sent = 0
        var failure: KafkaError?
        func note(_ report: Producer.DeliveryReport) { failure = failure ?? report.error }
        while sent < count {
            let outcome = producer.produce(
                topic: topic, count - sent >= records.count ? records : Array(records.prefix(count - sent)),
                keys: noKeys.span.bytes, values: arena.span.bytes)
            sent += outcome.count
            if let obstacle = outcome.obstacle, !obstacle.isRetriable { throw obstacle }
            let isFull = outcome.obstacle != nil || producer.queuedCount > Self.queuedMax
            _ = producer.pollDeliveries(timeoutMilliseconds: isFull ? 100 : 0, note)
            if let failure { throw failure }
        }
        try producer.flush(timeoutMilliseconds: Self.stallMilliseconds, note)
        if let failure { throw failure }
    }

    private func makeProducer(lingerMilliseconds: String) throws -> Producer {
        var configuration = try KafkaConfiguration.producerDefaults(
            bootstrapServers: broker.bootstrapServers, clientID: "broker-benchmark")
        try configuration.set("enable.idempotence", options.idempotent ? "true" : "false")
        try configuration.set("acks", "all")
        try configuration.set("compression.codec", "none")
        try configuration.set("batch.num.messages", "\(options.batch)")
        try configuration.set("linger.ms", lingerMilliseconds)
        try configuration.set("statistics.interval.ms", "0")
        return try Producer(configuration: configuration)
    }

    // MARK: Out

    /// Reads the whole log, from the first poll until the last record.
    func fetch() throws -> Report.Throughput {
        let expected = options.records + Self.warmUpRecords
        let consumers = try (0..<options.consumers).map { _ in try makeConsumer() }
        let reading = Reading(expected: expected)
        return try measured(records: expected) {
            for (number, consumer) in consumers.enumerated() {
                let partitions = stride(from: number, to: options.partitions, by: options.consumers)
                try consumer.assign(
                    partitions.map {
                        (KafkaPartition(topic: BrokerUnderTest.topic, partition: Int32($0)), KafkaOffset.beginning)
                    })
                Threads.start(named: "consumer-\(number)") { reading.read(consumer) }
            }
            let bytes = try reading.wait(milliseconds: Int(Self.stallMilliseconds))
            guard bytes == expected * options.size else {
                throw BenchmarkError("\(bytes) bytes came back, \(expected * options.size) were sent")
            }
        }
    }

    private func makeConsumer() throws -> Consumer {
        var configuration = try KafkaConfiguration.consumerDefaults(
            bootstrapServers: broker.bootstrapServers, group: "broker-benchmark", clientID: "broker-benchmark")
        // Room for all records: librdkafka 2.0.2 pauses for a second when its queue is full.
        try configuration.set("queued.min.messages", "10000000")
        try configuration.set("queued.max.messages.kbytes", "2097151")
        try configuration.set("fetch.wait.max.ms", "500")
        try configuration.set("statistics.interval.ms", "0")
        return try Consumer(configuration: configuration)
    }

    // MARK: Latency

    /// Open loop: each record is sent when it is due, whatever became of those before.
    func latency() throws -> Report.Latency {
        let count = options.rate * options.seconds
        let warmUp = options.rate
        let arrivals = Arrivals(count: count + warmUp)
        let consumer = try makeConsumer()
        try consumer.assign([
            (KafkaPartition(topic: BrokerUnderTest.latencyTopic, partition: 0), KafkaOffset.beginning)
        ])
        Threads.start(named: "consumer") { arrivals.collect(from: consumer) }
        let producer = try makeProducer(lingerMilliseconds: "0")
        let topic = try producer.registerTopic(BrokerUnderTest.latencyTopic)
        var failure: KafkaError?
        var value = [UInt8](repeating: 0x61, count: options.size)
        let before = (broker.usage, ProcessUsage(pid: getpid()))
        let start = Clock.nanoseconds + 500_000_000
        for index in 0..<(count + warmUp) {
            let due = start + Int64(index) * 1_000_000_000 / Int64(options.rate)
            Clock.wait(until: due)
            withUnsafeBytes(of: due) { value.replaceSubrange(0..<8, with: $0) }
            try producer.produce(topic: topic, key: nil, value: value.span.bytes)
            _ = producer.pollDeliveries(timeoutMilliseconds: 0) { failure = failure ?? $0.error }
        }
        try producer.flush(timeoutMilliseconds: Self.stallMilliseconds) { failure = failure ?? $0.error }
        if let failure { throw failure }
        let seconds = Double(Clock.nanoseconds - start) / 1e9
        let latencies = try arrivals.wait(seconds: Int(Self.stallMilliseconds) / 1_000).dropFirst(warmUp).sorted()
        func percentile(_ share: Double) -> Double {
            let rank = Int((share * Double(latencies.count)).rounded(.up))
            return Double(latencies[min(max(rank, 1), latencies.count) - 1]) / 1e6
        }
        return Report.Latency(
            recordsPerSecond: options.rate, records: latencies.count, p50: percentile(0.5), p99: percentile(0.99),
            p999: percentile(0.999), max: percentile(1),
            broker: broker.usage.cost(since: before.0, seconds: seconds, records: count + warmUp),
            client: ProcessUsage(pid: getpid()).cost(since: before.1, seconds: seconds, records: count + warmUp))
    }

    // MARK: Meter

    private func measured(records: Int, _ body: () throws -> Void) throws -> Report.Throughput {
        let before = (broker.usage, ProcessUsage(pid: getpid()))
        let begin = ContinuousClock.now
        try body()
        let seconds = begin.duration(to: .now) / .seconds(1)
        return Report.Throughput(
            records: records, seconds: seconds, recordsPerSecond: Double(records) / seconds,
            broker: broker.usage.cost(since: before.0, seconds: seconds, records: records),
            client: ProcessUsage(pid: getpid()).cost(since: before.1, seconds: seconds, records: records))
    }
}

/// Nanoseconds from the moment each record was due until it was read, collected by a thread of its own.
private final class Arrivals: Sendable {
    private let expected: Int
    private let latencies = Mutex<[Int64]>([])
    private let done = DispatchSemaphore(value: 0)

    init(count: Int) { expected = count }

    func collect(from consumer: Consumer) {
        var count = 0
        while count < expected {
            let polled = consumer.pollMessages(maximum: 1_000, timeoutMilliseconds: 1_000) { message in
                let now = Clock.nanoseconds
                let due = message.withValue { value -> Int64 in
                    guard let value, value.byteCount >= 8 else { return now }
                    return value.unsafeLoadUnaligned(fromByteOffset: 0, as: Int64.self)
                }
                latencies.withLock { $0.append(now - due) }
            }
            count += polled.messageCount
        }
        done.signal()
    }

    func wait(seconds: Int) throws -> [Int64] {
        guard done.wait(timeout: .now() + .seconds(seconds)) == .success else {
            throw BenchmarkError("\(latencies.withLock { $0.count }) of \(expected) records were read")
        }
        return latencies.withLock { $0 }
    }
}

private enum Clock {
    static var nanoseconds: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    static func wait(until nanoseconds: Int64) {
        var time = timespec(tv_sec: Int(nanoseconds / 1_000_000_000), tv_nsec: Int(nanoseconds % 1_000_000_000))
        while clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nil) == EINTR {}
    }
}
