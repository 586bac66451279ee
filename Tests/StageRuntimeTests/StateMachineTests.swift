// StateMachineTests: the other pure values of the runtime, edge by edge.

import EventContracts
import Testing

@testable import StageRuntime

@Suite("Delivery tracker")
struct DeliveryTrackerTests {
    @Test("Progress follows the acknowledgement of a whole batch")
    func oneBatch() {
        var tracker = DeliveryTracker()
        tracker.begin(place(0), at: 10)
        tracker.open(sequence: 1, ranges: [range(0, 10, 12)])
        tracker.produced(sequence: 1)
        tracker.produced(sequence: 1)
        #expect(tracker.complete(sequence: 1).isEmpty)
        #expect(tracker.acknowledged(sequence: 1).isEmpty)
        #expect(tracker.progress[place(0)] == 10)
        #expect(tracker.acknowledged(sequence: 1) == [1])
        #expect(tracker.progress[place(0)] == 12)
        #expect(tracker.count == 0)
    }

    @Test("A run of acknowledgements counts as so many, and an empty one as none")
    func run() {
        var tracker = DeliveryTracker()
        tracker.begin(place(0), at: 0)
        tracker.open(sequence: 1, ranges: [range(0, 0, 5)])
        tracker.produced(sequence: 1, count: 5)
        #expect(tracker.complete(sequence: 1).isEmpty)
        #expect(tracker.acknowledged(sequence: 1, count: 4).isEmpty)
        #expect(tracker.acknowledged(sequence: 1, count: 0).isEmpty)
        #expect(tracker.progress[place(0)] == 0)
        #expect(tracker.acknowledged(sequence: 1, count: 1) == [1])
        #expect(tracker.progress[place(0)] == 5)
    }

    @Test("A batch acknowledged early waits for those before it")
    func contiguous() {
        var tracker = DeliveryTracker()
        tracker.begin(place(0), at: 0)
        for sequence in 1...3 {
            tracker.open(sequence: sequence, ranges: [range(0, Int64(sequence - 1), Int64(sequence))])
            tracker.produced(sequence: sequence)
            _ = tracker.complete(sequence: sequence)
        }
        #expect(tracker.acknowledged(sequence: 3).isEmpty)
        #expect(tracker.acknowledged(sequence: 2).isEmpty)
        #expect(tracker.progress[place(0)] == 0)
        #expect(tracker.acknowledged(sequence: 1) == [1, 2, 3])
        #expect(tracker.progress[place(0)] == 3)
    }

    @Test("A batch without records lands when it is complete and first")
    func emptyBatch() {
        var tracker = DeliveryTracker()
        tracker.begin(place(0), at: 0)
        tracker.open(sequence: 1, ranges: [range(0, 0, 5)])
        #expect(tracker.complete(sequence: 1) == [1])
        #expect(tracker.progress[place(0)] == 5)
    }

    @Test("Acknowledgements before the hand-over is complete do not land the batch")
    func incomplete() {
        var tracker = DeliveryTracker()
        tracker.begin(place(0), at: 0)
        tracker.open(sequence: 1, ranges: [range(0, 0, 2)])
        tracker.produced(sequence: 1)
        #expect(tracker.acknowledged(sequence: 1).isEmpty)
        #expect(tracker.isInFlight(nil))
        #expect(tracker.complete(sequence: 1) == [1])
    }

    @Test("A lost partition's late acknowledgements move nothing, the other partitions' do")
    func lost() {
        var tracker = DeliveryTracker()
        tracker.begin(place(0), at: 0)
        tracker.begin(place(1), at: 0)
        tracker.open(sequence: 1, ranges: [range(0, 0, 4), range(1, 0, 4)])
        tracker.produced(sequence: 1)
        _ = tracker.complete(sequence: 1)
        tracker.forget([place(0)])
        tracker.begin(place(0), at: 100)
        #expect(tracker.isInFlight([place(1)]))
        #expect(!tracker.isInFlight([place(0)]))
        #expect(tracker.acknowledged(sequence: 1) == [1])
        #expect(tracker.progress == [place(0): 100, place(1): 4])
    }

    @Test("An abandoned hand-over is gone, and its acknowledgements are ignored")
    func abandoned() {
        var tracker = DeliveryTracker()
        tracker.begin(place(0), at: 0)
        tracker.open(sequence: 1, ranges: [range(0, 0, 4)])
        tracker.produced(sequence: 1)
        tracker.abandon(sequence: 1)
        #expect(tracker.count == 0)
        #expect(tracker.acknowledged(sequence: 1).isEmpty)
        #expect(tracker.progress[place(0)] == 0)
    }

