// DemoCommand: `penstock demo` runs the whole service on real data and checks the result.

import ArgumentParser
import EventContracts
import Foundation
import Kafka
import LocalDeployment
import PipelineContract
import Postgres

struct DemoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Run the whole service on real data and check the outcome.",
        discussion: """
            Starts broker, PostgreSQL, key broker, all consumers, monitors and the loop in a data directory of its own, and
            shows one of four streams:

            expansion  a sealed model that is trained on one region, and a stream that moves on to another: drift, alert, \
            retraining, promotion and swap, judged by labels that come a week late (the default)
            original   the year as the data have it
            control    all rows permuted, so that nothing ever changes: no alert, no retraining
            damaged    the year with 60 damaged events and 100 repeats among it: every outcome counted, without monitors

            The first three end with a report that is an HTML page. Exit status 1 when a check fails.

            Example: penstock demo
            Example: penstock demo --stream damaged --keep
            """)

    @Flag(help: "Keep serving afterwards, until Ctrl-C, and say how to publish, consume and query.")
    var keep = false

    @Option(help: "Events per second (default: 80; 2000 for damaged, where 0 publishes as fast as it goes).")
    var rate: Double?

    @Option(help: "expansion, original, control or damaged.")
    var stream = DemoStream.expansion

    @Option(help: "Seed of the stream's order.")
    var seed: UInt64 = 1

    @Option(
        help: ArgumentHelp(
            "Where the stream's report goes (default: report.html in the data directory).", valueName: "html"))
    var report: String?

    @Option(help: ArgumentHelp("Pipeline with data/analysis.csv (default: topics/housing).", valueName: "path"))
    var pipeline: String?

    @Option(help: "Instances of each consumer.")
    var instances = 1

    @OptionGroup var data: DataOption
    @OptionGroup var output: OutputOption

    /// Longest wait for outcomes after the last publication.
    static let settleSecondsMax = 120.0
    static let startSecondsMax = 90.0

    /// Events a second of a stream: the year in less than two minutes.
    static let streamRate = 80.0

    mutating func run() throws {
        if let kind = stream.loop { return try runLoop(kind) }
        let rate = rate ?? 2_000
        guard rate >= 0, rate.isFinite else { throw CommandFailure.usage("--rate: 0 or more events per second") }
        Interrupt.hold()
        let path = PipelineLocator.absolute(try pipeline ?? PipelineLocator.standard())
        let directory = DataDirectory(path: data.path ?? "\(data.directory.path)/demo-\(stream.rawValue)")
        let run = DemoRun(
            pipelinePath: path, data: directory, rate: rate, instances: instances, isJSON: output.isJSON)
        let report = try run.execute(keep: keep)
        if let failed = report.checks.first(where: { !$0.isMet }) {
            throw CommandFailure("the demo's check failed: \(failed.name): \(failed.detail)")
        }
    }

    private func runLoop(_ stream: StreamKind) throws {
        let rate = rate ?? Self.streamRate
        guard rate > 0, rate.isFinite else { throw CommandFailure.usage("--rate: more than 0 events per second") }
        Interrupt.hold()
        let path = PipelineLocator.absolute(try pipeline ?? PipelineLocator.standard())
        let directory = DataDirectory(path: data.path ?? "\(data.directory.path)/demo-\(stream.rawValue)")
        let run = LoopRun(
            pipelinePath: path, data: directory, kind: stream, seed: seed, rate: rate, isJSON: output.isJSON,
            reportPath: report ?? "\(directory.path)/report.html")
        let result = try run.execute(keep: keep)
        if let failed = result.checks.first(where: { !$0.isMet }) {
            throw CommandFailure("the demo's check failed: \(failed.name): \(failed.detail)")
        }
    }
}

/// What the demo shows.
enum DemoStream: String, CaseIterable, ExpressibleByArgument {
    case expansion, original, control, damaged

    /// The stream of the closed loop; nil for the one that counts outcomes.
    var loop: StreamKind? { StreamKind(rawValue: rawValue) }
}

/// Everything that the demo found out.
struct DemoReport: Encodable {
    struct Code: Encodable {
        var code: String
        var expected: Int
        var found: Int
    }

    var published: Int
    var rows: Int
    var deadLetters: Int
    var duplicates: Int
    var publishSeconds: Double
    /// From the first publication to the last row.
    var seconds: Double
    var eventsPerSecond: Double
    var models: [String]
    var checks: [DemoCheck]
    var codes: [Code]
    var months: [MonthlyQuality]
    var latencies: [HopLatency]
    var restarts: Int
}
