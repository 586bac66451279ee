// ExactDelivery: the profile `exact`: outputs and input offsets of several micro-batches in one Kafka transaction.

public import EventContracts
import Kafka
public import Logging

/// Adds batches to an open transaction and ends it, with the input's next offsets inside, by size, by age, or as soon as
/// nothing more comes. Readers with `read_committed` see each record's outcome once, whenever a process dies.
///
/// **One way back.** Whatever goes wrong with a transaction, the producer is destroyed and a new one is initialised under the
/// same transactional id: the coordinator ends the old transaction and raises the epoch, so nothing of the old client, not
/// even a delayed request, can take effect in a later transaction (librdkafka does not speak the protocol's newer
/// transactions, which would do that by themselves). Then the runner reads on from the committed offsets. When the end of a
/// transaction was not confirmed, those offsets tell whether it had happened.
///
/// **Fencing.** The transactional id is the instance's slot. A second process on the same slot, or a transaction that the
/// coordinator gave up after its time-out, fences this producer: the process ends with a message.
public struct ExactDelivery: Delivery {
    public typealias Output = OutputBatch

    public struct Settings: Sendable {
        /// With a producer that has a transactional id.
        public var outputs: OutputSettings
        /// Micro-batches in one transaction, at most.
        public var batchesMax = 64
        /// A transaction ends with the micro-batch that brings it to this many input records.
        public var recordsMax = 16_384
        // The age at which a transaction ends. Each costs about two milliseconds of the processor's time, whatever is in it.
        /// Nothing more waits.
        public var idleMilliseconds = 1
        /// More waits, but little comes.
        public var briskMilliseconds = 10
        /// Much comes, and all of it is taken at times.
        public var busyMilliseconds = 60
        /// Much comes, and more waits: for what has waited already a longer wait is little.
        public var backlogMilliseconds = 150
        /// Records a second from which on it is much.
        public var busyRecordsPerSecond = 20_000
        /// From so many input records on, a transaction hands over the first record of each partition ahead of the others.
        public var openersRecordsMin = 1_024
        /// For one request at a transaction's end.
        public var requestMillisecondsMax = 3_000
        /// A transaction this old is given up. Under half of the coordinator's own time-out, so that it never decides first.
        public var ageMillisecondsMax = 4_500
        public var kills: KillPlan?

        public init(outputs: OutputSettings) {
            self.outputs = outputs
        }
    }

    struct Transaction {
        var openedAt: Int64
        var records = 0
        var ranges: [TopicPartition: OffsetRange] = [:]
        var metadata: [TopicPartition: String] = [:]
        var batches: [Int: Held] = [:]
        /// Batches that are handed to the producer when the transaction ends, in order. Whenever a partition is new to a
        /// transaction librdkafka 2.0.2 registers it after a millisecond, during which its main thread spins; batches that
        /// are handed over together, the first record of each partition ahead, cost that once.
        var waiting: [Int] = []

        func offsets(faults: Set<RuntimeFault>) -> [KafkaPartition: CommittedOffset] {
            var offsets: [KafkaPartition: CommittedOffset] = [:]
            for (partition, range) in ranges {
                let end = range.end + (faults.contains(.offsetOffByOne) ? 1 : 0)
                offsets[KafkaPartition(partition)] = CommittedOffset(
                    offset: end, metadata: metadata[partition] ?? "")
            }
            return offsets
        }
    }

    /// Kept until the transaction ends, to find the record whose output a broker refuses.
    struct Held {
        var batch: ProcessedBatch
        var output: OutputBatch
    }

    /// Where the producer stands.
    enum Phase {
        /// Made, and not yet registered with the coordinator.
        case initializing
        /// Registered; the transaction whose end was not confirmed must be looked up first.
        case resolving(Transaction)
        case ready
    }

