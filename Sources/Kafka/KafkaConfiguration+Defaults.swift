// KafkaConfiguration+Defaults: the settings every Penstock client starts from.

extension KafkaConfiguration {
    /// Settings of a stage's consumer. Offsets are never stored or committed behind the application's back, a position
    /// outside the log is an error (never a silent jump), and the group rebalances cooperatively.
    ///
    /// The prefetch thresholds hold well over a second of data: librdkafka stops fetching for 1,000 ms whenever the
    /// queue is over one of them, and only from 2.2 on can that pause be shortened (`fetch.queue.backoff.ms`).
    public static func consumerDefaults(
        bootstrapServers: String, group: String, clientID: String
    ) throws(KafkaError) -> KafkaConfiguration {
        var configuration = try KafkaConfiguration(settings: [
            Setting("bootstrap.servers", bootstrapServers),
            Setting("client.id", clientID),
            Setting("group.id", group),
            Setting("enable.auto.commit", "false"),
            Setting("enable.auto.offset.store", "false"),
            Setting("auto.offset.reset", "error"),
            Setting("isolation.level", "read_committed"),
            Setting("partition.assignment.strategy", "cooperative-sticky"),
            Setting("session.timeout.ms", "10000"),
            Setting("heartbeat.interval.ms", "1000"),
            Setting("fetch.wait.max.ms", "100"),
            Setting("fetch.error.backoff.ms", "100"),
            Setting("queued.min.messages", "1000000"),
            Setting("queued.max.messages.kbytes", "131072"),
            Setting("statistics.interval.ms", "5000"),
            Setting("topic.metadata.refresh.interval.ms", "30000"),
            Setting("reconnect.backoff.max.ms", "2000"),
            Setting("retry.backoff.ms", "20"),
            Setting("socket.keepalive.enable", "true"),
            Setting("socket.nagle.disable", "true"),
            Setting("log.connection.close", "false"),
        ])
        try configuration.setIfKnown("fetch.queue.backoff.ms", "10")
        return configuration
    }

    /// Settings of a stage's producer: idempotent, partitioned like the Java clients, without lingering: records come in
    /// micro-batches already, and while five requests are on their way more of them gather by themselves. A linger of 1 ms
    /// saves CPU under full load and costs a millisecond or more on every hop (docs/benchmarks.md). Without statistics, for
    /// which librdkafka keeps a histogram that each record enters.
    public static func producerDefaults(
        bootstrapServers: String, clientID: String
    ) throws(KafkaError) -> KafkaConfiguration {
        try KafkaConfiguration(settings: [
            Setting("bootstrap.servers", bootstrapServers),
            Setting("client.id", clientID),
            Setting("enable.idempotence", "true"),
            Setting("partitioner", "murmur2_random"),
            Setting("linger.ms", "0"),
            Setting("batch.num.messages", "100000"),
            Setting("queue.buffering.max.messages", "500000"),
            Setting("queue.buffering.max.kbytes", "262144"),
            Setting("delivery.timeout.ms", "120000"),
            Setting("statistics.interval.ms", "0"),
            Setting("topic.metadata.refresh.interval.ms", "30000"),
            Setting("reconnect.backoff.max.ms", "2000"),
            Setting("retry.backoff.ms", "20"),
            Setting("socket.keepalive.enable", "true"),
            Setting("socket.nagle.disable", "true"),
            Setting("log.connection.close", "false"),
        ])
    }

    /// Makes a consumer a static member of its group: it keeps its partitions over a restart within the session time-out, and
    /// a second process under the same name fences it.
    public mutating func makeStaticMember(_ name: String) throws(KafkaError) {
        try set("group.instance.id", name)
    }

    /// Makes a producer transactional. A killed instance keeps read_committed readers waiting until `transaction.timeout.ms`
    /// or until it is back under the same id, so the time-out is short; no record may outlive its transaction.
    ///
    /// The records of a transaction come together at its end. They linger until all are handed over, so that each partition
    /// gets one request; the flush ends the linger. And only failures need a report: the flush waits for every
    /// acknowledgement anyway.
    public mutating func makeTransactional(_ id: String) throws(KafkaError) {
        try set("transactional.id", id)
        try set("transaction.timeout.ms", "10000")
        try set("delivery.timeout.ms", "10000")
        try set("linger.ms", "5")
        try set("delivery.report.only.error", "true")
    }
}
