// MetricNames: every metric of Penstock, in one place.

/// Definitions of all metrics. Counters end in `_total`, times are in seconds.
public enum MetricNames {
    // MARK: Records

    public static let recordsConsumed = MetricDefinition(
        "penstock_records_consumed_total", "Records taken from an input topic.", labels: ["stage", "topic"])
    public static let recordsProduced = MetricDefinition(
        "penstock_records_produced_total", "Records confirmed by the brokers on an output topic.",
        labels: ["stage", "topic"])
    public static let deadLetters = MetricDefinition(
        "penstock_dead_letters_total", "Records given up to the dead-letter topic, by error code.",
        labels: ["stage", "code"])
    public static let duplicates = MetricDefinition(
        "penstock_duplicates_total", "Records recognised as repeats of an earlier one.", labels: ["stage"])
    public static let rowsWritten = MetricDefinition(
        "penstock_rows_written_total", "Rows inserted into PostgreSQL.", labels: ["stage", "table"])

    // MARK: Batches

    public static let batches = MetricDefinition(
        "penstock_batches_total", "Micro-batches completed.", labels: ["stage"])
    public static let batchRecords = MetricDefinition(
        "penstock_batch_records", "Records per micro-batch.", labels: ["stage"])
    public static let processSeconds = MetricDefinition(
        "penstock_process_seconds", "Time the stage's logic took per micro-batch.", labels: ["stage"])
    public static let deliverSeconds = MetricDefinition(
        "penstock_deliver_seconds", "Time from a micro-batch's outcome to its confirmation.", labels: ["stage"])
    public static let queueSeconds = MetricDefinition(
        "penstock_queue_seconds", "Age of a micro-batch's oldest record when its processing began.",
        labels: ["stage"])
    public static let retries = MetricDefinition(
        "penstock_retries_total", "Attempts that failed and were made again, by operation.",
        labels: ["stage", "operation"])

    // MARK: Inference

    /// Compute time apart from queue time, decoding and writing.
    public static let inferenceComputeSeconds = MetricDefinition(
        "penstock_inference_compute_seconds", "Time the model itself took per micro-batch.", labels: ["stage", "model"])

    // MARK: Recovery

    public static let restartSuspects = MetricDefinition(
        "penstock_restart_suspects_total", "Records found in flight when an earlier process of the group died.",
        labels: ["stage"])
    public static let transactions = MetricDefinition(
        "penstock_transactions_total", "Kafka transactions, by how they ended.", labels: ["stage", "outcome"])
    public static let lostRangeRecords = MetricDefinition(
        "penstock_lost_range_records_total", "Offsets that had left the log before they were read.",
        labels: ["topic", "partition"])
    public static let rebalances = MetricDefinition(
        "penstock_rebalances_total", "Changes of the assignment, by kind (assign, revoke, lost).",
        labels: ["stage", "kind"])

    // MARK: Kafka

    /// The name and labels other exporters use for the same figure.
    public static let consumerGroupLag = MetricDefinition(
        "kafka_consumergroup_lag", "Records of a partition that the group has not committed yet.",
        labels: ["consumergroup", "topic", "partition"])
    public static let assignedPartitions = MetricDefinition(
        "penstock_assigned_partitions", "Partitions this process owns.", labels: ["stage"])
    public static let pausedPartitions = MetricDefinition(
        "penstock_paused_partitions", "Partitions paused for back-pressure.", labels: ["stage"])
    public static let recordsInFlight = MetricDefinition(
        "penstock_records_in_flight", "Records produced and not yet confirmed.", labels: ["stage"])

    // MARK: Process

    public static let processStartSeconds = MetricDefinition(
        "process_start_time_seconds", "Start of the process, seconds since the Unix epoch.")
    public static let buildInformation = MetricDefinition(
        "penstock_build_info", "Always 1; the labels tell what runs.", labels: ["component", "version", "librdkafka"])
    public static let loopHeartbeatAgeSeconds = MetricDefinition(
        "penstock_loop_heartbeat_age_seconds", "Time since the stage's loop last came round.")
}

/// Upper bounds of histogram buckets.
public enum MetricBuckets {
    /// From 50 microseconds to 10 seconds.
    public static let seconds: [Double] = [
        0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
    ]
    /// Powers of four.
    public static let records: [Double] = [1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536]
}
