// ModelOpening: from the pipeline's contract to a model that serves, sealed or not.

import Foundation
import Inference
import InferenceStage
import Logging
import PipelineContract
import SealedModels
import SecureMemory
import StageCommand
import StageRuntime
import Tensor
import Transforms

/// Makes the inference stage's processor.
struct ModelOpening {
    let parts: StageParts
    let options: ModelOptions
    let stage: String

    private static let condition = LeaseKeeper.condition
    /// Pauses between two tries, in seconds; the last one repeats.
    private static let pauses = [1, 2, 5, 10]

    private var pipeline: Pipeline { parts.configuration.pipeline }

    func makeProcessor() throws -> LeasedProcessor {
        if let notice = BLAS.coreTypeNotice(environment: ProcessInfo.processInfo.environment) {
            parts.logger.warning("\(notice)")
        }
        let fitted = try FittedTransform.load(for: pipeline)
        guard !options.isUnsealed else {
            let source = try UnsealedFileSource(manifestPath: pipeline.model.manifestPath) {
                parts.logger.warning("\($0)")
            }
            return LeasedProcessor(
                inner: try processor(source, contractHash: fitted.contractHash), gate: LeaseGate(wipe: nil))
        }
        try ProcessHardening.apply(mode: try options.resolvedLockMode())
        ProcessHardening.filterCalls()
        parts.logger.info("Memory protection", metadata: ["active": "\(ProcessHardening.report().sentence)"])
        let loader = SealedModelLoader(try options.access(usage: .inference))
        let source = try open(loader)
        let inner = try processor(source, contractHash: fitted.contractHash)
        let gate = LeaseGate { source.wipe() }
        try LeaseKeeper(
            loader: loader, path: path, gate: gate, health: parts.health, logger: parts.logger,
            contractHash: fitted.contractHash, threshold: pipeline.model.decisionThreshold,
            recordsMax: pipeline.batching.recordsMax
        ).start(leaseSeconds: source.terms.leaseSeconds)
        return LeasedProcessor(inner: inner, gate: gate)
    }

    /// `model.json` -> `model.smc`.
    private var path: String {
        let path = pipeline.model.manifestPath
        return (path.hasSuffix(".json") ? String(path.dropLast(5)) : path) + ".smc"
    }

    /// Opens the model, however often it takes: a broker that is down, a refusal and a damaged file are mended while the
    /// process waits, not ready and without consuming anything.
    private func open(_ loader: SealedModelLoader) throws -> SealedModelSource {
        var attempt = 0
        while true {
            do {
                let source = try loader.open(path)
                parts.health.clear(Self.condition)
                if source.isInsecure {
                    parts.logger.critical(
                        "INSECURE: the model's key was released on evidence that proves nothing (provider sample)",
                        metadata: ["insecure": "true"])
                }
                return source
            } catch {
                parts.health.fail(Self.condition, "\(error)")
                parts.logger.error("The sealed model cannot be opened", metadata: ["error": "\(error)"])
                let pause = Self.pauses[min(attempt, Self.pauses.count - 1)]
                attempt += 1
                if parts.control.waitForStop(seconds: pause) {
                    throw StageFailure("stopped while the sealed model could not be opened: \(error)")
                }
            }
        }
    }

    private func processor(_ source: some ModelSource, contractHash: UInt64) throws -> InferenceProcessor {
        let processor = try InferenceProcessor.load(
            source, for: pipeline, contractHash: contractHash, registry: parts.registry, stage: stage)
        parts.logger.info(
            "The model is loaded and warm",
            metadata: [
                "model": "\(source.manifest.name)", "model_version": "\(source.manifest.version)",
                "contract": "\(source.manifest.contract)", "openblas": "\(BLAS.coreType)",
                "sealed": "\(source.isSealed)",
            ])
        return processor
    }
}
