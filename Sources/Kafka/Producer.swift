// Producer: a Kafka producer that never blocks on `produce` and reports each record's fate by its tag.

import CRdKafka
import Synchronization

/// A producer. `produce` hands a copy of the record to librdkafka's queue and returns at once; `pollDeliveries` tells
/// what became of each record. Records with the same key, or of the same partition, keep their order.
@safe public final class Producer: @unchecked Sendable {
    // Sendable because librdkafka's client and queue are thread-safe, both are `let` and outlive every call (a call holds
    // `self`), and the only Swift state, the topic table, is behind a mutex.
    let client: OpaquePointer
    private let queue: OpaquePointer
    private let topics = Mutex(TopicTable())
    /// The settings the producer was made with.
    public let configuration: KafkaConfiguration
    /// Records that were delivered are not reported (`delivery.report.only.error`).
    private let reportsOnlyErrors: Bool

    /// Makes the client; connects in the background.
    ///
    /// - Throws: `invalidConfiguration` when the settings contradict each other.
    public init(configuration: KafkaConfiguration) throws(KafkaError) {
        var configuration = configuration
        try configuration.set("log.queue", "true")
        self.configuration = configuration
        reportsOnlyErrors = configuration["delivery.report.only.error"] == "true"
        let events = RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_STATS | RD_KAFKA_EVENT_LOG
        let client = try unsafe configuration.makeHandle().makeClient(.producer, events: events)
        guard let queue = unsafe rd_kafka_queue_get_main(client) else {
            unsafe rd_kafka_destroy(client)
            throw KafkaError(code: .other, message: "Cannot make the producer's queue")
        }
        unsafe self.client = unsafe client
        unsafe self.queue = unsafe queue
        unsafe rd_kafka_set_log_queue(client, nil)
    }

    /// Ends the client; records still queued are lost, so `flush` first. Waits for the library's threads to end.
    deinit {
        topics.withLock { $0.removeAll() }
        unsafe rd_kafka_queue_destroy(queue)
        unsafe rd_kafka_destroy(client)
    }

    // MARK: Topics

    /// The index by which `produce` names this topic. Topics get 0, 1, 2, … in the order of registration.
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

    /// Lives as long as the client: topics are never taken out of the table while it is open.
    func topicHandle(_ index: Int) -> OpaquePointer? {
        unsafe topics.withLock({ unsafe SendablePointer($0.handle(at: index)) }).pointer
    }

    // MARK: Producing

    /// Queues a record; key, value and headers are copied. A nil value is a tombstone; nil and empty are kept apart.
    ///
    /// A record without headers and with the present time takes librdkafka's cheap path; headers cost one to five times
    /// as much again.
    ///
    /// - Parameters:
    ///   - partition: `KafkaPartition.unassigned` lets the partitioner choose by key.
    ///   - timestampMilliseconds: since the Unix epoch; 0 stands for now.
    ///   - tag: comes back in the delivery report.
    /// - Throws: `queueFull` (retriable: poll for deliveries first), `messageTooLarge`, `unknownTopicOrPartition`.
    public func produce(
        topic: Int, partition: Int32 = KafkaPartition.unassigned, key: RawSpan?, value: RawSpan?,
        headers: [RecordHeader] = [], timestampMilliseconds: Int64 = 0, tag: UInt64 = 0
    ) throws(KafkaError) {
        guard let handle = unsafe topicHandle(topic) else {
            throw KafkaError(code: .invalidArgument, message: "No topic was registered under index \(topic)")
        }
        let opaque = unsafe UnsafeMutableRawPointer(bitPattern: UInt(tag))
        let response = unsafe withOptionalBytes(key) { key in
            unsafe withOptionalBytes(value) { value in
                if headers.isEmpty && timestampMilliseconds == 0 {
                    return unsafe produce(handle, partition: partition, key: key, value: value, opaque: opaque)
                }
                return unsafe produce(
                    handle, partition: partition, key: key, value: value, headers: headers,
                    timestampMilliseconds: timestampMilliseconds, opaque: opaque)
            }
        }
        guard response != RD_KAFKA_RESP_ERR_NO_ERROR else { return }
        throw KafkaError(response, context: "Cannot produce to '\(topicName(at: topic) ?? "?")'")
    }

