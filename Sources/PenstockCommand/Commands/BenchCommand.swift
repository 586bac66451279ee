// BenchCommand: `penstock bench` measures the whole path, from publication to row.

import ArgumentParser
import EventContracts
import Foundation
import Kafka
import LocalDeployment
import PipelineContract
import Postgres

struct BenchCommand: ParsableCommand {
    enum Profiles: String, ExpressibleByArgument, CaseIterable {
        case both, exact, latency

        var names: [String] { self == .both ? ["latency", "exact"] : [rawValue] }
    }

    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measure throughput, CPU and latency of the whole path.",
        discussion: """
            For each profile, starts a private stack (or uses the running one with --running) and publishes events made from
            the pipeline's analysis data, with new ids and the data's keys. First at full speed with at most --window events
            on the way; then a baseline that consumes and produces the same records without work; then at each --rate, open
            loop: an event counts from the moment it was due, however late the publisher is, so that a stall of the path
            shows in every event that had to wait (no coordinated omission).

            With --bootstrap-servers and --postgres the stack's consumers use that cluster and that database, whose topics
            and tables must be there ('penstock topics apply', 'prediction-sink --migrate').

            With --detector nothing is started: the drift detector alone is measured on simulated streams, its false
            alarms, its delays and its cost (docs/drift.md).

            Example: penstock bench
            Example: penstock bench --detector
            Example: penstock bench --events 0 --rate 1000 --seconds 20 --profile exact --output json
            Example: PENSTOCK_POSTGRES=postgresql://… penstock bench --bootstrap-servers kafka-1:9092
            """)

    @Option(help: "Events to publish at full speed; 0 leaves this part out.")
    var events = 200_000

    @Option(help: "Most events on the way at full speed.")
    var window = 64_000

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

    @Option(help: "Delivery profiles to measure: both, exact or latency.")
    var profile = Profiles.both

    @Option(help: ArgumentHelp("Use these Kafka brokers instead of a private one.", valueName: "host:port,…"))
    var bootstrapServers: String?

    @Option(help: ArgumentHelp("Use this PostgreSQL instead of a private one. [PENSTOCK_POSTGRES]", valueName: "url"))
    var postgres: String?

    @Flag(help: "Run ingest, transform and inference in one process on a private stack.")
    var fused = false

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
        let names = try profileNames()
        var report: BenchReport?
        for name in names {
            try measure(name, contract, path: path, rates: rates, load: load, into: &report)
        }
        guard let report else { return }
        if output.isJSON { try Console.print(json: report) } else { report.show() }
    }

    /// A running stack has its profile; the mock cluster has no transactions.
    private func profileNames() throws -> [String] {
        if running { return [try DeploymentState.ofRunning(data.directory).profile] }
        guard inMemoryMock else { return profile.names }
        guard profile != .exact else {
            throw CommandFailure.usage("--profile exact needs transactions, which the mock cluster lacks")
        }
        return ["latency"]
    }

    private func measure(
        _ name: String, _ contract: Pipeline, path: String, rates: [Double], load: Double,
        into report: inout BenchReport?
    ) throws {
        let directory = running ? data.directory : DataDirectory(path: data.path ?? "\(data.directory.path)/bench")
        var stack: BackgroundStack?
        defer { stack?.stop(seconds: 60) }
        let environment = ProcessInfo.processInfo.environment["PENSTOCK_POSTGRES"].flatMap { $0.isEmpty ? nil : $0 }
        let postgres = running ? nil : postgres ?? environment
        if !running {
            stack = try PrivateStack(
                data: directory, pipelinePath: path, instances: instances, settings: set, partitions: partitions,
                profile: name, isFused: fused, servers: bootstrapServers, postgres: postgres, isMock: inMemoryMock
            ).start(contract)
        }
        let state = try DeploymentState.ofRunning(directory)
        var bench = try PathBenchmark(
            contract: contract, data: directory, state: state, format: format, window: window,
            postgres: postgres)
        bench.isFused = fused
        let partitions = try bench.partitions()
        if report == nil {
            report = BenchReport(
                machine: try MachineFacts(loadBefore: load, connection: bench.connection), pipeline: contract.name,
                format: format.rawValue, partitions: partitions, instances: instances, settings: set, runs: [])
        }
        var run = BenchReport.Run(
            profile: fused ? "\(name), fused" : name, throughput: nil, latencies: [], baseline: nil)
        try bench.warmUp()
        if events > 0 {
            run.throughput = try bench.throughput(events: events)
            // The mock cluster knows no administration, so there is no scratch topic.
            if !inMemoryMock {
                run.baseline = try Relay(servers: bench.servers, topic: contract.topics.inputs, partitions: partitions)
                    .measure(recordsMax: events)
            }
        }
        for rate in rates {
            run.latencies.append(try bench.latency(rate: rate, events: max(1, Int(rate * seconds))))
        }
        report?.runs.append(run)
    }
}
