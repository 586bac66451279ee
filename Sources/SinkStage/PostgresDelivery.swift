// PostgresDelivery: rows, dead letters and the next offset in one PostgreSQL transaction per micro-batch.

import EventContracts
public import Logging
public import Observability
import Postgres
public import StageRuntime

/// The delivery of `prediction-sink`. PostgreSQL holds the offsets: a batch's rows and its offsets commit together, and
/// the offsets move by compare-and-set, so that an instance that was overtaken (stopped, partitioned, slow) cannot store
/// anything: its transaction rolls back as a whole.
///
/// A transaction runs COPY into the table or, when a row of the batch is there already, COPY into a temporary staging table,
/// one INSERT … ON CONFLICT DO NOTHING in key order and what conflicts and bad rows need; and *last* the compare-and-set, right before COMMIT, so that the rows of
/// `consumer_offsets` are locked for as short as possible. Should a process be stopped in between all the same, the
/// server ends its session after `idleInTransactionMilliseconds`, and a successor waits at most `lockMilliseconds` at a
/// time before it says "later" and tries again.
public struct PostgresDelivery: Delivery {
    public typealias Output = SinkRows

    let options: Options
    let logger: Logger
    let registry: MetricsRegistry
    var publisher: any DeadLetterPublisher
    private var probe: any RecordProbe

    var environment = DeliveryEnvironment(stage: "", group: "", instance: "", clusterID: "", inputTopics: [])
    var letterWriter: DeadLetterWriter
    var connection: PostgresConnection?
    var backoff: Backoff
    public var obstacle: String?
    public var progress: [TopicPartition: Int64] = [:]
    /// Partitions whose fingerprint was compared since this process started.
    private var verified: Set<TopicPartition> = []
    var direct = DirectCopy()
    var partitions = PartitionCatalogue()
    var outbox = OutboxState()
    var maintenance = MaintenanceState()
    /// A batch whose COMMIT had no answer.
    var unknownCommit: Int?

    public let batchesInFlightMax = 1
    /// A batch is durable when `deliver` returns, so none is ever in flight.
    public let batchesInFlight = 0

    public init(
        options: Options, publisher: any DeadLetterPublisher, probe: any RecordProbe, registry: MetricsRegistry,
        logger: Logger
    ) {
        self.options = options
        self.publisher = publisher
        self.probe = probe
        self.registry = registry
        self.logger = logger
        backoff = Backoff(
            millisecondsMin: options.backoffMillisecondsMin, millisecondsMax: options.backoffMillisecondsMax)
        letterWriter = DeadLetterWriter(group: "", instance: "", module: "SinkStage", stage: .taskPut)
    }

    // MARK: - Start

    public var ownsCommit: Bool { true }

    public mutating func open(_ environment: DeliveryEnvironment) throws(DeliveryFailure) {
        self.environment = environment
        letterWriter = DeadLetterWriter(
            group: environment.group, instance: environment.instance, module: "SinkStage", stage: .taskPut)
        if options.faults.noCompareAndSet {
            logger.critical("PLANTED FAULT: offsets are set without comparison; for tests of the oracle only")
        }
        try publisher.open(letterTopics: environment.inputTopics.map { PipelineTopics.deadLetters(of: $0) })
        let deadline = ContinuousClock.now + .milliseconds(options.startMillisecondsMax)
        while try connected() == nil {
            guard ContinuousClock.now < deadline else {
                throw DeliveryFailure(.timedOut, obstacle ?? "PostgreSQL cannot be reached")
            }
            backoff.wait()
        }
    }

    public mutating func startPositions(of partitions: [TopicPartition]) throws(DeliveryFailure) -> StartAnswer {
        guard let connection = try connected() else { return .later(reason: obstacle ?? "PostgreSQL is away") }
        let stored: [StoredOffset]
        do {
            stored = try SinkOffsets.show(connection, options.target, group: environment.group)
        } catch {
            return .later(reason: try setBack(error, "read the offsets"))
        }
        let byPartition = Dictionary(
            stored.map { (TopicPartition(topic: $0.topic, partition: $0.partition), $0) }, uniquingKeysWith: { $1 })
        for offset in stored where environment.inputTopics.contains(offset.topic) {
            guard offset.clusterID == environment.clusterID else { throw foreignCluster(offset) }
        }
        var positions: [TopicPartition: StartPosition] = [:]
        for partition in partitions {
            guard let offset = byPartition[partition] else {
                positions[partition] = .pipelineStart
                continue
            }
            if let reason = try compare(offset, partition) { return .later(reason: reason) }
            positions[partition] = .at(offset.nextOffset)
        }
        succeeded()
        return .positions(positions)
    }

