// TransactionMachine: one transactional id's state as a pure value.

/// A partition by its topic's name.
struct TopicPartition: Hashable, Comparable, Sendable {
    var topic: String
    var partition: Int32

    static func < (a: Self, b: Self) -> Bool { (a.topic, a.partition) < (b.topic, b.partition) }
}

/// A producer as it names itself.
struct ProducerIdentity: Equatable, Sendable {
    var id: Int64
    var epoch: Int16

    static let none = ProducerIdentity(id: -1, epoch: -1)
}

/// Where a transactional producer's transaction stands. Kafka's coordinator, with KIP-360's epochs.
struct TransactionMachine: Equatable {
    enum Phase: Int8, Sendable {
        case empty = 0
        case ongoing = 1
        case prepareCommit = 2
        case prepareAbort = 3
        case completeCommit = 4
        case completeAbort = 5
    }

    /// What to do with a request to begin anew.
    enum InitDecision: Equatable {
        /// The identity to answer with; the new state is to be persisted first.
        case ready(ProducerIdentity)
        /// The epoch is exhausted: the next one comes with a new producer id.
        case needsNewProducerID
        /// An open transaction was fenced and is to be aborted; the client asks again.
        case abortFirst
        case refuse(ProtocolError)
    }

    enum EndDecision: Equatable {
        /// The decision is made: persist it, write the markers, then call ``completed()``.
        case prepare
        /// It had been done before.
        case done
        case refuse(ProtocolError)
    }

    let transactionalID: String
    var phase = Phase.empty
    var producer: ProducerIdentity
    /// The epoch before, which may ask again for the same bump.
    var lastEpoch: Int16 = -1
    var timeoutMilliseconds: Int32
    var partitions: Set<TopicPartition> = []
    /// Groups whose offsets are committed within the transaction.
    var groups: Set<String> = []
    var startedAt: Int64 = -1
    var updatedAt: Int64

    init(transactionalID: String, producerID: Int64, timeoutMilliseconds: Int32, now: Int64) {
        self.transactionalID = transactionalID
        producer = ProducerIdentity(id: producerID, epoch: -1)
        self.timeoutMilliseconds = timeoutMilliseconds
        updatedAt = now
    }

    var isDeciding: Bool { phase == .prepareCommit || phase == .prepareAbort }
    /// The last epoch a client may have; the one above fences it.
    private static let epochMax = Int16.max - 1

    // MARK: Initialisation

    mutating func initialize(expected: ProducerIdentity, timeoutMilliseconds: Int32, now: Int64) -> InitDecision {
        if expected != .none, expected.id != producer.id, producer.epoch != -1 { return .refuse(.producerFenced) }
        switch phase {
        case .prepareCommit, .prepareAbort: return .refuse(.concurrentTransactions)
        case .ongoing:
            if expected != .none, expected.epoch != producer.epoch { return .refuse(.producerFenced) }
            // The open transaction ends under an epoch that its producer does not have.
            fence()
            return .abortFirst
        case .empty, .completeCommit, .completeAbort: break
        }
        if expected != .none, producer.epoch != -1, expected.epoch != producer.epoch {
            // A retry of a bump whose answer got lost.
            guard expected.epoch == lastEpoch else { return .refuse(.producerFenced) }
            return .ready(producer)
        }
        guard producer.epoch < Self.epochMax else { return .needsNewProducerID }
        lastEpoch = expected == .none ? -1 : producer.epoch
        producer.epoch += 1
        begin(timeoutMilliseconds, now: now)
        return .ready(producer)
    }

    /// Goes on with another producer id after ``InitDecision/needsNewProducerID``.
    mutating func adopt(producerID: Int64, timeoutMilliseconds: Int32, now: Int64) -> ProducerIdentity {
        producer = ProducerIdentity(id: producerID, epoch: 0)
        lastEpoch = -1
        begin(timeoutMilliseconds, now: now)
        return producer
    }

