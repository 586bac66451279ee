// drift-monitor: features, predictions and labels in, reports of drift, data quality and performance out.

import ArgumentParser
import Drift
import EventContracts
import Logging
import Monitors
import PipelineContract
import StageCommand
import StageRuntime
import Transforms

@main
struct Program: StageProgram {
    static let configuration = CommandConfiguration(
        commandName: "drift-monitor",
        abstract: "Watches a pipeline's features and labels, and reports drift, data quality and performance.",
        discussion: """
            One instance works at a time: a second one takes over and the first one stops.

            Example: drift-monitor --pipeline topics/housing/pipeline.yaml --bootstrap-servers localhost:9092
            """)

    @OptionGroup var options: StageOptions

    func execute() async -> Int32 {
        let definition = StageDefinition(stage: "drift", program: DriftMonitor.program) {
            DriftMonitor.inputTopics($0.topics)
        }
        return await MonitorMain.run(
            definition, options: options, outputTopics: { [$0.topics.monitoring] }, logic: makeLogic)
    }

    private func makeLogic(_ parts: StageParts) throws -> DriftMonitor {
        let pipeline = parts.configuration.pipeline
        let fitted = try FittedTransform.load(for: pipeline)
        var profile: ReferenceProfile?
        var fault: String?
        do {
            profile = try ReferenceProfile.load(path: pipeline.monitors.drift.referencePath)
        } catch {
            // Performance and infrastructure can be watched without it; the report says what is missing.
            fault = error.message
            parts.logger.warning("No drift can be told", metadata: ["reason": "\(error)"])
        }
        return DriftMonitor(
            pipeline: pipeline, profile: profile, fault: fault, names: fitted.features.map(\.name),
            contractHash: fitted.contractHash)
    }
}
