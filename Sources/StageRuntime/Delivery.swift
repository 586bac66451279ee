// Delivery: how the outcome of a micro-batch becomes durable; the delivery profile as a strategy.

public import EventContracts
public import Kafka

/// What a processor makes of a micro-batch: one outcome per input record. `OutputBatch` is the one of Kafka stages; the
/// sink has its own.
public protocol StageOutput {
    var deadLetters: [OutputBatch.DeadLetter] { get }
    /// Records (or rows) that will be written, without duplicate notices and dead letters.
    var emissionCount: Int { get }
    var duplicateCount: Int { get }

    mutating func removeAll()
    mutating func deadLetter(source: Int, _ code: ErrorCode, _ message: String)
    /// The first input record that has not exactly one outcome, or nil when all have.
    func firstWithoutSingleOutcome(count: Int) -> Int?
}

extension OutputBatch: StageOutput {
    public var emissionCount: Int { emissions.count }
    public var duplicateCount: Int { duplicates.count }
}

/// The stretch of one partition that a micro-batch covers: `start` is where the previous batch ended, `end` is the
/// next offset to process. Stretches of one partition are contiguous; not every offset in them need hold a record
/// (transaction markers, compaction).
public struct OffsetRange: Sendable, Equatable {
    public var partition: TopicPartition
    public var start: Int64
    public var end: Int64

    public init(partition: TopicPartition, start: Int64, end: Int64) {
        self.partition = partition
        self.start = start
        self.end = end
    }
}

/// A processed micro-batch on its way to the delivery.
public struct ProcessedBatch: Sendable {
    /// The input records: keys for what is emitted, key, value and headers for dead letters.
    public var records: RecordBatch
    /// One range per partition that the batch touches. A batch without records moves offsets over what holds none: the end
    /// markers of transactions.
    public var ranges: [OffsetRange]
    /// Parallel to `ranges`: the metadata that a commit of the group's offset at `end` must carry (the crash mark). Only a
    /// delivery that commits the group's offsets itself needs it.
    public var groupMetadata: [String]
    /// Rises by one per batch of this process; the same when the same batch is offered again.
    public var sequence: Int

    public init(records: RecordBatch, ranges: [OffsetRange], groupMetadata: [String] = [], sequence: Int) {
        self.records = records
        self.ranges = ranges
        self.groupMetadata = groupMetadata
        self.sequence = sequence
    }
}

/// What a delivery says to a batch.
public enum DeliveryAnswer: Sendable, Equatable {
    /// Taken. It is durable (or dead-lettered) once `progress` covers its ranges.
    case accepted
    /// Not now: the runner pauses its partitions, polls on and offers the same batch again, until it is accepted or its
    /// partitions are revoked. The delivery may have taken a part and remember it by `ProcessedBatch.sequence`.
    /// The reason is one sentence; readiness shows it.
    case later(reason: String)
    /// Nothing of the batch took effect, and nothing will: another instance moved these partitions on, or a transaction
    /// was aborted. The runner throws the batch and everything read ahead away, asks `startPositions` again for the
    /// partitions that it still owns, and reads on from there.
    case restart(reason: String)
}

/// Where a newly assigned partition starts.
public enum StartPosition: Sendable, Equatable {
    /// At the consumer group's committed offset; without one at the pipeline's start (earliest or latest, an option).
    case groupOffset
    /// At this offset: the delivery keeps offsets itself.
    case at(Int64)
    /// The delivery keeps offsets itself and has none for this partition yet: at the pipeline's start.
    case pipelineStart
}

public enum StartAnswer: Sendable, Equatable {
    case positions([TopicPartition: StartPosition])
    /// The store cannot be asked now. The runner polls on without reading the partitions, and asks again.
    case later(reason: String)
}

/// A partition that the runner is about to read, with the position it settled on.
public struct PartitionStart: Sendable, Equatable {
    public var partition: TopicPartition
    /// The first offset that will be processed: the `start` of the first batch.
    public var position: Int64
    /// What `startPositions` said, or the group's offset; nil when there was none. Differs from `position` only when the
    /// log no longer holds it (`lostRange`).
    public var stored: Int64?
    /// Offsets that the log lost before they were processed. Already logged and counted.
    public var lostRange: Range<Int64>?

