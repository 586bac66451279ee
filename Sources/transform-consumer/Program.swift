// transform-consumer: events in, features out.

import ArgumentParser
import EventContracts
import PipelineContract
import StageCommand
import StageRuntime
import TransformStage

@main
struct Program: StageProgram {
    static let configuration = CommandConfiguration(
        commandName: "transform-consumer",
        abstract: "Applies the pipeline's fitted transform to its events and writes features.",
        discussion: """
            The transform comes from `penstock fit`.

            Example: transform-consumer --pipeline topics/housing --bootstrap-servers localhost:9092
            """)

    @OptionGroup var options: StageOptions

    func execute() async -> Int32 {
        let definition = StageDefinition(stage: "transform", program: "transform-consumer") { [$0.topics.events] }
        return await StageMain.run(
            definition, options: options,
            processor: { parts in try TransformProcessor(pipeline: parts.configuration.pipeline) },
            delivery: { parts in
                parts.kafkaDelivery(
                    outputTopics: [parts.configuration.pipeline.topics.features], module: "TransformStage",
                    deadLetterStage: .transformation)
            })
    }
}
