// inference-consumer: features in, predictions out.

import ArgumentParser
import EventContracts
import Foundation
import Inference
import InferenceStage
import Logging
import PipelineContract
import StageCommand
import StageRuntime
import Tensor
import Transforms

@main
struct Program: StageProgram {
    static let configuration = CommandConfiguration(
        commandName: "inference-consumer",
        abstract: "Runs the pipeline's model on its features and writes predictions.",
        discussion: """
            Example: inference-consumer --pipeline topics/housing/pipeline.yaml --bootstrap-servers localhost:9092
            """)

    @OptionGroup var options: StageOptions

    func execute() async -> Int32 {
        let definition = StageDefinition(stage: "inference", program: "inference-consumer") { [$0.topics.features] }
        return await StageMain.run(
            definition, options: options,
            processor: { parts in
                let pipeline = parts.configuration.pipeline
                if let notice = BLAS.coreTypeNotice(environment: ProcessInfo.processInfo.environment) {
                    parts.logger.warning("\(notice)")
                }
                let fitted = try FittedTransform.load(for: pipeline)
                let source = try UnsealedFileSource(manifestPath: pipeline.model.manifestPath) {
                    parts.logger.warning("\($0)")
                }
                let processor = try InferenceProcessor.load(
                    source, for: pipeline, contractHash: fitted.contractHash, registry: parts.registry,
                    stage: definition.stage)
                parts.logger.info(
                    "The model is loaded and warm",
                    metadata: [
                        "model": "\(source.manifest.name)", "model_version": "\(source.manifest.version)",
                        "contract": "\(source.manifest.contract)", "openblas": "\(BLAS.coreType)",
                    ])
                return processor
            },
            delivery: { parts in
                parts.kafkaDelivery(
                    outputTopics: [parts.configuration.pipeline.topics.predictions], module: "InferenceStage",
                    deadLetterStage: .transformation)
            })
    }
}
