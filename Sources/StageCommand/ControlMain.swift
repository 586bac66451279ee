// ControlMain: the life of a process of the control plane, which reads broadcast topics instead of joining a group.

import Foundation
import Glibc
import Logging
import Observability
import ProcessControl
import StageRuntime

/// Runs a control-plane process: signals, logs, health pages, its loop on a thread of its own, the exit code.
public enum ControlMain {
    /// Exit codes as `StageMain`: 0 after a graceful stop, 1 after a failure, 2 for wrong use or configuration.
    ///
    /// - Parameter body: the loop; returns soon after a stop was requested.
    public static func run(
        _ definition: StageDefinition, options: StageOptions,
        body: @escaping @Sendable (StageParts) throws -> Void
    ) async -> Int32 {
        // Before any other thread exists, so that the signals reach only the thread that waits for them.
        let signals = TerminationSignals()
        ProcessControl.ignoreBrokenPipe()
        do {
            let configuration = try StageConfiguration(
                definition, options: options, environment: ProcessInfo.processInfo.environment)
            if configuration.exitsWithParent, !ProcessControl.exitWithParent() { return 0 }
            StructuredLogHandler.bootstrap(component: definition.program, level: configuration.logLevel)
            var logger = Logger(label: "penstock.\(definition.stage)")
            logger[metadataKey: "instance"] = "\(configuration.settings.instance)"
            let registry = MetricsRegistry()
            let control = StageControl()
            let parts = StageParts(
                configuration: configuration, registry: registry,
                metrics: StageMetrics(
                    registry: registry, stage: definition.stage, group: configuration.settings.group),
                health: HealthState(), logger: logger, control: control)
            let server = try await HealthServer.start(
                host: configuration.healthAddress, port: configuration.healthPort, health: parts.health,
                metrics: registry)
            if let path = configuration.healthPortFile { try AtomicFile.write("\(server.port)\n", to: path) }
            waitForSignals(signals, control, definition)
            let failure = await loop(definition.stage) { try body(parts) }
            await server.shutdown()
            return failure.map { report($0, definition) } ?? 0
        } catch {
            return report(error, definition)
        }
    }

    /// The loop blocks in librdkafka, which the cooperative pool must not.
    private static func loop(_ name: String, _ body: @escaping @Sendable () throws -> Void) async -> (any Error)? {
        await withCheckedContinuation { continuation in
            let isStarted = Threads.start(named: name) {
                do {
                    try body()
                    continuation.resume(returning: nil)
                } catch is StopRequested {
                    continuation.resume(returning: nil)
                } catch {
                    continuation.resume(returning: error)
                }
            }
            if !isStarted { continuation.resume(returning: StageFailure("No thread could be started")) }
        }
    }

    private static func waitForSignals(
        _ signals: TerminationSignals, _ control: StageControl, _ definition: StageDefinition
    ) {
        let program = definition.program
        Threads.start(named: "signals") {
            _ = signals.wait()
            control.requestStop()
            _ = signals.wait()
            StructuredLogHandler.writeToStandardError(
                Array("\(program): stopped by a second signal before the work in hand was over\n".utf8))
            exit(1)
        }
    }

    private static func report(_ error: any Error, _ definition: StageDefinition) -> Int32 {
        let failure = error as? StageFailure ?? StageFailure("\(error)")
        StructuredLogHandler.writeToStandardError(Array("\(definition.program): \(failure.message)\n".utf8))
        return failure.exitCode
    }
}
