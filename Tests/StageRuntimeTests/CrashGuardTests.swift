// CrashGuardTests: each edge of the bisection, and simulated lives of processes under random kills and poison.

import Testing

@testable import StageRuntime

@Suite("Crash bisection")
struct CrashGuardTests {
    static let limits = CrashGuardLimits(batchRecordsMax: 64, reachOffsets: 256)

    private func guarding(
        _ mark: GroupMark?, at offset: Int64? = 100, position: Int64 = 100, high: Int64? = 1_000
    ) -> CrashGuard {
        CrashGuard(mark: mark, markOffset: offset, position: position, highWatermark: high, limits: Self.limits)
    }

    private func suspicion(
        until: Int64, chunk: Int, attempts: Int = 0, attempted: Int64? = nil, trying: Suspicion.Trial? = nil
    ) -> Suspicion {
        var result = Suspicion(until: until, chunkRecords: chunk)
        result.attempts = attempts
        result.attempted = attempted
        result.trying = trying
        return result
    }

    // MARK: The text

    @Test("A mark reads back from its text")
    func text() {
        let marks: [GroupMark] = [
            .clean, .dirty(reach: 7), .suspect(suspicion(until: 9, chunk: 32)),
            .suspect(suspicion(until: 9, chunk: 1, attempts: 2, attempted: 8)),
            .suspect(suspicion(until: 9, chunk: 4, trying: .init(end: 6, records: 3))),
            .suspect(suspicion(until: 9, chunk: 1, attempts: 3, attempted: 8, trying: .init(end: 9, records: 1))),
        ]
        for mark in marks { #expect(GroupMark(reading: mark.text) == mark) }
    }

    @Test(
        "Text that is not ours, or damaged, says nothing",
        arguments: [
            "", "penstock/1", "penstock/2 clean", "penstock/1 dirty", "penstock/1 dirty x", "penstock/1 clean more",
            "penstock/1 suspect 9 0 0 -", "penstock/1 suspect 9 4 -1 -", "penstock/1 suspect 9 4 0 x",
            "penstock/1 suspect 9 4 0 - trying 6", "penstock/1 suspect 9 4 0 - trying 6 0",
            "penstock/1 suspect 9 4 0 - doing 6 1", "penstock/1  clean", "someone else's metadata",
        ])
    func foreignText(text: String) { #expect(GroupMark(reading: text) == nil) }

    // MARK: Conclusions

    @Test("No mark and a clean mark start in normal mode, and ask for a mark before the first record")
    func normalStart() {
        for mark in [nil, GroupMark.clean] {
            let start = guarding(mark)
            #expect(!start.isSuspicious)
            #expect(start.step(end: 101, records: 1, position: 100) == .write(.dirty(reach: 356)))
        }
    }

    @Test("A dirty mark makes the range up to its reach suspicious, at most to the end of the log")
    func dirtyStart() {
        #expect(guarding(.dirty(reach: 300)).mode == .suspect(suspicion(until: 300, chunk: 32)))
        #expect(guarding(.dirty(reach: 3_000)).mode == .suspect(suspicion(until: 1_000, chunk: 32)))
        #expect(guarding(.dirty(reach: 3_000), high: nil).mode == .suspect(suspicion(until: 3_000, chunk: 32)))
    }

    @Test("A dirty mark with nothing beyond the position leaves nothing to suspect")
    func dirtyButDone() {
        #expect(!guarding(.dirty(reach: 300), position: 300).isSuspicious)
        #expect(!guarding(.dirty(reach: 300), high: 100).isSuspicious)
    }

    @Test("A death in a trial cuts the range to the chunk and halves it")
    func deathInTrial() {
        let mark = GroupMark.suspect(suspicion(until: 300, chunk: 32, trying: .init(end: 132, records: 32)))
        #expect(guarding(mark).mode == .suspect(suspicion(until: 132, chunk: 16)))
    }

    @Test("A death in a trial of fewer records than the chunk halves what was tried")
    func deathInShortTrial() {
        let mark = GroupMark.suspect(suspicion(until: 300, chunk: 32, trying: .init(end: 150, records: 10)))
        #expect(guarding(mark).mode == .suspect(suspicion(until: 150, chunk: 5)))
    }

    @Test("A death outside a trial is no evidence")
    func deathOutsideTrial() {
        let found = suspicion(until: 300, chunk: 16, attempts: 2, attempted: 100)
        #expect(guarding(.suspect(found)).mode == .suspect(found))
    }

    @Test("A position beyond the mark proves that the trial succeeded")
    func movedOn() {
        let mark = GroupMark.suspect(
            suspicion(until: 300, chunk: 1, attempts: 2, attempted: 100, trying: .init(end: 101, records: 1)))
        #expect(guarding(mark, position: 101).mode == .suspect(suspicion(until: 300, chunk: 1)))
    }

    @Test("Reading the same mark twice draws the same conclusion: one death counts once")
    func idempotent() {
        let mark = GroupMark.suspect(
            suspicion(until: 300, chunk: 1, attempts: 1, attempted: 100, trying: .init(end: 101, records: 1)))
        let first = guarding(mark)
        #expect(first.mode == .suspect(suspicion(until: 101, chunk: 1, attempts: 1, attempted: 100)))
        #expect(guarding(first.mark(at: 100)).mode == first.mode)
    }

    // MARK: Steps

    @Test("Within the confirmed reach nothing is written; beyond it a farther one is")
    func reach() {
        var normal = guarding(nil)
        normal.confirmed(.dirty(reach: 356))
        #expect(normal.step(end: 356, records: 64, position: 100) == .process)
        #expect(normal.step(end: 357, records: 64, position: 300) == .write(.dirty(reach: 556)))
        #expect(normal.step(end: 9_000, records: 64, position: 300) == .write(.dirty(reach: 9_000)))
        normal.confirmed(.dirty(reach: 200))
        #expect(normal.step(end: 356, records: 64, position: 100) == .process, "an older commit takes no reach back")
    }

    @Test("A chunk is marked before it is processed, once")
    func trial() {
        var suspect = guarding(.dirty(reach: 300))
        let trying = GroupMark.suspect(suspicion(until: 300, chunk: 32, trying: .init(end: 132, records: 32)))
        #expect(suspect.step(end: 132, records: 32, position: 100) == .write(trying))
        suspect.confirmed(trying)
        #expect(suspect.step(end: 132, records: 32, position: 100) == .process)
    }

    @Test("A durable chunk clears the trial; the end of the range returns to normal")
    func durable() {
        var suspect = guarding(.dirty(reach: 300))
        suspect.confirmed(.suspect(suspicion(until: 300, chunk: 32, trying: .init(end: 132, records: 32))))
        #expect(suspect.mark(at: 132) == .suspect(suspicion(until: 300, chunk: 32)))
        suspect.confirmed(suspect.mark(at: 132))
        #expect(suspect.isSuspicious)
        #expect(suspect.mark(at: 300) == .dirty(reach: 556))
        suspect.confirmed(suspect.mark(at: 300))
        #expect(!suspect.isSuspicious)
    }

    @Test("A record beyond the range ends it when the offsets before hold none")
    func beyond() {
        var suspect = guarding(.dirty(reach: 300))
        suspect.received(offset: 299)
        #expect(suspect.isSuspicious)
        suspect.received(offset: 300)
        #expect(!suspect.isSuspicious)
        #expect(suspect.step(end: 301, records: 1, position: 120) == .write(.dirty(reach: 376)))
    }

    @Test("Single records count their attempts, and three deaths condemn")
    func condemn() {
        var mark = GroupMark.suspect(suspicion(until: 101, chunk: 1))
        for attempt in 1...3 {
            var process = guarding(mark)
            guard case .write(let written) = process.step(end: 101, records: 1, position: 100) else {
                Issue.record("attempt \(attempt) was not marked")
                return
            }
            process.confirmed(written)
            #expect(process.step(end: 101, records: 1, position: 100) == .process)
            mark = written
        }
        let last = guarding(mark)
        #expect(last.step(end: 101, records: 1, position: 100) == .condemn)
        #expect(last.mark(at: 101) == .dirty(reach: 357), "after the dead letter the partition is normal")
    }

    @Test("Attempts belong to one offset")
    func otherOffset() {
        let suspect = guarding(.suspect(suspicion(until: 300, chunk: 1, attempts: 3, attempted: 99)))
        #expect(
            suspect.step(end: 101, records: 1, position: 100)
                == .write(
                    .suspect(
                        suspicion(
                            until: 300, chunk: 1, attempts: 1, attempted: 100, trying: .init(end: 101, records: 1)))))
    }

    @Test("A chunk that waits is withdrawn as evidence, and its attempt with it")
    func withdrawal() {
        var suspect = guarding(.suspect(suspicion(until: 101, chunk: 1, attempts: 1, attempted: 100)))
        #expect(suspect.withdrawal() == nil)
        guard case .write(let trying) = suspect.step(end: 101, records: 1, position: 100) else {
            Issue.record("no trial")
            return
        }
        suspect.confirmed(trying)
        #expect(suspect.withdrawal() == .suspect(suspicion(until: 101, chunk: 1, attempts: 1, attempted: 100)))
    }

    @Test("A graceful end is clean in normal mode, and hands an unfinished search on")
    func release() {
        #expect(guarding(nil).markAtRelease(offset: 100) == .clean)
        var suspect = guarding(.dirty(reach: 300))
        #expect(suspect.markAtRelease(offset: 100) == .suspect(suspicion(until: 300, chunk: 32)))
        #expect(suspect.markAtRelease(offset: 300) == .clean)
        suspect.confirmed(
            .suspect(suspicion(until: 300, chunk: 1, attempts: 1, attempted: 100, trying: .init(end: 101, records: 1))))
        #expect(suspect.markAtRelease(offset: 100) == .suspect(suspicion(until: 300, chunk: 1)))
    }

    // MARK: Lives

    @Test(
        "A poison record, and no other, is dead-lettered within log2(batch) + 3 deaths",
        arguments: [1, 2, 8, 64, 1_024])
    func poison(batch: Int) {
        for seed in 0..<200 {
            var life = SimulatedPartition(batch: batch, records: 6 * batch + seed % 7, seed: UInt64(seed))
            let victim = Int64(seed * 31 % life.recordCount)
            life.poison = [victim]
            life.runToEnd()
            #expect(life.condemned == [victim])
            #expect(life.isComplete)
            // A batch of one is not alone while others are in flight, so it too takes a death in normal mode first.
            let halvings = max(1, batch.bitWidth - 1 - batch.leadingZeroBitCount)
            let deathsMax = halvings + 3
            #expect(life.deaths <= deathsMax, "batch \(batch), seed \(seed)")
        }
    }

    @Test("Several poison records are all found, and only they")
    func severalPoisons() {
        for seed in 0..<50 {
            var life = SimulatedPartition(batch: 32, records: 400, seed: UInt64(seed))
            life.poison = [Int64(seed), Int64(200 + seed), Int64(201 + seed)]
            life.runToEnd()
            #expect(life.condemned == life.poison)
            #expect(life.isComplete)
        }
    }

    @Test("Thousands of random kills condemn no good record", arguments: 0..<25)
    func randomKills(seed: Int) {
        // One kill in 200 steps (a step takes about a millisecond, so five a second): a trial is hit with 2 %.
        var life = SimulatedPartition(batch: 64, records: 500_000, seed: UInt64(seed) &+ 77, killsPerStep: 0.005)
        life.runToEnd()
        #expect(life.condemned.isEmpty)
        #expect(life.isComplete)
        #expect(life.deaths > 100)
    }

    @Test("Random kills do not hide a poison record either", arguments: 0..<10)
    func poisonUnderKills(seed: Int) {
        var life = SimulatedPartition(batch: 64, records: 2_000, seed: UInt64(seed) &+ 5, killsPerStep: 0.005)
        life.poison = [Int64(seed * 150 + 3)]
        life.runToEnd()
        #expect(life.condemned == life.poison)
        #expect(life.isComplete)
    }

    @Test("Kills while the outputs wait, with the trial withdrawn, never condemn")
    func killsWhileWaiting() {
        var life = SimulatedPartition(batch: 64, records: 3_000, seed: 9, killsPerStep: 0.3)
        life.killsOnlyWhileWaiting = true
        life.runToEnd()
        #expect(life.condemned.isEmpty)
        #expect(life.isComplete)
    }
}

/// A partition, its committed mark, and the processes that work on it one after the other, in steps between which a kill
/// may fall.
private struct SimulatedPartition {
    let batch: Int
    let recordCount: Int
    var poison: Set<Int64> = []
    var killsPerStep = 0.0
    var killsOnlyWhileWaiting = false
    private(set) var condemned: Set<Int64> = []
    private(set) var deaths = 0
    /// Every record below was processed or condemned.
    private(set) var doneEnd: Int64 = 0
    private(set) var hasGap = false