    private mutating func begin(_ timeoutMilliseconds: Int32, now: Int64) {
        phase = .empty
        self.timeoutMilliseconds = timeoutMilliseconds
        partitions = []
        groups = []
        startedAt = -1
        updatedAt = now
    }

    private mutating func fence() {
        guard producer.epoch < Int16.max else { return }
        lastEpoch = -1
        producer.epoch += 1
    }

    // MARK: Within a transaction

    private func check(_ producer: ProducerIdentity) -> ProtocolError {
        guard producer.id == self.producer.id else { return .invalidProducerIDMapping }
        guard producer.epoch == self.producer.epoch else { return .producerFenced }
        return isDeciding ? .concurrentTransactions : .none
    }

    /// Adds partitions and groups to the transaction, beginning one. The new state is to be persisted if `isChanged`.
    mutating func add(
        partitions added: [TopicPartition] = [], group: String? = nil, from producer: ProducerIdentity, now: Int64
    ) -> (error: ProtocolError, isChanged: Bool) {
        let error = check(producer)
        guard error == .none else { return (error, false) }
        let before = self
        if phase != .ongoing {
            phase = .ongoing
            partitions = []
            groups = []
            startedAt = now
        }
        partitions.formUnion(added)
        if let group { groups.insert(group) }
        if self == before { return (.none, false) }
        updatedAt = now
        return (.none, true)
    }

    /// Whether a batch of this producer belongs to the open transaction.
    func checkProduce(_ producer: ProducerIdentity, to partition: TopicPartition) -> ProtocolError {
        guard producer.id == self.producer.id else { return .invalidProducerIDMapping }
        guard producer.epoch == self.producer.epoch else { return .invalidProducerEpoch }
        return phase == .ongoing && partitions.contains(partition) ? .none : .invalidTransactionState
    }

    func checkOffsets(_ producer: ProducerIdentity, group: String) -> ProtocolError {
        guard producer.id == self.producer.id else { return .invalidProducerIDMapping }
        guard producer.epoch == self.producer.epoch else { return .invalidProducerEpoch }
        return phase == .ongoing && groups.contains(group) ? .none : .invalidTransactionState
    }

    // MARK: The end

    mutating func end(commits: Bool, from producer: ProducerIdentity, now: Int64) -> EndDecision {
        guard producer.id == self.producer.id else { return .refuse(.invalidProducerIDMapping) }
        guard producer.epoch == self.producer.epoch else { return .refuse(.producerFenced) }
        switch phase {
        case .ongoing:
            phase = commits ? .prepareCommit : .prepareAbort
            updatedAt = now
            return .prepare
        case .prepareCommit: return .refuse(commits ? .concurrentTransactions : .invalidTransactionState)
        case .prepareAbort: return .refuse(commits ? .invalidTransactionState : .concurrentTransactions)
        case .completeCommit: return commits ? .done : .refuse(.invalidTransactionState)
        case .completeAbort: return commits ? .refuse(.invalidTransactionState) : .done
        case .empty: return .refuse(.invalidTransactionState)
        }
    }

    /// Aborts on the coordinator's own account, after ``InitDecision/abortFirst`` or a time-out.
    mutating func abortFenced(now: Int64) {
        phase = .prepareAbort
        updatedAt = now
    }

    /// Fences the producer if its transaction lasted too long; then it is to be aborted.
    mutating func expire(now: Int64) -> Bool {
        guard phase == .ongoing, now >= startedAt + Int64(timeoutMilliseconds) else { return false }
        fence()
        abortFenced(now: now)
        return true
    }

    /// No transaction began later than now, whatever the clock said then.
    mutating func clampStart(to now: Int64) { startedAt = min(startedAt, now) }

    /// All markers are written.
    mutating func completed(now: Int64) {
        phase = phase == .prepareCommit ? .completeCommit : .completeAbort
        partitions = []
        groups = []
        startedAt = -1
        updatedAt = now
    }
}
