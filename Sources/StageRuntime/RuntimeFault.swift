// RuntimeFault: planted mistakes, to show that the oracle notices them. Never set in operation.

/// A mistake that the runtime makes on purpose. The command line takes it from a hidden option only, and logs it loudly.
public enum RuntimeFault: String, Sendable, CaseIterable {
    /// Commits a batch's offsets before it is processed.
    case commitBeforeEffect = "commit-before-effect"
    /// Commits one offset too far.
    case offsetOffByOne = "offset-off-by-one"
    /// Acknowledges dead letters without producing them.
    case swallowDeadLetter = "swallow-dead-letter"
    /// Commits the batch in hand at shutdown without processing it.
    case loseBatchAtShutdown = "lose-batch-at-shutdown"
    /// The sink writes rows without comparing the stored offset (the sink's own).
    case noCompareAndSet = "no-compare-and-set"
    /// Leaves out each batch's last emission.
    case dropEmission = "drop-emission"
    /// Emits each batch's first record twice.
    case repeatEmission = "repeat-emission"
    /// Emits a batch in reverse.
    case reverseOrder = "reverse-order"
    /// Makes a dead letter of each batch's first record, whatever the stage made of it.
    case refuseValidRecord = "refuse-valid-record"
    /// Adds a byte to each dead letter's value.
    case alterDeadLetter = "alter-dead-letter"
    /// Writes each emission under the key of the next record.
    case wrongKey = "wrong-key"
}
