// TransactionalDeadLetters: the outbox in the profile `exact`: each dead letter once for read_committed readers.

import EventContracts
public import Kafka
public import Logging
public import StageRuntime

/// Publishes the outbox in Kafka transactions that also say how far it has got.
///
/// Per partition of the sink's input there is one transactional id, `<group>.outbox.<partition>`, and one offset of the group
/// `<group>.outbox`: letters of records before it are published. A process that takes a partition over initialises that id
/// first, which ends what another one left open and fences it, and reads the offset then; so it publishes what is missing and
/// nothing twice, whether the other one died before its transaction, after it, or before the rows were deleted. The offset
/// can stand for the letters because a record has at most one, and PostgreSQL's compare-and-set commits them in the
/// order of the records.
public struct TransactionalDeadLetters: DeadLetterPublisher {
    private struct Letter {
        var record: DeadLetterRecord
        var offset: Int64
        var tag: UInt64
    }

    /// What publishes one partition's letters.
    private struct Lane {
        let producer: Producer
        var topics: [String: Int] = [:]
        /// Letters of records before this offset are published.
        var next: Int64
    }

    private static let requestMillisecondsMax: Int32 = 3_000
    private static let retryMilliseconds = 500

    private let producer: KafkaConfiguration
    private let consumer: KafkaConfiguration
    private let group: String
    private let logger: Logger
    /// Never joins its group: it reads and names it.
    private var ledger: Consumer?
    private var lanes: [TopicPartition: Lane] = [:]
    private var waiting: [TopicPartition: [Letter]] = [:]
    private var retryAt: ContinuousClock.Instant?
    /// What another attempt cannot mend.
    private var refusal: DeliveryFailure?

    /// - Parameters:
    ///   - producer: settings of an idempotent producer, with `bootstrap.servers`.
    ///   - consumer: settings of a consumer, with `bootstrap.servers` and security settings.
    ///   - group: of the sink.
    public init(producer: KafkaConfiguration, consumer: KafkaConfiguration, group: String, logger: Logger) {
        self.producer = producer
        self.consumer = consumer
        self.group = group
        self.logger = logger
    }

    private var ledgerGroup: String { "\(group).outbox" }

    public var isReady: Bool { refusal != nil || retryAt.map { ContinuousClock.now >= $0 } ?? true }

    public mutating func open(letterTopics: [String]) throws(DeliveryFailure) {
        do {
            // A static member's name belongs to the sink's own group.
            let settings = consumer.settings.filter { $0.name != "group.instance.id" }
            var configuration = try KafkaConfiguration(settings: settings)
            try configuration.set("group.id", ledgerGroup)
            ledger = try Consumer(configuration: configuration)
        } catch {
            throw DeliveryFailure(.refused, "cannot start the publisher of dead letters: \(error)")
        }
    }

    public mutating func publish(
        _ record: DeadLetterRecord, of origin: LetterOrigin, tag: UInt64
    ) throws(DeliveryFailure) -> Bool {
        if let refusal { throw refusal }
        guard isReady else { return false }
        waiting[origin.partition, default: []].append(Letter(record: record, offset: origin.offset, tag: tag))
        return true
    }

    public mutating func poll(waitMilliseconds: Int) -> (arrived: [UInt64], failed: [UInt64]) {
        var arrived: [UInt64] = []
        var failed: [UInt64] = []
        for (partition, letters) in waiting.sorted(by: { $0.key < $1.key }) {
            do throws(KafkaError) {
                try publish(letters, of: partition)
                arrived += letters.map(\.tag)
            } catch {
                failed += letters.map(\.tag)
                setBack(error, partition)
            }
        }
        waiting = [:]
        return (arrived, failed)
    }

    public mutating func close() {
        lanes = [:]
        ledger = nil
    }

    // MARK: One transaction

    private mutating func publish(_ letters: [Letter], of partition: TopicPartition) throws(KafkaError) {
        var lane = try lane(of: partition)
        let missing = letters.filter { $0.offset >= lane.next }
        guard let last = missing.map(\.offset).max(), let ledger else { return }
        try lane.producer.beginTransaction()
        for letter in missing { try Self.produce(letter, on: &lane) }
        var refused: KafkaError?
        try lane.producer.flush(timeoutMilliseconds: Self.requestMillisecondsMax) { report in
            refused = refused ?? report.error
        }
        if let refused { throw refused }
        try lane.producer.sendOffsets(
            [KafkaPartition(topic: partition.topic, partition: partition.partition): CommittedOffset(offset: last + 1)],
            of: ledger, timeoutMilliseconds: Self.requestMillisecondsMax)
        try lane.producer.commitTransaction(timeoutMilliseconds: Self.requestMillisecondsMax)
        lane.next = last + 1
        lanes[partition] = lane
        retryAt = nil
    }

    private static func produce(_ letter: Letter, on lane: inout Lane) throws(KafkaError) {
        let topic = try index(of: letter.record.topic, in: &lane)
        // A nil array and an empty one stay apart: null is not empty.
        let (key, value) = (letter.record.key, letter.record.value)
        try lane.producer.produce(
            topic: topic, key: key?.span.bytes, value: value?.span.bytes,
            headers: letter.record.headers.map { RecordHeader(nameBytes: $0.name, value: $0.value) }, tag: letter.tag)
    }

    private static func index(of topic: String, in lane: inout Lane) throws(KafkaError) -> Int {
        if let known = lane.topics[topic] { return known }
        let index = try lane.producer.registerTopic(topic)
        lane.topics[topic] = index
        return index
    }

    /// The lane of a partition. A new one has fenced all others before it asks how far they got.
    private func lane(of partition: TopicPartition) throws(KafkaError) -> Lane {
        if let lane = lanes[partition] { return lane }
        guard let ledger else { throw KafkaError(code: .invalidState, message: "the publisher is closed") }
        var configuration = producer
        try configuration.makeTransactional("\(ledgerGroup).\(partition.partition)")
        let producer = try Producer(configuration: configuration)
        try producer.initializeTransactions(timeoutMilliseconds: Self.requestMillisecondsMax)
        let place = KafkaPartition(topic: partition.topic, partition: partition.partition)
        let found = try ledger.committed([place], timeoutMilliseconds: Self.requestMillisecondsMax)
        return Lane(producer: producer, next: found[place]?.offset ?? 0)
    }

    /// Whatever went wrong, the next attempt begins with a new producer and looks up what became of this one's transaction.
    private mutating func setBack(_ error: KafkaError, _ partition: TopicPartition) {
        lanes[partition] = nil
        retryAt = .now + .milliseconds(Self.retryMilliseconds)
        let place = "\(partition.topic)[\(partition.partition)]"
        switch error.code {
        case .authorization, .authentication:
            refusal = DeliveryFailure(
                .refused,
                "The brokers do not let the dead letters of \(place) be published: grant WRITE and DESCRIBE on the "
                    + "transactional ids \(ledgerGroup).*, READ on the group \(ledgerGroup) and WRITE on the dead-letter topic "
                    + "(\(error.message))")
        case .messageTooLarge:
            refusal = DeliveryFailure(
                .refused,
                "A dead letter of \(place) is larger than the broker takes: raise max.message.bytes of its topic "
                    + "(\(error.message))")
        default:
            logger.warning(
                "Dead letters wait in the outbox", metadata: ["partition": "\(place)", "reason": "\(error)"])
        }
    }
}
