// Consumer: a Kafka consumer driven by one loop that polls for records and events in the order they happened.

import CRdKafka
import Synchronization

/// A consumer of a group, or of manually assigned partitions.
///
/// Everything arrives through `pollMessages`, in order: records, rebalances, commit results, errors, statistics, log
/// lines. There are no callbacks. One thread should poll; any thread may call the rest.
///
/// ## What was checked against librdkafka 2.0.2
/// - `rd_kafka_queue_poll` counts as polling for `max.poll.interval.ms` (it calls `rd_kafka_app_polled`), so pausing
///   every partition and polling on keeps the membership.
/// - It takes one event at a time and drops, at that moment, records that were fetched before the last seek, pause or
///   unassignment of their partition (each raises the partition's version). `rd_kafka_consume_batch_queue` is not used:
///   it may return records that a rebalance in the same batch had made stale, and hides the rebalance between them.
/// - The check and the hand-over are not one step with a seek on another thread, so a consumer of records still compares
///   each offset with the position it expects.
///
/// ## Fixed in later versions, and guarded against here
/// - A resumed partition that was not paused may go back to an earlier position (2.4.0): `resume` skips it.
/// - `rd_kafka_seek_partitions` waits a thousandth of its time-out (2.1.0): `seek` allows for it.
/// - Closing may hang when an assignment arrives at that moment (2.4.0): `close` has a time-out.
/// - Polling any queue resets the poll interval (2.1.0): only `commit` polls another one, within its own time-out.
/// - A commit during a cooperative rebalance may lose the assignment (2.10.0), and the idempotent producer may give up
///   with "sequence desynchronization" (2.3.0): records then repeat and none is lost, as at-least-once allows.
/// - The cooperative-sticky assignor can loop for ever for some member orders (2.6.1): no guard but the group's other
///   strategies.
@safe public final class Consumer: @unchecked Sendable {
    // Sendable because librdkafka's client and queue are thread-safe, both are `let` and outlive every call (a call holds
    // `self`), and all Swift state is behind mutexes.
    let client: OpaquePointer
    /// Our own queue; the client's main and consumer queues are forwarded to it, so it stays valid across `close`.
    let queue: OpaquePointer
    private let topics = Mutex(TopicTable())
    private let isSubscribed = Atomic<Bool>(false)
    private let wasAssigned = Atomic<Bool>(false)
    let paused = Mutex(Set<KafkaPartition>())
    /// The settings the consumer was made with.
    public let configuration: KafkaConfiguration

    /// Makes the client; connects in the background.
    ///
    /// - Throws: `invalidConfiguration` when the settings contradict each other.
    public init(configuration: KafkaConfiguration) throws(KafkaError) {
        var configuration = configuration
        // The library refuses to make a consumer without a group; a manual assignment does not use it.
        try configuration.setDefault("group.id", "penstock-unnamed")
        try configuration.set("log.queue", "true")
        self.configuration = configuration
        let events =
            RD_KAFKA_EVENT_FETCH | RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_OFFSET_COMMIT | RD_KAFKA_EVENT_ERROR
            | RD_KAFKA_EVENT_STATS | RD_KAFKA_EVENT_LOG
        let client = try unsafe configuration.makeHandle().makeClient(.consumer, events: events)
        guard let queue = unsafe rd_kafka_queue_new(client) else {
            unsafe rd_kafka_destroy_flags(client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE)
            throw KafkaError(code: .other, message: "Cannot make the consumer's queue")
        }
        unsafe self.client = unsafe client
        unsafe self.queue = unsafe queue
        unsafe rd_kafka_set_log_queue(client, nil)
        unsafe rd_kafka_poll_set_consumer(client)
        let own = unsafe rd_kafka_queue_get_consumer(client)
        unsafe rd_kafka_queue_forward(own, queue)
        unsafe rd_kafka_queue_destroy(own)
    }

    /// Ends the client without leaving the group (the broker notices after the session time-out), unless `close` was
    /// called. Waits for the library's threads to end, which takes milliseconds.
    deinit {
        topics.withLock { $0.removeAll() }
        unsafe rd_kafka_queue_destroy(queue)
        // Before 2.3.0 the library aborts the process (`rd_kafka_sticky_assignor_state_destroy: Assertion failed`) when a
        // client that was about to get its first cooperative assignment is destroyed. Such a client is left alone: it lives
        // until the process ends, which is when a consumer without an assignment is dropped.
        let fixedVersion: Int32 = 0x0203_0000
        guard
            !isSubscribed.load(ordering: .acquiring) || wasAssigned.load(ordering: .acquiring)
                || rd_kafka_version() >= fixedVersion
        else { return }
        unsafe rd_kafka_destroy_flags(client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE)
    }

