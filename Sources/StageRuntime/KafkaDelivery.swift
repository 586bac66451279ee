// KafkaDelivery: the delivery of a stage that writes to Kafka topics, in the profile chosen at start.

public import EventContracts

/// How often a record may show in the topics.
public enum DeliveryProfile: String, Sendable, CaseIterable {
    /// Once in every topic for read_committed readers: Kafka transactions with the input's offsets inside.
    case exact
    /// At least once in topics, once in PostgreSQL: lower latency, cheaper under small load.
    case latency
}

/// One of the two deliveries. Two optionals rather than an enumeration, so that calls change it in place.
public struct KafkaDelivery: Delivery {
    public typealias Output = OutputBatch

    private var exact: ExactDelivery?
    private var atLeastOnce: AtLeastOnceDelivery?

    public init(_ delivery: ExactDelivery) { exact = delivery }

    public init(_ delivery: AtLeastOnceDelivery) { atLeastOnce = delivery }

    public var commitsGroupOffsets: Bool { exact?.commitsGroupOffsets ?? false }
    public var hasUnconfirmedCommit: Bool { exact?.hasUnconfirmedCommit ?? false }
    public var batchesInFlightMax: Int { exact?.batchesInFlightMax ?? atLeastOnce?.batchesInFlightMax ?? 0 }
    public var batchesInFlight: Int { exact?.batchesInFlight ?? atLeastOnce?.batchesInFlight ?? 0 }
    public var eagerBatchesMax: Int { exact?.eagerBatchesMax ?? atLeastOnce?.eagerBatchesMax ?? 0 }
    public var dueMicroseconds: Int64? { exact?.dueMicroseconds }
    public var obstacle: String? { exact?.obstacle ?? atLeastOnce?.obstacle }
    public var progress: [TopicPartition: Int64] { exact?.progress ?? atLeastOnce?.progress ?? [:] }

    public mutating func open(_ environment: DeliveryEnvironment) throws(DeliveryFailure) {
        try exact?.open(environment)
        try atLeastOnce?.open(environment)
    }

    public mutating func startPositions(of partitions: [TopicPartition]) throws(DeliveryFailure) -> StartAnswer {
        if let answer = try exact?.startPositions(of: partitions) { return answer }
        return try atLeastOnce?.startPositions(of: partitions) ?? .later(reason: Self.absent)
    }

    public mutating func begin(_ starts: [PartitionStart]) throws(DeliveryFailure) -> DeliveryAnswer {
        if let answer = try exact?.begin(starts) { return answer }
        return try atLeastOnce?.begin(starts) ?? .later(reason: Self.absent)
    }

    public mutating func deliver(
        _ output: OutputBatch, of batch: ProcessedBatch
    ) throws(DeliveryFailure) -> DeliveryAnswer {
        if let answer = try exact?.deliver(output, of: batch) { return answer }
        return try atLeastOnce?.deliver(output, of: batch) ?? .later(reason: Self.absent)
    }

    public mutating func observe(_ situation: RunnerSituation) { exact?.observe(situation) }

    public mutating func takeNews() -> DeliveryNews { exact?.takeNews() ?? DeliveryNews() }

    public mutating func poll(waitMilliseconds: Int) throws(DeliveryFailure) {
        try exact?.poll(waitMilliseconds: waitMilliseconds)
        try atLeastOnce?.poll(waitMilliseconds: waitMilliseconds)
    }

    public mutating func drain(
        _ partitions: [TopicPartition]?, timeoutMilliseconds: Int
    ) throws(DeliveryFailure) -> Bool {
        if let isDrained = try exact?.drain(partitions, timeoutMilliseconds: timeoutMilliseconds) { return isDrained }
        return try atLeastOnce?.drain(partitions, timeoutMilliseconds: timeoutMilliseconds) ?? true
    }

    public mutating func abandon(sequence: Int) {
        exact?.abandon(sequence: sequence)
        atLeastOnce?.abandon(sequence: sequence)
    }

    public mutating func end(_ partitions: [TopicPartition], lost: Bool) {
        exact?.end(partitions, lost: lost)
        atLeastOnce?.end(partitions, lost: lost)
    }

    public mutating func close() {
        exact?.close()
        atLeastOnce?.close()
    }

    /// One of the two is always there.
    private static let absent = "the stage has no delivery"
}
