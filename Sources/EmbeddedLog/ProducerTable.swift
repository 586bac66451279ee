// ProducerTable: what a partition knows of its idempotent and transactional producers.

/// A transaction that a marker has ended.
struct CompletedTransaction: Sendable, Equatable {
    var producerID: Int64
    var firstOffset: Int64
    var markerOffset: Int64
    var isAborted: Bool
    /// First offset of the earliest transaction still open then, else the offset after the marker.
    var lastStableOffset: Int64
}

/// Sequence numbers, epochs and open transactions, by the rules of Kafka's producer state.
struct ProducerTable: Sendable, Equatable {
    /// A batch that a retry may repeat.
    struct Batch: Sendable, Equatable {
        var firstSequence: Int32
        var lastSequence: Int32
        var lastOffset: Int64
        var offsetDelta: Int32
        var timestamp: Int64

        var baseOffset: Int64 { lastOffset - Int64(offsetDelta) }
    }

    struct Entry: Sendable, Equatable {
        var epoch: Int16
        var coordinatorEpoch: Int32 = -1
        var lastTimestamp: Int64
        var transactionFirstOffset: Int64?
        /// The last batches, oldest first.
        var batches: [Batch] = []
    }

    /// As Kafka: a producer has at most five requests in flight.
    static let batchesMax = 5

    private(set) var entries: [Int64: Entry] = [:]
    /// Producers with an open transaction in order of first offsets.
    private var open: [(firstOffset: Int64, producerID: Int64)] = []

    static func == (a: Self, b: Self) -> Bool { a.entries == b.entries }

    /// First offset of the earliest open transaction.
    var firstOpenOffset: Int64? { open.first?.firstOffset }

    /// Checks a batch from a client.
    ///
    /// - Returns: the earlier batch if this one is in the log already.
    func check(_ header: BatchHeader) throws(LogError) -> Batch? {
        // A producer that was forgotten (retention, expiry) may go on with any sequence number, as in Kafka since 2.5.
        guard let entry = entries[header.producerID] else { return nil }
        if header.producerEpoch == entry.epoch,
            let earlier = entry.batches.first(where: {
                $0.firstSequence == header.baseSequence && $0.lastSequence == header.lastSequence
            })
        {
            return earlier
        }
        try checkEpoch(header, entry)
        if header.producerEpoch != entry.epoch {
            guard header.baseSequence == 0 else {
                throw LogError(
                    .outOfOrderSequenceNumber,
                    "producer \(header.producerID) starts epoch \(header.producerEpoch) with sequence "
                        + "\(header.baseSequence) instead of 0")
            }
        } else {
            let last = entry.batches.last?.lastSequence ?? -1
            guard ProducerSequence.follows(header.baseSequence, last) else {
                throw LogError(
                    .outOfOrderSequenceNumber,
                    "producer \(header.producerID), epoch \(header.producerEpoch): sequence \(header.baseSequence) "
                        + "does not follow \(last)")
            }
        }
        if entry.transactionFirstOffset != nil, !header.isTransactional {
            throw LogError(
                .invalidTransactionState,
                "producer \(header.producerID) sent a batch without transaction while one is open")
        }
        return nil
    }

    /// Refuses an epoch older than the newest known.
    func checkEpoch(_ header: BatchHeader) throws(LogError) {
        if let entry = entries[header.producerID] { try checkEpoch(header, entry) }
    }

    private func checkEpoch(_ header: BatchHeader, _ entry: Entry) throws(LogError) {
        guard header.producerEpoch < entry.epoch else { return }
        throw LogError(
            .invalidProducerEpoch,
            "producer \(header.producerID) has epoch \(header.producerEpoch); epoch \(entry.epoch) has fenced it")
    }

    /// Refuses a marker of a coordinator that has been replaced.
    func checkMarker(_ header: BatchHeader, coordinatorEpoch: Int32) throws(LogError) {
        guard let entry = entries[header.producerID] else { return }
        try checkEpoch(header, entry)
        guard coordinatorEpoch >= entry.coordinatorEpoch else {
            throw LogError(
                .transactionCoordinatorFenced,
                "marker of coordinator epoch \(coordinatorEpoch); epoch \(entry.coordinatorEpoch) has fenced it")
        }
    }

    /// Takes note of a data batch that is in the log.
    mutating func appended(_ header: BatchHeader, at milliseconds: Int64) {
        var entry =
            entries.removeValue(forKey: header.producerID)
            ?? Entry(epoch: header.producerEpoch, lastTimestamp: milliseconds)
        if entry.epoch != header.producerEpoch {
            entry.epoch = header.producerEpoch
            entry.batches.removeAll()
        }
        entry.lastTimestamp = milliseconds
        if header.baseSequence >= 0 {
            if entry.batches.count == Self.batchesMax { entry.batches.removeFirst() }
            entry.batches.append(
                Batch(
                    firstSequence: header.baseSequence, lastSequence: header.lastSequence,
                    lastOffset: header.lastOffset, offsetDelta: header.lastOffsetDelta,
                    timestamp: header.maxTimestamp))
        }
        if header.isTransactional, entry.transactionFirstOffset == nil {
            entry.transactionFirstOffset = header.baseOffset
            open.append((header.baseOffset, header.producerID))
        }
        entries[header.producerID] = entry
    }

    /// Takes note of a marker that is in the log; nil if no transaction was open.
    mutating func ended(
        _ header: BatchHeader, aborts: Bool, coordinatorEpoch: Int32, at milliseconds: Int64
    ) -> CompletedTransaction? {
        var entry = entries[header.producerID] ?? Entry(epoch: header.producerEpoch, lastTimestamp: milliseconds)
        let first = entry.transactionFirstOffset
        if entry.epoch != header.producerEpoch {
            entry.epoch = header.producerEpoch
            entry.batches.removeAll()
        }
        entry.coordinatorEpoch = coordinatorEpoch
        entry.lastTimestamp = milliseconds
        entry.transactionFirstOffset = nil
        entries[header.producerID] = entry
        guard let first else { return nil }
        open.removeAll { $0.producerID == header.producerID }
        return CompletedTransaction(
            producerID: header.producerID, firstOffset: first, markerOffset: header.lastOffset, isAborted: aborts,
            lastStableOffset: firstOpenOffset ?? header.nextOffset)
    }

    /// Forgets producers idle since before `milliseconds`, and the longest idle ones beyond `countMax`.
    mutating func expire(before milliseconds: Int64, countMax: Int) {
        entries = entries.filter { $1.transactionFirstOffset != nil || $1.lastTimestamp >= milliseconds }
        guard entries.count > countMax else { return }
        // A tenth more than needed, so that the sort is rare.
        let idle = entries.filter { $1.transactionFirstOffset == nil }.sorted {
            $0.value.lastTimestamp < $1.value.lastTimestamp
        }
        for (producerID, _) in idle.prefix(entries.count - countMax + countMax / 10) {
            entries.removeValue(forKey: producerID)
        }
    }

    /// Puts back an entry from a snapshot.
    mutating func restore(_ producerID: Int64, _ entry: Entry) {
        entries[producerID] = entry
        if let first = entry.transactionFirstOffset {
            let place = open.firstIndex { $0.firstOffset > first } ?? open.count
            open.insert((first, producerID), at: place)
        }
    }
}
