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
            Starts a private stack (or uses the running one with --running), publishes events made from the pipeline's
            analysis data under new ids, and waits until each is a row. At --rate 0 it publishes as fast as the path
            takes events, holding at most --window of them on the way: throughput and CPU are then the figures to look
            at, latency includes queueing. At a fixed rate latency is the figure to look at.

            Example: penstock bench --events 200000
            Example: penstock bench --rate 1000 --events 20000 --output json
            """)

    @Option(help: "Events to publish.")
    var events = 100_000

    @Option(help: "Events per second; 0 as fast as they are taken.")
    var rate: Double = 0

    @Option(help: "Most events on the way. The embedded broker forgets what is more than 5 MiB behind in a partition.")
    var window = 8_000

    @Option(help: "json, cloudevents-binary, cloudevents-structured or mixed.")
    var format: WireFormat = .json

    @Option(help: ArgumentHelp("Pipeline with data/analysis.csv (default: topics/housing).", valueName: "path"))
    var pipeline: String?

    @Option(help: "Instances of each consumer of a private stack.")
    var instances = 1

    @Flag(help: "Use the running deployment instead of a private stack.")
    var running = false

    @OptionGroup var data: DataOption
    @OptionGroup var output: OutputOption

    mutating func run() throws {
        guard events > 0, window > 0, rate >= 0, rate.isFinite else {
            throw CommandFailure.usage("--events and --window: at least 1; --rate: 0 or more")
        }
        Interrupt.hold()
        let path = PipelineLocator.absolute(try pipeline ?? PipelineLocator.standard())
        let contract = try PipelineLoader.load(path: path)
        let directory = running ? data.directory : DataDirectory(path: data.path ?? "\(data.directory.path)/bench")
        var stack: BackgroundStack?
        defer { stack?.stop(seconds: 60) }
        if !running {
            stack = try PrivateStack(data: directory, pipelinePath: path, instances: instances).start(contract)
        }
        let state = try DeploymentState.ofRunning(directory)
        let bench = PathBenchmark(
            contract: contract, data: directory, state: state, events: events, rate: rate, window: window,
            format: format)
        let report = try bench.run()
        if output.isJSON { try Console.print(json: report) } else { report.show() }
    }
}

/// A stack of its own in an emptied data directory, with a model that fits the pipeline.
struct PrivateStack {
    let data: DataDirectory
    let pipelinePath: String
    let instances: Int
    var isQuiet = false

    /// Returns once every process is ready.
    func start(_ contract: Pipeline) throws -> BackgroundStack {
        try data.prepare()
        do {
            let _ = try data.lock()
            try data.clear(keeping: ["artifacts"])
            try data.prepare()
        }
        try ModelMaker(contract: contract, pipelinePath: pipelinePath, folder: data.artifacts).make()
        let programs = Programs.directory
        var configuration = DeploymentConfiguration(
            data: data, programs: programs, pipeline: pipelinePath, artifacts: data.artifacts,
            broker: MockBrokerProvider(
                executable: "\(programs)/embedded-broker",
                topics: contract.topicSettings.map { ($0.topic, $0.partitions) }),
            postgres: nil)
        configuration.instances = instances
        let stack = try BackgroundStack.start(configuration, exitsWithParent: true)
        _ = try stack.waitUntilReady(seconds: DemoCommand.startSecondsMax) { Progress.wait(for: $0) }
        return stack
    }
}

/// Publishes, waits and measures.
struct PathBenchmark {
    static let stallSecondsMax = 60.0

    let contract: Pipeline
    let data: DataDirectory
    let state: DeploymentState
    let events: Int
    let rate: Double
    let window: Int
    let format: WireFormat

    func run() throws -> BenchReport {
        guard let servers = state.bootstrapServers else { throw CommandFailure("the broker is not ready") }
        let source = try EventFile(
            path: "\(contract.directory)/data/analysis.csv", input: contract.input,
            template: try KeyTemplate("{Latitude}:{Longitude}")
        ).events
        let prefix = "bench-\(Timestamp.microseconds)"
        let encoder = EventEncoder(
            source: contract.input.identity?.source ?? "/\(contract.name)/bench",
            type: "dev.penstock.\(contract.name).event")
        let idField = contract.input.identity?.idField ?? "id"
        let connection = try StackDatabase.connect(data: data)
        let sinks = state.processes.filter { $0.name.hasPrefix(Deployment.sink) }
        let before = sinkRecords(sinks)
        let cpuBefore = cpuSeconds()
        var configuration = try KafkaConfiguration.producerDefaults(
            bootstrapServers: servers, clientID: "penstock-bench")
        try configuration.set("statistics.interval.ms", "0")
        let publisher = try Publisher(configuration: configuration, topic: contract.topics.inputs)
        let clock = ContinuousClock()
        let start = clock.now
        var progress = Progress("benchmark")
        var stored = 0
        var lastAdvance = start
        func look() throws {
            try Interrupt.check()
            let now = sinkRecords(sinks) - before
            if now > stored { lastAdvance = clock.now }
            stored = max(stored, now)
            guard clock.now - lastAdvance < .seconds(Self.stallSecondsMax) else {
                throw CommandFailure(
                    "nothing was stored for \(Int(Self.stallSecondsMax)) s, \(stored) of \(events) are; see \(data.logs)"
                )
            }
            progress.show(
                done: stored, of: events, detail: "on the way \(Numbers.grouped(publisher.sentCount - stored))")
        }
        var sent = 0
        while sent < events {
            let elapsed = start.duration(to: clock.now) / .seconds(1)
            let due = rate > 0 ? min(events, Int(elapsed * rate) + 1) : events
            let end = min(due, stored + window, sent + 500)
            while sent < end {
                let event = source[sent % source.count]
                let id = "\(prefix)-\(sent)"
                try publisher.send(
                    encoder.encode(
                        event.replacing(idField, with: JSONText.string(id), id: id), as: format.resolved(sent)))
                sent += 1
            }
            publisher.poll(milliseconds: sent < min(due, stored + window) ? 0 : 2)
            try look()
        }
        try publisher.finish()
        while stored < events {
            Pause.milliseconds(5)
            try look()
        }
        let seconds = start.duration(to: clock.now) / .seconds(1)
        let cpu = cpuSeconds().map { name, value in
            BenchReport.CPU(process: name, secondsPerMillion: (value - (cpuBefore[name] ?? 0)) * 1e6 / Double(events))
        }.sorted { $0.process < $1.process }
        progress.finish("Measured \(Numbers.grouped(events)) events")
        return BenchReport(
            events: events, rate: rate, window: window, format: format.rawValue, seconds: seconds,
            eventsPerSecond: Double(events) / seconds, rows: try rows(connection, prefix: prefix), cpu: cpu,
            cpuSecondsPerMillion: cpu.reduce(0) { $0 + $1.secondsPerMillion },
            latencies: try DemoReader.latencies(connection, contract.sink, idPrefix: prefix),
            processors: ProcessInfo.processInfo.activeProcessorCount)
    }

    /// Records that the sinks have stored, by their own count.
    private func sinkRecords(_ sinks: [DeploymentState.Process]) -> Int {
        sinks.reduce(0) { total, sink in
            guard let port = sink.healthPort, let answer = HealthProbe.get(port: port, path: "/metrics") else {
                return total
            }
            return total + Int(Metrics(text: answer.body).sum("penstock_records_consumed_total", ["stage": "sink"]))
        }
    }

    private func cpuSeconds() -> [String: Double] {
        var result = ["benchmark": ProcessFigures(pid: getpid())?.cpuSeconds ?? 0]
        for process in state.processes {
            guard let pid = process.pid else { continue }
            result[process.name] = ProcessFigures.treeCPUSeconds(pid: pid)
        }
        return result
    }

    private func rows(_ connection: PostgresConnection, prefix: String) throws -> Int {
        try connection.query(
            "SELECT count(*) FROM \(PostgresConnection.table(contract.sink)) WHERE id LIKE $1 || '-%'", [.text(prefix)]
        ).value(Int.self, row: 0, column: 0)
    }
}

struct BenchReport: Encodable {
    struct CPU: Encodable {
        var process: String
        var secondsPerMillion: Double
    }

    var events: Int
    var rate: Double
    var window: Int
    var format: String
    /// From the first publication until the last row was stored.
    var seconds: Double
    var eventsPerSecond: Double
    var rows: Int
    var cpu: [CPU]
    var cpuSecondsPerMillion: Double
    var latencies: [HopLatency]
    var processors: Int

    func show() {
        Console.heading("Throughput")
        Console.print(
            "\(Numbers.grouped(Int(eventsPerSecond))) events a second: \(Numbers.grouped(events)) in "
                + "\(Numbers.decimal(seconds, 2)) s, \(Numbers.grouped(rows)) rows, on \(processors) processors"
                + (rate > 0
                    ? ", paced at \(Numbers.decimal(rate, 0)) a second"
                    : ", at most \(Numbers.grouped(window)) on the way"))
        Console.heading("CPU seconds per million events")
        var table = Table(.left("process"), .right("CPU s"))
        for row in cpu { table.add(row.process, Numbers.decimal(row.secondsPerMillion, 1)) }
        table.add("total", Numbers.decimal(cpuSecondsPerMillion, 1))
        Console.print(table.text)
        Console.heading("Latency, milliseconds")
        Console.print(HopLatency.table(latencies).text)
    }
}
