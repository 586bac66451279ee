// LeasedProcessor: the inference stage, as long as the model's lease is held.

import EventContracts
import InferenceStage
import SealedModels
import StageRuntime
import Synchronization

/// What the lease's thread and the stage's thread share.
final class LeaseGate: Sendable {
    private struct State {
        var isInUse = false
        /// Why nothing is processed; nil while the lease is held.
        var reason: String?
        /// What overwrites the model; called once when it is lost and no batch is in hand.
        var wipe: (@Sendable () -> Void)?
        var isWipeDue = false
    }

    /// A model on its way from the lease's thread to the stage's; touched by one of them at a time.
    private struct Handover: @unchecked Sendable {
        var model: LoadedModel
    }

    private let state: Mutex<State>
    private let restored = Mutex<Handover?>(nil)

    init(wipe: (@Sendable () -> Void)?) {
        state = Mutex(State(wipe: wipe))
    }

    var reason: String? { state.withLock { $0.reason } }

    /// The lease is lost: nothing is processed from now on, and the model goes as soon as the batch in hand is done.
    func lose(_ reason: String) {
        state.withLock { state in
            state.reason = reason
            state.isWipeDue = state.wipe != nil
            Self.wipeIfIdle(&state)
        }
    }

    /// A freshly opened model takes over.
    func restore(_ model: LoadedModel, wipe: @escaping @Sendable () -> Void) {
        let handover = Handover(model: model)
        restored.withLock { $0 = handover }
        state.withLock { state in
            state.wipe = wipe
            state.isWipeDue = false
            state.reason = nil
        }
    }

    func takeRestored() -> LoadedModel? { restored.withLock { $0.take() }?.model }

    /// Whether a batch may begin; the model is not wiped until `leave`.
    func enter() -> Bool {
        state.withLock { state in
            guard state.reason == nil else { return false }
            state.isInUse = true
            return true
        }
    }

    func leave() {
        state.withLock { state in
            state.isInUse = false
            Self.wipeIfIdle(&state)
        }
    }

    private static func wipeIfIdle(_ state: inout State) {
        guard state.isWipeDue, !state.isInUse else { return }
        state.isWipeDue = false
        state.wipe?()
        state.wipe = nil
    }
}

/// Runs the inference stage behind the gate. A batch that comes when the lease is lost waits in hand; its partitions are
/// paused and nothing is committed.
struct LeasedProcessor: StageProcessor {
    var inner: InferenceProcessor
    let gate: LeaseGate

    var obstacle: String? { gate.reason }
    var rewind: Rewind? { inner.rewind }
    func makeOutput() -> OutputBatch { inner.makeOutput() }

    mutating func rebuild(_ batch: RecordBatch, context: ProcessingContext) throws {
        try inner.rebuild(batch, context: context)
    }

    mutating func process(_ batch: RecordBatch, context: ProcessingContext, into output: inout OutputBatch) throws {
        // Lost between the runner's question and here: nothing of the batch is committed, the process starts again.
        guard gate.enter() else { throw StageFailure(gate.reason ?? "the model's lease is lost") }
        defer { gate.leave() }
        if let model = gate.takeRestored() { inner.models.replace(with: model) }
        try inner.process(batch, context: context, into: &output)
    }

    mutating func forget(_ partitions: [TopicPartition]) { inner.forget(partitions) }
}
