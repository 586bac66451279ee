// ModelOpening: where the inference consumer gets its first model, however long that takes.

import Inference
import Logging
import ModelStore
import Observability
import PipelineContract
import SealedModels
import SealedStore
import SecureMemory
import StageCommand
import StageRuntime

struct ModelOpening {
    let parts: StageParts
    let options: ModelChoice

    /// Pauses between two tries, in seconds; the last one repeats.
    private static let pauses = [1, 2, 5, 10]

    private var pipeline: Pipeline { parts.configuration.pipeline }

    /// The store of the options, which hardens the process for sealed models.
    func store(_ gate: LeaseGate) throws -> any ModelStore {
        let logger = parts.logger
        let store = try options.store(
            folder: parts.configuration.modelFolder, basePath: pipeline.model.manifestPath, opensModels: true,
            warn: { logger.critical("\($0)") }, onOpen: { gate.hold($0) })
        if !options.isUnsealed {
            let active =
                "\(ProcessHardening.report().sentence), lock mode \(try options.resolvedLockMode().rawValue)"
            logger.info("Memory protection", metadata: ["active": "\(active)"])
            parts.health.note("memory", active)
        }
        return store
    }

    /// The pipeline's own model where models need not be sealed; nil where they must be.
    func unsealedBase(_ store: any ModelStore) throws -> UnsealedFileSource? {
        guard !(store is SealedModelStore) else { return nil }
        return try UnsealedFileSource(manifestPath: pipeline.model.manifestPath) { _ in }
    }

    /// The version in production, or without one the pipeline's own model. For a sealed model the process waits, not ready
    /// and without consuming anything, until a broker that is down, a refusal or a damaged file is mended.
    func open(
        _ store: any ModelStore, production: () throws -> (any ModelSource)?
    ) throws -> any ModelSource {
        guard let sealed = store as? SealedModelStore else {
            if let promoted = try production() { return promoted }
            let logger = parts.logger
            return try UnsealedFileSource(manifestPath: pipeline.model.manifestPath) { logger.warning("\($0)") }
        }
        var attempt = 0
        while true {
            do {
                let source: any ModelSource
                if let promoted = try production() { source = promoted } else { source = try sealed.openBase() }
                parts.health.clear(LeaseKeeper.condition)
                return source
            } catch {
                parts.health.fail(LeaseKeeper.condition, "\(error)")
                parts.logger.error("The sealed model cannot be opened", metadata: ["error": "\(error)"])
                let pause = Self.pauses[min(attempt, Self.pauses.count - 1)]
                attempt += 1
                if parts.control.waitForStop(seconds: pause) { throw StopRequested() }
            }
        }
    }
}
