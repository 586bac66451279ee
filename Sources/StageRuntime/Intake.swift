// Intake: from consumed records to micro-batches. A value without type parameters: this is the loop that runs once per record.

import EventContracts
import Kafka

/// The partitions being read and what was collected from them.
///
/// Kept apart from `StageRunner`, whose type parameters the compiler does not know here: unspecialised generic code costs more
/// per record than the record.
struct Intake {
    /// What became of a record.
    enum Step {
        /// Read on.
        case taken
        /// A batch closed: process it before reading on.
        case batchClosed
        /// The replay is as large as a batch: hand it to the processor before reading on.
        case replayFull
    }

    let limits: BatchLimits
    let readsHeaders: Bool
    /// The partitions being read. Few, so that a scan beats a dictionary.
    var ledgers: [PartitionLedger] = []
    /// Batches in order; only the last may be open.
    var hand: [MicroBatch] = []
    /// Records before the start, on their way to the processor's `rebuild`.
    var replay = RecordBatch()
    /// Size of the batch closed last: room for the next one.
    private var lastSize = (records: 0, bytes: 0)
    /// The ledger of the record before: records come in runs of one partition.
    private var lastLedger = 0

    init(limits: BatchLimits, readsHeaders: Bool) {
        self.limits = limits
        self.readsHeaders = readsHeaders
    }

    /// Records that the open batch, or the next one, takes.
    var room: Int {
        guard let open = hand.indices.last, !hand[open].isClosed else { return limits.recordsMax }
        return limits.recordsMax - hand[open].count
    }

    /// Puts a record where it belongs.
    /// - Parameter now: beginning of the round, monotonic microseconds.
    mutating func take(_ message: borrowing Message, now: Int64) -> Step {
        let offset = message.offset
        // Not ours, or not yet settled: the start will be sought.
        guard let index = ledger(topicIndex: message.topicIndex, partition: message.partition) else { return .taken }
        switch ledgers[index].receive(offset: offset) {
        case .stale: return .taken
        case .rebuild:
            Self.copy(message, withHeaders: readsHeaders, into: &replay)
            return replay.count >= limits.recordsMax || replay.byteCount >= limits.bytesMax ? .replayFull : .taken
        case .process: return add(message, offset: offset, ledger: index, now: now)
        }
    }

    private mutating func ledger(topicIndex: Int, partition: Int32) -> Int? {
        func isIt(_ index: Int) -> Bool {
            ledgers[index].topicIndex == topicIndex && ledgers[index].partition.partition == partition
        }
        if lastLedger < ledgers.count, isIt(lastLedger) { return lastLedger }
        guard let index = ledgers.indices.first(where: isIt) else { return nil }
        lastLedger = index
        return index
    }

    private mutating func add(_ message: borrowing Message, offset: Int64, ledger index: Int, now: Int64) -> Step {
        let readsHeaders = readsHeaders
        let bytes = message.byteCount
        let open = hand.count - 1
        // Most records follow one of their partition and belong to no search. A look at the ledger as a whole would count
        // references for each of them.
        let isSuspicious = ledgers[index].crashGuard.isSuspicious
        if open >= 0, !isSuspicious,
            let isFull = hand[open].extend(
                with: message.place, offset: offset, bytes: bytes,
                { records in Self.copy(message, withHeaders: readsHeaders, into: &records) })
        {
            ledgers[index].collected(offset: offset)
            ledgers[index].receivedAt = now
            return isFull ? .batchClosed : .taken
        }
        let partition = ledgers[index].partition
        let chunk = isSuspicious ? ledgers[index].chunk(at: offset) : nil
        var isNew = false
        if open < 0 || !hand[open].admits(partition: partition, offset: offset, bytes: bytes, partitionChunk: chunk) {
            isNew = open >= 0
            closeLast(now: RuntimeClock.monotonicMicroseconds)
            hand.append(MicroBatch(limits: limits, chunk: chunk, expected: lastSize))
        }
        let last = hand.count - 1
        let openedAt = hand[last].count == 0 ? RuntimeClock.monotonicMicroseconds : 0
        hand[last].add(
            partition: partition, place: message.place, offset: offset, start: ledgers[index].collectedEnd,
            now: openedAt
        ) { records in Self.copy(message, withHeaders: readsHeaders, into: &records) }
        ledgers[index].collected(offset: offset)
        ledgers[index].receivedAt = now
        return isNew || hand[last].isFull ? .batchClosed : .taken
    }

    private static func copy(
        _ message: borrowing Message, withHeaders readsHeaders: Bool, into records: inout RecordBatch
    ) {
        message.withKeyAndValue { key, value in
            records.append(
                origin: RecordBatch.Origin(
                    topicIndex: message.topicIndex, partition: message.partition, offset: message.offset),
                timestampMilliseconds: message.timestampMilliseconds, key: key, value: value)
        }
        guard readsHeaders else { return }
        message.forEachHeader { name, value in records.appendHeader(name: name, value: value) }
    }

    /// Closes the batch that is open, if one is.
    mutating func closeLast(now: Int64) {
        guard !hand.isEmpty else { return }
        let last = hand.count - 1
        hand[last].close(now: now)
        lastSize = (hand[last].records.count, hand[last].records.byteCount)
    }
}

extension Message {
    /// Which partition the record is of, as numbers.
    fileprivate var place: MicroBatch.Place { MicroBatch.Place(topicIndex: topicIndex, partition: partition) }
}

extension PartitionLedger {
    /// The chunk that a record at `offset` belongs to; nil in normal mode, or beyond the suspicious range.
    func chunk(at offset: Int64) -> MicroBatch.Chunk? {
        guard let recordsMax = crashGuard.chunkRecordsMax, let endMax = crashGuard.chunkEndMax, offset < endMax else {
            return nil
        }
        return MicroBatch.Chunk(partition: partition, recordsMax: recordsMax, endMax: endMax)
    }
}
