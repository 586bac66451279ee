// inference-consumer: features in, predictions out.

import ArgumentParser
import InferenceStage
import PipelineContract
import StageCommand
import StageRuntime

@main
struct Program: StageProgram {
    static let configuration = CommandConfiguration(
        commandName: "inference-consumer",
        abstract: "Runs the pipeline's model on its features and writes predictions.",
        discussion: """
            Opens the sealed model beside the pipeline's manifest (model.smc) through a key broker: verifies it, attests,
            has its key released, decrypts it into protected memory. While that fails it consumes nothing.

            Example: inference-consumer --pipeline topics/housing --bootstrap-servers localhost:9092
              --key-broker https://broker:8443 --key-broker-certificate broker.pem --trusted-owner owner.pub
              --attestation sample --insecure-sample-attestation
            """)

    @OptionGroup var options: StageOptions
    @OptionGroup var model: ModelOptions

    func execute() async -> Int32 {
        let definition = StageDefinition(stage: "inference", program: "inference-consumer") { [$0.topics.features] }
        return await StageMain.run(
            definition, options: options,
            processor: { parts in
                try ModelOpening(parts: parts, options: model, stage: definition.stage).makeProcessor()
            },
            delivery: { parts in
                parts.kafkaDelivery(
                    outputTopics: [parts.configuration.pipeline.topics.predictions], module: "InferenceStage",
                    deadLetterStage: .transformation)
            })
    }
}