    // MARK: Topics

    /// The index by which records name this topic. Topics get 0, 1, 2, … in the order of registration.
    @discardableResult
    public func registerTopic(_ name: String) throws(KafkaError) -> Int {
        let result = topics.withLock { table in
            Result { () throws(KafkaError) in try unsafe table.register(name, client: client) }
        }
        return try result.get()
    }

    /// The name behind a topic index.
    public func topicName(at index: Int) -> String? {
        topics.withLock { $0.names.indices.contains(index) ? $0.names[index] : nil }
    }

    /// Joins the group for these topics and registers them in order.
    public func subscribe(topics names: [String]) throws(KafkaError) {
        let list = PartitionList(capacity: names.count)
        for name in names {
            // A name that starts with ^ is a regular expression, not a topic.
            if !name.hasPrefix("^") { try registerTopic(name) }
            list.add(KafkaPartition(topic: name, partition: KafkaPartition.unassigned))
        }
        isSubscribed.store(true, ordering: .releasing)
        try KafkaError.check(unsafe rd_kafka_subscribe(client, list.pointer), "Cannot subscribe to \(names)")
    }

    public func unsubscribe() throws(KafkaError) {
        try KafkaError.check(unsafe rd_kafka_unsubscribe(client), "Cannot unsubscribe")
    }

    // MARK: Polling

    /// What one call of `pollMessages` did.
    public struct Polled: Sendable {
        /// Records given to the body.
        public var messageCount: Int
        /// The event that ended the drain; nil when none came.
        public var event: ConsumerEvent?
    }

    /// Waits up to the time-out for the first record or event, then takes what is already there without waiting: up to
    /// `maximum` records, or until the first event. Since an event ends the call, records before a rebalance are always
    /// handled before it, and records after it are in a later call.
    ///
    /// - Parameters:
    ///   - timeoutMilliseconds: 0 does not wait, -1 waits for ever (until `wake`).
    ///   - onPartitionEnd: with `enable.partition.eof`, told of each partition whose end was reached, with the offset where
    ///     reading goes on (beyond transaction markers, which no record tells of); such an end does not end the call then.
    ///   - body: looks at one record; what it throws ends the call after the record in hand was given back.
    public func pollMessages<E: Error>(
        maximum: Int, timeoutMilliseconds: Int32, onPartitionEnd: (KafkaPartition, Int64) -> Void,
        onMessage body: (borrowing Message) throws(E) -> Void
    ) throws(E) -> Polled {
        try pollMessages(
            maximum: maximum, timeoutMilliseconds: timeoutMilliseconds, takesEnds: true, onPartitionEnd, body)
    }

    /// As above; the end of a partition is an event like any other.
    public func pollMessages<E: Error>(
        maximum: Int, timeoutMilliseconds: Int32, _ body: (borrowing Message) throws(E) -> Void
    ) throws(E) -> Polled {
        try pollMessages(
            maximum: maximum, timeoutMilliseconds: timeoutMilliseconds, takesEnds: false, { _, _ in }, body)
    }

    /// As above; `body` ends the call, after the record in hand was given back, by returning false. Without a type parameter,
    /// and so without its price per record.
    public func pollRecords(
        maximum: Int, timeoutMilliseconds: Int32, onPartitionEnd: (KafkaPartition, Int64) -> Void,
        while body: (borrowing Message) -> Bool
    ) -> Polled {
        poll(
            maximum: maximum, timeoutMilliseconds: timeoutMilliseconds, takesEnds: true, onPartitionEnd, while: body)
    }

    private func pollMessages<E: Error>(
        maximum: Int, timeoutMilliseconds: Int32, takesEnds: Bool, _ onPartitionEnd: (KafkaPartition, Int64) -> Void,
        _ body: (borrowing Message) throws(E) -> Void
    ) throws(E) -> Polled {
        var failure: E?
        let polled = poll(
            maximum: maximum, timeoutMilliseconds: timeoutMilliseconds, takesEnds: takesEnds, onPartitionEnd,
            while: { message in
                do throws(E) {
                    try body(message)
                    return true
                } catch {
                    failure = error
                    return false
                }
            })
        if let failure { throw failure }
        return polled
    }

