// LagCommand: `penstock lag` compares what consumer groups have committed with what is in the topics.

import ArgumentParser
import EventContracts
import Kafka
import PipelineContract

struct LagCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lag",
        abstract: "Show how far each consumer group is behind, by partition.",
        discussion: """
            Reads the groups' committed offsets and the ends of the topics from the brokers.

            Example: penstock lag topics/housing
            """)

    @Argument(help: "Pipeline (default: the running one).")
    var pipeline: String?

    @OptionGroup var cluster: ClusterOptions
    @OptionGroup var output: OutputOption

    mutating func run() throws {
        let contract = try PipelineLoader.load(
            path: try PipelineLocator.path(pipeline, data: cluster.data.directory))
        let rows = try GroupLag.read(contract.topics, cluster: cluster)
        if output.isJSON { return try Console.print(json: rows) }
        var table = Table(
            .left("group"), .left("topic"), .right("partition"), .right("committed"), .right("end"), .right("lag"))
        for row in rows {
            table.add(
                row.group, row.topic, String(row.partition), row.committed.map { String($0) } ?? "-", String(row.end),
                Numbers.grouped(Int(row.lag)))
        }
        Console.print(table.text)
        Console.print("total lag: \(Numbers.grouped(Int(rows.reduce(0) { $0 + $1.lag })))")
    }
}

/// One partition of one group.
struct GroupLag: Encodable, Sendable {
    var group: String
    var topic: String
    var partition: Int32
    var committed: Int64?
    var end: Int64
    var lag: Int64

    /// The groups of a pipeline and the topic that each of them reads.
    static func groups(_ topics: PipelineTopics) -> [(group: String, topic: String)] {
        [
            ("\(topics.root).ingest", topics.inputs), ("\(topics.root).transform", topics.events),
            ("\(topics.root).inference", topics.features), ("\(topics.root).sink", topics.predictions),
            ("\(topics.root).labels", topics.labelInputs),
        ]
    }

    static func read(_ topics: PipelineTopics, cluster: ClusterOptions) throws -> [GroupLag] {
        var rows: [GroupLag] = []
        for (group, topic) in groups(topics) {
            var configuration = try cluster.consumerConfiguration(group: group)
            // To the end of the log, open transactions included. The offsets inside a transaction may be seen before its records
            // are: to a reader of committed records the stage before would be done, and this one have nothing to do.
            try configuration.set("isolation.level", "read_uncommitted")
            let consumer = try Consumer(configuration: configuration)
            let timeout = TopicReader.requestMilliseconds
            let partitions = try consumer.topics(named: [topic], timeoutMilliseconds: timeout).flatMap(\.partitions)
            let committed = try consumer.committed(partitions, timeoutMilliseconds: timeout)
            for partition in partitions {
                let ends = try consumer.watermarks(partition, timeoutMilliseconds: timeout)
                let next = committed[partition]?.offset
                rows.append(
                    GroupLag(
                        group: group, topic: topic, partition: partition.partition, committed: next, end: ends.high,
                        lag: max(0, ends.high - max(next ?? ends.low, ends.low))))
            }
        }
        return rows
    }
}
