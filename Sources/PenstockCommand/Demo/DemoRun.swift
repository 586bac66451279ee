// DemoRun: the steps of the demo.

import EventContracts
import Foundation
import Kafka
import LocalDeployment
import PipelineContract
import Postgres

struct DemoRun {
    let pipelinePath: String
    let data: DataDirectory
    let rate: Double
    let instances: Int
    let isJSON: Bool

    func execute(keep: Bool) throws -> DemoReport {
        let diagnostics = PipelineLinter.lint(path: pipelinePath)
        for diagnostic in diagnostics { Console.note("\(diagnostic)") }
        let contract = try PipelineLoader.load(path: pipelinePath)
        step("Contract \(contract.name): \(contract.input.schema.fields.count) fields, no mistakes")
        let maker = ModelMaker(
            contract: contract, pipelinePath: pipelinePath, folder: data.artifacts, keys: SealingKeys(data: data).folder
        )
        if let present = maker.present {
            step("Model of an earlier demo: \(present)")
        } else {
            step("Fitting and training, because there is no model for this contract yet")
            try data.prepare()
            try maker.make(output: isJSON ? 2 : 1)
        }
        let stack = try PrivateStack(data: data, pipelinePath: pipelinePath, instances: instances).start(contract)
        defer { stopStack(stack) }
        let state = try DeploymentState.ofRunning(data)
        try Interrupt.check()
        step("Started \(state.processes.count) processes: \(state.processes.map(\.name).joined(separator: ", "))")
        let servers = try unwrap(state.bootstrapServers, "the broker's address")
        let connection = try StackDatabase.connect(data: data)
        let reader = DemoReader(
            contract: contract, connection: connection,
            reader: try TopicReader(configuration: try Self.consumerConfiguration(servers)))

        let plan = try makePlan(contract)
        let (publisher, publishSeconds) = try publish(plan, contract: contract, servers: servers, reader: reader)
        try settle(plan, reader: reader, stack: stack)
        let positions = publisher.positions.compactMap { $0 }
        let report = try makeReport(
            plan, positions: positions, publishSeconds: publishSeconds, contract: contract, reader: reader)
        if isJSON { try Console.print(json: report) } else { DemoSummary(report: report).show() }
        if keep, report.checks.allSatisfy(\.isMet) {
            DemoHints(contract: contract, pipelinePath: pipelinePath, data: data, servers: servers).show()
            while stack.isAlive, !Interrupt.wait(milliseconds: 500) {}
        }
        return report
    }

    private func step(_ text: String) {
        Console.note("\(Console.styled("•", .green, isTerminal: Console.isErrorTerminal)) \(text)")
    }

    private func unwrap<T>(_ value: T?, _ name: String) throws(CommandFailure) -> T {
        guard let value else {
            throw CommandFailure("\(name) is not known although everything is ready; see \(data.logs)")
        }
        return value
    }

    private static func consumerConfiguration(_ servers: String) throws -> KafkaConfiguration {
        var configuration = try KafkaConfiguration.consumerDefaults(
            bootstrapServers: servers, group: "penstock-demo", clientID: "penstock-demo")
        try configuration.set("statistics.interval.ms", "0")
        return configuration
    }

    private func stopStack(_ stack: BackgroundStack) {
        if stack.stop(seconds: 60) {
            step("Stopped everything")
        } else {
            Console.note("not everything stopped within 60 s; see \(data.log(of: "supervisor"))")
        }
    }

    // MARK: Events

    private func makePlan(_ contract: Pipeline) throws -> DemoPlan {
        let file = "\(contract.directory)/data/analysis.csv"
        let events = try EventFile(
            path: file, input: contract.input, template: try KeyTemplate("{Latitude}:{Longitude}")
        ).events.sorted { $0.time < $1.time }
        let ahead = Timestamp.microseconds + 365 * 86_400 * 1_000_000
        let plan = DemoPlan(
            events: events,
            encoder: EventEncoder(
                source: contract.input.identity?.source ?? "/\(contract.name)/demo",
                type: "dev.penstock.\(contract.name).event"),
            futureTime: Timestamp.text(microseconds: ahead))
        step(
            "\(Numbers.grouped(plan.rowCount)) events in three formats, \(plan.deadLetterCount) damaged in "
                + "\(DamageKind.allCases.count) ways, \(plan.duplicateCount) repeats")
        return plan
    }