    private func poll(
        maximum: Int, timeoutMilliseconds: Int32, takesEnds: Bool, _ onPartitionEnd: (KafkaPartition, Int64) -> Void,
        while body: (borrowing Message) -> Bool
    ) -> Polled {
        var polled = Polled(messageCount: 0, event: nil)
        var lastTopic: OpaquePointer?
        var lastIndex = 0
        var timeout = timeoutMilliseconds
        while polled.messageCount < maximum {
            guard let pointer = unsafe rd_kafka_queue_poll(queue, timeout) else { break }
            timeout = 0
            let event = unsafe EventHandle(adopting: pointer)
            guard event.type == RD_KAFKA_EVENT_FETCH else {
                if takesEnds, event.type == RD_KAFKA_EVENT_ERROR,
                    event.response == RD_KAFKA_RESP_ERR__PARTITION_EOF
                {
                    if let end = event.partition { onPartitionEnd(end.0, end.offset) }
                    continue
                }
                polled.event = translate(event)
                if polled.event == nil { continue }
                break
            }
            guard let record = unsafe event.nextMessage(), let topic = unsafe record.pointee.rkt else { continue }
            if unsafe topic != lastTopic {
                do throws(KafkaError) {
                    lastIndex = try unsafe index(ofRecordTopic: topic)
                    unsafe lastTopic = unsafe topic
                } catch {
                    polled.event = .error(error, partition: nil, offset: KafkaOffset.invalid)
                    break
                }
            }
            polled.messageCount += 1
            guard body(unsafe Message(event: event, record: record, topicIndex: lastIndex)) else { break }
        }
        return polled
    }

    /// Waits up to the time-out for one event; a record that comes first is given to `body` and ends the wait too.
    public func poll<E: Error>(
        timeoutMilliseconds: Int32, _ body: (borrowing Message) throws(E) -> Void
    ) throws(E) -> ConsumerEvent? {
        try pollMessages(maximum: 1, timeoutMilliseconds: timeoutMilliseconds, body).event
    }

    /// Ends the wait of a `pollMessages` in progress (or the next one's) early. For use from another thread.
    public func wake() { unsafe rd_kafka_queue_yield(queue) }

    private func index(ofRecordTopic topic: OpaquePointer) throws(KafkaError) -> Int {
        let result = topics.withLock { table in
            Result { () throws(KafkaError) in
                try unsafe table.index(ofRecordTopic: topic, client: client)
            }
        }
        return try result.get()
    }

    private func translate(_ event: borrowing EventHandle) -> ConsumerEvent? {
        switch event.type {
        case RD_KAFKA_EVENT_REBALANCE:
            return .rebalance(rebalance(event))
        case RD_KAFKA_EVENT_OFFSET_COMMIT:
            return .offsetCommit(OffsetCommitResult(event))
        case RD_KAFKA_EVENT_ERROR:
            let place = event.partition
            let context = place.map { "Partition \($0.0)" } ?? "Kafka consumer"
            guard let error = event.error(context: context) else { return nil }
            return .error(error, partition: place?.0, offset: place?.offset ?? KafkaOffset.invalid)
        case RD_KAFKA_EVENT_STATS:
            return .statistics(event.statistics)
        case RD_KAFKA_EVENT_LOG:
            return .log(event.log)
        default:
            return nil
        }
    }

    func rebalance(_ event: borrowing EventHandle) -> Rebalance {
        wasAssigned.store(true, ordering: .releasing)
        let response = event.response
        let isAssignment = response == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS
        let isKnown = isAssignment || response == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS
        return Rebalance(
            kind: isAssignment ? .assign : .revoke, partitions: event.partitions.map(\.partition),
            isLost: !isAssignment && assignmentLost,
            error: isKnown ? nil : event.error(context: "The group's rebalance failed"))
    }
}

extension OffsetCommitResult {
    init(_ event: borrowing EventHandle) {
        self.init(
            error: event.error(context: "Commit of offsets failed"),
            partitions: event.partitions.map { element in
                let failed = element.response != RD_KAFKA_RESP_ERR_NO_ERROR
                let error = failed ? KafkaError(element.response, context: "Commit for \(element.partition)") : nil
                return (element.partition, element.offset, error)
            })
    }
}
