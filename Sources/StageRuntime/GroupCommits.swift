// GroupCommits: when the group's offsets are committed, and what a commit carries. A pure value.

/// Groups commits: one asynchronous commit in flight at most, a new one when an interval has passed and something moved.
struct GroupCommits {
    struct Entry: Equatable {
        var offset: Int64
        var mark: GroupMark
    }

    let intervalMicroseconds: Int64
    private(set) var inFlight: [TopicPartition: Entry] = [:]
    /// Until the answer came, also when every partition of the commit was forgotten meanwhile: answers come in order, so
    /// the next one is taken for this commit's.
    private(set) var isInFlight = false
    private var lastStart: Int64
    /// After a refusal the interval is kept, however urgent the next commit is.
    private var notBefore = Int64.min
    /// Commits refused in a row, for the log.
    private(set) var failures = 0

    init(intervalMilliseconds: Int, now: Int64) {
        intervalMicroseconds = Int64(intervalMilliseconds) * 1000
        lastStart = now
    }

    /// What to commit now: partitions whose durable position differs from the confirmed one. Empty when it is not yet
    /// time, unless half of some partition's reach is used up, which would make the runner wait for a commit soon.
    /// Suspicious partitions commit synchronously, each chunk by itself, and are left out.
    func due(
        now: Int64, ledgers: [PartitionLedger], progress: [TopicPartition: Int64]
    ) -> [TopicPartition: Entry] {
        guard !isInFlight, now >= notBefore else { return [:] }
        var entries: [TopicPartition: Entry] = [:]
        var isUrgent = false
        for ledger in ledgers {
            guard let durable = progress[ledger.partition], !ledger.crashGuard.isSuspicious, durable != ledger.committed
            else { continue }
            entries[ledger.partition] = Entry(offset: durable, mark: ledger.crashGuard.mark(at: durable))
            if case .normal(let reach) = ledger.crashGuard.mode {
                let half = ledger.crashGuard.limits.reachOffsets / 2
                isUrgent = isUrgent || ledger.processedEnd > reach - half
            }
        }
        return isUrgent || now - lastStart >= intervalMicroseconds ? entries : [:]
    }

    mutating func started(_ entries: [TopicPartition: Entry], now: Int64) {
        inFlight = entries
        isInFlight = true
        lastStart = now
    }

    /// The answer to the commit in flight.
    /// - Parameter failed: partitions that were refused; nil when the whole commit was.
    /// - Returns: what is confirmed by it.
    mutating func finished(failed: Set<TopicPartition>?, now: Int64) -> [TopicPartition: Entry] {
        defer {
            inFlight = [:]
            isInFlight = false
            notBefore = failures == 0 ? Int64.min : now + intervalMicroseconds
        }
        guard let failed else {
            failures += 1
            return [:]
        }
        failures = failed.isEmpty ? 0 : failures + 1
        return inFlight.filter { !failed.contains($0.key) }
    }

    /// The partitions are not ours any more: an answer that still comes says nothing about the next assignment of them.
    mutating func forget(_ partitions: [TopicPartition]) {
        for partition in partitions { inFlight[partition] = nil }
    }
}
