// Relay: the pass-through baseline of `penstock bench`: consume and produce, no work in between.

import Foundation
import Glibc
import Kafka
import LocalDeployment
import PipelineContract

struct Relay {
    static let batchMax = 4_096
    static let stallMilliseconds: Int32 = 10_000

    let servers: String
    let topic: String
    let partitions: Int

    /// Copies what the topic holds into a scratch topic, keys included, with the settings of a stage.
    /// - Returns: nil when the topic is empty.
    func measure(recordsMax: Int) throws -> BenchReport.Baseline? {
        let scratch = "\(topic).relay"
        var producing = try KafkaConfiguration.producerDefaults(bootstrapServers: servers, clientID: "penstock-relay")
        try producing.set("statistics.interval.ms", "0")
        _ = try TopicAdministration(configuration: producing).createTopics(
            [TopicAdministration.NewTopic(name: scratch, partitions: partitions)],
            timeoutMilliseconds: TopicReader.requestMilliseconds)
        var consuming = try KafkaConfiguration.consumerDefaults(
            bootstrapServers: servers, group: "penstock-relay", clientID: "penstock-relay")
        try consuming.set("statistics.interval.ms", "0")
        let consumer = try Consumer(configuration: consuming)
        let producer = try Producer(configuration: producing)
        let target = try producer.registerTopic(scratch)
        let places = (0..<partitions).map { KafkaPartition(topic: topic, partition: Int32($0)) }
        var held = 0
        let starts = try places.map { place in
            let watermarks = try consumer.watermarks(place, timeoutMilliseconds: TopicReader.requestMilliseconds)
            held += Int(watermarks.high - watermarks.low)
            return (partition: place, offset: watermarks.low)
        }
        let wanted = min(held, recordsMax)
        guard wanted > 0 else { return nil }
        let before = Self.cpuSeconds
        let clock = ContinuousClock()
        let start = clock.now
        try consumer.assign(starts)
        try copy(wanted, from: consumer, to: producer, topic: target)
        let seconds = start.duration(to: clock.now) / .seconds(1)
        let cpu = Self.cpuSeconds - before
        return BenchReport.Baseline(
            records: wanted, seconds: seconds, recordsPerSecond: Double(wanted) / seconds,
            cpuSecondsPerMillion: cpu * 1e6 / Double(wanted))
    }

    private func copy(_ wanted: Int, from consumer: Consumer, to producer: Producer, topic: Int) throws {
        var (copied, failures) = (0, 0)
        var batch: [Producer.BatchRecord] = []
        var (keys, values): ([UInt8], [UInt8]) = ([], [])
        while copied < wanted {
            batch.removeAll(keepingCapacity: true)
            keys.removeAll(keepingCapacity: true)
            values.removeAll(keepingCapacity: true)
            let polled = consumer.pollMessages(
                maximum: min(Self.batchMax, wanted - copied), timeoutMilliseconds: Self.stallMilliseconds
            ) { message in
                let key = message.withKey { Self.append($0, to: &keys) }
                let value = message.withValue { Self.append($0, to: &values) }
                batch.append(
                    Producer.BatchRecord(
                        keyStart: key.start, keyLength: key.length, valueStart: value.start, valueLength: value.length,
                        tag: 0))
            }
            if case .error(let error, _, _) = polled.event, error.isFatal { throw error }
            guard polled.messageCount > 0 || polled.event != nil else {
                throw CommandFailure("the baseline found \(copied) of \(wanted) records: see the broker's log")
            }
            var sent = 0
            while sent < batch.count {
                let outcome = producer.produce(
                    topic: topic, Array(batch[sent...]), keys: keys.span.bytes, values: values.span.bytes)
                sent += outcome.count
                _ = producer.pollDeliveries(timeoutMilliseconds: outcome.obstacle == nil ? 0 : 10) { report in
                    if report.error != nil { failures += 1 }
                }
                if let obstacle = outcome.obstacle, obstacle.code != .queueFull { throw obstacle }
            }
            copied += batch.count
        }
        try producer.flush(timeoutMilliseconds: 60_000) { if $0.error != nil { failures += 1 } }
        guard failures == 0 else { throw CommandFailure("\(failures) records of the baseline were not delivered") }
    }

    private static func append(_ bytes: RawSpan?, to arena: inout [UInt8]) -> (start: Int, length: Int) {
        guard let bytes else { return (0, -1) }
        let start = arena.count
        bytes.withUnsafeBytes { arena.append(contentsOf: $0) }
        return (start, bytes.byteCount)
    }

    /// Of this process, with librdkafka's threads.
    private static var cpuSeconds: Double { ProcessFigures(pid: getpid())?.cpuSeconds ?? 0 }
}
