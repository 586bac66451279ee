// Consumer+Assignment: who reads what, from where.

import CRdKafka
import Synchronization

extension KafkaPartition {
    /// Lets the partitioner choose.
    public static let unassigned: Int32 = -1
}

extension Consumer {
    /// `COOPERATIVE`, `EAGER` or `NONE` (before the first rebalance).
    public var rebalanceProtocol: String {
        unsafe rd_kafka_rebalance_protocol(client).map { unsafe String(cString: $0) } ?? "NONE"
    }

    /// Whether the current assignment was lost involuntarily; meaningful while a revocation is handled.
    public var assignmentLost: Bool { unsafe rd_kafka_assignment_lost(client) != 0 }

    /// Whether a commit goes out in the name of a member that owns its assignment. After its session timed out, or its member id
    /// was refused, the client has no name until it has joined again; and a static member that commits without one is fenced by
    /// itself, which is the end of the client.
    ///
    /// Asks the client's main thread: some tens of microseconds.
    public var isMember: Bool { !assignmentLost && memberID != nil }

    /// The member id the group's coordinator gave; nil before the client joined.
    public var memberID: String? {
        guard let text = unsafe rd_kafka_memberid(client) else { return nil }
        defer { unsafe rd_kafka_mem_free(client, text) }
        let id = unsafe String(cString: text)
        return id.isEmpty ? nil : id
    }

    /// Adds partitions, each from its offset (or a `KafkaOffset` constant).
    public func incrementalAssign(_ partitions: [(partition: KafkaPartition, offset: Int64)]) throws(KafkaError) {
        let list = PartitionList(capacity: partitions.count)
        for (partition, offset) in partitions { list.add(partition, offset: offset) }
        let error = unsafe rd_kafka_incremental_assign(client, list.pointer)
        if let error = unsafe KafkaError(adopting: error, context: "Cannot assign \(partitions.map(\.partition))") {
            throw error
        }
    }

    /// Removes partitions; their prefetched records are dropped.
    public func incrementalUnassign(_ partitions: [KafkaPartition]) throws(KafkaError) {
        liftPause(partitions)
        let list = PartitionList(partitions)
        let error = unsafe rd_kafka_incremental_unassign(client, list.pointer)
        if let error = unsafe KafkaError(adopting: error, context: "Cannot unassign \(partitions)") { throw error }
    }

    /// Replaces the whole assignment: for manual assignment, or for groups with an eager protocol.
    public func assign(_ partitions: [(partition: KafkaPartition, offset: Int64)]) throws(KafkaError) {
        let list = PartitionList(capacity: partitions.count)
        for (partition, offset) in partitions {
            try registerTopic(partition.topic)
            list.add(partition, offset: offset)
        }
        liftPause(Array(pausedPartitions))
        try KafkaError.check(
            unsafe rd_kafka_assign(client, list.pointer), "Cannot assign \(partitions.map(\.partition))")
    }

    /// Drops the whole assignment.
    public func unassign() throws(KafkaError) {
        liftPause(Array(pausedPartitions))
        try KafkaError.check(unsafe rd_kafka_assign(client, nil), "Cannot unassign")
    }

    /// The library keeps a pause with the partition, beyond its assignment: one that is not lifted before the partition goes
    /// keeps it silent when it comes back. Nothing fetched in between arrives, since the unassignment drops it.
    private func liftPause(_ partitions: [KafkaPartition]) {
        // A refusal would name partitions that the client does not know, and these are not paused.
        try? resume(partitions)
    }

    /// The partitions paused now.
    public var pausedPartitions: Set<KafkaPartition> { paused.withLock { $0 } }

    /// The partitions assigned to this client now.
    public func assignment() throws(KafkaError) -> [KafkaPartition] {
        var list: UnsafeMutablePointer<rd_kafka_topic_partition_list_t>?
        try KafkaError.check(unsafe rd_kafka_assignment(client, &list), "Cannot read the assignment")
        return unsafe PartitionList(adopting: list).elements.map(\.partition)
    }

    /// Stops fetching; what was prefetched is dropped and fetched again after `resume`.
    public func pause(_ partitions: [KafkaPartition]) throws(KafkaError) {
        let list = PartitionList(partitions)
        try KafkaError.check(unsafe rd_kafka_pause_partitions(client, list.pointer), "Cannot pause \(partitions)")
        let failed = list.elements.filter { $0.response != RD_KAFKA_RESP_ERR_NO_ERROR }.map(\.partition)
        paused.withLock { $0.formUnion(Set(partitions).subtracting(failed)) }
        try list.checkElements("Cannot pause")
    }

