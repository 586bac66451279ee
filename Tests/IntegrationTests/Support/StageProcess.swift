// StageProcess: one consumer process of a stack, which can be killed, stopped, frozen and started again.

import Foundation
import Glibc
import LocalDeployment
import ProcessControl
import Synchronization
import TestSupport

final class StageProcess: Sendable {
    let stage: Stage
    let instance: String
    let logPath: String
    private let directory: String
    /// Without what belongs to this instance.
    private let common: [String]
    private let arguments: [String]
    private let environment: [String: String]
    private let portPath: String
    private let child = Mutex<ChildProcess?>(nil)

    /// - Parameter arguments: without the instance and what belongs to the health port.
    init(
        _ stage: Stage, instance: String, arguments: [String], environment: [String: String], directory: String
    ) {
        self.stage = stage
        self.instance = instance
        self.environment = environment
        self.directory = directory
        common = arguments
        logPath = "\(directory)/\(stage.program)-\(instance).log"
        portPath = "\(directory)/\(stage.program)-\(instance).port"
        self.arguments =
            arguments + ["--instance", "\(stage.rawValue)-\(instance)", "--health-port-file", portPath]
    }

    /// Another instance of the same stage, not started yet.
    func sibling(_ instance: String) -> StageProcess {
        StageProcess(stage, instance: instance, arguments: common, environment: environment, directory: directory)
    }

    private var running: ChildProcess? { child.withLock { $0 } }
    var processID: Int32? { running?.processID }

    /// Starts the program; further arguments hold for this start only.
    func start(_ further: [String] = []) throws {
        unlink(portPath)
        let started = try TestProgram.start(
            stage.program, arguments + further, environment: environment, outputPath: logPath)
        child.withLock { $0 = started }
    }

    /// SIGKILL; returns when the process is gone.
    func kill() { running?.kill() }

    func send(_ signal: Int32) { running?.send(signal) }

    /// SIGTERM; nil when the process does not end in time.
    func stop(seconds: Int32 = 30) -> ChildProcess.ExitStatus? {
        send(SIGTERM)
        return wait(seconds: seconds)
    }

    func wait(seconds: Int32) -> ChildProcess.ExitStatus? { running?.wait(timeoutMilliseconds: seconds * 1_000) }

    var exitStatus: ChildProcess.ExitStatus? { running?.exitStatus }

    private var port: Int? {
        TestProgram.contents(of: portPath).flatMap { Int($0.trimmingCharacters(in: .whitespacesAndNewlines)) }
    }

    /// The answer of a health page; nil while nothing listens.
    func page(_ path: String) -> HealthProbe.Response? { port.flatMap { HealthProbe.get(port: $0, path: path) } }

    var isReady: Bool { page("/readyz")?.status == 200 }

    var metrics: Metrics { Metrics(text: page("/metrics")?.body ?? "") }

    var residentBytes: Int64 { processID.flatMap { ProcessFigures(pid: $0)?.residentBytes } ?? 0 }

    var log: String { TestProgram.contents(of: logPath) ?? "" }
}