    @Test("A complete batch cannot be abandoned")
    func notAbandoned() {
        var tracker = DeliveryTracker()
        tracker.begin(place(0), at: 0)
        tracker.open(sequence: 1, ranges: [range(0, 0, 4)])
        tracker.produced(sequence: 1)
        _ = tracker.complete(sequence: 1)
        tracker.abandon(sequence: 1)
        #expect(tracker.acknowledged(sequence: 1) == [1])
    }

    @Test("In any order of acknowledgement progress is the end of the longest acknowledged prefix", arguments: 0..<50)
    func anyOrder(seed: Int) {
        var random = SplitMix(state: UInt64(seed))
        var tracker = DeliveryTracker()
        tracker.begin(place(0), at: 0)
        var open: [Int] = []
        var left: [Int: Int] = [:]
        for sequence in 1...20 {
            tracker.open(sequence: sequence, ranges: [range(0, Int64(sequence - 1), Int64(sequence))])
            let records = Int.random(in: 0...5, using: &random)
            left[sequence] = records
            for _ in 0..<records {
                tracker.produced(sequence: sequence)
                open.append(sequence)
            }
            _ = tracker.complete(sequence: sequence)
        }
        open.shuffle(using: &random)
        for sequence in open {
            _ = tracker.acknowledged(sequence: sequence)
            left[sequence, default: 0] -= 1
            let prefix = (1...20).prefix { left[$0] == 0 }.last ?? 0
            #expect(tracker.progress[place(0)] == Int64(prefix))
        }
        #expect(tracker.count == 0)
    }
}

@Suite("Partition ledger")
struct PartitionLedgerTests {
    static let crashGuard = CrashGuard(
        mark: nil, markOffset: nil, position: 10, highWatermark: nil,
        limits: CrashGuardLimits(batchRecordsMax: 8, reachOffsets: 64))

    private func ledger(start: Int64 = 10, replayFrom: Int64 = 10) -> PartitionLedger {
        PartitionLedger(
            partition: place(0), topicIndex: 0, start: start, replayFrom: replayFrom, crashGuard: Self.crashGuard)
    }

    @Test("Records below the position are stale, gaps are normal")
    func stale() {
        var ledger = ledger()
        #expect(ledger.receive(offset: 9) == .stale)
        #expect(ledger.receive(offset: 10) == .process)
        #expect(ledger.receive(offset: 10) == .stale)
        #expect(ledger.receive(offset: 14) == .process)
        #expect(ledger.receive(offset: 12) == .stale)
        #expect(ledger.nextOffset == 15)
    }

    @Test("Records before the start are replayed, the first at or beyond it ends the replay")
    func replay() {
        var ledger = ledger(replayFrom: 5)
        #expect(ledger.isRebuilding)
        #expect(ledger.receive(offset: 4) == .stale)
        #expect(ledger.receive(offset: 5) == .rebuild)
        #expect(ledger.receive(offset: 9) == .rebuild)
        #expect(ledger.isRebuilding)
        #expect(ledger.receive(offset: 11) == .process)
        #expect(!ledger.isRebuilding)
    }

    @Test("The end of the log ends a replay without a further record")
    func replayAtEnd() {
        var ledger = ledger(replayFrom: 5)
        ledger.reached(position: 9)
        #expect(ledger.isRebuilding)
        ledger.reached(position: 10)
        #expect(!ledger.isRebuilding)
        #expect(ledger.receive(offset: 9) == .stale)
        #expect(ledger.receive(offset: 10) == .process)
    }

    @Test("Skipping a lost range moves the position, and the next batch still starts where the last ended")
    func skip() {
        var ledger = ledger()
        _ = ledger.receive(offset: 10)
        ledger.collected(offset: 10)
        ledger.skip(to: 50)
        #expect(ledger.nextOffset == 50)
        #expect(ledger.collectedEnd == 11)
        #expect(ledger.receive(offset: 49) == .stale)
    }

    @Test("Lag counts from what is durable, and is unknown without the log's end")
    func lag() {
        var ledger = ledger()
        #expect(ledger.lag(durable: 10) == nil)
        ledger.highWatermark = 25
        #expect(ledger.lag(durable: 10) == 15)
        #expect(ledger.lag(durable: 30) == 0)
    }

