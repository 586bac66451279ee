// LeasedProcessor: the inference stage, as long as the model's lease is held.

import EventContracts
import InferenceStage
import SealedModels
import StageRuntime
import Synchronization

/// What the lease's thread and the stage's thread share: the open models, and whether they may be used.
final class LeaseGate: Sendable {
    private struct State {
        var isInUse = false
        /// Why nothing is processed; nil while the lease is held.
        var reason: String?
        /// Every model that is open, the serving one last.
        var models: [SealedModelSource] = []
        var isWipeDue = false
    }

    /// The serving model, the one before it and one that waits.
    private static let modelsMax = 3
    private let state = Mutex(State())

    /// Why nothing is processed now.
    var reason: String? { state.withLock { $0.reason } }

    /// Container of the model that was opened last.
    var location: String? { state.withLock { $0.models.last?.place } }

    /// Takes note of an opened model.
    func hold(_ model: SealedModelSource) {
        state.withLock { state in
            state.models.append(model)
            if state.models.count > Self.modelsMax { state.models.removeFirst() }
        }
    }

    /// The lease is lost: nothing is processed from now on, and the models go as soon as the batch in hand is done.
    func lose(_ reason: String) {
        state.withLock { state in
            state.reason = reason
            state.isWipeDue = true
            Self.wipeIfIdle(&state)
        }
    }

    /// A freshly opened model waits in the mailbox.
    func restore() {
        state.withLock { state in
            state.isWipeDue = false
            state.reason = nil
        }
    }

    /// Whether a batch may begin; the models are not wiped until `leave`.
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
        for model in state.models { model.wipe() }
        state.models = []
    }
}

/// Runs the inference stage behind the gate. A batch that comes when the lease is lost waits in hand; its partitions are
/// paused and nothing of it is committed.
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
        try inner.process(batch, context: context, into: &output)
    }

    mutating func forget(_ partitions: [TopicPartition]) { inner.forget(partitions) }
}
