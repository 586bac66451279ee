// Consumer+Offsets: committed offsets, watermarks and times.

import CRdKafka

extension Consumer {
    /// The group's committed offsets. A partition without one is missing from the result.
    public func committed(
        _ partitions: [KafkaPartition], timeoutMilliseconds: Int32
    ) throws(KafkaError) -> [KafkaPartition: CommittedOffset] {
        guard !partitions.isEmpty else { return [:] }
        let list = PartitionList(partitions)
        let response = unsafe rd_kafka_committed(client, list.pointer, timeoutMilliseconds)
        // A group that does not exist has committed nothing. Apache Kafka answers so; others with this error.
        guard response != RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND else { return [:] }
        try KafkaError.check(response, "Cannot read committed offsets")
        try list.checkElements("Cannot read the committed offset of")
        var result: [KafkaPartition: CommittedOffset] = [:]
        for element in list.elements where element.offset >= 0 {
            result[element.partition] = CommittedOffset(offset: element.offset, metadata: element.metadata)
        }
        return result
    }

    /// Commits and waits for the broker's answer, at most for the time-out.
    ///
    /// - Throws: `illegalGeneration` when the partitions belong to another member by now, `timedOut` when the outcome is
    ///   unknown, or the first partition's error.
    public func commit(
        _ offsets: [KafkaPartition: CommittedOffset], timeoutMilliseconds: Int32
    ) throws(KafkaError) {
        guard !offsets.isEmpty else { return }
        let list = Self.list(offsets)
        guard let answers = unsafe rd_kafka_queue_new(client) else {
            throw KafkaError(code: .other, message: "Cannot make a queue for the commit's answer")
        }
        defer { unsafe rd_kafka_queue_destroy(answers) }
        try KafkaError.check(
            unsafe rd_kafka_commit_queue(client, list.pointer, answers, nil, nil), "Cannot commit offsets")
        let deadline = ContinuousClock.now.advanced(by: .milliseconds(Int64(timeoutMilliseconds)))
        while true {
            let rest = ContinuousClock.now.duration(to: deadline)
            let wait = Int32(clamping: Int64(max(0, (rest / .milliseconds(1)).rounded(.up))))
            guard let pointer = unsafe rd_kafka_queue_poll(answers, wait) else {
                guard rest <= .zero else { continue }
                throw KafkaError(
                    code: .timedOut, message: "The commit was not confirmed within \(timeoutMilliseconds) ms",
                    isRetriable: true)
            }
            let event = unsafe EventHandle(adopting: pointer)
            guard event.type == RD_KAFKA_EVENT_OFFSET_COMMIT else { continue }
            let result = OffsetCommitResult(event)
            if let error = result.error { throw error }
            for partition in result.partitions {
                if let error = partition.error { throw error }
            }
            return
        }
    }

    /// Starts a commit; the outcome arrives as `ConsumerEvent.offsetCommit`.
    public func commitAsynchronously(_ offsets: [KafkaPartition: CommittedOffset]) throws(KafkaError) {
        guard !offsets.isEmpty else { return }
        let list = Self.list(offsets)
        try KafkaError.check(
            unsafe rd_kafka_commit_queue(client, list.pointer, queue, nil, nil), "Cannot commit offsets")
    }

    static func list(_ offsets: [KafkaPartition: CommittedOffset]) -> PartitionList {
        let list = PartitionList(capacity: offsets.count)
        for (partition, committed) in offsets {
            list.add(partition, offset: committed.offset, metadata: committed.metadata)
        }
        return list
    }

    /// Asks the partition's leader for its first offset and the one after its last.
    ///
    /// With two look-ups by time, which also take these names for one. `rd_kafka_query_watermark_offsets` sends both requests at
    /// once and lets the second answer hide the first one's error: a log of which only the end was told is taken for an
    /// empty one, and a reader who believes that skips everything in it (seen with librdkafka 2.0.2; 2.15 has the same lines).
    public func watermarks(
        _ partition: KafkaPartition, timeoutMilliseconds: Int32
    ) throws(KafkaError) -> Watermarks {
        func ask(_ place: Int64) throws(KafkaError) -> Int64 {
            let found = try offsets(forTimes: [partition: place], timeoutMilliseconds: timeoutMilliseconds)[partition]
            guard let found, found >= 0 else {
                throw KafkaError(
                    code: .other, message: "Cannot read the watermarks of \(partition): the broker named no offset",
                    isRetriable: true)
            }
            return found
        }
        // The first offset before the last: the log may grow in between.
        let low = try ask(KafkaOffset.beginning)
        return Watermarks(low: low, high: max(low, try ask(KafkaOffset.end)))
    }

    /// The watermarks as of the last fetch, without asking a broker; nil when nothing was fetched yet. `low` is only
    /// known to consumers with `statistics.interval.ms`.
    public func cachedWatermarks(_ partition: KafkaPartition) -> Watermarks? {
        var low: Int64 = 0
        var high: Int64 = 0
        let response = unsafe rd_kafka_get_watermark_offsets(
            client, partition.topic, partition.partition, &low, &high)
        guard response == RD_KAFKA_RESP_ERR_NO_ERROR, high >= 0 else { return nil }
        return Watermarks(low: low, high: high)
    }

    /// The first offset at or after a time (milliseconds since the Unix epoch) per partition; the end when there is no
    /// such record.
    public func offsets(
        forTimes times: [KafkaPartition: Int64], timeoutMilliseconds: Int32
    ) throws(KafkaError) -> [KafkaPartition: Int64] {
        let list = PartitionList(capacity: times.count)
        for (partition, time) in times { list.add(partition, offset: time) }
        try KafkaError.check(
            unsafe rd_kafka_offsets_for_times(client, list.pointer, timeoutMilliseconds),
            "Cannot look offsets up by time")
        try list.checkElements("Cannot look up by time:")
        var result: [KafkaPartition: Int64] = [:]
        for element in list.elements { result[element.partition] = element.offset }
        return result
    }

    /// The cluster's id; nil when it did not become known in time.
    public func clusterID(timeoutMilliseconds: Int32) -> String? {
        guard let text = unsafe rd_kafka_clusterid(client, timeoutMilliseconds) else { return nil }
        defer { unsafe rd_kafka_mem_free(client, text) }
        return unsafe String(cString: text)
    }

    /// Partition counts of these topics, or of all of the cluster's.
    public func topics(
        named names: [String]? = nil, timeoutMilliseconds: Int32
    ) throws(KafkaError) -> [TopicDescription] {
        try unsafe TopicDescription.list(client: client, named: names, timeoutMilliseconds: timeoutMilliseconds)
    }
}