    private func publish(
        _ plan: DemoPlan, contract: Pipeline, servers: String, reader: DemoReader
    ) throws -> (Publisher, Double) {
        var configuration = try KafkaConfiguration.producerDefaults(
            bootstrapServers: servers, clientID: "penstock-demo")
        try configuration.set("statistics.interval.ms", "0")
        let publisher = try Publisher(configuration: configuration, topic: contract.topics.inputs)
        let clock = ContinuousClock()
        let start = clock.now
        var nextLook = start
        var progress = Progress("publishing")
        try publisher.sendAll(count: plan.items.count, rate: rate) {
            plan.items[$0].event
        } onProgress: { sent in
            guard clock.now >= nextLook else { return }
            nextLook = clock.now + .milliseconds(250)
            try Interrupt.check()
            progress.show(done: sent, of: plan.items.count, detail: Self.detail(try reader.counts(), sent: sent))
        }
        let seconds = start.duration(to: clock.now) / .seconds(1)
        progress.finish(
            "\(Console.styled("•", .green, isTerminal: Console.isErrorTerminal)) Published "
                + "\(Numbers.grouped(plan.items.count)) records in \(Numbers.decimal(seconds, 1)) s")
        return (publisher, seconds)
    }

    private static func detail(_ counts: DemoReader.Counts, sent: Int) -> String {
        "rows \(Numbers.grouped(counts.rows)), dead letters \(counts.deadLetters), repeats \(counts.duplicates), "
            + "on the way \(Numbers.grouped(max(0, sent - counts.total)))"
    }

    /// Waits until each record has its outcome. Stays quiet about what is wrong: the checks name it.
    private func settle(_ plan: DemoPlan, reader: DemoReader, stack: BackgroundStack) throws {
        let clock = ContinuousClock()
        let start = clock.now
        let deadline = start + .seconds(DemoCommand.settleSecondsMax)
        var progress = Progress("finishing")
        var counts = try reader.counts()
        while counts.total < plan.items.count, clock.now < deadline {
            try Interrupt.check()
            guard stack.isAlive else {
                throw CommandFailure("the supervisor ended; see \(data.log(of: "supervisor"))")
            }
            progress.show(
                done: counts.total, of: plan.items.count, detail: Self.detail(counts, sent: plan.items.count))
            Pause.milliseconds(100)
            counts = try reader.counts()
        }
        let seconds = start.duration(to: clock.now) / .seconds(1)
        let mark = Console.styled("•", .green, isTerminal: Console.isErrorTerminal)
        progress.finish(
            counts.total < plan.items.count
                ? "Only \(Numbers.grouped(counts.total)) of \(Numbers.grouped(plan.items.count)) records have an outcome "
                    + "after \(Numbers.decimal(seconds, 0)) s"
                : "\(mark) Every record has its outcome \(Numbers.decimal(seconds, 1)) s after the last publication")
    }

    // MARK: Report

    private func makeReport(
        _ plan: DemoPlan, positions: [Publisher.Position], publishSeconds: Double, contract: Pipeline,
        reader: DemoReader
    ) throws -> DemoReport {
        let outcome = try reader.outcome()
        let verifier = DemoVerifier(plan: plan, positions: positions, outcome: outcome)
        let labels = try CSV(path: "\(contract.directory)/data/analysis_labels.csv")
        let (idColumn, labelColumn) = (try labels.index(of: "id"), try labels.index(of: "clf_target"))
        let byID = Dictionary(
            labels.rows.map { ($0[idColumn], UInt8($0[labelColumn]) ?? 0) }, uniquingKeysWith: { first, _ in first })
        let (months, unlabelled) = MonthlyQuality.compute(
            outcome.rows, labels: byID, threshold: contract.model.decisionThreshold)
        var checks = verifier.checks()
        checks.append(
            DemoCheck(
                name: "every row has a label to be judged by", isMet: unlabelled == 0 && !months.isEmpty,
                detail: unlabelled == 0 ? "\(months.count) months" : "\(unlabelled) rows without a label"))
        let span = try reader.span()
        checks.append(
            DemoCheck(
                name: "one model made all predictions", isMet: span.models.count == 1,
                detail: span.models.joined(separator: "; ")))
        let state = try DeploymentState.ofRunning(data)
        let restarts = state.processes.reduce(0) { $0 + $1.restarts }
        checks.append(
            DemoCheck(
                name: "no process had to be restarted", isMet: restarts == 0,
                detail: restarts == 0
                    ? "\(state.processes.count) processes"
                    : state.processes.filter { $0.restarts > 0 }.map { "\($0.name) \($0.restarts)" }.joined(
                        separator: ", ")))
        return DemoReport(
            published: plan.items.count, rows: outcome.rows.count,
            deadLetters: Set(outcome.deadLetters.map(\.origin)).count, duplicates: Set(outcome.duplicates).count,
            publishSeconds: publishSeconds, seconds: span.seconds,
            eventsPerSecond: Double(plan.items.count) / max(span.seconds, 1e-6), models: span.models, checks: checks,
            codes: verifier.codes().map { DemoReport.Code(code: $0.code, expected: $0.expected, found: $0.found) },
            months: months, latencies: try DemoReader.latencies(reader.connection, contract.sink), restarts: restarts)
    }
}