    var settings: Settings
    let metrics: StageMetrics
    let logger: Logger
    var environment: DeliveryEnvironment?
    var writer: OutputWriter?
    var phase = Phase.initializing
    var transaction: Transaction?
    /// Of the transaction whose end was not confirmed, until the new producer is registered.
    var unconfirmed: Transaction?
    /// Input records whose output a broker found too large: dead-lettered when they come again.
    var oversized: Set<RecordBatch.Origin> = []
    var news = DeliveryNews()
    var situation = RunnerSituation(isInputDrained: false, holdsCommits: false)
    /// Records a second in the last tenths of a second, when a transaction was last committed.
    var recentRate = 0.0
    var committedAt: Int64 = 0
    var retryAt: Int64 = 0
    public internal(set) var progress: [TopicPartition: Int64] = [:]
    public internal(set) var obstacle: String?

    public init(settings: Settings, metrics: StageMetrics, logger: Logger) {
        self.settings = settings
        self.metrics = metrics
        self.logger = logger
    }

    public var commitsGroupOffsets: Bool { true }
    public var batchesInFlightMax: Int { settings.batchesMax }
    public var batchesInFlight: Int { transaction?.batches.count ?? 0 }
    /// A batch more in a transaction costs no round trip; but a busy transaction lasts, and larger batches are cheaper.
    public var eagerBatchesMax: Int { isIdle ? settings.batchesMax : 1 }

    public var dueMicroseconds: Int64? {
        guard let transaction else { return nil }
        return transaction.openedAt + Int64(ageMilliseconds) * 1_000
    }

    public var hasUnconfirmedCommit: Bool {
        if case .resolving = phase { true } else { unconfirmed != nil }
    }

    private var ageMilliseconds: Int {
        switch (isIdle, situation.isInputDrained) {
        case (true, true): settings.idleMilliseconds
        case (true, false): settings.briskMilliseconds
        case (false, true): settings.busyMilliseconds
        case (false, false): settings.backlogMilliseconds
        }
    }

    /// How far back the rate looks: what came before a pause says nothing of what comes after it.
    static let rateMicroseconds: Int64 = 200_000

    private var isIdle: Bool { recentRate < Double(settings.busyRecordsPerSecond) }

    // MARK: Start

    public mutating func open(_ environment: DeliveryEnvironment) throws(DeliveryFailure) {
        guard environment.consumer != nil else {
            throw DeliveryFailure(.refused, "Transactions need the stage's consumer")
        }
        self.environment = environment
        writer = try OutputWriter.open(&settings.outputs, environment: environment, metrics: metrics, logger: logger)
        let deadline = RuntimeClock.monotonicMicroseconds + Int64(settings.outputs.startMillisecondsMax) * 1_000
        repeat {
            try serveProducer(waitMilliseconds: 20)
            if case .ready = phase { return }
        } while RuntimeClock.monotonicMicroseconds < deadline
        throw DeliveryFailure(
            .timedOut, obstacle ?? "The transactional id '\(slot)' could not be initialised in time")
    }

    var slot: String { settings.outputs.producer["transactional.id"] ?? "" }

    public mutating func startPositions(of partitions: [TopicPartition]) throws(DeliveryFailure) -> StartAnswer {
        // What the coordinator has not ended yet would make the committed offsets wait.
        guard case .ready = phase else { return .later(reason: obstacle ?? "the transactional producer is starting") }
        return .positions(Dictionary(uniqueKeysWithValues: partitions.map { ($0, .groupOffset) }))
    }

    public mutating func begin(_ starts: [PartitionStart]) throws(DeliveryFailure) -> DeliveryAnswer {
        for start in starts { progress[start.partition] = start.position }
        return .accepted
    }

    // MARK: Handing over

    public mutating func deliver(
        _ output: OutputBatch, of batch: ProcessedBatch
    ) throws(DeliveryFailure) -> DeliveryAnswer {
        // The runner learns of the restart from `takeNews` and abandons the batch.
        guard news.restart == nil else { return .later(reason: "the transaction was aborted") }
        guard case .ready = phase, writer != nil else {
            return .later(reason: obstacle ?? "the transactional producer is starting")
        }
        guard try beginIfNeeded() else { return .later(reason: obstacle ?? "no transaction could be begun") }
        transaction?.batches[batch.sequence] = Held(batch: batch, output: output)
        transaction?.waiting.append(batch.sequence)
        add(batch)
        return .accepted
    }

