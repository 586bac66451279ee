// DirectCopy: whether the next batch is worth a COPY straight into the table. A pure value.

/// Tried as long as it succeeds. After a conflict the next batches go through staging, twice as many with each further one:
/// where duplicates are frequent the attempt is soon rare, and where one came by it is soon back.
struct DirectCopy {
    static let pauseMax = 256

    /// Batches that go through staging after the next conflict.
    private var pause = 1
    private var rest = 0

    /// Counts the batch: ask once for each.
    var isWorthTrying: Bool {
        mutating get {
            guard rest > 0 else { return true }
            rest -= 1
            return false
        }
    }

    mutating func succeeded() { pause = 1 }

    mutating func failed() {
        rest = pause
        pause = min(Self.pauseMax, pause * 2)
    }
}
