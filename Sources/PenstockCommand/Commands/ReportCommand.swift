// ReportCommand: `penstock report` writes what became of a pipeline's model as an HTML page.

import ArgumentParser
import EventContracts
import Foundation
import Kafka
import LocalDeployment
import PipelineContract
import Postgres
import Registry
import RegistryRuntime

struct ReportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "report",
        abstract: "Write an HTML page: quality by labels, alerts, retrainings, promotions.",
        discussion: """
            Joins the predictions in PostgreSQL with the labels that came, and lists what the monitors, the trainer and the \
            promotion gate have said. The page needs nothing from elsewhere.

            Example: penstock report --html housing.html
            """)

    /// Newest predictions that are looked at.
    private static let rowsMax = 500_000

    @Option(help: ArgumentHelp("Pipeline (default: the running one).", valueName: "path"))
    var pipeline: String?

    @Option(help: ArgumentHelp("File to write.", valueName: "html"))
    var html = "report.html"

    @OptionGroup var cluster: ClusterOptions
    @OptionGroup var output: OutputOption

    mutating func run() throws {
        let contract = try PipelineLoader.load(path: try PipelineLocator.path(pipeline, data: cluster.data.directory))
        let timeline = try LoopTimeline(configuration: try cluster.consumerConfiguration(), contract: contract)
        try timeline.catchUp()
        let labels = try labels(contract)
        let connection = try StackDatabase.connect(data: cluster.data.directory)
        let report = try report(contract, timeline, labels, connection)
        try Data(LoopPage(report: report).html.utf8).write(to: URL(filePath: html))
        if output.isJSON { return try Console.print(json: report) }
        LoopSummary(report: report, path: html).show()
    }

    /// The label that counts for each event.
    private func labels(_ contract: Pipeline) throws -> [EventID: LabelRecord] {
        let reader = try BroadcastReader(
            configuration: try cluster.consumerConfiguration(), topics: [contract.topics.labels])
        var labels: [EventID: LabelRecord] = [:]
        try reader.catchUp { record in
            guard let value = record.value, let label = try? LabelRecord(reading: value.span.bytes) else { return }
            if let known = labels[label.eventID], !label.corrects(known) { return }
            labels[label.eventID] = label
        }
        return labels
    }

    private func report(
        _ contract: Pipeline, _ timeline: LoopTimeline, _ labels: [EventID: LabelRecord],
        _ connection: PostgresConnection
    ) throws -> LoopReport {
        let result = try connection.query(
            "SELECT event_id::text, (extract(epoch FROM event_time) * 1000000)::bigint, score, model_version FROM "
                + "\(PostgresConnection.table(contract.sink)) ORDER BY event_time DESC, event_id DESC "
                + "LIMIT \(Self.rowsMax)")
        var scores = LoopScores(times: [], labels: [], live: [], frozen: nil, hindsight: nil)
        var rows: [String: Int] = [:]
        for row in (0..<result.rowCount).reversed() {
            let version = try result.value(String.self, row: row, column: 3)
            rows[version, default: 0] += 1
            let text = Array(try result.value(String.self, row: row, column: 0).utf8)
            guard let id = EventID(reading: text.span.bytes), let label = labels[id]?.label, label <= 1 else {
                continue
            }
            scores.times.append(try result.value(row: row, column: 1))
            scores.labels.append(UInt8(label))
            scores.live.append(try result.value(row: row, column: 2))
        }
        let count = scores.times.count
        return LoopReport(
            stream: nil, seed: nil, title: "The pipeline \(contract.name) and its model \(contract.model.name)",
            events: count, rows: result.rowCount, deadLetters: 0, publishSeconds: nil, frozenVersion: nil, change: nil,
            moments: timeline.moments,
            versions: timeline.registry.versions.map { version in
                .init(
                    version: version.version, serial: version.serial, status: version.status.rawValue,
                    rows: rows[version.version] ?? 0)
            }, secondsToPromotion: [], whole: scores.quality(of: Array(0..<count)), before: nil, after: nil,
            windows: count > 0 ? scores.windows(of: LoopRun.windowEvents) : [], months: scores.months(), checks: [])
    }
}
