// LoopProcesses: the processes that keep a stack's model in step with the world, and the registry as a test sees it.

import Cryptography
import EventContracts
import Foundation
import Kafka
import PipelineContract
import ProcessControl
import Registry
import RegistryRuntime
import Synchronization
import TestSupport

@testable import PenstockCommand

final class LoopProcesses: Sendable {
    enum Role: String, CaseIterable, Sendable {
        case labels = "ingest-consumer"
        case retraining = "retraining-consumer"
        case gate = "promotion-gate"
    }

    private let stack: Stack
    private let artifacts: String
    private let running = Mutex<[Role: ChildProcess]>([:])
    /// Private key of the one approver.
    let keyPath: String

    init(_ stack: Stack, artifacts: String) throws {
        self.stack = stack
        self.artifacts = artifacts
        keyPath = "\(stack.directory)/approver.pem"
        try Self.makeKey(keyPath)
    }

    /// Writes a private key, and its public half beside it.
    static func makeKey(_ path: String) throws {
        let key = try ECPrivateKey(generating: .p384)
        try key.withPEM { pem in
            guard
                FileManager.default.createFile(
                    atPath: path, contents: pem.withUnsafeBytes { Data($0) }, attributes: [.posixPermissions: 0o600])
            else { throw TestFailure("cannot write \(path)") }
        }
        try Data(key.publicKey.pem().utf8).write(to: URL(filePath: "\(path).pub"))
    }

    func start(_ role: Role) throws {
        var arguments = [
            "--pipeline", stack.directory, "--artifacts", artifacts, "--bootstrap-servers", stack.servers,
            "--exit-with-parent",
        ]
        switch role {
        case .labels: arguments += ["--labels", "--instance", "labels"]
        case .retraining: arguments += ["--instance", "retraining"]
        case .gate: arguments += ["--instance", "gate", "--approvers", "\(keyPath).pub"]
        }
        // The oracle reads a plain model file.
        let child = try TestProgram.start(
            role.rawValue, arguments, environment: ["PENSTOCK_ALLOW_UNSEALED_MODEL": "1"], outputPath: log(role))
        running.withLock { $0[role] = child }
    }

    func startAll() throws { for role in Role.allCases { try start(role) } }

    func kill(_ role: Role) { running.withLock { $0[role] }?.kill() }

    func killAll() { for role in Role.allCases { kill(role) } }

    private func log(_ role: Role) -> String { "\(stack.directory)/\(role.rawValue)-loop.log" }

    /// What the processes said last.
    var tails: String {
        Role.allCases.map { role in
            let text = TestProgram.contents(of: log(role)) ?? ""
            return "== \(role.rawValue)\n" + text.split(separator: "\n").suffix(15).joined(separator: "\n")
        }.joined(separator: "\n") + "\n" + stack.logTails
    }

    /// Replays `<p>.models`.
    func registry() throws -> (registry: ModelRegistry, events: [ModelEvent]) {
        let follower = try RegistryFollower(
            configuration: try KafkaConfiguration.consumerDefaults(
                bootstrapServers: stack.servers, group: "test-registry", clientID: "test-registry"),
            model: stack.pipeline.model.name, modelsTopic: stack.pipeline.topics.models)
        var events: [ModelEvent] = []
        try follower.catchUp(step: { if $0.outcome == .applied { events.append($0.event) } })
        return (follower.registry, events)
    }

    /// Waits for a state of the registry.
    func wait<R>(
        for what: String, seconds: Int = 60, _ condition: (ModelRegistry) throws -> R?
    ) async throws -> R {
        let value = try await TestProgram.waitFor(timeoutMilliseconds: seconds * 1_000) {
            try condition(try registry().registry)
        }
        guard let value else { throw TestFailure("no \(what) after \(seconds) s\n\(tails)") }
        return value
    }

    /// Runs `penstock models …` and gives its exit status and output.
    func penstock(_ arguments: [String]) async throws -> (status: ChildProcess.ExitStatus?, text: String) {
        let path = "\(stack.directory)/penstock-\(TestBroker.uniqueName("output"))"
        let child = try TestProgram.start(
            "penstock",
            ["models"] + arguments + ["--pipeline", stack.directory, "--bootstrap-servers", stack.servers],
            outputPath: path)
        let status = try await onThread { child.wait(timeoutMilliseconds: 90_000) }
        return (status, TestProgram.contents(of: path) ?? "")
    }

    /// Asks for a retraining as the reaction controller does.
    func request(_ id: String, from: Int64, until: Int64, labelsMin: Int) throws {
        guard let production = try registry().registry.production else { throw TestFailure("nothing serves") }
        let request = RetrainingRequest(
            id: id, pipeline: stack.pipeline.name, reason: "test", decidedAt: EventTime(microseconds: until),
            trigger: .init(alertID: "a", alert: "drift", features: [], changeTime: nil),
            model: stack.pipeline.model.name, modelVersion: production.version, labelsMin: labelsMin,
            labelsAvailable: labelsMin, trainFrom: EventTime(microseconds: from),
            trainUntil: EventTime(microseconds: until), attempt: 1)
        try writer().write(
            topic: stack.pipeline.topics.retraining, key: request.model, value: try request.event().encoded())
    }

    func writer() throws -> FactWriter {
        try FactWriter(
            configuration: try KafkaConfiguration.producerDefaults(
                bootstrapServers: stack.servers, clientID: "test-facts"))
    }

    /// Publishes items of the stream, as fast as they go or at a rate.
    func publish(_ stream: HousingStream, _ items: ArraySlice<HousingStream.Item>, rate: Double = 0) async throws {
        let (servers, topics) = (stack.servers, stack.pipeline.topics)
        let items = Array(items)
        try await onThread {
            var configuration = try KafkaConfiguration.producerDefaults(
                bootstrapServers: servers, clientID: "test-stream")
            try configuration.set("statistics.interval.ms", "0")
            let events = try Publisher(configuration: configuration, topic: topics.inputs)
            let labels = try Publisher(configuration: configuration, topic: topics.labelInputs)
            let encoder = EventEncoder(source: "/housing/plain", type: "dev.penstock.test")
            let clock = ContinuousClock()
            let start = clock.now
            for (number, item) in items.enumerated() {
                switch item {
                case .event(let index):
                    try events.send(encoder.encode(stream.sourceEvent(index), as: WireFormat.mixed.resolved(index)))
                case .label(let index): try labels.send(stream.labelRecord(index))
                }
                guard rate > 0 else { continue }
                while start.duration(to: clock.now) / .seconds(1) * rate < Double(number) {
                    events.poll(milliseconds: 5)
                }
            }
            try events.finish()
            try labels.finish()
        }
    }
}
