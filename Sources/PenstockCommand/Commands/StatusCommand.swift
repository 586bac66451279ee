// StatusCommand: `penstock status` shows processes, health, lag, rows and dead letters of a deployment.

import ArgumentParser
import Foundation
import Kafka
import LocalDeployment
import PipelineContract

struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show processes, health, lag, rows and dead letters.",
        discussion: """
            Exit status 0 when every process is ready, 1 when one is not or nothing runs.

            Example: penstock status --output json
            """)

    @OptionGroup var data: DataOption
    @OptionGroup var output: OutputOption

    struct ProcessRow: Encodable {
        var name: String
        var state: String
        var health: String
        var pid: Int32?
        var restarts: Int
        var cpuSeconds: Double?
        var residentBytes: Int64?
        var healthPort: Int?
        var problem: String?
        var log: String
    }

    struct Report: Encodable {
        var phase: String
        var dataDirectory: String
        var pipeline: String
        var bootstrapServers: String?
        var postgres: String?
        var processes: [ProcessRow]
        var lag: [String: Int64]
        var rows: Int?
        var deadLetters: Int?
        /// What could not be read, and why.
        var remarks: [String]
        var isReady: Bool
    }

    mutating func run() throws {
        let report = try Self.report(data.directory)
        if output.isJSON { try Console.print(json: report) } else { Self.show(report) }
        if !report.isReady { throw ExitCode(1) }
    }

    static func report(_ data: DataDirectory) throws -> Report {
        let state = try DeploymentState.ofRunning(data)
        var report = Report(
            phase: state.phase.rawValue, dataDirectory: data.path, pipeline: state.pipeline,
            bootstrapServers: state.bootstrapServers, postgres: state.postgres, processes: state.processes.map(row),
            lag: [:], rows: nil, deadLetters: nil, remarks: [], isReady: false)
        report.isReady = report.processes.allSatisfy { $0.state == "ready" && ["ready", "-"].contains($0.health) }
        let contract: Pipeline
        do {
            contract = try PipelineLoader.load(path: state.pipeline)
        } catch {
            report.remarks.append("pipeline: \(error)")
            return report
        }
        do {
            report.rows = try StackDatabase.connect(data: data).rowCount(contract.sink)
        } catch {
            report.remarks.append("PostgreSQL: \(error)")
        }
        guard state.bootstrapServers != nil else { return report }
        do {
            var cluster = ClusterOptions()
            cluster.data = DataOption()
            cluster.data.path = data.path
            cluster.bootstrapServers = state.bootstrapServers
            cluster.set = []
            for lag in try GroupLag.read(contract.topics, cluster: cluster) {
                report.lag[lag.group, default: 0] += lag.lag
            }
            let reader = try TopicReader(configuration: try cluster.consumerConfiguration())
            report.deadLetters = try reader.count(contract.topics.deadLetterTopics)
        } catch {
            report.remarks.append("Kafka: \(error)")
        }
        return report
    }

    private static func row(_ process: DeploymentState.Process) -> ProcessRow {
        let figures = process.pid.flatMap { ProcessFigures(pid: $0) }
        var health = "-"
        var problem = process.problem
        if let port = process.healthPort {
            let answer = HealthProbe.get(port: port, path: "/readyz")
            health = answer.map { $0.status == 200 ? "ready" : "not ready" } ?? "no answer"
            if let answer, answer.status != 200 {
                problem = answer.body.split(separator: "\n").first.map(String.init) ?? problem
            }
        }
        return ProcessRow(
            name: process.name, state: process.state, health: health, pid: process.pid, restarts: process.restarts,
            cpuSeconds: process.pid.map { ProcessFigures.treeCPUSeconds(pid: $0) },
            residentBytes: figures?.residentBytes, healthPort: process.healthPort, problem: problem, log: process.log)
    }

    private static func show(_ report: Report) {
        Console.print("\(report.phase), data in \(report.dataDirectory)")
        var table = Table(
            .left("process"), .left("state"), .left("health"), .right("pid"), .right("restarts"), .right("CPU s"),
            .right("memory"), .left("problem"))
        for row in report.processes {
            table.add(
                row.name, row.state, row.health, row.pid.map { String($0) } ?? "-", String(row.restarts),
                row.cpuSeconds.map { Numbers.decimal($0, 1) } ?? "-",
                row.residentBytes.map { Numbers.bytes($0) } ?? "-",
                row.problem ?? "")
        }
        Console.print(table.text)
        if !report.lag.isEmpty {
            // The groups are named after their stages; shown in the order of the pipeline.
            let parts = ["ingest", "transform", "inference", "sink"].compactMap { stage in
                report.lag.first { $0.key.hasSuffix(".\(stage)") }
                    .map { "\(stage) \(Numbers.grouped(Int($0.value)))" }
            }
            Console.print("lag           \(parts.joined(separator: ", "))")
        }
        Console.print("rows          \(report.rows.map(Numbers.grouped) ?? "-")")
        Console.print("dead letters  \(report.deadLetters.map(Numbers.grouped) ?? "-")")
        Console.print("brokers       \(report.bootstrapServers ?? "-")")
        Console.print("PostgreSQL    \(report.postgres ?? "-")")
        for remark in report.remarks { Console.print(remark) }
    }
}
