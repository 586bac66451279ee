// AlertsCommand: `penstock alerts` lists, acknowledges and silences alerts.

import ArgumentParser
import EventContracts
import Foundation
import Kafka
import PipelineContract

struct AlertsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "alerts",
        abstract: "Show a pipeline's alerts, acknowledge or silence them.",
        discussion: """
            Example: penstock alerts list topics/housing
            Example: penstock alerts ack 9b1f0c44d2a7e310 --by ada --comment "looking at it"
            Example: penstock alerts silence 9b1f0c44d2a7e310 --hours 4 --by ada
            """,
        subcommands: [List.self, Acknowledge.self, Silence.self])

    /// The latest state of each alert, newest first.
    static func latest(_ contract: Pipeline, cluster: ClusterOptions) throws -> [AlertRecord] {
        let reader = try TopicReader(configuration: try cluster.consumerConfiguration())
        var alerts: [String: AlertRecord] = [:]
        try reader.readAll([contract.topics.alertsCurrent]) { record in
            guard let value = record.value else { return }
            let event = try CloudEvent<AlertRecord>.decode(value, types: [AlertRecord.type])
            if let alert = event?.data { alerts[alert.fingerprint] = alert }
        }
        return alerts.values.sorted { ($0.startsAt, $0.fingerprint) > ($1.startsAt, $1.fingerprint) }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List alerts that are not resolved, or all.",
            discussion: "Example: penstock alerts list topics/housing --all")

        @Argument(help: "Pipeline (default: the running one).")
        var pipeline: String?

        @Flag(help: "Show resolved alerts too.")
        var all = false

        @OptionGroup var cluster: ClusterOptions
        @OptionGroup var output: OutputOption

        mutating func run() throws {
            let contract = try PipelineLoader.load(
                path: try PipelineLocator.path(pipeline, data: cluster.data.directory))
            let alerts = try AlertsCommand.latest(contract, cluster: cluster).filter {
                all || $0.state == .firing || $0.state == .recovering || $0.state == .suspect
            }
            if output.isJSON { return try Console.print(json: alerts) }
            guard !alerts.isEmpty else { return Console.print(all ? "There were no alerts." : "No alert is active.") }
            var table = Table(
                .left("fingerprint"), .left("alert"), .left("state"), .left("severity"), .right("episode"),
                .left("since (event time)"), .left("what"), .left("remarks"), .left("runbook"))
            for alert in alerts {
                table.add(
                    alert.fingerprint, alert.name, alert.state.rawValue, alert.severity.rawValue,
                    String(alert.episode), String(alert.startsAt.description.prefix(19)), alert.summary,
                    Self.remarks(alert), alert.runbook)
            }
            Console.print(table.text)
        }

        private static func remarks(_ alert: AlertRecord) -> String {
            var remarks: [String] = []
            if let person = alert.acknowledgedBy { remarks.append("acknowledged by \(person)") }
            if let until = alert.silencedUntil { remarks.append("silenced until \(until.description.prefix(19))") }
            if !alert.inhibitedBy.isEmpty {
                remarks.append("explained by \(alert.inhibitedBy.joined(separator: ", "))")
            }
            return remarks.isEmpty ? "-" : remarks.joined(separator: "; ")
        }
    }

    /// What both commands share: who speaks, of what, and why.
    struct Statement: ParsableArguments {
        @Argument(help: "Fingerprint of the alert, as 'penstock alerts list' shows it.")
        var fingerprint: String

        @Option(help: "Pipeline (default: the running one).")
        var pipeline: String?

        @Option(help: "Who says so (default: the user's name).")
        var by: String?

        @Option(help: "Why.")
        var comment = ""

        @OptionGroup var cluster: ClusterOptions

        func send(_ action: AlertCommand.Action, until: EventTime?) throws {
            let contract = try PipelineLoader.load(
                path: try PipelineLocator.path(pipeline, data: cluster.data.directory))
            let alerts = try AlertsCommand.latest(contract, cluster: cluster)
            guard let alert = alerts.first(where: { $0.fingerprint == fingerprint }) else {
                throw CommandFailure("no alert has the fingerprint \(fingerprint): see 'penstock alerts list --all'")
            }
            guard alert.state != .resolved else {
                throw CommandFailure("the alert \(alert.name) (\(fingerprint)) is resolved: there is nothing to do")
            }
            let person = by ?? ProcessInfo.processInfo.environment["USER"] ?? "unknown"
            let command = AlertCommand(
                id: UUID().uuidString.lowercased(), action: action, fingerprint: fingerprint, by: person,
                comment: comment, at: Self.now, until: until)
            let producer = try Producer(configuration: try cluster.producerConfiguration())
            let topic = try producer.registerTopic(contract.topics.control)
            let key = Array(fingerprint.utf8)
            let value = try command.event(pipeline: contract.name).encoded()
            let header = RecordHeader(
                CloudEventBinding.contentTypeHeader, text: CloudEventBinding.structuredContentType)
            try producer.produce(topic: topic, key: key.span.bytes, value: value.span.bytes, headers: [header])
            var failure: KafkaError?
            try producer.flush(timeoutMilliseconds: TopicReader.requestMilliseconds) { failure = failure ?? $0.error }
            if let failure { throw failure }
            Console.print("\(alert.name) \(fingerprint): \(action.rawValue) by \(person)")
        }

        static var now: EventTime {
            EventTime(microseconds: Int64((Date().timeIntervalSince1970 * 1_000_000).rounded()))
        }
    }

    struct Acknowledge: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ack", abstract: "Say that somebody looks after an alert.",
            discussion: "Example: penstock alerts ack 9b1f0c44d2a7e310 --by ada")

        @OptionGroup var statement: Statement

        mutating func run() throws { try statement.send(.acknowledge, until: nil) }
    }

    struct Silence: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Hold notifications of an alert back for some hours; 0 ends a silence.",
            discussion: "Example: penstock alerts silence 9b1f0c44d2a7e310 --hours 4 --by ada")

        @OptionGroup var statement: Statement

        @Option(help: "Hours from now on; 0 ends the silence.")
        var hours = 4.0

        mutating func run() throws {
            guard (0...8_760).contains(hours) else { throw CommandFailure.usage("--hours: choose 0 to 8760") }
            guard hours > 0 else { return try statement.send(.unsilence, until: nil) }
            try statement.send(
                .silence, until: Statement.now.adding(microseconds: Int64(hours * 3_600_000_000)))
        }
    }
}