    public init(partition: TopicPartition, position: Int64, stored: Int64?, lostRange: Range<Int64>?) {
        self.partition = partition
        self.position = position
        self.stored = stored
        self.lostRange = lostRange
    }
}

/// What the delivery learns about the process once, before the first partition is assigned.
public struct DeliveryEnvironment: Sendable {
    public var stage: String
    public var group: String
    public var instance: String
    public var clusterID: String
    /// The input topics, in the order of `RecordBatch.Origin.topicIndex`.
    public var inputTopics: [String]
    /// The stage's consumer, whose membership a transaction names and whose committed offsets tell of its outcome; nil where
    /// there is none.
    public var consumer: Consumer?

    public init(
        stage: String, group: String, instance: String, clusterID: String, inputTopics: [String],
        consumer: Consumer? = nil
    ) {
        self.stage = stage
        self.group = group
        self.instance = instance
        self.clusterID = clusterID
        self.inputTopics = inputTopics
        self.consumer = consumer
    }
}

/// How things stand with the runner, told before each `poll` of its loop.
public struct RunnerSituation: Sendable, Equatable {
    /// The last look at the input found nothing more: whoever waits for more records waits for new ones.
    public var isInputDrained: Bool
    /// A rebalance that this member joins is under way: the group would refuse offsets.
    public var holdsCommits: Bool
}

/// What a delivery that commits the group's offsets itself has to tell the runner.
public struct DeliveryNews: Sendable {
    /// Batches that were accepted are void: the runner throws everything in hand away, asks `startPositions` again for all
    /// its partitions and reads on from there.
    public var restart: String?
    /// The group's offsets, with their metadata, that were committed since the last question.
    public var committed: [TopicPartition: CommittedOffset] = [:]

    public init() {}
}

/// A delivery can go no further: the process stops with this message and exit code 1, without committing.
public struct DeliveryFailure: Error, Sendable, CustomStringConvertible {
    public enum Code: String, Sendable {
        /// Another instance with the same identity took over.
        case fenced
        /// The store or broker refused for good: rights, schema, a record it will never take.
        case refused
        /// What is stored does not belong to this cluster or topic.
        case mismatch
        /// A deadline passed.
        case timedOut
    }

    public var code: Code
    /// One sentence for a person: what, where, and the way to mend it. Never contains a secret.
    public var message: String
    public var description: String { message }

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
}

/// How the outcome of a stage becomes durable, and with it how far a partition may be committed. One instance belongs to
/// one `StageRunner` and is called from its thread only.
///
/// The order of calls:
/// ```
/// open                                            once
/// startPositions -> (resolve, rebuild) -> begin   for newly assigned partitions, and again after `.restart`
/// deliver, poll, progress                         all the time; `deliver` one batch after the other
/// drain -> progress -> (group commit) -> end      for revoked partitions and at shutdown
/// end(lost: true)                                 for lost partitions, without drain
/// close                                           once
/// ```
///
/// Three deliveries fit the seam:
/// - `AtLeastOnceDelivery` (profile `latency`): an idempotent producer; several batches in flight; `progress` moves when
///   every record of a batch, and of all before it, is acknowledged. The runner commits the group's offsets afterwards.
/// - `PostgresDelivery` (the sink): `startPositions` answers with PostgreSQL's offsets; `deliver` writes rows, dead-letter
///   outbox and the next offset in one transaction, and answers `.later` while the database is away and `.restart` when
///   the compare-and-set misses. `progress` is what PostgreSQL holds; the group's offsets follow for lag only.
/// - `ExactDelivery` (profile `exact`): `startPositions` answers `.groupOffset`; `deliver` adds to the open transaction,
///   `poll` ends it by size or age with the offsets inside (`commitsGroupOffsets` is true, so the runner does not commit
///   them itself and hands over the crash mark in `ProcessedBatch.groupMetadata`); an aborted transaction shows in
///   `takeNews`, a fenced producer throws `.fenced`.
public protocol Delivery<Output>: SendableMetatype {
    associatedtype Output: StageOutput

