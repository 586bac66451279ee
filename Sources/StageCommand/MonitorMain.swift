// MonitorMain: the life of a monitor's process, from its options to its exit code.

import EventContracts
import Foundation
import Logging
public import MonitorRuntime
import Observability
public import PipelineContract
import ProcessControl
import StageRuntime

extension StageParts {
    /// Heartbeats of this process.
    func telemetry(of definition: StageDefinition) -> Telemetry? {
        Telemetry(
            program: definition.program, stage: definition.stage, instance: configuration.settings.instance,
            topic: configuration.pipeline.topics.telemetry, configuration: configuration.producer, health: health,
            registry: registry)
    }
}

/// Runs a process that folds topics into a state: signals, logs, health pages, the loop on its own thread, the exit code.
public enum MonitorMain {
    /// Exit codes: 0 after a graceful stop, 1 after a failure, 2 for wrong use or configuration. Problems are one line.
    /// - Parameter outputTopics: what the logic may write to.
    public static func run<L: MonitorLogic>(
        _ definition: StageDefinition, options: StageOptions, outputTopics: (Pipeline) -> [String],
        startsAtEnd: Bool = false, logic makeLogic: (StageParts) throws -> L
    ) async -> Int32 {
        // Before any other thread exists, so that the signals reach only the thread that waits for them.
        let signals = TerminationSignals()
        ProcessControl.ignoreBrokenPipe()
        let configuration: StageConfiguration
        do throws(StageFailure) {
            configuration = try StageConfiguration(
                definition, options: options, environment: ProcessInfo.processInfo.environment)
        } catch {
            return StageMain.report(error, definition)
        }
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
        do {
            let server = try await HealthServer.start(
                host: configuration.healthAddress, port: configuration.healthPort, health: parts.health,
                metrics: registry)
            if let path = configuration.healthPortFile { try AtomicFile.write("\(server.port)\n", to: path) }
            let pipeline = configuration.pipeline
            let runner = try MonitorRunner(
                settings: MonitorSettings(
                    program: definition.program, inputTopics: definition.inputTopics(pipeline),
                    stateTopic: pipeline.topics.monitorState, outputTopics: outputTopics(pipeline),
                    startsAtEnd: startsAtEnd, startMillisecondsMax: configuration.settings.startMillisecondsMax),
                logic: makeLogic(parts), consumer: configuration.settings.consumer, producer: configuration.producer,
                control: control, health: parts.health, registry: registry, group: configuration.settings.group,
                logger: logger)
            StageMain.waitForSignals(signals, control: control, definition)
            let telemetry = parts.telemetry(of: definition)
            telemetry?.start()
            let code = await run(runner, definition)
            await telemetry?.stop()
            await server.shutdown()
            return code
        } catch {
            return StageMain.report(error as? StageFailure ?? StageFailure("\(error)"), definition)
        }
    }

    /// Runs the loop on a thread of its own: it blocks in librdkafka, which the cooperative pool must not.
    private static func run<L: MonitorLogic>(_ runner: MonitorRunner<L>, _ definition: StageDefinition) async -> Int32 {
        // The runner is handed over to the thread and not touched here again.
        nonisolated(unsafe) let runner = runner
        return await withCheckedContinuation { continuation in
            let isStarted = Threads.start(named: definition.stage) {
                do throws(StageFailure) {
                    try runner.run()
                    continuation.resume(returning: 0)
                } catch {
                    continuation.resume(returning: StageMain.report(error, definition))
                }
            }
            if !isStarted {
                continuation.resume(
                    returning: StageMain.report(StageFailure("No thread could be started"), definition))
            }
        }
    }
}
