// StageRunner: the loop of a stage: poll, collect, process, deliver, commit; on one dedicated thread.

import EventContracts
import Kafka
public import Logging
public import Observability

/// Runs one stage: takes records from the input topics, hands micro-batches to the processor and its output to the
/// delivery, and commits the group's offsets after the effect.
///
/// Everything happens on the thread that calls `run`; other threads reach in through `StageControl` only. Whatever could
/// keep the loop from polling (a full pipeline, an absent database, a refused commit) leaves the batch where it is and
/// comes back to it, so that membership in the group, health and the stop request never depend on it.
///
/// ## Bounds
/// | what | bound |
/// |---|---|
/// | records, bytes and age of a micro-batch | `BatchLimits` |
/// | batches collected and not yet delivered | two: the one being offered, and one record of the next |
/// | batches delivered and not yet durable | `Delivery.batchesInFlightMax` |
/// | records fetched ahead | librdkafka's `queued.max.messages.kbytes`; nothing while paused |
/// | records queued in the producer | librdkafka's `queue.buffering.max.kbytes` |
/// | offsets begun beyond the committed one | `StageSettings.reachBatches` micro-batches |
public final class StageRunner<P: StageProcessor, D: Delivery> where P.Output == D.Output {
    let settings: StageSettings
    let control: StageControl
    let health: HealthState
    let metrics: StageMetrics
    let logger: Logger
    let consumer: Consumer

    var processor: P
    var delivery: D
    var output: P.Output
    var clusterID = ""

    /// The partitions being read, and what was collected from them.
    var intake: Intake
    /// Partitions given to this process whose start is not settled yet.
    var pendingStarts: [PendingStart] = []
    var retryStartsAt: Int64 = 0
    var hasAssignment = false
    var rejoin = Rejoin()

    /// The last poll ended because nothing more was there.
    var isInputDrained = false
    /// The batch taken from the hand.
    var work: Work?
    /// What failed inside a poll, thrown with the next turn.
    var deferredFailure: StageFailure?
    var sequence = 0
    /// Taken by the delivery and not yet durable: for the figures.
    var awaiting: [Awaiting] = []

    var commits: GroupCommits
    /// After a synchronous commit that was not confirmed: not before this time again.
    var retryCommitAt: Int64 = 0
    var watchdog: Watchdog
    var blockedSince: Int64?
    var isPaused = false
    var conditions: [Condition: String] = [:]
    var backlog: Int64 = 0
    var hasAdvanced = false
    var nextTick: Int64 = 0
    var nextIdleLook: Int64 = 0
    /// Beginning of the present round, for what needs no finer time.
    var turnStartedAt: Int64 = 0

    /// - Parameter logger: of the stage; librdkafka's own lines go there too.
    public init(
        settings: StageSettings, processor: P, delivery: D, control: StageControl, health: HealthState,
        metrics: StageMetrics, logger: Logger
    ) throws(StageFailure) {
        self.settings = settings
        self.processor = processor
        self.delivery = delivery
        self.control = control
        self.health = health
        self.metrics = metrics
        self.logger = logger
        output = processor.makeOutput()
        intake = Intake(limits: settings.batch, readsHeaders: settings.readsHeaders)
        let now = RuntimeClock.monotonicMicroseconds
        commits = GroupCommits(intervalMilliseconds: settings.commitIntervalMilliseconds, now: now)
        watchdog = Watchdog(stuckAfterMilliseconds: settings.stuckMillisecondsMax)
        do {
            var configuration = settings.consumer
            // The end of a replay may hold no record (transaction markers): only the end of the log tells that it is over.
            // And of transactional input nothing else tells where its last marker is.
            try configuration.set("enable.partition.eof", "true")
            consumer = try Consumer(configuration: configuration)
        } catch {
            throw StageFailure(exitCode: 2, "The consumer's settings are refused: \(error)")
        }
    }

    /// Why the stage cannot work at present, as readiness shows it.
    enum Condition: String {
        case broker, delivery, assignment, rebuild, commit, stopping
    }

    struct Work {
        enum Phase {
            case collected
            /// Processed; the delivery has not taken it yet.
            case processed
            /// A suspicious chunk: taken, and waited for.
            case trial
        }

        var batch: MicroBatch
        var phase = Phase.collected
        var processed: ProcessedBatch?
        var processedAt: Int64 = 0
    }

    struct Awaiting {
        var ranges: [OffsetRange]
        var processedAt: Int64
    }

    // MARK: The loop

    /// Runs until a stop is requested; returns after a graceful end.
    ///
    /// - Throws: what ended the stage otherwise. The consumer has left its group then; nothing was committed whose effect
    ///   is not durable.
    public func run() throws(StageFailure) {
        control.setWake { [consumer] in consumer.wake() }
        defer { control.setWake(nil) }
        do throws(StageFailure) {
            guard try start() else { return }
            while !control.isStopRequested { try turn() }
            try stop()
        } catch {
            fail(error)
            throw error
        }
    }

    /// One round: serve the delivery, move what is in hand, commit, then wait for records or events.
    func turn() throws(StageFailure) {
        turnStartedAt = RuntimeClock.monotonicMicroseconds
        tellSituation()
        try attempt { () throws(DeliveryFailure) in try delivery.poll(waitMilliseconds: 0) }
        takeNews()
        settleAwaiting()
        try settleStarts()
        let now = RuntimeClock.monotonicMicroseconds
        closeIfDue(now: now)
        let obstruction = try advance()
        if obstruction == nil { try passIdleEnds(now: now) }
        commitIfDue()
        tickIfDue()
        if let obstruction {
            try waitBlocked(obstruction)
        } else {
            unblock()
            // What was in hand at the start of the round is on its way: how long to wait depends on it.
            tellSituation()
            try collect(timeoutMilliseconds: idleWait(now: RuntimeClock.monotonicMicroseconds))
        }
    }

