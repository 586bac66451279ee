// BenchCommand: `penstock bench` measures the whole path, from publication to row.

import ArgumentParser
import EventContracts
import Foundation
import Kafka
import LocalDeployment
import PipelineContract
import Postgres

struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measure throughput, CPU and latency of the whole path.",
        discussion: """
            Starts a private stack (or uses the running one with --running) and publishes events made from the pipeline's
            analysis data, with new ids and the data's keys. First at full speed: the publisher holds at most --window
            events on the way, because the embedded broker forgets what is more than 5 MiB behind in a partition. Then at
            each --rate, open loop: an event counts from the moment it was due, however late the publisher is, so that a
            stall of the path shows in every event that had to wait (no coordinated omission).

            With --detector nothing is started: the drift detector alone is measured on simulated streams, its false
            alarms, its delays and its cost (docs/drift.md).

            Example: penstock bench
            Example: penstock bench --detector
            Example: penstock bench --events 0 --rate 1000 --seconds 20 --output json
            """)

    @Option(help: "Events to publish at full speed; 0 leaves this part out.")
    var events = 200_000

    @Option(help: "Most events on the way at full speed.")
    var window = 32_000

    @Option(
        help: ArgumentHelp(
            "Events a second of a latency run; may be repeated (default: 1000 and 5000).", valueName: "n"))
    var rate: [Double] = []

    @Option(help: "Length of each latency run.")
    var seconds = 10.0

    @Flag(help: "Leave the latency runs out.")
    var throughputOnly = false

    @Option(help: "json, cloudevents-binary, cloudevents-structured or mixed.")
    var format: WireFormat = .json

    @Option(help: ArgumentHelp("Pipeline with data/analysis.csv (default: topics/housing).", valueName: "path"))
    var pipeline: String?

    @Option(help: "Partitions of each topic with more than one, on a private stack.")
    var partitions = 16

    @Option(help: "Instances of each consumer of a private stack.")
    var instances = 1

    @Option(
        help: ArgumentHelp(
            "Setting for every consumer of a private stack, as kafka.<name>=<value>; may be repeated.",
            valueName: "setting"))
    var set: [String] = []

    @Flag(help: "Use librdkafka's mock cluster as a private stack's broker, in place of the durable log.")
    var inMemoryMock = false

    @Flag(help: "Measure the drift detector on simulated streams instead of the path.")
    var detector = false

    @Flag(help: "Use the running deployment instead of a private stack.")
    var running = false

    @OptionGroup var data: DataOption
    @OptionGroup var output: OutputOption

    /// Longest latency run: more records than this wait for their arrival times in memory.
    static let latencyEventsMax = 5_000_000.0

    mutating func run() throws {
        if detector { return try DetectorBenchmark().run(isJSON: output.isJSON) }
        let rates = throughputOnly ? [] : rate.isEmpty ? [1_000, 5_000] : rate
        guard events >= 0, window > 0, seconds > 0, rates.allSatisfy({ $0 > 0 && $0.isFinite }) else {
            throw CommandFailure.usage("--events: 0 or more; --window, --rate and --seconds: more than 0")
        }
        guard rates.allSatisfy({ $0 * seconds <= Self.latencyEventsMax }) else {
            throw CommandFailure.usage("--rate times --seconds: at most \(Numbers.grouped(Int(Self.latencyEventsMax)))")
        }
        guard (1...1_000).contains(partitions) else { throw CommandFailure.usage("--partitions: choose 1 to 1000") }
        Interrupt.hold()
        let load = MachineFacts.load
        let path = PipelineLocator.absolute(try pipeline ?? PipelineLocator.standard())
        let contract = try PipelineLoader.load(path: path)
        let directory = running ? data.directory : DataDirectory(path: data.path ?? "\(data.directory.path)/bench")
        var stack: BackgroundStack?
        defer { stack?.stop(seconds: 60) }
        if !running {
            stack = try PrivateStack(
                data: directory, pipelinePath: path, instances: instances, settings: set, partitions: partitions,
                isMock: inMemoryMock
            ).start(contract)
        }
        let state = try DeploymentState.ofRunning(directory)
        let bench = try PathBenchmark(contract: contract, data: directory, state: state, format: format, window: window)
        let report = BenchReport(
            machine: try MachineFacts(loadBefore: load, connection: bench.connection), pipeline: contract.name,
            profile: "latency", format: format.rawValue, partitions: try bench.partitions(), instances: instances,
            settings: set, throughput: nil, latencies: [])
        try finish(bench, report, rates: rates)
    }

    private func finish(_ bench: PathBenchmark, _ start: BenchReport, rates: [Double]) throws {
        var report = start
        try bench.warmUp()
        if events > 0 { report.throughput = try bench.throughput(events: events) }
        for rate in rates {
            report.latencies.append(try bench.latency(rate: rate, events: max(1, Int(rate * seconds))))
        }
        if output.isJSON { try Console.print(json: report) } else { report.show() }
    }
}
