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
        abstract: "Run the whole pipeline on real data, damaged events included, and check the outcome.",
        discussion: """
            Fits and trains when there is no model yet, starts broker, PostgreSQL and all consumers in a data directory
            of its own, publishes 8,232 housing events with 60 damaged ones and 100 repeats among them, waits until each
            has its outcome, checks and prints them, and stops everything. Exit status 1 when a check fails.

            Example: penstock demo
            Example: penstock demo --keep
            """)

    @Flag(help: "Keep serving afterwards, until Ctrl-C, and say how to publish, consume and query.")
    var keep = false

    @Option(help: "Events per second; 0 publishes as fast as it goes.")
    var rate: Double = 2_000

    @Option(help: ArgumentHelp("Pipeline with data/analysis.csv (default: topics/housing).", valueName: "path"))
    var pipeline: String?

    @Option(help: "Instances of each consumer.")
    var instances = 1

    @OptionGroup var data: DataOption
    @OptionGroup var output: OutputOption

    /// Longest wait for outcomes after the last publication.
    static let settleSecondsMax = 120.0
    static let startSecondsMax = 90.0

    mutating func run() throws {
        guard rate >= 0, rate.isFinite else { throw CommandFailure.usage("--rate: 0 or more events per second") }
        Interrupt.hold()
        let path = PipelineLocator.absolute(try pipeline ?? PipelineLocator.standard())
        let directory = DataDirectory(path: data.path ?? "\(data.directory.path)/demo")
        let run = DemoRun(
            pipelinePath: path, data: directory, rate: rate, instances: instances, isJSON: output.isJSON)
        let report = try run.execute(keep: keep)
        if let failed = report.checks.first(where: { !$0.isMet }) {
            throw CommandFailure("the demo's check failed: \(failed.name): \(failed.detail)")
        }
    }
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