    private func produce(
        _ topic: OpaquePointer, partition: Int32, key: OptionalBytes, value: OptionalBytes,
        opaque: UnsafeMutableRawPointer?
    ) -> rd_kafka_resp_err_t {
        // MSG_F_COPY: the library copies key and value before it returns, so borrowing them for the call is enough. It
        // only reads the value, though its C type is not const.
        let result = unsafe rd_kafka_produce(
            topic, partition, RD_KAFKA_MSG_F_COPY, UnsafeMutableRawPointer(mutating: value.start), value.count,
            key.start, key.count, opaque)
        return result == 0 ? RD_KAFKA_RESP_ERR_NO_ERROR : rd_kafka_last_error()
    }

    private func produce(
        _ topic: OpaquePointer, partition: Int32, key: OptionalBytes, value: OptionalBytes, headers: [RecordHeader],
        timestampMilliseconds: Int64, opaque: UnsafeMutableRawPointer?
    ) -> rd_kafka_resp_err_t {
        var list: OpaquePointer?
        if !headers.isEmpty {
            unsafe list = rd_kafka_headers_new(headers.count)
            for header in headers { unsafe Self.add(header, to: list) }
        }
        let fieldsMax = 8
        return unsafe withUnsafeTemporaryAllocation(of: rd_kafka_vu_t.self, capacity: fieldsMax) { fields in
            unsafe fields.initialize(repeating: rd_kafka_vu_t())
            unsafe fields[0].vtype = RD_KAFKA_VTYPE_RKT
            unsafe fields[0].u.rkt = topic
            unsafe fields[1].vtype = RD_KAFKA_VTYPE_PARTITION
            unsafe fields[1].u.i32 = partition
            unsafe fields[2].vtype = RD_KAFKA_VTYPE_MSGFLAGS
            unsafe fields[2].u.i = RD_KAFKA_MSG_F_COPY
            unsafe fields[3].vtype = RD_KAFKA_VTYPE_KEY
            unsafe fields[3].u.mem.ptr = UnsafeMutableRawPointer(mutating: key.start)
            unsafe fields[3].u.mem.size = key.count
            unsafe fields[4].vtype = RD_KAFKA_VTYPE_VALUE
            unsafe fields[4].u.mem.ptr = UnsafeMutableRawPointer(mutating: value.start)
            unsafe fields[4].u.mem.size = value.count
            unsafe fields[5].vtype = RD_KAFKA_VTYPE_OPAQUE
            unsafe fields[5].u.ptr = opaque
            unsafe fields[6].vtype = RD_KAFKA_VTYPE_TIMESTAMP
            unsafe fields[6].u.i64 = timestampMilliseconds
            var count = fieldsMax - 1
            if unsafe list != nil {
                unsafe fields[7].vtype = RD_KAFKA_VTYPE_HEADERS
                unsafe fields[7].u.headers = list
                count = fieldsMax
            }
            // The library takes the header list over only when the call succeeds.
            guard let error = unsafe rd_kafka_produceva(client, fields.baseAddress, count) else {
                return RD_KAFKA_RESP_ERR_NO_ERROR
            }
            if let list = unsafe list { unsafe rd_kafka_headers_destroy(list) }
            defer { unsafe rd_kafka_error_destroy(error) }
            return unsafe rd_kafka_error_code(error)
        }
    }

    private static func add(_ header: RecordHeader, to list: OpaquePointer?) {
        // The library copies name and value during the call.
        unsafe header.nameBytes.withUnsafeBufferPointer { name in
            unsafe name.withMemoryRebound(to: CChar.self) { name in
                guard let value = header.value else {
                    _ = unsafe rd_kafka_header_add(list, name.baseAddress, name.count, nil, 0)
                    return
                }
                unsafe withOptionalBytes(value.span.bytes) { value in
                    _ = unsafe rd_kafka_header_add(list, name.baseAddress, name.count, value.start, value.count)
                }
            }
        }
    }

    // MARK: Deliveries

    /// What became of one record.
    public struct DeliveryReport: Sendable {
        /// As given to `produce`.
        public var tag: UInt64
        public var partition: Int32
        /// Offset in the partition; -1001 when it was not delivered.
        public var offset: Int64
        public var error: KafkaError?
    }

    /// What one call of `pollDeliveries` did.
    public struct Polled: Sendable {
        /// Reports given to the body.
        public var reportCount: Int
        /// The event that ended the call; nil when none came.
        public var event: ProducerEvent?
    }

