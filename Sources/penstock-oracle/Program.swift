// penstock-oracle: an independent check that no event was lost and none counted twice.

import ArgumentParser
import Foundation
import Oracle

@main
struct Program: ParsableCommand {
    enum Profile: String, ExpressibleByArgument, CaseIterable { case exact, latency }
    enum Output: String, ExpressibleByArgument, CaseIterable { case text, json }

    static let configuration = CommandConfiguration(
        commandName: "penstock-oracle",
        abstract: "Recompute from the input log what every topic and PostgreSQL must hold, and compare.",
        discussion: """
            Reads the whole input topic, judges each record anew, recomputes features and scores, and compares with the \
            records of every topic, rows, dead letters, duplicates, the order of each key, and all offsets. Run it when nothing is being \
            published and the consumers have caught up. It shares no code with them.

            Example:
              penstock-oracle --pipeline topics/housing --bootstrap-servers 127.0.0.1:9092 \\
                --postgres postgresql://penstock@127.0.0.1:5432/penstock

            Exit status: 0 content, 1 violated, 2 wrong use or something could not be read.
            """)

    @Option(help: "Path of pipeline.yaml, or of the folder that holds it. Environment: PENSTOCK_PIPELINE.")
    var pipeline: String?

    @Option(help: "Brokers, HOST:PORT,… Environment: PENSTOCK_BOOTSTRAP_SERVERS.")
    var bootstrapServers: String?

    @Option(help: "URL of a role that may read the sink's tables. Environment: PENSTOCK_POSTGRES.")
    var postgres: String?

    @Option(help: "Folder of transform.json and model.json. Environment: PENSTOCK_ARTIFACTS.")
    var artifacts: String?

    @Option(help: "The sink's consumer group, when several have offsets.")
    var sinkGroup: String?

    @Option(
        help: "What the stages' group names begin with, before .ingest and so on; <prefix>.<pipeline> unless given.")
    var groupPrefix: String?

    @Option(help: "The promise to judge by: exact (no topic shows a record twice) or latency.")
    var profile = Profile.exact

    @Flag(help: "Ingest, transform and inference share a process, whatever the pipeline's key `stages` says.")
    var fused = false

    @Option(name: .customLong("set"), help: "A librdkafka setting, kafka.<key>=<value>; may be repeated.")
    var settings: [String] = []

    @Option(help: "Longest time to read one topic.")
    var timeoutSeconds = 60

    @Option(help: "Form of the result: text or json.")
    var output = Output.text

    mutating func validate() throws {
        guard timeoutSeconds > 0 else { throw ValidationError("--timeout-seconds must be at least 1") }
        for setting in settings where !setting.hasPrefix("kafka.") || !setting.contains("=") {
            // Only the name: the value could be a secret.
            throw ValidationError("--set \(setting.prefix { $0 != "=" }): write kafka.<key>=<value>")
        }
    }

    mutating func run() throws {
        var options = OracleOptions(
            pipeline: try required(pipeline, "pipeline"),
            bootstrapServers: try required(bootstrapServers, "bootstrap-servers"),
            postgresURL: try required(postgres, "postgres"))
        options.artifacts = artifacts ?? Self.environment("artifacts")
        options.sinkGroup = sinkGroup
        options.groupPrefix = groupPrefix
        options.isFused = fused
        options.isExact = profile == .exact
        options.timeout = .seconds(timeoutSeconds)
        options.kafkaSettings = settings.map { setting in
            let parts = setting.dropFirst("kafka.".count).split(
                separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return (name: String(parts[0]), value: String(parts[1]))
        }
        let report: OracleReport
        do {
            report = try OracleRun.check(options)
        } catch {
            FileHandle.standardError.write(Data("penstock-oracle: \(error)\n".utf8))
            throw ExitCode(2)
        }
        switch output {
        case .text: print(report.text)
        case .json: print(try report.json())
        }
        if report.exitStatus != 0 { throw ExitCode(report.exitStatus) }
    }

    private static func environment(_ option: String) -> String? {
        let name = "PENSTOCK_" + option.uppercased().split(separator: "-").joined(separator: "_")
        return ProcessInfo.processInfo.environment[name]
    }

    private func required(_ value: String?, _ option: String) throws -> String {
        if let value = value ?? Self.environment(option), !value.isEmpty { return value }
        throw ValidationError("--\(option) is missing")
    }

    /// Wrong use ends with status 2, as everywhere in Penstock.
    static func main() {
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch {
            let code = exitCode(for: error)
            guard code == .validationFailure else { exit(withError: error) }
            FileHandle.standardError.write(Data((fullMessage(for: error) + "\n").utf8))
            Foundation.exit(2)
        }
    }
}
