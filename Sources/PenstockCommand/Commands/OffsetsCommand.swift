// OffsetsCommand: `penstock offsets` shows and sets the sink's positions, which are stored in PostgreSQL.

import ArgumentParser
import EventContracts
import Kafka
import LocalDeployment
import PipelineContract
import Postgres
import SinkStage

struct OffsetsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "offsets",
        abstract: "Show or set the sink's positions.",
        discussion: """
            The sink keeps its positions beside the rows in PostgreSQL, bound to the cluster's id. The database is that
            of the running deployment, or the one that PENSTOCK_POSTGRES names (its owner's URL).

            Example: penstock offsets show topics/housing
            Example: penstock offsets reset topics/housing --to earliest
            """,
        subcommands: [Show.self, Reset.self])

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print the stored positions.", discussion: "Example: penstock offsets show topics/housing")

        @Argument(help: "Pipeline (default: the running one).")
        var pipeline: String?

        @OptionGroup var data: DataOption
        @OptionGroup var output: OutputOption

        private struct Row: Encodable {
            var group: String
            var topic: String
            var partition: Int32
            var nextOffset: Int64
            var clusterID: String
            var updatedAt: String
        }

        mutating func run() throws {
            let directory = data.directory
            let contract = try PipelineLoader.load(path: try PipelineLocator.path(pipeline, data: directory))
            let rows = try SinkOffsets.show(
                try StackDatabase.connect(data: directory), SinkTarget(contract.sink)
            ).map {
                Row(
                    group: $0.group, topic: $0.topic, partition: $0.partition, nextOffset: $0.nextOffset,
                    clusterID: $0.clusterID, updatedAt: Timestamp.text(microseconds: $0.updatedAt))
            }
            if output.isJSON { return try Console.print(json: rows) }
            guard !rows.isEmpty else { return Console.print("No positions are stored.") }
            var table = Table(
                .left("group"), .left("topic"), .right("partition"), .right("next"), .left("cluster"), .left("updated"))
            for row in rows {
                table.add(
                    row.group, row.topic, String(row.partition), String(row.nextOffset), row.clusterID, row.updatedAt)
            }
            Console.print(table.text)
        }
    }

    struct Reset: ParsableCommand {
        enum Place: String, CaseIterable, ExpressibleByArgument { case earliest, latest }

        static let configuration = CommandConfiguration(
            abstract: "Bind the sink to this cluster and set its positions. Rows stay.",
            discussion: """
                Stop prediction-sink first. Predictions that are read again are recognised by their event id; those
                before the new positions are not read any more.

                Example: penstock offsets reset topics/housing --to earliest
                """)

        @Argument(help: "Pipeline.")
        var pipeline: String

        @Option(help: "earliest or latest.")
        var to: Place

        @OptionGroup var cluster: ClusterOptions
        @OptionGroup var output: OutputOption

        private struct Row: Encodable {
            var topic: String
            var partition: Int32
            var nextOffset: Int64
        }

        mutating func run() throws {
            let contract = try PipelineLoader.load(path: pipeline)
            let topic = contract.topics.predictions
            let consumer = try Consumer(configuration: try cluster.consumerConfiguration())
            let timeout = TopicReader.requestMilliseconds
            guard let id = consumer.clusterID(timeoutMilliseconds: timeout) else {
                throw CommandFailure(
                    "the brokers at \(try cluster.servers()) did not answer; check --bootstrap-servers")
            }
            var positions: [Int32: Int64] = [:]
            for partition in try consumer.topics(named: [topic], timeoutMilliseconds: timeout).flatMap(\.partitions) {
                let ends = try consumer.watermarks(partition, timeoutMilliseconds: timeout)
                positions[partition.partition] = to == .earliest ? ends.low : ends.high
            }
            guard !positions.isEmpty else {
                throw CommandFailure("there is no topic \(topic): create it with 'penstock topics apply \(pipeline)'")
            }
            try SinkOffsets.reset(
                try StackDatabase.connect(data: cluster.data.directory), SinkTarget(contract.sink),
                group: "\(contract.topics.root).sink", topic: topic, clusterID: id, to: positions)
            let rows = positions.sorted { $0.key < $1.key }.map {
                Row(topic: topic, partition: $0.key, nextOffset: $0.value)
            }
            if output.isJSON { return try Console.print(json: rows) }
            var table = Table(.left("topic"), .right("partition"), .right("next"))
            for row in rows { table.add(row.topic, String(row.partition), String(row.nextOffset)) }
            Console.print(table.text)
        }
    }
}
