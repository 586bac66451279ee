// ChaosRun: one run of `penstock chaos`.

import EventContracts
import Foundation
import Glibc
import Kafka
import LocalDeployment
import PipelineContract
import Synchronization

struct ChaosRun {
    /// Longest wait for the stack to come to rest after the last event.
    static let settleSecondsMax = 300.0
    static let oracleSecondsMax = 300.0
    /// Longest wait for a killed process to be started again.
    static let restartSecondsMax = 120
    static let pauseMillisecondsMax = 500

    let contract: Pipeline
    let pipelinePath: String
    let data: DataDirectory
    let kills: Int
    let events: Int
    let rate: Double
    let seed: UInt64
    let victims: ChaosCommand.Victims
    let instances: Int
    let profile: String
    /// A cluster that somebody else runs; nil for a private broker.
    let bootstrapServers: String?

    func execute() throws -> ChaosReport {
        Console.note("Chaos: replay it with --seed \(seed)")
        var privateStack = PrivateStack(
            data: data, pipelinePath: pipelinePath, instances: instances, isSealed: false)
        privateStack.profile = profile
        privateStack.servers = bootstrapServers
        let stack = try privateStack.start(contract)
        defer { stack.stop(seconds: 60) }
        let plan = try plan()
        let publication = try Publication(plan, rate: rate, topic: contract.topics.inputs, servers: servers())
        let clock = ContinuousClock()
        let start = clock.now
        publication.start()
        let killed = try kill(during: publication, of: plan.items.count, stack)
        try wait(for: publication, count: plan.items.count, stack)
        let published = clock.now
        try settle(stack)
        let settled = clock.now
        let (text, exit) = try judge()
        return ChaosReport(
            seed: seed, profile: profile, kills: killed.values.reduce(0, +), killed: killed,
            published: plan.items.count, publishSeconds: start.duration(to: published) / .seconds(1),
            settleSeconds: published.duration(to: settled) / .seconds(1), oracle: text, oracleExit: exit)
    }

    private func servers() throws -> String {
        guard let servers = try DeploymentState.ofRunning(data).bootstrapServers else {
            throw CommandFailure("the broker is not ready")
        }
        return servers
    }

    private func plan() throws -> DemoPlan {
        let source = try EventFile(
            path: "\(contract.directory)/data/analysis.csv", input: contract.input,
            template: try KeyTemplate("{Latitude}:{Longitude}")
        ).events.sorted { $0.time < $1.time }
        let idField = contract.input.identity?.idField ?? "id"
        let wanted = (0..<events).map { index in
            let event = source[index % source.count]
            guard index >= source.count else { return event }
            let id = "\(event.id)-\(index / source.count)"
            return event.replacing(idField, with: JSONText.string(id), id: id)
        }
        return DemoPlan(
            events: wanted,
            encoder: EventEncoder(
                source: contract.input.identity?.source ?? "/\(contract.name)/chaos",
                type: "dev.penstock.\(contract.name).event"),
            futureTime: Timestamp.text(microseconds: Timestamp.microseconds + 365 * 86_400 * 1_000_000), seed: seed)
    }

    // MARK: Killing

    /// The publisher's progress is the clock, with a random part, so that a replay kills at the same events. The publisher waits
    /// for a kill that is late because its victim is just being started again.
    private func kill(
        during publication: Publication, of count: Int, _ stack: BackgroundStack
    ) throws -> [String: Int] {
        var generator = SeededGenerator(seed: seed)
        var killed: [String: Int] = [:]
        var progress = Progress("killing")
        let names = try DeploymentState.ofRunning(data).processes.map(\.name).filter(isWanted).sorted()
        let step = max(1, count / (kills + 1))
        for number in 0..<kills {
            let moment = min(step * (number + 1) + Int.random(in: 0..<step, using: &generator), count)
            publication.allow(upTo: moment + step)
            while try publication.sent() < moment {
                try check(stack)
                Pause.milliseconds(5)
            }
            guard let name = names.randomElement(using: &generator) else { break }
            // It may be starting, catching up, or in the middle of its work.
            Pause.milliseconds(Int.random(in: 0..<Self.pauseMillisecondsMax, using: &generator))
            try killOne(name, stack)
            killed[name, default: 0] += 1
            progress.show(done: number + 1, of: kills, detail: name)
        }
        publication.allow(upTo: .max)
        progress.finish("Killed \(kills) times")
        return killed
    }

    /// Waits until the process is alive.
    private func killOne(_ name: String, _ stack: BackgroundStack) throws {
        let deadline = ContinuousClock.now + .seconds(Self.restartSecondsMax)
        while true {
            let process = try DeploymentState.ofRunning(data).processes.first { $0.name == name }
            // The state file may be older than the death of a process.
            if let process, let pid = process.pid, ProcessFigures(pid: pid)?.startTicks == process.startTicks {
                return SpawnedProcess.signal(pid, SIGKILL)
            }
            try check(stack)
            guard ContinuousClock.now < deadline else {
                throw CommandFailure("\(name) does not come back: see \(data.log(of: name))")
            }
            Pause.milliseconds(20)
        }
    }

    private func isWanted(_ name: String) -> Bool {
        switch victims {
        case .everything: true
        case .all: name != Deployment.postgres
        case .broker: name == Deployment.broker
        case .postgresql: name == Deployment.postgres
        case .consumers: name != Deployment.broker && name != Deployment.postgres
        }
    }

