// LoopRun: the demonstration of the closed loop: a stream that changes, and a service that follows.

import EventContracts
import Foundation
import Kafka
import LocalDeployment
import PipelineContract
import Postgres
import Transforms

struct LoopRun {
    let pipelinePath: String
    let data: DataDirectory
    let kind: StreamKind
    let seed: UInt64
    /// Events a second; the labels come on top.
    let rate: Double
    let isJSON: Bool
    /// Where the HTML report goes.
    let reportPath: String

    static let settleSecondsMax = 120.0
    /// After the last event, for requests that are still open.
    static let loopSecondsMax = 30.0

    func execute(keep: Bool) throws -> LoopReport {
        let contract = try PipelineLoader.load(path: pipelinePath)
        let stream = try HousingStream(kind: kind, folder: "\(contract.directory)/data", seed: seed)
        step(
            "Stream \(kind.rawValue): \(stream.reference.count) reference rows, \(stream.live.count) events, one label each"
        )
        try prepare(stream, contract)
        var deployment = PrivateStack(data: data, pipelinePath: pipelinePath, instances: 1)
        deployment.hasMonitors = true
        let stack = try deployment.start(contract)
        defer { stopStack(stack) }
        let state = try DeploymentState.ofRunning(data)
        step("Started \(state.processes.count) processes: \(state.processes.map(\.name).joined(separator: ", "))")
        guard let servers = state.bootstrapServers else { throw CommandFailure("the broker's address is not known") }
        let timeline = try LoopTimeline(configuration: try Self.consumer(servers), contract: contract)
        let connection = try StackDatabase.connect(data: data)
        let seconds = try publish(stream, contract, servers, timeline)
        try settle(stream, contract, connection, timeline, stack)
        let report = try makeReport(stream, contract, connection, timeline, servers: servers, seconds: seconds)
        try Data(LoopPage(report: report).html.utf8).write(to: URL(filePath: reportPath))
        if isJSON { try Console.print(json: report) } else { LoopSummary(report: report, path: reportPath).show() }
        if keep { while stack.isAlive, !Interrupt.wait(milliseconds: 500) {} }
        return report
    }

    func step(_ text: String) {
        Console.note("\(Console.styled("•", .green, isTerminal: Console.isErrorTerminal)) \(text)")
    }

    private func stopStack(_ stack: BackgroundStack) {
        if stack.stop(seconds: 60) {
            step("Stopped everything")
        } else {
            Console.note("not everything stopped within 60 s; see \(data.log(of: "supervisor"))")
        }
    }

    private static func consumer(_ servers: String) throws -> KafkaConfiguration {
        var configuration = try KafkaConfiguration.consumerDefaults(
            bootstrapServers: servers, group: "penstock-demo", clientID: "penstock-demo")
        try configuration.set("statistics.interval.ms", "0")
        return configuration
    }

    /// The stream's labelled reference rows.
    var reference: String { "\(data.artifacts)/reference.csv" }

    // MARK: Before

    /// Fits and trains on the stream's own reference rows, always anew: the model is part of what is shown.
    private func prepare(_ stream: HousingStream, _ contract: Pipeline) throws {
        try data.prepare()
        try? FileManager.default.removeItem(atPath: data.artifacts)
        try FileManager.default.createDirectory(atPath: data.artifacts, withIntermediateDirectories: true)
        try Data(stream.referenceCSV.utf8).write(to: URL(filePath: reference))
        try ModelMaker(
            contract: contract, pipelinePath: pipelinePath, folder: data.artifacts, keys: SealingKeys(data: data).folder
        ).make(
            output: isJSON ? 2 : 1,
            fit: ["--reference", reference],
            train: ["--reference", reference] + LoopEvaluation.baseArguments)
    }

    // MARK: While it runs

    private func publish(
        _ stream: HousingStream, _ contract: Pipeline, _ servers: String, _ timeline: LoopTimeline
    ) throws -> Double {
        var configuration = try KafkaConfiguration.producerDefaults(
            bootstrapServers: servers, clientID: "penstock-demo")
        try configuration.set("statistics.interval.ms", "0")
        let events = try Publisher(configuration: configuration, topic: contract.topics.inputs)
        let labels = try Publisher(configuration: configuration, topic: contract.topics.labelInputs)
        let encoder = EventEncoder(
            source: contract.input.identity?.source ?? "/\(contract.name)/demo",
            type: "dev.penstock.\(contract.name).event")
        let items = stream.items
        let clock = ContinuousClock()
        let start = clock.now
        var progress = Progress("streaming")
        var sent = 0
        for item in items {
            switch item {
            case .label(let index): try labels.send(stream.labelRecord(index))
            case .event(let index):
                try events.send(encoder.encode(stream.sourceEvent(index), as: WireFormat.mixed.resolved(index)))
                sent += 1
                while start.duration(to: clock.now) / .seconds(1) * rate < Double(sent) {
                    events.poll(milliseconds: 0)
                    labels.poll(milliseconds: 0)
                    try narrate(timeline, milliseconds: 5)
                    try Interrupt.check()
                    progress.show(
                        done: sent, of: stream.live.count,
                        detail: "event time \(stream.sourceEvent(index).time.prefix(10))")
                }
            }
        }
        try events.finish()
        try labels.finish()
        let seconds = start.duration(to: clock.now) / .seconds(1)
        progress.finish(
            "\(Console.styled("•", .green, isTerminal: Console.isErrorTerminal)) Published "
                + "\(Numbers.grouped(stream.live.count)) events and as many labels in \(Numbers.decimal(seconds, 1)) s")
        return seconds
    }

    private func narrate(_ timeline: LoopTimeline, milliseconds: Int32) throws {
        for moment in try timeline.poll(milliseconds: milliseconds) {
            let time = moment.eventTime.map { "\($0.prefix(16).replacing("T", with: " "))  " } ?? ""
            let color: Console.Style = moment.kind == .alert ? .yellow : moment.kind == .promoted ? .green : .bold
            let title = Console.styled(moment.title, color, isTerminal: Console.isErrorTerminal)
            Console.note("  \(time)\(title): \(moment.detail.prefix(220))")
        }
    }

    private func settle(
        _ stream: HousingStream, _ contract: Pipeline, _ connection: PostgresConnection, _ timeline: LoopTimeline,
        _ stack: BackgroundStack
    ) throws {
        let clock = ContinuousClock()
        let deadline = clock.now + .seconds(Self.settleSecondsMax)
        var loopDeadline = clock.now + .seconds(Self.loopSecondsMax)
        while clock.now < deadline {
            try Interrupt.check()
            try narrate(timeline, milliseconds: 200)
            guard stack.isAlive else { throw CommandFailure("the supervisor ended; see \(data.log(of: "supervisor"))") }
            guard try connection.rowCount(contract.sink) >= stream.live.count else {
                loopDeadline = clock.now + .seconds(Self.loopSecondsMax)
                continue
            }
            if timeline.openRequests.isEmpty || clock.now > loopDeadline { return }
        }
    }
}