    private var offset: Int64 = 0
    private var metadata = ""
    private var random: SplitMix
    private struct Killed: Error {}

    init(batch: Int, records: Int, seed: UInt64, killsPerStep: Double = 0) {
        self.batch = batch
        recordCount = records
        random = SplitMix(state: seed)
        self.killsPerStep = killsPerStep
    }

    var isComplete: Bool { !hasGap && doneEnd == recordCount && offset == recordCount }

    mutating func runToEnd() {
        while offset < recordCount {
            do throws(Killed) { try live() } catch { deaths += 1 }
            guard deaths < 100_000 else { return }
        }
    }

    private mutating func mayDie(isWaiting: Bool = false) throws(Killed) {
        guard !killsOnlyWhileWaiting || isWaiting else { return }
        if Double(random.next() >> 11) / Double(1 << 53) < killsPerStep { throw Killed() }
    }

    private mutating func commit(_ mark: GroupMark, at position: Int64, _ process: inout CrashGuard) throws(Killed) {
        try mayDie()
        offset = position
        metadata = mark.text
        process.confirmed(mark)
        try mayDie()
    }

    /// One process, from its start to the end of the log or its death. In normal mode up to four batches are in flight.
    private mutating func live() throws(Killed) {
        let limits = CrashGuardLimits(batchRecordsMax: batch, reachOffsets: Int64(batch) * 4)
        var process = CrashGuard(
            mark: GroupMark(reading: metadata), markOffset: offset, position: offset,
            highWatermark: Int64(recordCount), limits: limits)
        try commit(process.mark(at: offset), at: offset, &process)
        var next = offset
        while next < recordCount {
            process.received(offset: next)
            let room = Int64(process.chunkRecordsMax ?? batch)
            // Batches close early now and then, as by a deadline.
            let wanted = random.next() % 4 == 0 ? 1 + Int64(random.next() % UInt64(room)) : room
            let end = min(next + wanted, Int64(recordCount), process.chunkEndMax ?? Int64.max)
            let isChunk = process.isSuspicious
            var isCondemned = false
            loop: while true {
                switch process.step(end: end, records: Int(end - next), position: isChunk ? next : offset) {
                case .process: break loop
                case .write(let mark): try commit(mark, at: isChunk ? next : offset, &process)
                case .condemn:
                    isCondemned = true
                    break loop
                }
            }
            hasGap = hasGap || next > doneEnd
            if isCondemned {
                condemned.insert(next)
            } else {
                try mayDie()
                if poison.contains(where: { (next..<end).contains($0) }) { throw Killed() }
                try mayDie()
            }
            doneEnd = max(doneEnd, end)
            if killsOnlyWhileWaiting, let mark = process.withdrawal() {
                try commit(mark, at: next, &process)
                try mayDie(isWaiting: true)
            }
            next = end
            if isChunk || next - offset >= Int64(batch) * 3 || next == recordCount {
                try commit(process.mark(at: next), at: next, &process)
            }
        }
        if offset == recordCount { metadata = process.markAtRelease(offset: offset).text }
    }
}

/// A small seeded generator (SplitMix64, public domain).
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
