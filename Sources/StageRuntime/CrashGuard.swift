// CrashGuard: finds the record that kills the process, by bisection over restarts. A pure value per partition.

/// Bounds of the search.
struct CrashGuardLimits: Sendable, Equatable {
    /// Records a normal micro-batch holds at most; the first chunk is half of it.
    var batchRecordsMax: Int
    /// Offsets beyond the committed one that may be begun before another commit is confirmed: what a death can leave
    /// behind as suspicious.
    var reachOffsets: Int64
    /// Deaths alone at one record before it becomes a dead letter.
    var attemptsMax = 3

    init(batchRecordsMax: Int, reachOffsets: Int64) {
        self.batchRecordsMax = batchRecordsMax
        self.reachOffsets = reachOffsets
    }
}

/// Bisects a range in which a process died, over restarts.
///
/// **Normal**: every commit of the group's offset carries `dirty(reach)`; no record at or above the confirmed reach is
/// processed. A graceful end writes `clean`. Who finds `dirty` knows that a process died (or was cut off) and that the
/// cause, if it is a record at all, lies in `[committed, reach)`.
///
/// **Suspect**: that range is processed in chunks, alone and one at a time. Before a chunk the mark `trying` is written
/// synchronously; after it is durable the offset moves on and `trying` is gone. A death with `trying` set cuts the range
/// down to that chunk and halves the chunk. At one record per chunk the attempts at that offset are counted, and a record
/// that was begun alone `attemptsMax` times and never finished is condemned: dead-lettered without being processed.
/// A death in normal mode, then one per halving of batch/2, then two more at the single record: log2(batch) + 3 deaths.
///
/// **Why random kills do not condemn a good record**
/// - Only a death between the write of `trying` and the commit after it is evidence. That is the time of one chunk (a few
///   milliseconds); a death anywhere else leaves the mark as it is. Reading a mark changes nothing: a second death before
///   the next trial reads the same mark and draws the same conclusion, so one death is never counted twice.
/// - Evidence does not add up over time. A chunk that succeeds moves the offset, and a single record is condemned only by
///   `attemptsMax` deaths in a row, each inside the few milliseconds of its own trial, after a death at each halving had
///   narrowed the range to it. When kills hit a given trial with probability p, that is of the order of
///   (2p)^log2(batch/2) * p^attemptsMax: with kills a second apart p is under 1/100, and the product under 10^-15 for
///   batches of 64 and more. (Kills that fall into every fifth trial, every few milliseconds, are a different matter: no
///   observer could tell them from poison.)
/// - A position that moved past the mark (the sink commits in PostgreSQL first) proves that the trial succeeded.
/// - Records that arrived after the death were not in the process, so the range ends at the high watermark at latest.
struct CrashGuard: Equatable, Sendable {
    enum Mode: Equatable, Sendable {
        /// Offsets below `reach` may be processed.
        case normal(reach: Int64)
        case suspect(Suspicion)
    }

    /// What must happen before a batch may be processed.
    enum Step: Equatable, Sendable {
        case process
        /// Commit the present position with this mark, synchronously, and call `confirmed`; then ask again.
        case write(GroupMark)
        /// Dead-letter the batch's only record without processing it.
        case condemn
    }

    private(set) var mode: Mode
    let limits: CrashGuardLimits

    /// Draws the conclusion from what the previous owner left.
    /// - Parameters:
    ///   - mark: the metadata of the group's committed offset `markOffset`; nil when there was none or it is not ours.
    ///   - position: where processing starts; beyond `markOffset` when the delivery keeps offsets itself, or the log
    ///     lost a range.
    ///   - highWatermark: end of the log now, nil when unknown.
    init(mark: GroupMark?, markOffset: Int64?, position: Int64, highWatermark: Int64?, limits: CrashGuardLimits) {
        self.limits = limits
        let end = highWatermark ?? Int64.max
        switch mark {
        case .dirty(let reach) where min(reach, end) > position:
            mode = .suspect(
                Suspicion(until: min(reach, end), chunkRecords: max(1, limits.batchRecordsMax / 2)))
        case .suspect(let found) where min(found.until, end) > position:
            mode = .suspect(Self.conclude(found, hasMoved: position != markOffset))
        case nil, .clean, .dirty, .suspect:
            mode = .normal(reach: position)
        }
    }