    private mutating func add(_ batch: ProcessedBatch) {
        for (index, range) in batch.ranges.enumerated() {
            let start = transaction?.ranges[range.partition]?.start ?? range.start
            transaction?.ranges[range.partition] = OffsetRange(
                partition: range.partition, start: start, end: range.end)
            transaction?.metadata[range.partition] =
                batch.groupMetadata.indices.contains(index) ? batch.groupMetadata[index] : ""
        }
        transaction?.records += batch.records.count
    }

    private mutating func beginIfNeeded() throws(DeliveryFailure) -> Bool {
        guard transaction == nil, let producer = writer?.producer else { return transaction != nil }
        do throws(KafkaError) {
            try producer.beginTransaction()
            let now = RuntimeClock.monotonicMicroseconds
            transaction = Transaction(openedAt: now)
            if now - committedAt > Self.rateMicroseconds { recentRate = 0 }
            return true
        } catch {
            try giveUp("a transaction could not be begun", error)
            return false
        }
    }

    /// A batch is taken whole or not at all.
    public mutating func abandon(sequence: Int) {}

    // MARK: Rounds

    public mutating func observe(_ situation: RunnerSituation) { self.situation = situation }

    public mutating func takeNews() -> DeliveryNews {
        defer { news = DeliveryNews() }
        return news
    }

    public mutating func poll(waitMilliseconds: Int) throws(DeliveryFailure) {
        try serveProducer(waitMilliseconds: 0)
        guard let transaction else {
            if waitMilliseconds > 0 { try serveProducer(waitMilliseconds: waitMilliseconds) }
            return
        }
        let now = RuntimeClock.monotonicMicroseconds
        guard !situation.holdsCommits else {
            // A rebalance that outlasts the transaction: better to give it up than to be fenced for it.
            if now - transaction.openedAt > Int64(settings.ageMillisecondsMax) * 1_000 {
                reinitialize("a rebalance outlasted the transaction")
            } else if waitMilliseconds > 0 {
                try serveProducer(waitMilliseconds: waitMilliseconds)
            }
            return
        }
        // A runner that waits can add nothing more.
        let isDue = now >= transaction.openedAt + Int64(ageMilliseconds) * 1_000
        let isFull = transaction.batches.count >= settings.batchesMax || transaction.records >= settings.recordsMax
        guard waitMilliseconds > 0 || isDue || isFull else { return }
        try endTransaction()
    }

    public mutating func drain(
        _ partitions: [TopicPartition]?, timeoutMilliseconds: Int
    ) throws(DeliveryFailure) -> Bool {
        let deadline = RuntimeClock.monotonicMicroseconds + Int64(timeoutMilliseconds) * 1_000
        while true {
            if transaction != nil { try endTransaction() }
            // A new producer may still be starting: nothing is on its way with it.
            if transaction == nil, !hasUnconfirmedCommit || news.restart != nil { return news.restart == nil }
            guard RuntimeClock.monotonicMicroseconds < deadline else { return false }
            try serveProducer(waitMilliseconds: 10)
        }
    }

    public mutating func end(_ partitions: [TopicPartition], lost: Bool) {
        for partition in partitions { progress[partition] = nil }
        unconfirmed = unconfirmed.map { Self.without(partitions, $0) }
        if case .resolving(let old) = phase { phase = .resolving(Self.without(partitions, old)) }
        // Records of these partitions are in the open transaction: another instance will process them.
        guard let open = transaction, partitions.contains(where: { open.ranges[$0] != nil }) else { return }
        reinitialize("partitions left in the middle of a transaction")
    }

    private static func without(_ partitions: [TopicPartition], _ transaction: Transaction) -> Transaction {
        var rest = transaction
        for partition in partitions { rest.ranges[partition] = nil }
        return rest
    }

    public mutating func close() {
        // What is not committed shall not be: the coordinator aborts it when the slot is used again, or by its time-out.
        abortQuietly()
        writer = nil
    }
}
