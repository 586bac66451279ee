// LeaseKeeper: renews the model's lease while the stage runs, and says what becomes of it.

import InferenceStage
import Logging
import Observability
import ProcessControl
import SealedModels
import SealedStore
import StageRuntime
import Synchronization

/// Works on a thread of its own until the process ends.
struct LeaseKeeper: Sendable {
    /// Readiness shows the model's state under this name.
    static let condition = "model"

    let store: SealedModelStore
    let gate: LeaseGate
    let mailbox: ModelMailbox
    let health: HealthState
    let logger: Logger
    let contractHash: UInt64
    /// The pipeline's decision threshold.
    let threshold: Double
    /// Of a micro-batch.
    let recordsMax: Int

    /// - Parameter leaseSeconds: of the release that opened the model just now.
    func start(leaseSeconds: Int64) throws(StageFailure) {
        let (store, gate) = (store, gate)
        let place = ServingPlace(gate)
        let lease = ModelLease(
            renew: { try store.renew(place.location) }, open: { try store.open(at: place.location) })
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
            mailbox.serve(model)
            gate.restore()
            health.clear(Self.condition)
            logger.notice("The model is released again; processing goes on")
        } catch {
            source.wipe()
            health.fail(Self.condition, "The model that was released again does not load: \(error)")
            logger.error("The released model does not load", metadata: ["error": "\(error)"])
        }
    }
}

/// The container that served last: what is asked for, also after it was lost.
private final class ServingPlace: Sendable {
    private let gate: LeaseGate
    private let last: Mutex<String>

    init(_ gate: LeaseGate) {
        self.gate = gate
        last = Mutex(gate.location ?? "")
    }

    var location: String {
        let now = gate.location
        return last.withLock { last in
            last = now ?? last
            return last
        }
    }
}
