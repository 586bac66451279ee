// retraining-consumer: requests in, registered candidates out.

import ArgumentParser
import EventContracts
import Inference
import Logging
import ModelStore
import PipelineContract
import RetrainingStage
import StageCommand
import StageRuntime
import Transforms

@main
struct Program: StageProgram {
    static let configuration = CommandConfiguration(
        commandName: "retraining-consumer",
        abstract: "Fine-tunes the model in production on request and registers the candidate.",
        discussion: """
            Joins features and labels up to the request's watermark, goes on from the model in production, compares the two \
            on the most recent rows, and writes the candidate and its registration. Whether it serves, the promotion gate \
            decides. A request is open until the registry says how it ended, so that a killed process starts over.

            Example: retraining-consumer --pipeline topics/housing --bootstrap-servers localhost:9092
            """)

    @OptionGroup var options: StageOptions
    @OptionGroup var model: ModelOptions

    func execute() async -> Int32 {
        let definition = StageDefinition(
            stage: "retraining", program: "retraining-consumer", writesTopics: false
        ) { [$0.topics.retraining] }
        return await ControlMain.run(definition, options: options) { [choice = model.choice] parts in
            let configuration = parts.configuration
            let pipeline = configuration.pipeline
            let fitted = try FittedTransform.load(for: pipeline)
            let logger = parts.logger
            let maker = CandidateMaker(
                pipeline: pipeline, featureNames: fitted.featureNames, contractHash: fitted.contractHash,
                store: try choice.store(
                    folder: configuration.modelFolder, basePath: pipeline.model.manifestPath, opensModels: true,
                    warn: { logger.critical("\($0)") }))
            try RetrainingConsumer(
                pipeline: pipeline, maker: maker, consumer: configuration.settings.consumer,
                producer: configuration.producer, startMilliseconds: configuration.settings.startMillisecondsMax,
                control: parts.control, health: parts.health, logger: logger
            ).run()
        }
    }
}
