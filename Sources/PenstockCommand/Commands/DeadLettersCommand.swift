// DeadLettersCommand: `penstock dlq` looks into the dead-letter topics.

import ArgumentParser
import EventContracts
import Kafka
import LocalDeployment
import PipelineContract

struct DeadLettersCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dlq",
        abstract: "Look at records that could not be processed.",
        discussion: """
            Example: penstock dlq list topics/housing
            Example: penstock dlq show topics/housing --code wrong_type --limit 3
            """,
        subcommands: [List.self, Show.self])

    struct Selection: ParsableArguments {
        @Argument(help: "Pipeline (default: the running one).")
        var pipeline: String?

        @OptionGroup var cluster: ClusterOptions
        @OptionGroup var output: OutputOption

        /// Calls `body` with every dead letter of the pipeline.
        func forEach(_ body: (ReadRecord) throws -> Void) throws {
            let contract = try PipelineLoader.load(
                path: try PipelineLocator.path(pipeline, data: cluster.data.directory))
            let reader = try TopicReader(configuration: try cluster.consumerConfiguration())
            try reader.readAll(contract.topics.deadLetterTopics, body)
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Count dead letters by topic and error code.",
            discussion: "Example: penstock dlq list topics/housing --output json")

        @OptionGroup var selection: Selection

        private struct Row: Encodable {
            var topic: String
            var code: String
            var count: Int
            var first: String
            var last: String
        }

        mutating func run() throws {
            var rows: [[String]: Row] = [:]
            try selection.forEach { record in
                let code = record.header("x-error-code") ?? "(none)"
                let time = record.header("x-error-time") ?? Timestamp.text(microseconds: record.timestamp * 1_000)
                var row =
                    rows[[record.topic, code]]
                    ?? Row(topic: record.topic, code: code, count: 0, first: time, last: time)
                row.count += 1
                row.first = min(row.first, time)
                row.last = max(row.last, time)
                rows[[record.topic, code]] = row
            }
            let sorted = rows.values.sorted { ($0.topic, -$0.count, $0.code) < ($1.topic, -$1.count, $1.code) }
            if selection.output.isJSON { return try Console.print(json: sorted) }
            guard !sorted.isEmpty else { return Console.print("No dead letters.") }
            var table = Table(.left("topic"), .left("code"), .right("count"), .left("last"))
            for row in sorted { table.add(row.topic, row.code, Numbers.grouped(row.count), row.last) }
            Console.print(table.text)
        }
    }

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print dead letters with their reason, origin and content.",
            discussion: "Example: penstock dlq show topics/housing --code clock_skew --limit 5")

        @Option(help: "Only this error code.")
        var code: String?

        @Option(help: "At most N of them, the newest.")
        var limit = 20

        @OptionGroup var selection: Selection

        mutating func run() throws {
            guard limit > 0 else { throw CommandFailure.usage("--limit: at least 1") }
            var kept: [ReadRecord] = []
            let (code, limit) = (code, limit)
            try selection.forEach { record in
                guard code == nil || record.header("x-error-code") == code else { return }
                kept.append(record)
                if kept.count > 2 * limit { kept.removeFirst(limit) }
            }
            if kept.isEmpty, !selection.output.isJSON { return Console.print("No dead letters.") }
            for record in kept.suffix(limit) {
                if selection.output.isJSON {
                    try Console.print(jsonLine: RecordText(record))
                } else {
                    show(record)
                }
            }
        }

        private func show(_ record: ReadRecord) {
            let text = RecordText(record)
            let origin = ["topic", "partition", "offset"].map { record.header("__connect.errors.\($0)") ?? "?" }
            Console.print(
                Console.styled(record.header("x-error-code") ?? "(no code)", .bold)
                    + "  \(origin[0])/\(origin[1])/\(origin[2])  \(record.header("x-error-time") ?? text.time)")
            Console.print("  reason  \(record.header("__connect.errors.exception.message") ?? "-")")
            Console.print("  key     \(text.key ?? "(null)")")
            Console.print("  value   \(text.value.map { String($0.prefix(400)) } ?? "(null)")")
        }
    }
}

extension PipelineTopics {
    /// Dead-letter topics of every topic that a stage reads.
    var deadLetterTopics: [String] { [inputs, events, features, predictions].map { Self.deadLetters(of: $0) } }
}
