// ModelMailbox: hands a loaded model from the thread that loads to the thread that serves.

import Inference
import Synchronization

/// One waiting order, taken by the stage at its next batch boundary; a later order replaces an earlier one.
public final class ModelMailbox: Sendable {
    /// What the stage is to do at its next batch boundary.
    enum Order {
        case serve(LoadedModel)
        /// The model before the present one, which is warm.
        case rollBack
    }

    /// A session is used by one thread at a time: by the one that loads it until it is put in, by the stage from when it
    /// is taken out.
    private struct Handover: @unchecked Sendable {
        var order: Order
    }

    private struct State {
        var waiting: Handover?
        var current: String
        var previous: String?
    }

    private let state: Mutex<State>

    /// - Parameter current: version of the model that serves.
    public init(current: String) {
        state = Mutex(State(waiting: nil, current: current))
    }

    /// The version that serves, as of the last batch boundary.
    public var current: String { state.withLock { $0.current } }

    /// Hands over a loaded model, not to be touched by the caller again.
    public func serve(_ model: consuming LoadedModel) {
        let handover = Handover(order: .serve(model))
        state.withLock { $0.waiting = handover }
    }

    /// Orders a swap back to `version` if that is the model before the present one.
    /// - Returns: false when it is not warm and must be loaded.
    public func rollBack(to version: String) -> Bool {
        state.withLock { state in
            guard state.previous == version else { return false }
            state.waiting = Handover(order: .rollBack)
            return true
        }
    }

    /// Withdraws an order that was not taken yet, because the version that serves is the right one.
    public func keep() { state.withLock { $0.waiting = nil } }

    /// Carries out the waiting order on the stage's slot. Called by the stage between two batches.
    func advance(_ slot: inout ModelSlot) {
        guard let handover = state.withLock({ state in state.waiting.take() }) else { return }
        switch handover.order {
        case .serve(let model): slot.offer(model)
        case .rollBack: _ = slot.rollBack()
        }
        slot.advance()
        let (current, previous) = (slot.current.manifest.version, slot.previous?.manifest.version)
        state.withLock { state in
            state.current = current
            state.previous = previous
        }
    }
}