    public mutating func begin(_ starts: [PartitionStart]) throws(DeliveryFailure) -> DeliveryAnswer {
        guard let connection = try connected() else { return .later(reason: obstacle ?? "PostgreSQL is away") }
        do {
            let isOurs = try connection.transaction {
                for start in starts where try !store(start, on: connection) { throw Overtaken() }
                return true
            }
            guard isOurs else { return .restart(reason: Overtaken.reason) }
        } catch is Overtaken {
            return .restart(reason: Overtaken.reason)
        } catch {
            // An unknown outcome needs no inquiry here: the runner asks for the positions again.
            return .later(reason: try setBack(error, "store the starting offsets"))
        }
        for start in starts { progress[start.partition] = start.position }
        outbox.isPending = true
        succeeded()
        return .accepted
    }

    /// False when the stored offset is not what the runner was told.
    private func store(_ start: PartitionStart, on connection: PostgresConnection) throws(PostgresError) -> Bool {
        let table = options.target.qualified("consumer_offsets")
        let key: [PostgresValue] = [
            .text(environment.group), .text(start.partition.topic), .int(Int64(start.partition.partition)),
            .text(environment.clusterID), .int(start.position),
        ]
        guard let stored = start.stored else {
            return try connection.query(
                """
                INSERT INTO \(table) (consumer_group, topic, partition, cluster_id, next_offset)
                VALUES ($1, $2, $3::int8, $4, $5) ON CONFLICT DO NOTHING
                """, key
            ).affectedRows == 1
        }
        guard stored != start.position else { return true }
        return try connection.query(
            """
            UPDATE \(table) SET next_offset = $5, last_offset = NULL, last_timestamp_ms = NULL, last_hash = NULL,
                updated_at = now()
            WHERE consumer_group = $1 AND topic = $2 AND partition = $3 AND cluster_id = $4 AND next_offset = $6
            """, key + [.int(stored)]
        ).affectedRows == 1
    }

    // MARK: - Whose offsets these are

    private var resetAdvice: String {
        "Stop the sink and bind it to this cluster with 'penstock offsets reset PIPELINE --to earliest'; rows stay"
    }

    private func foreignCluster(_ offset: StoredOffset) -> DeliveryFailure {
        DeliveryFailure(
            .mismatch,
            "the offsets of group \(offset.group) for topic \(offset.topic) in \(options.connection.place) belong to the"
                + " Kafka cluster \(offset.clusterID), this is \(environment.clusterID): they mean nothing here."
                + " \(resetAdvice)")
    }

    /// Compares the stored fingerprint with the record in the log. Gives the reason when it cannot be done now.
    private mutating func compare(
        _ offset: StoredOffset, _ partition: TopicPartition
    ) throws(DeliveryFailure) -> String? {
        guard let last = offset.last, !verified.contains(partition) else { return nil }
        let place = "\(partition.topic)[\(partition.partition)]"
        let found = probe.record(topic: partition.topic, partition: partition.partition, offset: last.offset)
        let difference: String
        switch found {
        case .unavailable(let reason): return "cannot compare the last record of \(place): \(reason)"
        case .expired:
            logger.notice("The last stored record has left the log: not compared", metadata: ["partition": "\(place)"])
            verified.insert(partition)
            return nil
        case .found(let record):
            if record == last {
                verified.insert(partition)
                return nil
            }
            difference = "the record at offset \(last.offset) is another one than the one stored from there"
        case .beyondEnd: difference = "the log ends before offset \(last.offset), which was stored from it"
        }
        throw DeliveryFailure(
            .mismatch,
            "the topic was made anew: in \(place) \(difference). The offsets of group \(environment.group) mean nothing"
                + " for it. \(resetAdvice)")
    }

    // MARK: - End

    public mutating func drain(
        _ partitions: [TopicPartition]?, timeoutMilliseconds: Int
    ) throws(DeliveryFailure) -> Bool {
        // Nothing is in flight. Dead letters wait in the outbox as safely as in Kafka; publish what time allows.
        let deadline = ContinuousClock.now + .milliseconds(min(timeoutMilliseconds, options.drainMillisecondsMax))
        while outbox.hasWork, obstacle == nil, ContinuousClock.now < deadline { try serveOutbox(waitMilliseconds: 20) }
        return true
    }

    public mutating func end(_ partitions: [TopicPartition], lost: Bool) {
        for partition in partitions { progress[partition] = nil }
    }

    public mutating func abandon(sequence: Int) {
        if unknownCommit == sequence { unknownCommit = nil }
    }

    public mutating func close() {
        connection?.close()
        connection = nil
        publisher.close()
    }
}

/// The offsets are not where this process left them: another instance works on the partition.
struct Overtaken: Error {
    static let reason = "another instance moved the offsets on, or they were reset: reading them again"
}
