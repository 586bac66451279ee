// Stack: broker, database and the four consumers, as real processes with names and folders of their own.

import EventContracts
import Foundation
import Glibc
import Kafka
import LocalDeployment
import PipelineContract
import Postgres
import ProcessControl
import Synchronization
import TestSupport

/// A whole pipeline that belongs to one test. It ends with `Stack.run`, however that ends; should the test process die,
/// the children notice it themselves.
final class Stack: Sendable {
    struct Options: Sendable {
        /// Instances of each stage.
        var instances: [Stage: Int] = [:]
        /// A server of the test's own; nil takes a database in the shared one.
        var server: PrivatePostgres?
        /// Further `--set` options of all consumers.
        var settings: [String] = []
        /// In place of the pipeline's `batch`.
        var batch: String?
        /// Folder of transform and model; nil takes the shared one.
        var artifacts: String?
        /// Delivery profile of the consumers, and the promise that the oracle judges by.
        var profile = "exact"
        /// Stages that are started by the test itself.
        var notStarted: Set<Stage> = []
        /// Lines at the end of pipeline.yaml.
        var pipelineLines: [String] = []
        /// Kafka settings of topics at their making, `name=value,…` by the topic's name within the pipeline.
        var topicSettings: [String: String] = [:]
        /// Settings of one stage alone, without `kafka.`.
        var stageSettings: [Stage: [String]] = [:]
    }

    let pipeline: Pipeline
    let postgres: TestPostgres
    let servers: String
    /// A folder with a space in its name; holds pipeline, logs and port files.
    let directory: String
    let processes: [StageProcess]
    let profile: String
    private let folder: TemporaryDirectory
    private let broker: Mutex<ChildProcess>
    private let brokerTopics: [String]
    private let name = TestBroker.uniqueName("stack")

    /// Starts a stack, lends it, and stops it in any case.
    static func run<R>(_ options: Options = Options(), _ body: (Stack) async throws -> R) async throws -> R {
        let stack = try await Stack(options)
        defer { stack.tearDown() }
        return try await body(stack)
    }

    private init(_ options: Options) async throws {
        profile = options.profile
        folder = try TemporaryDirectory()
        directory = folder.file("a pipeline")
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
        for part in ["pipeline.yaml", "schemas"] {
            try FileManager.default.copyItem(
                atPath: "\(Artifacts.housing)/\(part)", toPath: "\(directory)/\(part)")
        }
        if let batch = options.batch {
            let path = "\(directory)/pipeline.yaml"
            let yaml = try String(contentsOfFile: path, encoding: .utf8)
            try yaml.replacing(#/(?m)^batch: .*$/#, with: "batch: \(batch)").write(
                toFile: path, atomically: true, encoding: .utf8)
        }
        if !options.pipelineLines.isEmpty {
            let path = "\(directory)/pipeline.yaml"
            let yaml = try String(contentsOfFile: path, encoding: .utf8)
            try (yaml + options.pipelineLines.joined(separator: "\n")).write(
                toFile: path, atomically: true, encoding: .utf8)
        }
        let pipeline = try PipelineLoader.load(path: directory)
        self.pipeline = pipeline
        let artifacts = try await onThread { try options.artifacts ?? Artifacts.folder() }
        postgres = try options.server.map { try TestPostgres(on: $0) } ?? TestPostgres()

        let address = "\(directory)/kafka.address"
        brokerTopics = pipeline.topicSettings.flatMap { setting in
            let name = String(setting.topic.dropFirst(pipeline.topics.root.count + 1))
            let further = options.topicSettings[name].map { ":\($0)" } ?? ""
            return ["--topic", "\(setting.topic):\(setting.partitions)\(further)"]
        }
        broker = Mutex(
            try TestProgram.start(
                "embedded-broker",
                [
                    "--data", "\(directory)/broker", "--address-file", address, "--listen",
                    "127.0.0.1:\(LoopbackPort.choose())", "--exit-with-parent",
                ] + brokerTopics,
                outputPath: "\(directory)/broker.log"))
        guard let servers = try await TestProgram.waitFor({ TestProgram.contents(of: address) }) else {
            throw TestFailure("the broker does not start: \(TestProgram.contents(of: "\(directory)/broker.log") ?? "")")
        }
        self.servers = servers.trimmingCharacters(in: .whitespacesAndNewlines)

        var processes: [StageProcess] = []
        for stage in Stage.allCases where !pipeline.fusion.absorbedStages.contains(stage.rawValue) {
            let settings = (options.stageSettings[stage] ?? []).map { "kafka.\($0)" }
            for number in 1...(options.instances[stage] ?? 1) {
                processes.append(
                    StageProcess(
                        stage, instance: "\(number)",
                        arguments: [
                            "--pipeline", directory, "--artifacts", artifacts, "--bootstrap-servers", self.servers,
                            "--group", "\(name).\(stage.group(in: pipeline.fusion))", "--profile", options.profile,
                            "--exit-with-parent",
                            // The mock's rebalances wait for a missing member until its session is over.
                            "--set", "kafka.consumer.session.timeout.ms=3000",
                            "--set", "kafka.consumer.heartbeat.interval.ms=200",
                        ] + (options.settings + settings).flatMap { ["--set", $0] },
                        environment: [
                            "PENSTOCK_POSTGRES": postgres.url(role: TestPostgres.runtime),
                            "PENSTOCK_RUNTIME_ROLE": TestPostgres.runtime,
                            "PENSTOCK_READER_ROLE": TestPostgres.reader,
                            // These tests are about records; sealed models have their own.
                            "PENSTOCK_ALLOW_UNSEALED_MODEL": "1",
                        ], directory: directory))
            }
        }
        self.processes = processes
        do {
            try migrate()
            for process in processes where !options.notStarted.contains(process.stage) { try process.start() }
        } catch {
            tearDown()
            throw error
        }
    }