    /// Waits up to the time-out for the first reports or event, then takes what is already there without waiting, until
    /// `maximumReports` is reached or exceeded (reports come in packs) or an event other than a delivery report came.
    public func pollDeliveries(
        timeoutMilliseconds: Int32, maximumReports: Int = 100_000, _ body: (DeliveryReport) -> Void
    ) -> Polled {
        var polled = Polled(reportCount: 0, event: nil)
        var timeout = timeoutMilliseconds
        while polled.reportCount < maximumReports, let pointer = unsafe rd_kafka_queue_poll(queue, timeout) {
            timeout = 0
            let event = unsafe EventHandle(adopting: pointer)
            switch event.type {
            case RD_KAFKA_EVENT_DR:
                while let record = unsafe event.nextMessage() {
                    body(unsafe DeliveryReport(record.pointee))
                    polled.reportCount += 1
                }
                continue
            case RD_KAFKA_EVENT_ERROR:
                guard let error = event.error(context: "Kafka producer") else { continue }
                polled.event = .error(error)
            case RD_KAFKA_EVENT_STATS:
                polled.event = .statistics(event.statistics)
            case RD_KAFKA_EVENT_LOG:
                polled.event = .log(event.log)
            default:
                continue
            }
            return polled
        }
        return polled
    }

    /// Ends the wait of a `pollDeliveries` in progress (or the next one's) early. For use from another thread.
    public func wake() { unsafe rd_kafka_queue_yield(queue) }

    /// Records queued or in flight, and delivery reports and events not polled yet.
    public var queuedCount: Int { Int(unsafe rd_kafka_outq_len(client)) }

    /// Sends everything queued without lingering, until all records are delivered or failed *and* their reports were
    /// given to `body`, or the time-out. Events met on the way are dropped.
    ///
    /// - Throws: `timedOut` (retriable) when records are still undelivered.
    public func flush(timeoutMilliseconds: Int32, _ body: (DeliveryReport) -> Void = { _ in }) throws(KafkaError) {
        let deadline = ContinuousClock.now.advanced(by: .milliseconds(Int64(timeoutMilliseconds)))
        var isFirst = true
        while isFirst || queuedCount > 0 {
            let rest = ContinuousClock.now.duration(to: deadline)
            guard isFirst || rest > .zero else {
                throw KafkaError(
                    code: .timedOut,
                    message: "\(queuedCount) records were not delivered within \(timeoutMilliseconds) ms",
                    isRetriable: true)
            }
            isFirst = false
            let step: Int32 = rest < .milliseconds(10) ? 1 : 10
            // With events for delivery reports rd_kafka_flush only ends the lingering and waits until no record is left; a
            // record counts until its report was taken. When the delivered ones are not reported, it wakes with the last
            // acknowledgement; the steps are for the records that failed.
            _ = unsafe rd_kafka_flush(client, reportsOnlyErrors ? step : 0)
            _ = pollDeliveries(timeoutMilliseconds: reportsOnlyErrors || queuedCount == 0 ? 0 : step, body)
        }
    }

    /// Gives up all records that are queued (and, if asked, those in flight, whose fate is then unknown). Each is reported
    /// as `purged` through `pollDeliveries`.
    public func purge(includingInFlight: Bool) throws(KafkaError) {
        let flags = RD_KAFKA_PURGE_F_QUEUE | (includingInFlight ? RD_KAFKA_PURGE_F_INFLIGHT : 0)
        try KafkaError.check(unsafe rd_kafka_purge(client, flags), "Cannot purge the producer's queue")
    }

    /// The error that made this client unusable; nil while it works.
    public var fatalError: KafkaError? {
        let (response, text) = unsafe withErrorText { buffer, size in unsafe rd_kafka_fatal_error(client, buffer, size)
        }
        guard response != RD_KAFKA_RESP_ERR_NO_ERROR else { return nil }
        return KafkaError(response, context: "Kafka producer", detail: text, isFatal: true)
    }

    /// Partition counts of these topics, or of all of the cluster's.
    public func topics(
        named names: [String]? = nil, timeoutMilliseconds: Int32
    ) throws(KafkaError) -> [TopicDescription] {
        try unsafe TopicDescription.list(client: client, named: names, timeoutMilliseconds: timeoutMilliseconds)
    }
}

extension Producer.DeliveryReport {
    init(_ record: rd_kafka_message_t) {
        let response = unsafe record.err
        unsafe self.init(
            tag: UInt64(UInt(bitPattern: record._private)), partition: record.partition, offset: record.offset,
            error: response == RD_KAFKA_RESP_ERR_NO_ERROR
                ? nil : KafkaError(response, context: "The record was not delivered"))
    }
}
