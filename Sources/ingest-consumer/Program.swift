// ingest-consumer: JSON and CloudEvents in, validated events out.

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
        abstract: "Checks the inputs of a pipeline against its schema and writes events.",
        discussion: """
            Reads plain JSON and CloudEvents (binary and structured). A record that does not fit becomes a dead letter; a \
            repeat of an earlier one becomes a duplicate notice.

            With --labels it reads the label inputs instead, in a group of its own, and writes labels.

            Example: ingest-consumer --pipeline topics/housing --bootstrap-servers localhost:9092
            Example: ingest-consumer --labels --pipeline topics/housing --bootstrap-servers localhost:9092
            """)

    @OptionGroup var options: StageOptions

    @Flag(help: "Read the pipeline's label inputs and write labels.")
    var labels = false

    func execute() async -> Int32 { labels ? await ingestLabels() : await ingestEvents() }

    private func ingestLabels() async -> Int32 {
        let definition = StageDefinition(stage: "labels", program: "ingest-consumer", readsHeaders: true) {
            [$0.topics.labelInputs]
        }
        return await StageMain.run(
            definition, options: options,
            processor: { try LabelProcessor(input: $0.configuration.pipeline.input) },
            delivery: { parts in
                parts.kafkaDelivery(
                    outputTopics: [parts.configuration.pipeline.topics.labels], module: "IngestStage",
                    deadLetterStage: .valueConverter)
            })
    }

    private func ingestEvents() async -> Int32 {
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
                return parts.kafkaDelivery(
                    outputTopics: [topics.events, topics.duplicates], module: "IngestStage",
                    deadLetterStage: .valueConverter)
            })
    }
}