    /// Makes the tables as their owner, as an administrator would.
    private func migrate() throws {
        let log = "\(directory)/migrate.log"
        let child = try TestProgram.start(
            Stage.sink.program, ["--migrate", "--pipeline", directory],
            environment: [
                "PENSTOCK_POSTGRES": postgres.url(), "PENSTOCK_RUNTIME_ROLE": TestPostgres.runtime,
                "PENSTOCK_READER_ROLE": TestPostgres.reader,
            ], outputPath: log)
        guard child.wait(timeoutMilliseconds: 60_000) == .exited(0) else {
            throw TestFailure("the migration failed: \(TestProgram.contents(of: log) ?? "")")
        }
    }

    /// Kills what still runs.
    private func tearDown() {
        for process in processes { process.kill() }
        killBroker()
    }

    var groupPrefix: String { name }

    func group(of stage: Stage) -> String { "\(name).\(stage.rawValue)" }

    func instances(of stage: Stage) -> [StageProcess] { processes.filter { $0.stage == stage } }

    /// The first instance of a stage.
    subscript(_ stage: Stage) -> StageProcess { instances(of: stage)[0] }

    var processIDs: [Int32] { processes.compactMap(\.processID) + [broker.withLock { $0.processID }] }

    func killBroker() { _ = broker.withLock { $0.kill() } }

    /// Starts the broker again on its data and its address.
    /// - Parameter faults: one a line, for requests to come.
    func startBroker(faults: [String] = []) throws {
        let path = "\(directory)/faults"
        try faults.joined(separator: "\n").write(toFile: path, atomically: true, encoding: .utf8)
        let started = try TestProgram.start(
            "embedded-broker",
            [
                "--data", "\(directory)/broker", "--address-file", "\(directory)/kafka.address.again", "--listen",
                servers,
                "--faults", path, "--exit-with-parent",
            ] + brokerTopics, outputPath: "\(directory)/broker.log")
        broker.withLock { $0 = started }
    }

    /// What the processes said last, for messages of failed tests.
    var logTails: String {
        processes.map { process in
            let lines = process.log.split(separator: "\n").suffix(20).joined(separator: "\n")
            let status = process.exitStatus.map { "\($0)" } ?? "runs"
            return "== \(process.stage.program) \(process.instance): \(status)\n\(lines)"
        }.joined(separator: "\n")
    }

    /// Waits for a condition; the message of a time-out shows the processes' last lines.
    func wait<R>(
        for what: String, seconds: Int = 120, _ condition: () throws -> R?
    ) async throws -> R {
        guard let value = try await TestProgram.waitFor(timeoutMilliseconds: seconds * 1_000, condition) else {
            throw TestFailure("no \(what) after \(seconds) s\n\(logTails)")
        }
        return value
    }

    /// Waits until every started consumer says that it is ready.
    func waitUntilReady() async throws {
        for process in processes where process.processID != nil {
            _ = try await wait(for: "readiness of \(process.stage.program)") { process.isReady ? true : nil }
        }
    }
}
