// transform-consumer: events become features.

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
            Example: transform-consumer --pipeline topics/housing/pipeline.yaml --bootstrap-servers localhost:9092
            """)

    @OptionGroup var options: StageOptions

    func execute() async -> Int32 {
        let definition = StageDefinition(stage: "transform", program: "transform-consumer") { [$0.topics.events] }
        return await StageMain.run(
            definition, options: options,
            processor: { try TransformProcessor(pipeline: $0.configuration.pipeline) },
            delivery: { parts in
                parts.atLeastOnceDelivery(
                    outputTopics: [parts.configuration.pipeline.topics.features], module: "TransformStage",
                    deadLetterStage: .transformation)
            })
    }
}