    private func check(_ stack: BackgroundStack) throws {
        try Interrupt.check()
        guard stack.isAlive else {
            throw CommandFailure("the supervisor ended; see \(data.log(of: "supervisor"))")
        }
    }

    // MARK: Coming to rest

    private func wait(for publication: Publication, count: Int, _ stack: BackgroundStack) throws {
        var progress = Progress("publishing")
        while !(try publication.isFinished()) {
            try check(stack)
            progress.show(done: try publication.sent(), of: count)
            Pause.milliseconds(50)
        }
        progress.finish("Published \(Numbers.grouped(count)) records")
    }

    /// Every group stands at the end of its input: a stage commits only what is durable, so its output has its final end.
    private func settle(_ stack: BackgroundStack) throws {
        let clock = ContinuousClock()
        let deadline = clock.now + .seconds(Self.settleSecondsMax)
        var progress = Progress("coming to rest")
        var first: Int64 = 0
        while true {
            try check(stack)
            // Fails while a broker is on its way back.
            let lag = try? totalLag()
            if lag == 0 { break }
            guard clock.now < deadline else {
                throw CommandFailure(
                    "not at rest after \(Int(Self.settleSecondsMax)) s, lag \(lag.map(String.init) ?? "unknown"): see "
                        + "penstock status and the logs in \(data.logs)")
            }
            if let lag {
                first = max(first, lag)
                progress.show(done: Int(first - lag), of: Int(first))
            }
            Pause.milliseconds(200)
        }
        progress.finish("Everything is at rest")
    }

    private func totalLag() throws -> Int64 {
        var cluster = ClusterOptions()
        cluster.data = DataOption()
        cluster.data.path = data.path
        cluster.bootstrapServers = try servers()
        cluster.set = []
        return try GroupLag.read(contract.topics, cluster: cluster).reduce(0) { $0 + $1.lag }
    }

    private func judge() throws -> (text: String, exit: String) {
        let log = data.log(of: "oracle")
        try? FileManager.default.removeItem(atPath: log)
        guard let url = Deployment.url(.owner, data: data) else { throw CommandFailure("PostgreSQL's address is gone") }
        let pid = try SpawnedProcess.spawn(
            Launch(
                executable: "\(Programs.directory)/penstock-oracle",
                arguments: [
                    "--pipeline", pipelinePath, "--artifacts", data.artifacts, "--bootstrap-servers", try servers(),
                    "--profile", profile, "--timeout-seconds", "\(Int(Self.oracleSecondsMax))",
                ], environment: ["PENSTOCK_POSTGRES": url]), log: log)
        while true {
            if let status = SpawnedProcess.reap(pid) {
                let text = FileManager.default.contents(atPath: log).map { String(decoding: $0, as: UTF8.self) } ?? ""
                return (text, "\(status)")
            }
            do {
                try Interrupt.check()
            } catch {
                SpawnedProcess.signal(pid, SIGKILL)
                throw error
            }
            Pause.milliseconds(50)
        }
    }
}

/// Publishes a plan on a thread of its own.
final class Publication: Sendable {
    private struct State {
        var sent = 0
        var isFinished = false
        var failure: String?
    }

    private let state = Mutex(State())
    private let gate = Gate()
    private let plan: DemoPlan
    private let rate: Double
    private let topic: String
    private let configuration: KafkaConfiguration

    init(_ plan: DemoPlan, rate: Double, topic: String, servers: String) throws {
        self.plan = plan
        self.rate = rate
        self.topic = topic
        var configuration = try KafkaConfiguration.producerDefaults(
            bootstrapServers: servers, clientID: "penstock-chaos")
        try configuration.set("statistics.interval.ms", "0")
        self.configuration = configuration
    }

    func start() {
        Thread { [self] in
            do {
                let publisher = try Publisher(configuration: configuration, topic: topic)
                try publisher.sendAll(count: plan.items.count, rate: rate) { index in
                    gate.wait(for: index) { state.withLock { $0.sent = index } }
                    return plan.items[index].event
                } onProgress: { sent in
                    state.withLock { $0.sent = sent }
                }
                state.withLock { $0.isFinished = true }
            } catch {
                state.withLock { $0.failure = "\(error)" }
            }
        }.start()
    }

    /// The publisher stands still before that record.
    func allow(upTo limit: Int) { gate.open(upTo: limit) }

    /// Records sent so far; throws what ended the publication early.
    func sent() throws -> Int {
        try state.withLock { state in
            if let failure = state.failure { throw CommandFailure("publishing failed: \(failure)") }
            return state.sent
        }
    }

    func isFinished() throws -> Bool {
        _ = try sent()
        return state.withLock { $0.isFinished }
    }
}

/// Holds a thread up until a rising limit lets it pass.
private final class Gate: @unchecked Sendable {
    // Sendable because the limit is touched under the condition's lock only.
    private let condition = NSCondition()
    private var limit = Int.max

    func open(upTo limit: Int) {
        condition.lock()
        self.limit = limit
        condition.broadcast()
        condition.unlock()
    }

    /// - Parameter onStop: called when the thread has to stand still.
    func wait(for index: Int, onStop: () -> Void) {
        condition.lock()
        if index >= limit { onStop() }
        while index >= limit { condition.wait() }
        condition.unlock()
    }
}
