// StageMain: the life of a consumer process, from its options to its exit code.

public import ArgumentParser
import Foundation
import Glibc
public import Logging
public import Observability
import ProcessControl
public import StageRuntime

/// What a consumer's parts are built from.
public struct StageParts: Sendable {
    public var configuration: StageConfiguration
    public var registry: MetricsRegistry
    public var metrics: StageMetrics
    public var health: HealthState
    public var logger: Logger
    /// Tells a start-up that takes long when a stop is requested.
    public var control: StageControl
}

/// Runs a consumer: signals, logs, health pages, the runner on its own thread, the exit code.
public enum StageMain {
    /// Exit codes: 0 after a graceful stop, 1 after a failure, 2 for wrong use or configuration. Problems are one line.
    public static func run<P: StageProcessor, D: Delivery>(
        _ definition: StageDefinition, options: StageOptions,
        processor makeProcessor: (StageParts) throws -> P, delivery makeDelivery: (StageParts) throws -> D
    ) async -> Int32 where P.Output == D.Output {
        // Before any other thread exists, so that the signals reach only the thread that waits for them.
        let signals = TerminationSignals()
        ProcessControl.ignoreBrokenPipe()
        let environment = ProcessInfo.processInfo.environment
        let configuration: StageConfiguration
        do throws(StageFailure) {
            configuration = try StageConfiguration(definition, options: options, environment: environment)
        } catch {
            return report(error, definition)
        }
        if configuration.exitsWithParent, !ProcessControl.exitWithParent() { return 0 }
        StructuredLogHandler.bootstrap(component: definition.program, level: configuration.logLevel)
        var logger = Logger(label: "penstock.\(definition.stage)")
        logger[metadataKey: "instance"] = "\(configuration.settings.instance)"
        if let plan = configuration.settings.kills {
            logger.critical("A FAULT IS PLANTED: this process kills itself", metadata: ["fault": "\(plan.point)"])
        }
        if configuration.settings.poison != nil {
            logger.critical("A FAULT IS PLANTED: this process dies of a record", metadata: ["fault": "poison"])
        }
        for fault in configuration.settings.faults {
            logger.critical("A FAULT IS PLANTED: this process is wrong on purpose", metadata: ["fault": "\(fault)"])
        }
        let registry = MetricsRegistry()
        let control = StageControl()
        let parts = StageParts(
            configuration: configuration, registry: registry,
            metrics: StageMetrics(
                registry: registry, stage: definition.stage, group: configuration.settings.group),
            health: HealthState(), logger: logger, control: control)
        do {
            let server = try await HealthServer.start(
                host: configuration.healthAddress, port: configuration.healthPort, health: parts.health,
                metrics: registry)
            if let path = configuration.healthPortFile { try AtomicFile.write("\(server.port)\n", to: path) }
            waitForSignals(signals, control: control, definition)
            let runner = try StageRunner(
                settings: configuration.settings, processor: makeProcessor(parts), delivery: makeDelivery(parts),
                control: control, health: parts.health, metrics: parts.metrics, logger: logger)
            let telemetry = parts.telemetry(of: definition)
            telemetry?.start()
            let code = await run(runner, definition)
            await telemetry?.stop()
            await server.shutdown()
            return code
        } catch is StopRequested {
            return 0
        } catch {
            return report(error as? StageFailure ?? StageFailure("\(error)"), definition)
        }
    }

    /// The first signal asks for a graceful stop, the second ends the process.
    static func waitForSignals(
        _ signals: TerminationSignals, control: StageControl, _ definition: StageDefinition
    ) {
        let program = definition.program
        Threads.start(named: "signals") {
            _ = signals.wait()
            control.requestStop()
            _ = signals.wait()
            StructuredLogHandler.writeToStandardError(
                Array("\(program): stopped by a second signal before the drain was over\n".utf8))
            exit(1)
        }
    }

    /// Runs the loop on a thread of its own: it blocks in librdkafka and libpq, which the cooperative pool must not.
    private static func run<P: StageProcessor, D: Delivery>(
        _ runner: StageRunner<P, D>, _ definition: StageDefinition
    ) async -> Int32 where P.Output == D.Output {
        // The runner is handed over to the thread and not touched here again.
        nonisolated(unsafe) let runner = runner
        return await withCheckedContinuation { continuation in
            let isStarted = Threads.start(named: definition.stage) {
                do throws(StageFailure) {
                    try runner.run()
                    continuation.resume(returning: 0)
                } catch {
                    continuation.resume(returning: report(error, definition))
                }
            }
            if !isStarted {
                continuation.resume(returning: report(StageFailure("No thread could be started"), definition))
            }
        }
    }

    static func report(_ failure: StageFailure, _ definition: StageDefinition) -> Int32 {
        StructuredLogHandler.writeToStandardError(Array("\(definition.program): \(failure.message)\n".utf8))
        return failure.exitCode
    }
}

/// A consumer's program: wrong use ends with 2.
public protocol StageProgram: AsyncParsableCommand {
    var options: StageOptions { get }
    func execute() async -> Int32
    /// Runs on the main thread before any other thread exists.
    func confine()
}

extension StageProgram {
    public func confine() {}

    public mutating func run() async throws {
        let code = await execute()
        if code != 0 { throw ExitCode(code) }
    }

    /// Parses the command line; usage errors end with 2, as everywhere in Penstock.
    @MainActor public static func main() async {
        do {
            var command = try parseAsRoot()
            (command as? any StageProgram)?.confine()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch {
            let code = exitCode(for: error)
            guard code == .validationFailure else { exit(withError: error) }
            StructuredLogHandler.writeToStandardError(Array((fullMessage(for: error) + "\n").utf8))
            Glibc.exit(2)
        }
    }
}
