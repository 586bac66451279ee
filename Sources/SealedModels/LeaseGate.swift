// LeaseGate: whether the open models may be used, and when they are wiped.

import Synchronization

/// What the lease's thread and the stage's thread share: the open models, and whether they may be used.
public final class LeaseGate: Sendable {
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

    public init() {}

    /// Why nothing is processed now.
    public var reason: String? { state.withLock { $0.reason } }

    /// Container of the model that was opened last.
    public var location: String? { state.withLock { $0.models.last?.place } }

    /// Takes note of an opened model.
    public func hold(_ model: SealedModelSource) {
        state.withLock { state in
            state.models.append(model)
            if state.models.count > Self.modelsMax { state.models.removeFirst() }
        }
    }

    /// The lease is lost: nothing is processed from now on, and the models go as soon as the batch in hand is done.
    public func lose(_ reason: String) {
        state.withLock { state in
            state.reason = reason
            state.isWipeDue = true
            Self.wipeIfIdle(&state)
        }
    }

    /// A freshly opened model waits in the mailbox.
    public func restore() {
        state.withLock { state in
            state.isWipeDue = false
            state.reason = nil
        }
    }

    /// Whether a batch may begin; the models are not wiped until `leave`.
    public func enter() -> Bool {
        state.withLock { state in
            guard state.reason == nil else { return false }
            state.isInUse = true
            return true
        }
    }

    public func leave() {
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
