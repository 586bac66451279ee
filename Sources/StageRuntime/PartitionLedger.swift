// PartitionLedger: where one owned partition stands: replay, position, confirmed commit, crash guard. A pure value.

/// The life of a partition from assignment to revocation.
struct PartitionLedger {
    enum Phase: Equatable {
        /// Records below the start position are replayed through `rebuild`.
        case rebuilding(until: Int64)
        case processing
    }

    /// What to do with a record that the consumer hands out.
    enum Verdict: Equatable {
        /// Below the position: read ahead before a seek, a pause or a rebalance. Drop it.
        case stale
        case rebuild
        /// The first record at or beyond the start position: the replay is over. Process it.
        case process
    }

    let partition: TopicPartition
    let topicIndex: Int
    /// The first offset to process.
    let start: Int64
    private(set) var phase: Phase
    /// The next offset expected from the consumer. Offsets may be skipped (transaction markers, compaction), never
    /// repeated.
    private(set) var nextOffset: Int64
    /// Where the next batch starts: everything below is in a batch.
    private(set) var collectedEnd: Int64
    /// Everything below was processed and taken by the delivery.
    private(set) var processedEnd: Int64
    /// The group's offset as last confirmed, with its mark; nil before the first commit.
    private(set) var committed: Int64?
    private(set) var committedMark: GroupMark?
    var crashGuard: CrashGuard
    /// As last heard from the client; nil when unknown.
    var highWatermark: Int64?
    /// The end of the log as the consumer reached it last, beyond transaction markers; below `nextOffset` when records came
    /// after it.
    private(set) var reachedEnd: Int64 = 0
    /// When the last record came, on the monotonic clock in microseconds.
    var receivedAt: Int64 = 0

    /// - Parameters:
    ///   - start: the first offset to process.
    ///   - replayFrom: the first offset to read; below `start` when records are to be replayed.
    init(partition: TopicPartition, topicIndex: Int, start: Int64, replayFrom: Int64, crashGuard: CrashGuard) {
        self.partition = partition
        self.topicIndex = topicIndex
        self.start = start
        self.crashGuard = crashGuard
        phase = replayFrom < start ? .rebuilding(until: start) : .processing
        nextOffset = min(replayFrom, start)
        collectedEnd = start
        processedEnd = start
    }

    /// A record was handed out by the consumer; the position moves over it unless it is stale.
    mutating func receive(offset: Int64) -> Verdict {
        guard offset >= nextOffset else { return .stale }
        nextOffset = offset + 1
        guard case .rebuilding(let until) = phase else { return .process }
        guard offset >= until else { return .rebuild }
        phase = .processing
        return .process
    }

    /// The consumer stands at `position` without a record to hand out: a replay whose last offsets hold no record, or
    /// whose records were removed meanwhile, is over.
    mutating func reached(position: Int64) {
        reachedEnd = position
        guard case .rebuilding(let until) = phase, position >= until else { return }
        nextOffset = max(nextOffset, until)
        phase = .processing
    }

    /// The log lost what lies below `offset`: reading goes on there. The next batch still starts where the last one
    /// ended, so that stretches stay contiguous.
    mutating func skip(to offset: Int64) {
        nextOffset = max(nextOffset, offset)
        reached(position: offset)
    }

    /// Where an idle partition may be moved to: everything below is in a batch or holds no record. Nil when it stands there.
    func idleEnd(before time: Int64) -> Int64? {
        guard !isRebuilding, receivedAt < time, reachedEnd > collectedEnd, reachedEnd >= nextOffset else { return nil }
        // A suspicious range ends with its records; the mark at an offset in it would lose the search.
        if let end = crashGuard.chunkEndMax, reachedEnd < end { return nil }
        return reachedEnd
    }

    /// The offsets up to `end` hold no record.
    mutating func passed(end: Int64) {
        collectedEnd = end
        processedEnd = end
        // A search that finds nothing more in its range is over.
        crashGuard.received(offset: end)
        nextOffset = max(nextOffset, end)
    }

    /// A record was put into a batch.
    mutating func collected(offset: Int64) { collectedEnd = offset + 1 }

    /// Records of the partition up to `end` were processed and taken.
    mutating func processed(end: Int64) { processedEnd = end }

    mutating func confirmed(offset: Int64, mark: GroupMark) {
        committed = offset
        committedMark = mark
        crashGuard.confirmed(mark)
    }

    var isRebuilding: Bool {
        if case .rebuilding = phase { true } else { false }
    }

    /// Records between what is durable and the end of the log; nil when the end is unknown.
    func lag(durable: Int64) -> Int64? { highWatermark.map { max(0, $0 - durable) } }
}

/// Where reading starts, given what the store says and what the log still holds. A pure function.
struct StartResolution: Equatable, Sendable {
    /// The first offset to process.
    var position: Int64
    var stored: Int64?
    /// Offsets that were never processed and that the log no longer has.
    var lostRange: Range<Int64>?
    /// The stored position lies beyond the end of the log: not this log, or it was truncated.
    var isBeyondEnd = false

    init(stored: Int64?, low: Int64, high: Int64, start: StageSettings.PipelineStart) {
        self.stored = stored
        guard let stored else {
            position = start == .earliest ? low : high
            return
        }
        position = stored
        if stored < low {
            position = low
            lostRange = stored..<low
        } else if stored > high {
            isBeyondEnd = true
        }
    }

    /// The first offset to replay for a rewind by count.
    static func replayFrom(position: Int64, low: Int64, recordsMax: Int64) -> Int64 {
        max(low, position - min(position, recordsMax))
    }
}
