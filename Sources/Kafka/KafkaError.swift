// KafkaError: what went wrong with Kafka, in terms a caller can decide on.

import CRdKafka

/// An error of a Kafka client. Decide on `code`, `isFatal`, `isRetriable` and `requiresAbort`; `name` is librdkafka's own
/// name of the error (for instance `_AUTO_OFFSET_RESET`), for logs and documentation.
public struct KafkaError: Error, Sendable, CustomStringConvertible {
    public enum Code: String, Sendable {
        /// A setting is unknown or has a value librdkafka refuses.
        case invalidConfiguration
        /// A call with arguments that make no sense, or in a state that does not allow it.
        case invalidArgument
        case invalidState
        /// No broker could be reached, or its name could not be resolved.
        case brokerUnavailable
        case timedOut
        /// The producer's local queue is full: poll for delivery reports, then try again.
        case queueFull
        case messageTooLarge
        case unknownTopicOrPartition
        case topicAlreadyExists
        case authentication
        case authorization
        /// The position lies outside the log and `auto.offset.reset=error`: records may have been lost.
        case offsetOutOfRange
        /// No committed offset to go on from.
        case noOffset
        /// Another client with the same transactional or group instance id took over: the process must exit.
        case fenced
        /// The member is no longer part of the group's generation: its commit was refused.
        case illegalGeneration
        case rebalanceInProgress
        /// The application did not poll for `max.poll.interval.ms` and lost its assignment.
        case pollIntervalExceeded
        /// The record was thrown away by `purge` or by an aborted transaction.
        case purged
        case partitionEnd
        case unsupported
        case other
    }

    public var code: Code
    public var message: String
    /// librdkafka's name of the error, without the `RD_KAFKA_RESP_ERR_` prefix.
    public var name: String
    /// librdkafka's number of the error.
    public var number: Int32
    /// The client is unusable from now on; destroy it.
    public var isFatal: Bool
    public var isRetriable: Bool
    /// The transaction in progress must be aborted.
    public var requiresAbort: Bool
    public var cause: (any Error)?

    public init(
        code: Code, message: String, name: String = "", number: Int32 = 0, isFatal: Bool = false,
        isRetriable: Bool = false, requiresAbort: Bool = false, cause: (any Error)? = nil
    ) {
        self.code = code
        self.message = message
        self.name = name
        self.number = number
        self.isFatal = isFatal
        self.isRetriable = isRetriable
        self.requiresAbort = requiresAbort
        self.cause = cause
    }

    public var description: String {
        let label = name.isEmpty ? code.rawValue : name
        let suffix = cause.map { " (cause: \($0))" } ?? ""
        return "\(message) [\(label)]\(suffix)"
    }
}

extension KafkaError {
    /// An error from a response code. `context` says what was tried; `detail` replaces librdkafka's generic text.
    init(_ response: rd_kafka_resp_err_t, context: String, detail: String? = nil, isFatal: Bool = false) {
        let text = unsafe detail ?? String(cString: rd_kafka_err2str(response))
        self.init(
            code: Code(response), message: "\(context): \(text)",
            name: unsafe String(cString: rd_kafka_err2name(response)), number: response.rawValue,
            isFatal: isFatal || response == RD_KAFKA_RESP_ERR__FATAL || response == RD_KAFKA_RESP_ERR__FENCED,
            isRetriable: Self.isRetriable(response))
    }

    /// Takes over an error object and destroys it; nil when there is none.
    init?(adopting error: OpaquePointer?, context: String) {
        guard let error = unsafe error else { return nil }
        // The object is ours from here and is destroyed once its fields are copied out.
        defer { unsafe rd_kafka_error_destroy(error) }
        let response = unsafe rd_kafka_error_code(error)
        self.init(
            response, context: context, detail: unsafe String(cString: rd_kafka_error_string(error)),
            isFatal: unsafe rd_kafka_error_is_fatal(error) != 0)
        isRetriable = unsafe rd_kafka_error_is_retriable(error) != 0
        requiresAbort = unsafe rd_kafka_error_txn_requires_abort(error) != 0
    }

    /// Throws unless the response is "no error".
    static func check(_ response: rd_kafka_resp_err_t, _ context: @autoclosure () -> String) throws(KafkaError) {
        guard response != RD_KAFKA_RESP_ERR_NO_ERROR else { return }
        throw KafkaError(response, context: context())
    }

    /// Response codes after which the same call may well succeed later.
    private static func isRetriable(_ response: rd_kafka_resp_err_t) -> Bool {
        switch response {
        case RD_KAFKA_RESP_ERR__QUEUE_FULL, RD_KAFKA_RESP_ERR__TIMED_OUT, RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE,
            RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN,
            RD_KAFKA_RESP_ERR__RESOLVE, RD_KAFKA_RESP_ERR__WAIT_COORD, RD_KAFKA_RESP_ERR__WAIT_CACHE,
            RD_KAFKA_RESP_ERR__RETRY, RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS, RD_KAFKA_RESP_ERR__IN_PROGRESS,
            RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE,
            RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION,
            RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
            RD_KAFKA_RESP_ERR_NOT_COORDINATOR, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS:
            true
        default:
            false
        }
    }
}

extension KafkaError.Code {
    init(_ response: rd_kafka_resp_err_t) {
        switch response {
        case RD_KAFKA_RESP_ERR__INVALID_ARG, RD_KAFKA_RESP_ERR_INVALID_REQUEST, RD_KAFKA_RESP_ERR_INVALID_PARTITIONS,
            RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
            self = .invalidArgument
        case RD_KAFKA_RESP_ERR__STATE, RD_KAFKA_RESP_ERR__CONFLICT, RD_KAFKA_RESP_ERR__NOT_CONFIGURED,
            RD_KAFKA_RESP_ERR__DESTROY, RD_KAFKA_RESP_ERR__UNKNOWN_GROUP:
            self = .invalidState
        case RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, RD_KAFKA_RESP_ERR__RESOLVE,
            RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
            RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION, RD_KAFKA_RESP_ERR__WAIT_COORD,
            RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
            RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
            self = .brokerUnavailable
        case RD_KAFKA_RESP_ERR__TIMED_OUT, RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE,
            RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
            self = .timedOut
        case RD_KAFKA_RESP_ERR__QUEUE_FULL: self = .queueFull
        case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE: self = .messageTooLarge
        case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
            RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
            self = .unknownTopicOrPartition
        case RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS: self = .topicAlreadyExists
        case RD_KAFKA_RESP_ERR__AUTHENTICATION, RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED, RD_KAFKA_RESP_ERR__SSL:
            self = .authentication
        case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
            RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            self = .authorization
        case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET, RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE: self = .offsetOutOfRange
        case RD_KAFKA_RESP_ERR__NO_OFFSET: self = .noOffset
        case RD_KAFKA_RESP_ERR__FENCED, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, RD_KAFKA_RESP_ERR_PRODUCER_FENCED,
            RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH:
            self = .fenced
        case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
            RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST:
            self = .illegalGeneration
        case RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS: self = .rebalanceInProgress
        case RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED: self = .pollIntervalExceeded
        case RD_KAFKA_RESP_ERR__PURGE_QUEUE, RD_KAFKA_RESP_ERR__PURGE_INFLIGHT: self = .purged
        case RD_KAFKA_RESP_ERR__PARTITION_EOF: self = .partitionEnd
        case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE, RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED,
            RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
            self = .unsupported
        default: self = .other
        }
    }
}