    private static func conclude(_ found: Suspicion, hasMoved: Bool) -> Suspicion {
        var next = found
        next.trying = nil
        guard !hasMoved else {
            next.attempts = 0
            next.attempted = nil
            return next
        }
        guard let trial = found.trying else { return next }
        next.until = min(found.until, trial.end)
        next.chunkRecords = max(1, min(found.chunkRecords, trial.records) / 2)
        return next
    }

    var isSuspicious: Bool {
        if case .suspect = mode { true } else { false }
    }

    /// How many records a batch of this partition may hold, and that it must hold nothing else and wait for all before
    /// it; nil in normal mode.
    var chunkRecordsMax: Int? {
        guard case .suspect(let suspicion) = mode else { return nil }
        return suspicion.chunkRecords
    }

    /// The first offset that a chunk must not contain.
    var chunkEndMax: Int64? {
        guard case .suspect(let suspicion) = mode else { return nil }
        return suspicion.until
    }

    /// What to do before a batch that ends at `end` (exclusive; its last record stands at `end - 1`) is processed while
    /// everything below `position` is durable or, in normal mode, in flight.
    func step(end: Int64, records: Int, position: Int64) -> Step {
        switch mode {
        case .normal(let reach):
            return end <= reach ? .process : .write(.dirty(reach: max(end, position + limits.reachOffsets)))
        case .suspect(var suspicion):
            precondition(records <= suspicion.chunkRecords && end <= suspicion.until, "the chunk is too large")
            let trial = Suspicion.Trial(end: end, records: records)
            guard suspicion.trying != trial else { return .process }
            if records == 1 {
                if suspicion.attempted == end - 1 {
                    guard suspicion.attempts < limits.attemptsMax else { return .condemn }
                    suspicion.attempts += 1
                } else {
                    suspicion.attempted = end - 1
                    suspicion.attempts = 1
                }
            }
            suspicion.trying = trial
            return .write(.suspect(suspicion))
        }
    }

    /// A record at `offset` came while nothing of the partition is in hand. Leaves the suspicious range when the record
    /// lies beyond it: the offsets before hold no record (transaction markers, compaction).
    mutating func received(offset: Int64) {
        // Nothing at or beyond the record is covered by a mark yet, so the next step asks for one.
        if case .suspect(let suspicion) = mode, offset >= suspicion.until { mode = .normal(reach: offset) }
    }

    /// The mark that a commit at `offset` carries, everything below being durable.
    func mark(at offset: Int64) -> GroupMark {
        switch mode {
        case .normal(let reach): return .dirty(reach: max(reach, offset + limits.reachOffsets))
        case .suspect(var suspicion):
            guard offset < suspicion.until else { return .dirty(reach: offset + limits.reachOffsets) }
            if let trial = suspicion.trying, offset >= trial.end { suspicion.trying = nil }
            if let attempted = suspicion.attempted, offset > attempted {
                suspicion.attempts = 0
                suspicion.attempted = nil
            }
            return .suspect(suspicion)
        }
    }

    /// The mark for a chunk that was processed and now waits (for a database, for acknowledgements): it killed nobody,
    /// and a kill while it waits must not count against it. Nil when there is no trial to withdraw.
    func withdrawal() -> GroupMark? {
        guard case .suspect(var suspicion) = mode, let trial = suspicion.trying else { return nil }
        suspicion.trying = nil
        if trial.records == 1 { suspicion.attempts -= 1 }
        if suspicion.attempts <= 0 {
            suspicion.attempts = 0
            suspicion.attempted = nil
        }
        return .suspect(suspicion)
    }

    /// The mark for a partition that is given up in order, everything below `offset` durable and nothing begun above that
    /// is not thrown away. A search that is not finished is handed on.
    func markAtRelease(offset: Int64) -> GroupMark {
        guard case .suspect = mark(at: offset) else { return .clean }
        return withdrawal() ?? mark(at: offset)
    }

    /// The group's offset was committed with `mark`.
    mutating func confirmed(_ mark: GroupMark) {
        switch mark {
        case .clean: break
        case .dirty(let reach):
            guard case .normal(let known) = mode else {
                mode = .normal(reach: reach)
                return
            }
            mode = .normal(reach: max(known, reach))
        case .suspect(let suspicion): mode = .suspect(suspicion)
        }
    }
}
