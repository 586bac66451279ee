// inference-consumer: features in, predictions out.

import ArgumentParser
import EventContracts
import Foundation
import Inference
import InferenceStage
import IngestStage
import Logging
import ModelServing
import ModelStore
import Observability
import PipelineContract
import ProcessControl
import SealedModels
import SealedStore
import Sealing
import SecureMemory
import StageCommand
import StageRuntime
import Tensor
import TransformStage
import Transforms

@main
struct Program: StageProgram {
    static let configuration = CommandConfiguration(
        commandName: "inference-consumer",
        abstract: "Runs the pipeline's model on its features and writes predictions.",
        discussion: """
            Opens sealed models through a key broker: verifies them, attests, has the key released, decrypts into protected
            memory. While the first one cannot be opened it consumes nothing.

            Example: inference-consumer --pipeline topics/housing/pipeline.yaml --bootstrap-servers localhost:9092

            With --stages, or the key `stages` of pipeline.yaml, it takes the stages before it into its own process: the same
            code and the same promise, without the topics in between. It then reads the first stage's input in the first stage's group; a record that any of its
            stages refuses is a dead letter of that input.

            Example: inference-consumer --stages ingest,transform,inference --pipeline topics/housing …
            """)

    @OptionGroup var options: StageOptions
    @OptionGroup var model: ModelOptions

    @Option(
        help: """
            Stages in this process: inference, or transform,inference, or ingest,transform,inference (default: as the \
            pipeline declares).
            """, transform: Program.fusion(named:))
    var stages: StageFusion?

    func confine() {
        guard !model.choice.isUnsealed else { return }
        ProcessHardening.confineWrites(
            to: options.writableFolders(environment: ProcessInfo.processInfo.environment))
    }

    func execute() async -> Int32 {
        switch fusion {
        case .none:
            let definition = StageDefinition(stage: "inference", program: "inference-consumer") { [$0.topics.features] }
            return await run(definition) { try makeInference($0) }
        case .fromTransform:
            let definition = StageDefinition(stage: "transform", program: "inference-consumer") { [$0.topics.events] }
            return await run(definition) { parts in
                FusedProcessor(
                    try TransformProcessor(pipeline: parts.configuration.pipeline), try makeInference(parts))
            }
        case .fromIngest:
            let definition = StageDefinition(stage: "ingest", program: "inference-consumer", readsHeaders: true) {
                [$0.topics.inputs]
            }
            return await run(definition) { parts in
                let pipeline = parts.configuration.pipeline
                let ingest = try IngestProcessor(input: pipeline.input, topic: pipeline.topics.inputs)
                return FusedProcessor(
                    FusedProcessor(ingest, try TransformProcessor(pipeline: pipeline)), try makeInference(parts))
            }
        }
    }

    private static func fusion(named text: String) throws -> StageFusion {
        guard let fusion = StageFusion(rawValue: text) else {
            throw ValidationError("choose \(StageFusion.allCases.map(\.rawValue).joined(separator: ", or "))")
        }
        return fusion
    }

    /// As asked for, else as the pipeline declares it. What is wrong with the pipeline is told by the start itself.
    private var fusion: StageFusion {
        if let stages { return stages }
        let path = options.pipeline ?? ProcessInfo.processInfo.environment["PENSTOCK_PIPELINE"] ?? ""
        return (try? PipelineLoader.load(path: path))?.fusion ?? .none
    }

    private func run<P: StageProcessor>(
        _ definition: StageDefinition, processor: (StageParts) throws -> P
    ) async -> Int32 where P.Output == OutputBatch {
        await StageMain.run(
            definition, options: options, processor: processor,
            delivery: { parts in
                let topics = parts.configuration.pipeline.topics
                let duplicates = fusion == .fromIngest ? [topics.duplicates] : []
                return parts.kafkaDelivery(
                    outputTopics: [topics.predictions] + duplicates, module: "InferenceStage",
                    deadLetterStage: .transformation)
            })
    }

    /// Follows the registry beside the stage until the process ends.
    private func follow(_ watcher: ModelWatcher, _ mailbox: ModelMailbox, _ parts: StageParts) throws {
        // Handed over to the thread and not touched here again.
        nonisolated(unsafe) let watcher = watcher
        let (logger, health) = (parts.logger, parts.health)
        let isStarted = Threads.start(named: "model-watcher") {
            do {
                try watcher.run(mailbox)
            } catch {
                logger.critical("The registry cannot be followed", metadata: ["reason": "\(error)"])
                health.fail("registry", "The model registry cannot be read: \(error). Restart the process.")
            }
        }
        guard isStarted else { throw StageFailure("No thread could be started") }
    }

    private func makeInference(_ parts: StageParts) throws -> LeasedProcessor {
        let pipeline = parts.configuration.pipeline
        let environment = ProcessInfo.processInfo.environment
        let notices = [
            VectorKernels.configure(environment: environment), BLAS.coreTypeNotice(environment: environment),
        ]
        for notice in notices.compactMap({ $0 }) { parts.logger.warning("\(notice)") }
        let fitted = try FittedTransform.load(for: pipeline)
        let gate = LeaseGate()
        let opening = ModelOpening(parts: parts, options: model.choice)
        let store = try opening.store(gate)
        let watcher: ModelWatcher
        do {
            watcher = try ModelWatcher(
                configuration: parts.configuration.settings.consumer, modelsTopic: pipeline.topics.models, store: store,
                requirements: .init(
                    model: pipeline.model.name, contractHash: fitted.contractHash,
                    threshold: pipeline.model.decisionThreshold, recordsMax: pipeline.batching.recordsMax),
                startMilliseconds: parts.configuration.settings.startMillisecondsMax, control: parts.control,
                logger: parts.logger)
        } catch {
            // What is wrong on this machine is named before the brokers that do not answer.
            if let base = try opening.unsealedBase(store) {
                _ = try InferenceProcessor.load(
                    base, for: pipeline, contractHash: fitted.contractHash, registry: MetricsRegistry())
            }
            throw error
        }
        let source = try opening.open(store) { try watcher.productionSource() }
        let processor = try InferenceProcessor.load(
            source, for: pipeline, contractHash: fitted.contractHash, registry: parts.registry,
            stage: "inference")
        parts.logger.info(
            "The model is loaded and warm",
            metadata: [
                "model": "\(source.manifest.name)", "model_version": "\(source.manifest.version)",
                "contract": "\(source.manifest.contract)", "kernels": "\(VectorKernels.level)",
                "openblas": "\(BLAS.coreType)", "sealed": "\(source.isSealed)",
            ])
        try follow(watcher, processor.mailbox, parts)
        if let store = store as? SealedModelStore, let sealed = source as? SealedModelSource {
            try LeaseKeeper(
                store: store, gate: gate, mailbox: processor.mailbox, health: parts.health, logger: parts.logger,
                contractHash: fitted.contractHash, threshold: pipeline.model.decisionThreshold,
                recordsMax: pipeline.batching.recordsMax
            ).start(leaseSeconds: sealed.terms.leaseSeconds)
        }
        return LeasedProcessor(inner: processor, gate: gate)
    }
}
