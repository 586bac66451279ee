// PathBenchmark: publishes, waits and measures, on a stack that is ready.

import EventContracts
import Foundation
import Kafka
import LocalDeployment
import PipelineContract
import Postgres

/// One run against one stack.
struct PathBenchmark {
    static let stallSecondsMax = 60.0
    /// Before anything counts: connections, prepared statements, partitions of the table, caches.
    static let warmUpEvents = 4_000
    /// Between two looks at the sink's counter, which costs both sides a little.
    static let lookMilliseconds = 50
    /// Between the event times of two events at full speed: they rise, as those of a live stream do.
    static let eventTimeStepMicroseconds = 16.0

    let contract: Pipeline
    let state: DeploymentState
    let servers: String
    let connection: PostgresConnection
    let format: WireFormat
    /// Most events on the way in the closed loop.
    let window: Int
    /// Ingest, transform and inference share a process: no events and features in between.
    var isFused = false

    private let source: [SourceEvent]
    private let encoder: EventEncoder
    private let sinks: [DeploymentState.Process]

    init(
        contract: Pipeline, data: DataDirectory, state: DeploymentState, format: WireFormat, window: Int,
        postgres: String? = nil
    ) throws {
        guard let servers = state.bootstrapServers else { throw CommandFailure("the broker is not ready") }
        self.contract = contract
        self.state = state
        self.servers = servers
        self.format = format
        self.window = window
        connection =
            try postgres.map { try PostgresConnection(PostgresOptions(url: $0, applicationName: "penstock")) }
            ?? StackDatabase.connect(data: data)
        source = try EventFile(
            path: "\(contract.directory)/data/analysis.csv", input: contract.input,
            template: try KeyTemplate("{Latitude}:{Longitude}")
        ).events
        encoder = EventEncoder(
            source: contract.input.identity?.source ?? "/\(contract.name)/bench",
            type: "dev.penstock.\(contract.name).event")
        sinks = state.processes.filter { $0.name.hasPrefix(Deployment.sink) }
    }

    // MARK: Throughput

    /// Publishes as fast as the window allows and waits for the last row.
    func throughput(events: Int) throws -> BenchReport.Throughput {
        let prefix = Self.freshPrefix()
        // Encoding is the publisher's business, not the path's.
        let outgoing = self.events(events, prefix, stepMicroseconds: Self.eventTimeStepMicroseconds)
        let publisher = try publisher(linger: "1")
        let before = storedRecords()
        let meter = CostMeter(state)
        let clock = ContinuousClock()
        var progress = Progress("throughput ")
        var (sent, stored) = (0, 0)
        let start = clock.now
        var (lastLook, lastAdvance) = (start, start)
        func look() throws {
            try Interrupt.check()
            lastLook = clock.now
            let now = storedRecords() - before
            if now > stored { lastAdvance = lastLook }
            stored = max(stored, now)
            progress.show(done: stored, of: events, detail: "on the way \(Numbers.grouped(sent - stored))")
            guard lastLook - lastAdvance < .seconds(Self.stallSecondsMax) else {
                throw CommandFailure(
                    "nothing was stored for \(Int(Self.stallSecondsMax)) s, \(stored) of \(events) are: see the logs")
            }
        }
        while stored < events {
            let end = min(events, stored + window, sent + 1_000)
            while sent < end {
                try publisher.send(outgoing[sent])
                sent += 1
            }
            publisher.poll(milliseconds: sent < min(events, stored + window) ? 0 : 1)
            if clock.now - lastLook >= .milliseconds(Self.lookMilliseconds) { try look() }
        }
        let seconds = start.duration(to: clock.now) / .seconds(1)
        try publisher.finish()
        let costs = meter.costs(events: events)
        progress.finish("Measured \(Numbers.grouped(events)) events at full speed")
        let hops = Deployment.stages.filter { $0 != Deployment.sink }
        return BenchReport.Throughput(
            events: events, window: window, seconds: seconds, eventsPerSecond: Double(events) / seconds,
            rows: try rowCount(prefix), costs: costs,
            threeHopCPUSecondsPerMillion: costs.filter { cost in hops.contains { cost.process.hasPrefix($0) } }
                .reduce(0) { $0 + $1.cpuSecondsPerMillion },
            totalCPUSecondsPerMillion: costs.reduce(0) { $0 + $1.cpuSecondsPerMillion })
    }

    // MARK: Latency