    @Test("Where a partition starts")
    func resolution() {
        #expect(StartResolution(stored: nil, low: 3, high: 9, start: .earliest).position == 3)
        #expect(StartResolution(stored: nil, low: 3, high: 9, start: .latest).position == 9)
        let kept = StartResolution(stored: 5, low: 3, high: 9, start: .latest)
        #expect(kept.position == 5 && kept.lostRange == nil && !kept.isBeyondEnd)
        let lost = StartResolution(stored: 1, low: 3, high: 9, start: .earliest)
        #expect(lost.position == 3 && lost.lostRange == 1..<3)
        #expect(StartResolution(stored: 10, low: 3, high: 9, start: .earliest).isBeyondEnd)
        #expect(!StartResolution(stored: 9, low: 3, high: 9, start: .earliest).isBeyondEnd)
    }

    @Test("A replay reaches back by count, never before the log's start")
    func replayFrom() {
        #expect(StartResolution.replayFrom(position: 100, low: 0, recordsMax: 30) == 70)
        #expect(StartResolution.replayFrom(position: 100, low: 90, recordsMax: 30) == 90)
        #expect(StartResolution.replayFrom(position: 10, low: 0, recordsMax: 30) == 0)
        #expect(StartResolution.replayFrom(position: 10, low: 0, recordsMax: Int64.max) == 0)
        #expect(StartResolution.replayFrom(position: 10, low: 20, recordsMax: 5) == 20)
    }
}

@Suite("Group commits")
struct GroupCommitsTests {
    private func ledger(_ partition: Int32, committed: Int64, processed: Int64 = 0) -> PartitionLedger {
        let crashGuard = CrashGuard(
            mark: nil, markOffset: nil, position: 0, highWatermark: nil,
            limits: CrashGuardLimits(batchRecordsMax: 8, reachOffsets: 100))
        var ledger = PartitionLedger(
            partition: place(partition), topicIndex: 0, start: 0, replayFrom: 0, crashGuard: crashGuard)
        ledger.confirmed(offset: committed, mark: .dirty(reach: committed + 100))
        ledger.processed(end: processed)
        return ledger
    }

    @Test("A commit waits for the interval, and for something that moved")
    func interval() {
        let commits = GroupCommits(intervalMilliseconds: 100, now: 0)
        let ledgers = [ledger(0, committed: 0), ledger(1, committed: 5)]
        let progress: [TopicPartition: Int64] = [place(0): 10, place(1): 5]
        #expect(commits.due(now: 99_999, ledgers: ledgers, progress: progress).isEmpty)
        #expect(
            commits.due(now: 100_000, ledgers: ledgers, progress: progress)
                == [place(0): .init(offset: 10, mark: .dirty(reach: 110))])
        #expect(commits.due(now: 100_000, ledgers: ledgers, progress: [place(0): 0, place(1): 5]).isEmpty)
    }

    @Test("A half-used reach does not wait for the interval")
    func urgent() {
        let commits = GroupCommits(intervalMilliseconds: 100, now: 0)
        let ledgers = [ledger(0, committed: 0, processed: 51)]
        #expect(!commits.due(now: 1, ledgers: ledgers, progress: [place(0): 40]).isEmpty)
    }

    @Test("One commit is in flight at a time, and only what was not refused is confirmed")
    func answers() {
        var commits = GroupCommits(intervalMilliseconds: 100, now: 0)
        let ledgers = [ledger(0, committed: 0), ledger(1, committed: 0)]
        let progress: [TopicPartition: Int64] = [place(0): 10, place(1): 20]
        let entries = commits.due(now: 100_000, ledgers: ledgers, progress: progress)
        commits.started(entries, now: 100_000)
        #expect(commits.due(now: 900_000, ledgers: ledgers, progress: progress).isEmpty)
        #expect(commits.finished(failed: [place(1)], now: 100_000).keys.sorted() == [place(0)])
        #expect(!commits.due(now: 900_000, ledgers: ledgers, progress: progress).isEmpty)
        commits.started(entries, now: 900_000)
        #expect(commits.finished(failed: nil, now: 900_000).isEmpty)
    }

    @Test("After a refusal the interval is kept, however urgent")
    func refusal() {
        var commits = GroupCommits(intervalMilliseconds: 100, now: 0)
        let ledgers = [ledger(0, committed: 0, processed: 90)]
        let progress: [TopicPartition: Int64] = [place(0): 80]
        commits.started(commits.due(now: 1, ledgers: ledgers, progress: progress), now: 1)
        _ = commits.finished(failed: nil, now: 2)
        #expect(commits.due(now: 3, ledgers: ledgers, progress: progress).isEmpty)
        #expect(!commits.due(now: 100_002, ledgers: ledgers, progress: progress).isEmpty)
    }

    @Test("The answer to a commit says nothing about partitions that left meanwhile")
    func forgotten() {
        var commits = GroupCommits(intervalMilliseconds: 100, now: 0)
        commits.started([place(0): .init(offset: 1, mark: .clean)], now: 0)
        commits.forget([place(0)])
        #expect(commits.isInFlight)
        #expect(commits.finished(failed: [], now: 0).isEmpty)
        #expect(!commits.isInFlight)
    }
}