    private func tellSituation() {
        delivery.observe(
            RunnerSituation(
                isInputDrained: isInputDrained && hand.isEmpty, holdsCommits: rejoin.isUnderWay(now: turnStartedAt)))
    }

    /// How long to wait for records when nothing is blocked, in milliseconds.
    private func idleWait(now: Int64) -> Int32 {
        var wait: Int64 = 250_000
        if let open = hand.last, let rest = open.wait(now: now) {
            wait = min(wait, rest)
            // Acknowledgements do not end the wait for records, but they may be what lets the batch go.
            if delivery.eagerBatchesMax > 0 { wait = min(wait, 1_000) }
        }
        if let due = delivery.dueMicroseconds {
            wait = min(wait, max(0, due - now))
        } else if delivery.batchesInFlight > 0 {
            wait = min(wait, 5_000)
        }
        if delivery.obstacle != nil || !pendingStarts.isEmpty { wait = min(wait, 50_000) }
        let progress = delivery.progress
        if ledgers.contains(where: { progress[$0.partition] != $0.committed || $0.reachedEnd > $0.collectedEnd }) {
            wait = min(wait, Int64(settings.commitIntervalMilliseconds) * 1000)
        }
        // Rounded up: a wait of 0 would spin until the deadline.
        return Int32(clamping: (wait + 999) / 1000)
    }

    // MARK: Back-pressure

    /// Waits for the delivery; after a while the partitions are paused and the consumer is polled on.
    private func waitBlocked(_ obstruction: Obstruction) throws(StageFailure) {
        let before = RuntimeClock.monotonicMicroseconds
        let since = blockedSince ?? before
        blockedSince = since
        if case .later(let reason) = obstruction { report(.delivery, reason) }
        guard !isPaused else {
            // Records that were on their way when the pause began are few; one per turn keeps them bounded.
            return try collect(timeoutMilliseconds: 10, maximum: 1)
        }
        try attempt { () throws(DeliveryFailure) in try delivery.poll(waitMilliseconds: 5) }
        let now = RuntimeClock.monotonicMicroseconds
        // A delivery that does not wait itself must not make this loop spin.
        let isSpinning = now - before < 1_000 && obstruction.isLasting
        if isSpinning || now - since >= Int64(settings.pauseAfterMilliseconds) * 1000 { pauseAll() }
    }

    private func unblock() {
        blockedSince = nil
        report(.delivery, delivery.obstacle)
        resumeAll()
    }

    func pauseAll() {
        isPaused = true
        let partitions = ledgers.map { KafkaPartition($0.partition) }
        do throws(KafkaError) {
            try consumer.pause(partitions)
            logger.info("Partitions paused for back-pressure", metadata: [LogKey.partitions: "\(partitions)"])
        } catch {
            // Partitions that left meanwhile; the rebalance that took them is on its way.
            logger.debug("Pause refused", metadata: [LogKey.error: "\(error)"])
        }
        metrics.pausedPartitions.set(partitions.count)
    }

    private func resumeAll() {
        guard isPaused else { return }
        isPaused = false
        // Not the ledgers: a partition that is being started anew has none yet, and would stay paused.
        let partitions = consumer.pausedPartitions.sorted { ($0.topic, $0.partition) < ($1.topic, $1.partition) }
        do throws(KafkaError) {
            try consumer.resume(partitions)
            logger.info("Partitions resumed", metadata: [LogKey.partitions: "\(partitions)"])
        } catch {
            logger.debug("Resume refused", metadata: [LogKey.error: "\(error)"])
        }
        metrics.pausedPartitions.set(0)
    }

    // MARK: Small things

    var ledgers: [PartitionLedger] {
        get { intake.ledgers }
        _modify { yield &intake.ledgers }
    }

    var hand: [MicroBatch] {
        get { intake.hand }
        _modify { yield &intake.hand }
    }

    func ledgerIndex(_ partition: TopicPartition) -> Int? { ledgers.firstIndex { $0.partition == partition } }

    /// Reports a condition once, and its end once.
    func report(_ condition: Condition, _ message: String?) {
        guard conditions[condition] != message else { return }
        conditions[condition] = message
        if let message {
            health.fail(condition.rawValue, message)
            logger.notice("Not ready", metadata: [LogKey.reason: "\(condition.rawValue): \(message)"])
        } else {
            health.clear(condition.rawValue)
        }
    }

    func attempt<T>(_ body: () throws(DeliveryFailure) -> T) throws(StageFailure) -> T {
        do throws(DeliveryFailure) {
            return try body()
        } catch {
            throw StageFailure(error.message)
        }
    }
}

/// A partition between assignment and the first record.
struct PendingStart {
    var partition: TopicPartition
    /// The client reads it already (after `.restart`): seek rather than assign.
    var isAssigned = false
    /// Kept over a restart within this process: no one died.
    var crashGuard: CrashGuard?
}

/// What keeps a batch from moving on.
enum Obstruction: Equatable {
    /// As many batches are in flight as may be, or a suspicious chunk waits for them, or they for it.
    case inFlight
    /// The delivery said so.
    case later(String)
    /// The group's coordinator does not confirm a commit that must come first.
    case commit

    /// Whether it may last long.
    var isLasting: Bool { self != .inFlight }
}

extension KafkaPartition {
    init(_ partition: TopicPartition) { self.init(topic: partition.topic, partition: partition.partition) }
}

extension TopicPartition {
    init(_ partition: KafkaPartition) { self.init(topic: partition.topic, partition: partition.partition) }
}