    /// Whether this delivery commits the group's offsets itself (inside its transactions).
    var commitsGroupOffsets: Bool { get }

    /// Whether an outcome counts by a commit of the delivery (a transaction) rather than by the group's offsets.
    var ownsCommit: Bool { get }

    /// Whether the offsets that this delivery committed last may be other than `progress` says: the runner commits nothing
    /// meanwhile, since it might set them back.
    var hasUnconfirmedCommit: Bool { get }

    /// Batches accepted and not yet durable, at most; the runner polls deliveries and reads no further when it is reached.
    var batchesInFlightMax: Int { get }
    var batchesInFlight: Int { get }

    /// While fewer batches than this are in flight, a micro-batch closes as soon as the input is drained, before its
    /// deadline. 0: always wait for the deadline, as suits a delivery to which small batches are dear.
    var eagerBatchesMax: Int { get }

    /// When `poll` has something to do next, on the monotonic clock in microseconds; nil when nothing waits for time to pass.
    var dueMicroseconds: Int64? { get }

    /// Why the delivery cannot work at present (shown by readiness), or nil.
    var obstacle: String? { get }

    /// Connects and checks. Throws when the process should not start at all.
    mutating func open(_ environment: DeliveryEnvironment) throws(DeliveryFailure)

    mutating func startPositions(of partitions: [TopicPartition]) throws(DeliveryFailure) -> StartAnswer

    /// The runner settled where each partition starts and will offer batches from there. A delivery that keeps offsets
    /// stores the position of partitions that had none or lost a range. `.later` and `.restart` send the runner back to
    /// `startPositions`; it may also call again with the same positions when a later step of the start failed.
    mutating func begin(_ starts: [PartitionStart]) throws(DeliveryFailure) -> DeliveryAnswer

    /// Takes a batch, or says later. One batch at a time: a second one is offered only once the first is accepted.
    mutating func deliver(_ output: Output, of batch: ProcessedBatch) throws(DeliveryFailure) -> DeliveryAnswer

    /// Told in each round of the runner, before `poll`.
    mutating func observe(_ situation: RunnerSituation)

    /// What happened since the last question; asked in each round of the runner, after `poll`.
    mutating func takeNews() -> DeliveryNews

    /// Serves acknowledgements and background work (publishing an outbox, trying a connection again). Called at least
    /// every few milliseconds while batches are in flight or an obstacle stands, else with every poll of the consumer.
    /// Waits at most `waitMilliseconds` for something to happen; may return at once when there is nothing to wait for.
    mutating func poll(waitMilliseconds: Int) throws(DeliveryFailure)

    /// The next offset to process per partition below which every record's outcome is durable. Holds all partitions begun
    /// and not ended.
    var progress: [TopicPartition: Int64] { get }

    /// Waits until nothing of `partitions` (nil: of all) is in flight. Returns false when the time is over.
    mutating func drain(_ partitions: [TopicPartition]?, timeoutMilliseconds: Int) throws(DeliveryFailure) -> Bool

    /// The batch that was offered last, and answered with `.later`, will not be offered again: a part of it that is in
    /// flight counts for nothing.
    mutating func abandon(sequence: Int)

    /// Forgets the partitions. With `lost` another instance may already work on them: acknowledgements that still come for
    /// them count for nothing.
    mutating func end(_ partitions: [TopicPartition], lost: Bool)

    /// Releases what is held; nothing is delivered after it.
    mutating func close()
}

extension Delivery {
    public var commitsGroupOffsets: Bool { false }
    public var ownsCommit: Bool { commitsGroupOffsets }
    public var hasUnconfirmedCommit: Bool { false }
    public var eagerBatchesMax: Int { 0 }
    public var dueMicroseconds: Int64? { nil }
    public var obstacle: String? { nil }
    public mutating func observe(_ situation: RunnerSituation) {}
    public mutating func takeNews() -> DeliveryNews { DeliveryNews() }
    public mutating func open(_ environment: DeliveryEnvironment) throws(DeliveryFailure) {}
    public mutating func begin(_ starts: [PartitionStart]) throws(DeliveryFailure) -> DeliveryAnswer { .accepted }
    public mutating func abandon(sequence: Int) {}
    public mutating func close() {}
}