@Suite("Rejoin")
struct RejoinTests {
    @Test("Commits wait from the assignment that follows a revocation to the next one")
    func revocation() {
        var rejoin = Rejoin()
        #expect(!rejoin.isUnderWay(now: 0))
        rejoin.assigned(now: 0)
        #expect(!rejoin.isUnderWay(now: 0))
        rejoin.revoked(isLost: false)
        #expect(!rejoin.isUnderWay(now: 0), "the same generation still commits")
        rejoin.assigned(now: 1)
        #expect(rejoin.isUnderWay(now: 1))
        rejoin.assigned(now: 2)
        #expect(!rejoin.isUnderWay(now: 2))
    }

    @Test("A commit refused by a rebalance makes the next ones wait for the assignment")
    func refusal() {
        var rejoin = Rejoin()
        rejoin.refused(now: 5)
        #expect(rejoin.isUnderWay(now: 6))
        rejoin.assigned(now: 7)
        #expect(!rejoin.isUnderWay(now: 8))
    }

    @Test("A revocation ends the wait too: what is given up is committed in the new generation")
    func revocationEnds() {
        var rejoin = Rejoin()
        rejoin.refused(now: 5)
        rejoin.revoking()
        #expect(!rejoin.isUnderWay(now: 6))
    }

    @Test("A rebalance without end does not hold commits back for ever, however often they are refused")
    func bound() {
        var rejoin = Rejoin()
        rejoin.refused(now: 0)
        rejoin.refused(now: Rejoin.microsecondsMax - 1)
        #expect(!rejoin.isUnderWay(now: Rejoin.microsecondsMax))
        rejoin.refused(now: Rejoin.microsecondsMax)
        #expect(rejoin.isUnderWay(now: Rejoin.microsecondsMax))
    }

    @Test("A loss leaves nothing to wait for")
    func loss() {
        var rejoin = Rejoin()
        rejoin.revoked(isLost: false)
        rejoin.assigned(now: 0)
        rejoin.revoked(isLost: true)
        #expect(!rejoin.isUnderWay(now: 1))
        rejoin.assigned(now: 1)
        #expect(!rejoin.isUnderWay(now: 1))
    }
}

@Suite("Watchdog")
struct WatchdogTests {
    @Test("Lag without movement for the time is a standstill; movement, no lag or an excuse is not")
    func standstill() {
        var watchdog = Watchdog(stuckAfterMilliseconds: 10)
        func observe(_ position: Int64, lag: Int64?, excused: Bool = false, at now: Int64) -> [Watchdog.Standstill] {
            watchdog.observe([place(0): (position, lag)], isExcused: excused, now: now)
        }
        #expect(observe(5, lag: 3, at: 0).isEmpty)
        #expect(observe(5, lag: 3, at: 9_999).isEmpty)
        #expect(observe(5, lag: 3, at: 10_000).map(\.lag) == [3])
        #expect(observe(6, lag: 2, at: 20_000).isEmpty, "it moved")
        #expect(observe(6, lag: 0, at: 40_000).isEmpty, "nothing to do")
        #expect(observe(6, lag: nil, at: 60_000).isEmpty, "nothing known")
        #expect(observe(6, lag: 9, excused: true, at: 80_000).isEmpty, "a declared reason")
        #expect(observe(6, lag: 9, at: 89_999).isEmpty, "the time of the reason does not count")
        #expect(observe(6, lag: 9, at: 90_000).count == 1)
    }

    @Test("A partition that left and came back starts anew")
    func left() {
        var watchdog = Watchdog(stuckAfterMilliseconds: 10)
        _ = watchdog.observe([place(0): (5, 3)], isExcused: false, now: 0)
        _ = watchdog.observe([:], isExcused: false, now: 5_000)
        #expect(watchdog.observe([place(0): (5, 3)], isExcused: false, now: 20_000).isEmpty)
    }
}

@Suite("Time text")
struct TimeTextTests {
    @Test(
        "Instants as RFC 3339",
        arguments: [
            (0, "1970-01-01T00:00:00.000000Z"), (1_622_505_600_000_000, "2021-06-01T00:00:00.000000Z"),
            (951_782_399_999_999, "2000-02-28T23:59:59.999999Z"), (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"), (4_102_444_800_000_001, "2100-01-01T00:00:00.000001Z"),
        ])
    func text(microseconds: Int64, text: String) { #expect(TimeText.rfc3339(microseconds: microseconds) == text) }
}
