// ModelSlot: which model serves, and the swap at a batch boundary.

/// Holds the serving model, the one before it (kept warm for a rollback) and at most one that waits to take over.
///
/// Lives on the stage's thread. `advance()` is called before each batch, so that no batch is split between two models.
public struct ModelSlot {
    public private(set) var current: LoadedModel
    public private(set) var previous: LoadedModel?
    private var next: LoadedModel?

    public init(_ model: LoadedModel) {
        current = model
    }

    /// Names the model that takes over at the next batch boundary; a later offer replaces an earlier one.
    public mutating func offer(_ model: LoadedModel) {
        next = model
    }

    /// Offers the previous model again; false when there is none.
    public mutating func rollBack() -> Bool {
        guard let previous else { return false }
        next = previous
        return true
    }

    /// The batch boundary: swaps when a successor waits.
    mutating func advance() {
        guard let successor = next else { return }
        next = nil
        previous = current
        current = successor
    }
}
