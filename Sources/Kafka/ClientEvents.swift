// ClientEvents: what a Kafka client reports besides records and delivery reports.

import CRdKafka

/// A line librdkafka would have written to its log.
public struct ClientLog: Sendable {
    /// Syslog level: 0 (emergency) to 7 (debug).
    public var level: Int
    /// librdkafka's short name of the kind of event, for instance `FAIL`.
    public var facility: String
    public var message: String

    public init(level: Int, facility: String, message: String) {
        self.level = level
        self.facility = facility
        self.message = message
    }
}

/// A change of the group's assignment. Answer `assign` with `incrementalAssign` and `revoke` with `incrementalUnassign`
/// (or `assign`/`unassign` when `Consumer.rebalanceProtocol` is `EAGER`), always, even for an empty list: the group
/// waits for it.
public struct Rebalance: Sendable {
    public enum Kind: Sendable {
        case assign, revoke
    }

    public var kind: Kind
    public var partitions: [KafkaPartition]
    /// The partitions may already belong to another member: commits will be refused, so do not try.
    public var isLost: Bool
    /// Set when the assignment itself failed.
    public var error: KafkaError?
}

/// The outcome of an asynchronous commit.
public struct OffsetCommitResult: Sendable {
    /// Set when the commit failed as a whole.
    public var error: KafkaError?
    /// The next offset of each partition, as committed, and the partition's own error.
    public var partitions: [(partition: KafkaPartition, offset: Int64, error: KafkaError?)]
}

public enum ConsumerEvent: Sendable {
    case rebalance(Rebalance)
    case offsetCommit(OffsetCommitResult)
    /// `partition` is set when the error concerns one partition only; `offset` where it happened, -1001 if unknown.
    case error(KafkaError, partition: KafkaPartition?, offset: Int64)
    /// librdkafka's statistics as JSON, each `statistics.interval.ms`.
    case statistics(String)
    case log(ClientLog)
}

public enum ProducerEvent: Sendable {
    case error(KafkaError)
    case statistics(String)
    case log(ClientLog)
}

/// An event from a librdkafka queue, destroyed with this value.
@safe struct EventHandle: ~Copyable {
    let pointer: OpaquePointer

    /// Takes over an event.
    init(adopting pointer: OpaquePointer) { unsafe self.pointer = unsafe pointer }

    deinit { unsafe rd_kafka_event_destroy(pointer) }

    var type: Int32 { unsafe rd_kafka_event_type(pointer) }

    var response: rd_kafka_resp_err_t { unsafe rd_kafka_event_error(pointer) }

    /// The next record or delivery report; it lives as long as the event.
    func nextMessage() -> UnsafePointer<rd_kafka_message_t>? { unsafe rd_kafka_event_message_next(pointer) }

    var statistics: String { unsafe rd_kafka_event_stats(pointer).map { unsafe String(cString: $0) } ?? "" }

    var log: ClientLog {
        var facility: UnsafePointer<CChar>?
        var message: UnsafePointer<CChar>?
        var level: Int32 = 6
        _ = unsafe rd_kafka_event_log(pointer, &facility, &message, &level)
        return ClientLog(
            level: Int(level), facility: unsafe facility.map { unsafe String(cString: $0) } ?? "",
            message: unsafe message.map { unsafe String(cString: $0) } ?? "")
    }

    func error(context: String) -> KafkaError? {
        let response = response
        guard response != RD_KAFKA_RESP_ERR_NO_ERROR else { return nil }
        // A rebalance or a commit has no error object behind it: only error events may be asked whether they are fatal.
        let isFatal = unsafe type == RD_KAFKA_EVENT_ERROR && rd_kafka_event_error_is_fatal(pointer) != 0
        let detail = unsafe rd_kafka_event_error_string(pointer).map { unsafe String(cString: $0) }
        return KafkaError(response, context: context, detail: detail, isFatal: isFatal)
    }

    /// The partition an error event is about, and the offset.
    var partition: (KafkaPartition, offset: Int64)? {
        guard let element = unsafe rd_kafka_event_topic_partition(pointer) else { return nil }
        defer { unsafe rd_kafka_topic_partition_destroy(element) }
        let partition = KafkaPartition(
            topic: unsafe String(cString: element.pointee.topic), partition: unsafe element.pointee.partition)
        return unsafe (partition, element.pointee.offset)
    }

    /// The list stays the event's own, so its elements are copied out.
    var partitions: [PartitionList.Element] {
        unsafe PartitionList.elements(of: rd_kafka_event_topic_partition_list(pointer))
    }
}