    /// Publishes at a fixed rate whatever happens behind, and compares each event's times with the moment it was due.
    func latency(rate: Double, events: Int) throws -> BenchReport.Latency {
        let prefix = Self.freshPrefix()
        let outgoing = self.events(events, prefix, stepMicroseconds: 1e6 / rate)
        let publisher = try publisher(linger: "0")
        let topics =
            (isFused ? [] : [contract.topics.events, contract.topics.features]) + [contract.topics.predictions]
        let watches = try topics.map { topic in
            try VisibilityWatch(
                configuration: try configured(
                    KafkaConfiguration.consumerDefaults(
                        bootstrapServers: servers, group: "penstock-bench", clientID: "penstock-bench")),
                topic: topic, idPrefix: prefix, events: events, isMock: !state.isBrokerDurable)
        }
        for watch in watches { watch.start() }
        let meter = CostMeter(state)
        // A whole millisecond, as Kafka's timestamps are: at 1,000 a second no event's time is rounded.
        let start = (Timestamp.microseconds / 1_000 + 100) * 1_000
        func due(_ index: Int) -> Int64 { start + Int64(Double(index) * 1e6 / rate) }
        var lateness: [Int64] = []
        lateness.reserveCapacity(events)
        var sent = 0
        while sent < events {
            let now = Timestamp.microseconds
            while sent < events, due(sent) <= now {
                try publisher.send(outgoing[sent], timestampMilliseconds: due(sent) / 1_000)
                lateness.append(now - due(sent))
                sent += 1
            }
            publisher.poll(milliseconds: 0)
            guard sent < events else { break }
            try Interrupt.check()
            Pause.microseconds(due(sent) - Timestamp.microseconds)
        }
        try publisher.finish()
        for watch in watches { try wait(for: watch, events: events) }
        let arrivals = try watches.map { try $0.stop() }
        try waitForRows(prefix, events: events)
        let costs = meter.costs(events: events)
        let names = isFused ? ["prediction"] : ["event", "features", "prediction"]
        let hops = Self.visibleHops(names, arrivals, due: due) + (try storedHops(prefix, due: due))
        Console.note("Measured \(Numbers.grouped(events)) events at \(Numbers.decimal(rate, 0)) a second")
        return BenchReport.Latency(
            rate: rate, events: events, costs: costs, hops: hops,
            publisherLateness: LatencySummary(hop: "(publisher behind its schedule)", microseconds: lateness))
    }

    /// From one topic to the next, as a read_committed consumer sees it; and from the moment the event was due.
    private static func visibleHops(
        _ names: [String], _ arrivals: [[Int64]], due: (Int) -> Int64
    ) -> [LatencySummary] {
        var hops: [LatencySummary?] = []
        for (index, name) in names.enumerated() {
            let times = arrivals[index].indices.compactMap { number -> Int64? in
                let before = index == 0 ? due(number) : arrivals[index - 1][number]
                return arrivals[index][number] > 0 && before > 0 ? arrivals[index][number] - before : nil
            }
            let from = index == 0 ? "due" : names[index - 1]
            hops.append(LatencySummary(hop: "visible: \(from) -> \(name)", microseconds: times))
        }
        guard names.count > 1, let last = arrivals.last else { return hops.compactMap { $0 } }
        let whole = last.indices.compactMap { last[$0] > 0 ? last[$0] - due($0) : nil }
        hops.append(LatencySummary(hop: "visible: due -> prediction", microseconds: whole))
        return hops.compactMap { $0 }
    }

    private func wait(for watch: VisibilityWatch, events: Int) throws {
        let clock = ContinuousClock()
        let deadline = clock.now + .seconds(Self.stallSecondsMax)
        while watch.count < events {
            try Interrupt.check()
            guard clock.now < deadline else {
                throw CommandFailure(
                    "\(events - watch.count) of \(events) records did not become visible: see the logs")
            }
            Pause.milliseconds(20)
        }
    }

    private func waitForRows(_ prefix: String, events: Int) throws {
        let clock = ContinuousClock()
        let deadline = clock.now + .seconds(Self.stallSecondsMax)
        while try rowCount(prefix) < events {
            try Interrupt.check()
            guard clock.now < deadline else { throw CommandFailure("not all events became rows: see the logs") }
            Pause.milliseconds(50)
        }
    }

