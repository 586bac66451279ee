// TopicsCommand: `penstock topics` makes a pipeline's topics on a real cluster.

import ArgumentParser
import Kafka
import PipelineContract

struct TopicsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "topics",
        abstract: "Compare a pipeline's topics with a cluster's, and create what is missing.",
        discussion: """
            Example: penstock topics plan topics/housing --bootstrap-servers kafka-1:9092
            Example: penstock topics apply topics/housing --bootstrap-servers kafka-1:9092
            """,
        subcommands: [Plan.self, Apply.self])

    struct Step: Encodable {
        var topic: String
        var partitions: Int
        var retentionMilliseconds: Int64
        var cleanup: String
        /// create, keep, or conflict.
        var action: String
        var note: String
    }

    static func steps(_ contract: Pipeline, existing: [TopicDescription]) -> [Step] {
        contract.topicSettings.map { setting in
            var step = Step(
                topic: setting.topic, partitions: setting.partitions,
                retentionMilliseconds: setting.retentionMilliseconds,
                cleanup: setting.isCompacted ? "compact" : "delete", action: "create", note: "")
            guard let found = existing.first(where: { $0.name == setting.topic }) else { return step }
            step.action = found.partitionCount == setting.partitions ? "keep" : "conflict"
            if step.action == "conflict" {
                step.note =
                    "has \(found.partitionCount) partitions; a change would break the order of keys: "
                    + "use a new topic, or set partitions: \(found.partitionCount) in pipeline.yaml"
            }
            return step
        }
    }

    static func show(_ steps: [Step]) {
        var table = Table(.left("action"), .left("topic"), .right("partitions"), .right("retention"))
        for step in steps {
            let days = Double(step.retentionMilliseconds) / 86_400_000
            table.add(
                step.action, step.topic, String(step.partitions),
                step.cleanup == "compact"
                    ? "compacted"
                    : step.retentionMilliseconds < 0 ? "none" : "\(Numbers.decimal(days, days < 1 ? 2 : 0)) d")
        }
        Console.print(table.text)
        for step in steps where !step.note.isEmpty { Console.print("\(step.topic) \(step.note)") }
    }

    struct Plan: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show what 'apply' would do; changes nothing.",
            discussion: "Example: penstock topics plan topics/housing --bootstrap-servers kafka-1:9092")

        @Argument(help: "Pipeline.")
        var pipeline: String

        @OptionGroup var cluster: ClusterOptions
        @OptionGroup var output: OutputOption

        mutating func run() throws {
            let contract = try PipelineLoader.load(path: pipeline)
            let administration = try TopicAdministration(configuration: try cluster.producerConfiguration())
            let steps = TopicsCommand.steps(
                contract, existing: try administration.topics(timeoutMilliseconds: TopicReader.requestMilliseconds))
            if output.isJSON { try Console.print(json: steps) } else { TopicsCommand.show(steps) }
            if steps.contains(where: { $0.action == "conflict" }) { throw ExitCode(1) }
        }
    }

    struct Apply: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Create the topics that are missing.",
            discussion: "Example: penstock topics apply topics/housing --replication 3 --bootstrap-servers kafka-1:9092"
        )

        @Argument(help: "Pipeline.")
        var pipeline: String

        @Option(help: "Replicas of each partition; -1 leaves it to the brokers.")
        var replication = -1

        @OptionGroup var cluster: ClusterOptions
        @OptionGroup var output: OutputOption

        mutating func run() throws {
            let contract = try PipelineLoader.load(path: pipeline)
            let administration = try TopicAdministration(configuration: try cluster.producerConfiguration())
            let timeout = TopicReader.requestMilliseconds
            let steps = TopicsCommand.steps(contract, existing: try administration.topics(timeoutMilliseconds: timeout))
            if let conflict = steps.first(where: { $0.action == "conflict" }) {
                throw CommandFailure("\(conflict.topic) \(conflict.note)")
            }
            let missing = steps.filter { $0.action == "create" }
            _ = try administration.createTopics(
                missing.map { step in
                    TopicAdministration.NewTopic(
                        name: step.topic, partitions: step.partitions, replication: replication,
                        settings: contract.topicSettings.first { $0.topic == step.topic }?.kafkaSettings ?? [])
                }, timeoutMilliseconds: timeout)
            if output.isJSON { return try Console.print(json: steps) }
            TopicsCommand.show(steps)
            Console.print("Created \(missing.count), kept \(steps.count - missing.count).")
        }
    }
}
