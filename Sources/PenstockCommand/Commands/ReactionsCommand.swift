// ReactionsCommand: `penstock reactions` shows what the reaction controller decided, and why.

import ArgumentParser
import EventContracts
import Kafka
import PipelineContract

struct ReactionsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reactions",
        abstract: "Show what was decided after alerts, with the reasons.",
        discussion: """
            Example: penstock reactions list topics/housing
            Example: penstock reactions show 5d0f4f7a3f9c0b1e2a6d8c7b90f1e2d3
            """,
        subcommands: [List.self, Show.self])

    static func decisions(_ contract: Pipeline, cluster: ClusterOptions) throws -> [ReactionDecision] {
        let reader = try TopicReader(configuration: try cluster.consumerConfiguration())
        var decisions: [ReactionDecision] = []
        try reader.readAll([contract.topics.alerts]) { record in
            guard let value = record.value else { return }
            let event = try CloudEvent<ReactionDecision>.decode(value, types: [ReactionDecision.type])
            if let decision = event?.data { decisions.append(decision) }
        }
        return decisions
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the decisions, oldest first.",
            discussion: "Example: penstock reactions list topics/housing --output json")

        @Argument(help: "Pipeline (default: the running one).")
        var pipeline: String?

        @OptionGroup var cluster: ClusterOptions
        @OptionGroup var output: OutputOption

        mutating func run() throws {
            let contract = try PipelineLoader.load(
                path: try PipelineLocator.path(pipeline, data: cluster.data.directory))
            let decisions = try ReactionsCommand.decisions(contract, cluster: cluster)
            if output.isJSON { return try Console.print(json: decisions) }
            guard !decisions.isEmpty else { return Console.print("Nothing was decided.") }
            var table = Table(
                .left("decision"), .left("event time"), .left("alert"), .left("action"), .left("because"))
            for decision in decisions {
                let open = decision.reasons.filter { !$0.isMet }
                let told = open.isEmpty ? Array(decision.reasons.prefix(1)) : open
                table.add(
                    decision.id, String(decision.decidedAt.description.prefix(19)), decision.alert,
                    decision.action.rawValue, told.map(\.detail).joined(separator: "; "))
            }
            Console.print(table.text)
        }
    }

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show one decision with all its conditions.",
            discussion: "Example: penstock reactions show 5d0f4f7a3f9c0b1e2a6d8c7b90f1e2d3")

        @Argument(help: "Id of the decision, as 'penstock reactions list' shows it; its beginning is enough.")
        var decision: String

        @Option(help: "Pipeline (default: the running one).")
        var pipeline: String?

        @OptionGroup var cluster: ClusterOptions
        @OptionGroup var output: OutputOption

        mutating func run() throws {
            let contract = try PipelineLoader.load(
                path: try PipelineLocator.path(pipeline, data: cluster.data.directory))
            let wanted = decision
            let found = try ReactionsCommand.decisions(contract, cluster: cluster).filter { $0.id.hasPrefix(wanted) }
            guard let first = found.first, found.count == 1 else {
                throw CommandFailure(
                    found.isEmpty
                        ? "no decision begins with \(wanted): see 'penstock reactions list'"
                        : "\(found.count) decisions begin with \(wanted): give more of the id")
            }
            if output.isJSON { return try Console.print(json: first) }
            Console.print("decision   \(first.id)")
            Console.print("alert      \(first.alert) \(first.alertID)")
            Console.print("action     \(first.action.rawValue)")
            Console.print("decided    \(first.decidedAt) (event time)")
            if let request = first.requestID { Console.print("request    \(request)") }
            var table = Table(.left("condition"), .left("met"), .left("detail"))
            for reason in first.reasons { table.add(reason.condition, reason.isMet ? "yes" : "no", reason.detail) }
            Console.print(table.text)
        }
    }
}