    /// Latencies from the time columns of the rows, by hop.
    private func storedHops(_ prefix: String, due: (Int) -> Int64) throws -> [LatencySummary] {
        let columns = ["ingested_at", "transformed_at", "predicted_at", "stored_at"]
        let times = columns.map { "(extract(epoch FROM \($0)) * 1000000)::int8" }.joined(separator: ", ")
        let rows = try connection.query(
            "SELECT substr(id, length($1) + 2)::int8, \(times) FROM \(PostgresConnection.table(contract.sink))"
                + " WHERE id LIKE $1 || '-%'", [.text(prefix)])
        let names = [
            "processed: due -> ingest", "processed: ingest -> transform", "processed: transform -> predict",
            "predict -> row", "due -> row",
        ]
        var hops = [[Int64]](repeating: [], count: names.count)
        for row in 0..<rows.rowCount {
            var previous = due(try rows.value(row: row, column: 0))
            let first = previous
            for column in columns.indices {
                let time: Int64 = try rows.value(row: row, column: column + 1)
                hops[column].append(time - previous)
                previous = time
            }
            hops[columns.count].append(previous - first)
        }
        return zip(names, hops).compactMap { LatencySummary(hop: $0, microseconds: $1) }
    }

    // MARK: Small things

    func warmUp() throws {
        _ = try throughput(events: Self.warmUpEvents)
    }

    /// Of the input topic.
    func partitions() throws -> Int {
        try Consumer(
            configuration: try configured(
                KafkaConfiguration.consumerDefaults(
                    bootstrapServers: servers, group: "penstock-bench", clientID: "penstock-bench"))
        ).topics(named: [contract.topics.inputs], timeoutMilliseconds: TopicReader.requestMilliseconds)
            .flatMap(\.partitions).count
    }

    private static func freshPrefix() -> String { "bench-\(Timestamp.microseconds)" }

    /// New events made from the analysis data: ids of this run, event times from now on, the data's keys.
    private func events(_ count: Int, _ prefix: String, stepMicroseconds: Double) -> [OutgoingEvent] {
        let start = Timestamp.microseconds
        let idField = contract.input.identity?.idField ?? "id"
        return (0..<count).map { index in
            let id = "\(prefix)-\(index)"
            let time = RFC3339.text(start + Int64(Double(index) * stepMicroseconds))
            var event = source[index % source.count].replacing(idField, with: JSONText.string(id), id: id)
            if let field = contract.input.eventTimeField {
                event = event.replacing(field, with: JSONText.string(time))
            }
            event.time = time
            return encoder.encode(event, as: format.resolved(index))
        }
    }

    private func publisher(linger: String) throws -> Publisher {
        var configuration = try configured(
            KafkaConfiguration.producerDefaults(bootstrapServers: servers, clientID: "penstock-bench"))
        try configuration.set("linger.ms", linger)
        return try Publisher(configuration: configuration, topic: contract.topics.inputs)
    }

    private func configured(_ configuration: KafkaConfiguration) throws -> KafkaConfiguration {
        var configuration = configuration
        try configuration.set("statistics.interval.ms", "0")
        return configuration
    }

    /// Records that the sinks have stored, by their own count.
    private func storedRecords() -> Int {
        sinks.reduce(0) { total, sink in
            guard let port = sink.healthPort, let answer = HealthProbe.get(port: port, path: "/metrics") else {
                return total
            }
            let name = "penstock_records_consumed_total"
            return total + Int(Metrics(text: answer.body, named: name).sum(name, ["stage": "sink"]))
        }
    }

    private func rowCount(_ prefix: String) throws -> Int {
        try connection.query(
            "SELECT count(*) FROM \(PostgresConnection.table(contract.sink)) WHERE id LIKE $1 || '-%'", [.text(prefix)]
        ).value(Int.self, row: 0, column: 0)
    }
}

/// CPU and memory of the stack's processes and of this one, over an interval.
struct CostMeter {
    private let processes: [(name: String, pid: Int32)]
    private let before: [Double]

    init(_ state: DeploymentState) {
        processes =
            state.processes.compactMap { process in process.pid.map { (process.name, $0) } }
            + [("(publisher)", ProcessInfo.processInfo.processIdentifier)]
        before = processes.map { Self.cpuSeconds($0.pid) }
    }

    func costs(events: Int) -> [BenchReport.Cost] {
        zip(processes, before).map { process, before in
            let tree = [process.pid] + ProcessFigures.children(of: process.pid)
            let isAlone = process.name == "(publisher)"
            return BenchReport.Cost(
                process: process.name,
                cpuSecondsPerMillion: (Self.cpuSeconds(process.pid) - before) * 1e6 / Double(events),
                peakResidentBytes: (isAlone ? [process.pid] : tree).map { MachineFacts.peakResidentBytes(pid: $0) }
                    .max() ?? 0)
        }
    }

    /// This process's children are the stack: they count for themselves.
    private static func cpuSeconds(_ pid: Int32) -> Double {
        pid == ProcessInfo.processInfo.processIdentifier
            ? ProcessFigures(pid: pid)?.cpuSeconds ?? 0 : ProcessFigures.treeCPUSeconds(pid: pid)
    }
}
