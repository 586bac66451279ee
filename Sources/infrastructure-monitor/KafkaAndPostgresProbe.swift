// KafkaAndPostgresProbe: group offsets and log ends from the brokers, and whether PostgreSQL answers.

import EventContracts
import Kafka
import Monitors
import Postgres

/// Asks with clients of its own, so that the monitor's consumer is not held up by them.
struct KafkaAndPostgresProbe: InfrastructureProbe {
    private static let requestMilliseconds: Int32 = 2_000
    private static let postgresTimeout = Duration.seconds(3)

    private let groups: [(consumer: Consumer, group: String, topic: String)]
    private let url: String?
    private var connection: PostgresConnection?
    private var partitions: [String: [KafkaPartition]] = [:]

    /// - Parameter postgres: URL, or nil when no database is to be watched.
    init(topics: PipelineTopics, consumer: KafkaConfiguration, postgres: String?) throws(KafkaError) {
        let root = topics.root
        let read = [
            ("\(root).ingest", topics.inputs), ("\(root).transform", topics.events),
            ("\(root).inference", topics.features), ("\(root).sink", topics.predictions),
            ("\(root).labels", topics.labelInputs),
        ]
        var groups: [(consumer: Consumer, group: String, topic: String)] = []
        for (group, topic) in read {
            var configuration = consumer
            try configuration.set("group.id", group)
            try configuration.set("statistics.interval.ms", "0")
            groups.append((try Consumer(configuration: configuration), group, topic))
        }
        self.groups = groups
        url = postgres
    }

    private mutating func partitions(of topic: String) -> [KafkaPartition] {
        if let known = partitions[topic] { return known }
        guard let consumer = groups.first?.consumer,
            let found = try? consumer.topics(named: [topic], timeoutMilliseconds: Self.requestMilliseconds)
                .flatMap(\.partitions), !found.isEmpty
        else { return [] }
        partitions[topic] = found
        return found
    }

    mutating func lags() -> [GroupPartition] {
        var result: [GroupPartition] = []
        for (consumer, group, topic) in groups {
            let partitions = partitions(of: topic)
            // A broker that does not answer shows as heartbeats that stop; a guess at the lag would be wrong.
            guard let committed = try? consumer.committed(partitions, timeoutMilliseconds: Self.requestMilliseconds)
            else { return [] }
            for partition in partitions {
                guard let ends = try? consumer.watermarks(partition, timeoutMilliseconds: Self.requestMilliseconds)
                else { return [] }
                result.append(
                    GroupPartition(
                        group: group, topic: topic, partition: partition.partition,
                        committed: committed[partition]?.offset, low: ends.low, high: ends.high))
            }
        }
        return result
    }

    mutating func recordCounts(_ topics: [String]) -> [String: Int64] {
        var counts: [String: Int64] = [:]
        for topic in topics {
            var sum: Int64 = 0
            var isKnown = false
            for partition in partitions(of: topic) {
                guard
                    let ends = try? groups.first?.consumer.watermarks(
                        partition, timeoutMilliseconds: Self.requestMilliseconds)
                else { return counts }
                isKnown = true
                sum += ends.high
            }
            if isKnown { counts[topic] = sum }
        }
        return counts
    }

    mutating func postgres() -> PostgresAnswer? {
        guard let url else { return nil }
        let start = ContinuousClock.now
        do throws(PostgresError) {
            if connection == nil {
                connection = try PostgresConnection(
                    PostgresOptions(url: url, applicationName: "infrastructure-monitor"))
            }
            _ = try connection?.execute("SELECT 1", timeout: Self.postgresTimeout)
            let elapsed = start.duration(to: .now) / .microseconds(1)
            return .answered(microseconds: Int64(elapsed))
        } catch {
            connection?.close()
            connection = nil
            return .failed("\(error)")
        }
    }
}
