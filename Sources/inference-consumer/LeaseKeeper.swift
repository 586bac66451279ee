// LeaseKeeper: renews the model's lease while the stage runs, and says what becomes of it.

import InferenceStage
import Logging
import Observability
import ProcessControl
import SealedModels
import StageRuntime

/// Works on a thread of its own until the process ends.
struct LeaseKeeper: Sendable {
    /// Readiness shows the model's state under this name.
    static let condition = "model"

    let loader: SealedModelLoader
    let path: String
    let gate: LeaseGate
    let health: HealthState
    let logger: Logger
    let contractHash: UInt64
    /// The pipeline's decision threshold.
    let threshold: Double
    /// Of a micro-batch.
    let recordsMax: Int

    /// - Parameter leaseSeconds: of the release that opened the model just now.
    func start(leaseSeconds: Int64) throws(StageFailure) {
        let lease = ModelLease(loader: loader, path: path)
        let isStarted = Threads.start(named: "model-lease") {
            lease.run(leaseSeconds: leaseSeconds) { handle($0) }
        }
        guard isStarted else { throw StageFailure("No thread could be started to renew the model's lease") }
    }

    private func handle(_ event: ModelLease.Event) {
        switch event {
        case .renewed(let seconds):
            logger.debug("The model's lease is renewed", metadata: ["lease_seconds": "\(seconds)"])
        case .lost(let reason):
            health.fail(Self.condition, "The model's lease is lost: \(reason)")
            logger.critical(
                "The model's lease is lost: the batch in hand is finished, the model wiped, nothing more committed",
                metadata: ["reason": "\(reason)"])
            gate.lose("the model's lease is lost: \(reason)")
        case .restored(let source): restore(source)
        }
    }

    private func restore(_ source: SealedModelSource) {
        do {
            let model = try LoadedModel.load(
                source, contractHash: contractHash, threshold: threshold, recordsMax: recordsMax)
            gate.restore(model) { source.wipe() }
            health.clear(Self.condition)
            logger.notice("The model is released again; processing goes on")
        } catch {
            source.wipe()
            health.fail(Self.condition, "The model that was released again does not load: \(error)")
            logger.error("The released model does not load", metadata: ["error": "\(error)"])
        }
    }
}
