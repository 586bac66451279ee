// ingest-consumer: input records of every accepted form become events, dead letters or recognised duplicates.

import ArgumentParser
import EventContracts
import IngestStage
import PipelineContract
import StageCommand
import StageRuntime

@main
struct Program: StageProgram {
    static let configuration = CommandConfiguration(
        commandName: "ingest-consumer",
        abstract: "Checks what publishers send and turns it into events.",
        discussion: """
            Example: ingest-consumer --pipeline topics/housing/pipeline.yaml --bootstrap-servers localhost:9092
            """)

    @OptionGroup var options: StageOptions

    func execute() async -> Int32 {
        let definition = StageDefinition(stage: "ingest", program: "ingest-consumer", readsHeaders: true) {
            [$0.topics.inputs]
        }
        return await StageMain.run(
            definition, options: options,
            processor: { parts in
                let pipeline = parts.configuration.pipeline
                return try IngestProcessor(input: pipeline.input, topic: pipeline.topics.inputs)
            },
            delivery: { parts in
                let topics = parts.configuration.pipeline.topics
                return parts.atLeastOnceDelivery(
                    outputTopics: [topics.events, topics.duplicates], module: "IngestStage",
                    deadLetterStage: .valueConverter)
            })
    }
}