    /// Fetches again. Partitions that are not paused are left alone: before 2.4, librdkafka may go back to an earlier
    /// position when it is told to resume one of these.
    public func resume(_ partitions: [KafkaPartition]) throws(KafkaError) {
        let partitions = paused.withLock { paused in
            let affected = partitions.filter(paused.contains)
            paused.subtract(affected)
            return affected
        }
        guard !partitions.isEmpty else { return }
        let list = PartitionList(partitions)
        try KafkaError.check(unsafe rd_kafka_resume_partitions(client, list.pointer), "Cannot resume \(partitions)")
        try list.checkElements("Cannot resume")
    }

    /// Moves assigned partitions; records prefetched before are dropped.
    public func seek(
        _ partitions: [(partition: KafkaPartition, offset: Int64)], timeoutMilliseconds: Int32
    ) throws(KafkaError) {
        let list = PartitionList(capacity: partitions.count)
        for (partition, offset) in partitions { list.add(partition, offset: offset) }
        // Before 2.1 the library waits a thousandth of the time-out (it takes milliseconds for microseconds).
        let isTooShort = rd_kafka_version() < 0x0201_0000 && timeoutMilliseconds > 0
        let timeout = isTooShort ? Int32(clamping: Int64(timeoutMilliseconds) * 1_000) : timeoutMilliseconds
        let error = unsafe rd_kafka_seek_partitions(client, list.pointer, timeout)
        if let error = unsafe KafkaError(adopting: error, context: "Cannot seek \(partitions.map(\.partition))") {
            throw error
        }
        try list.checkElements("Cannot seek")
    }

    /// The offset after the last record taken by `pollMessages`; nil for a partition nothing was taken from yet.
    public func positions(_ partitions: [KafkaPartition]) throws(KafkaError) -> [KafkaPartition: Int64] {
        let list = PartitionList(partitions)
        try KafkaError.check(unsafe rd_kafka_position(client, list.pointer), "Cannot read positions")
        return list.offsets
    }

    /// Leaves the group and ends the consumption. The partitions still owned are revoked first: `onRevoke` sees each
    /// revocation and is the place for the last commit; the unassignment itself is done here.
    ///
    /// - Throws: `timedOut` when the group could not be left in time, for instance because no coordinator answers, or (before
    ///   librdkafka 2.4) because an assignment arrived at the same moment. The consumer can then only be dropped; the
    ///   broker forgets the member after its session time-out.
    public func close(
        timeoutMilliseconds: Int32, onRevoke: (Rebalance) -> Void = { _ in }
    ) throws(KafkaError) {
        let failure = unsafe rd_kafka_consumer_close_queue(client, queue)
        if let error = unsafe KafkaError(adopting: failure, context: "Cannot close the consumer") { throw error }
        let deadline = ContinuousClock.now.advanced(by: .milliseconds(Int64(timeoutMilliseconds)))
        while unsafe rd_kafka_consumer_closed(client) == 0 {
            let rest = ContinuousClock.now.duration(to: deadline)
            guard rest > .zero else {
                throw KafkaError(
                    code: .timedOut,
                    message: "The consumer did not leave its group within \(timeoutMilliseconds) ms", isRetriable: false
                )
            }
            // The queue wakes up for each event; the short wait only bounds how late `closed` is noticed.
            guard let pointer = unsafe rd_kafka_queue_poll(queue, 20) else { continue }
            let event = unsafe EventHandle(adopting: pointer)
            guard event.type == RD_KAFKA_EVENT_REBALANCE else { continue }
            let change = rebalance(event)
            if change.kind == .revoke { onRevoke(change) }
            try answerWhileClosing(change)
        }
    }

    private func answerWhileClosing(_ change: Rebalance) throws(KafkaError) {
        guard rebalanceProtocol == "COOPERATIVE" else { return try unassign() }
        // An assignment that arrives while closing is accepted empty: nothing of it will be read.
        if change.kind == .assign {
            try incrementalAssign([])
        } else {
            try incrementalUnassign(change.partitions)
        }
    }
}

extension PartitionList {
    /// Throws for the first element with an error.
    func checkElements(_ context: String) throws(KafkaError) {
        for element in elements where element.response != RD_KAFKA_RESP_ERR_NO_ERROR {
            throw KafkaError(element.response, context: "\(context) \(element.partition)")
        }
    }

    /// Offsets of the elements that have one.
    var offsets: [KafkaPartition: Int64] {
        var result: [KafkaPartition: Int64] = [:]
        for element in elements where element.offset >= 0 { result[element.partition] = element.offset }
        return result
    }
}
