// StageMetrics: the instruments of a stage, made once.

public import EventContracts
public import Observability
import Synchronization

/// The figures of one stage. Safe from any thread; used once per batch.
public final class StageMetrics: Sendable {
    private let registry: MetricsRegistry
    private let stage: String
    private let group: String
    let batches: Counter
    let batchRecords: Histogram
    let queueSeconds: Histogram
    let processSeconds: Histogram
    let deliverSeconds: Histogram
    let duplicates: Counter
    let restartSuspects: Counter
    let transactionsCommitted: Counter
    let transactionsAborted: Counter
    let assignedPartitions: Gauge
    let pausedPartitions: Gauge

    public init(registry: MetricsRegistry, stage: String, group: String) {
        self.registry = registry
        self.stage = stage
        self.group = group
        batches = registry.counter(MetricNames.batches, stage)
        batchRecords = registry.histogram(MetricNames.batchRecords, stage, bounds: MetricBuckets.records)
        queueSeconds = registry.histogram(MetricNames.queueSeconds, stage)
        processSeconds = registry.histogram(MetricNames.processSeconds, stage)
        deliverSeconds = registry.histogram(MetricNames.deliverSeconds, stage)
        duplicates = registry.counter(MetricNames.duplicates, stage)
        restartSuspects = registry.counter(MetricNames.restartSuspects, stage)
        transactionsCommitted = registry.counter(MetricNames.transactions, stage, "committed")
        transactionsAborted = registry.counter(MetricNames.transactions, stage, "aborted")
        assignedPartitions = registry.gauge(MetricNames.assignedPartitions, stage)
        pausedPartitions = registry.gauge(MetricNames.pausedPartitions, stage)
    }

    public func countConsumed(topic: String, _ count: Int) {
        registry.counter(MetricNames.recordsConsumed, stage, topic).add(count)
    }

    public func countProduced(topic: String, _ count: Int) {
        registry.counter(MetricNames.recordsProduced, stage, topic).add(count)
    }

    public func countDeadLetter(_ code: ErrorCode) {
        registry.counter(MetricNames.deadLetters, stage, code.rawValue).add(1)
    }

    func countRebalance(_ kind: String) {
        registry.counter(MetricNames.rebalances, stage, kind).add(1)
    }

    func countLost(_ partition: TopicPartition, _ count: Int64) {
        registry.counter(MetricNames.lostRangeRecords, partition.topic, "\(partition.partition)")
            .add(Int(clamping: count))
    }

    func setLag(_ partition: TopicPartition, _ lag: Int64) {
        registry.gauge(MetricNames.consumerGroupLag, group, partition.topic, "\(partition.partition)")
            .set(Int(clamping: lag))
    }

    /// The partition belongs to another process now: its lag is not ours to report.
    func removeLag(_ partition: TopicPartition) {
        registry.remove(MetricNames.consumerGroupLag, group, partition.topic, "\(partition.partition)")
    }
}
