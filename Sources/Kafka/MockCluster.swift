// MockCluster: librdkafka's in-memory Kafka cluster, for tests and the embedded default.

import CRdKafka

/// A Kafka cluster in this process, reachable over loopback sockets by any Kafka client.
///
/// Limits of librdkafka 2.0.2: memory only; each partition keeps at most 5 MiB or 100,000 records, whatever comes first,
/// and a reader that falls further behind meets `offsetOutOfRange`; no admin requests (make topics here, or by producing
/// to them); aborted records stay visible; offsets start at 0 in each run.
@safe public final class MockCluster: @unchecked Sendable {
    // Sendable because the library locks the mock cluster itself and both pointers are `let` and live as long as `self`.
    private let client: OpaquePointer
    private let cluster: OpaquePointer
    public let brokerCount: Int

    /// Kinds of request that can be made to fail (Kafka's API keys).
    public enum Request: Int16, Sendable {
        case produce = 0
        case fetch = 1
        case listOffsets = 2
        case metadata = 3
        case offsetCommit = 8
        case offsetFetch = 9
        case findCoordinator = 10
        case joinGroup = 11
        case heartbeat = 12
        case syncGroup = 14
        case initProducerID = 22
        case addPartitionsToTransaction = 24
        case addOffsetsToTransaction = 25
        case endTransaction = 26
        case transactionOffsetCommit = 28
    }

    /// Broker errors worth provoking.
    public enum InjectedError: Sendable {
        case transport, notLeader, notCoordinator, coordinatorLoading, requestTimedOut, notEnoughReplicas
        case topicAuthorizationFailed, messageTooLarge, illegalGeneration, unknownMember, invalidProducerEpoch
    }

    public enum CoordinatorKind: String, Sendable {
        case group, transaction
    }

    /// Starts the brokers (ids 1 ... brokerCount) on free ports of 127.0.0.1. A topic that comes into being by use gets
    /// 4 partitions; the library offers no way to change that.
    public init(brokerCount: Int = 1) throws(KafkaError) {
        let configuration = try KafkaConfiguration(settings: [
            KafkaConfiguration.Setting("client.id", "mock-cluster"),
            KafkaConfiguration.Setting("log_level", "3"),
            // The brokers' ends of the connections take it over.
            KafkaConfiguration.Setting("socket.nagle.disable", "true"),
        ])
        let client = try unsafe configuration.makeHandle().makeClient(.producer, events: 0)
        guard let cluster = unsafe rd_kafka_mock_cluster_new(client, Int32(brokerCount)) else {
            unsafe rd_kafka_destroy(client)
            throw KafkaError(code: .other, message: "Cannot start a mock cluster of \(brokerCount) brokers")
        }
        unsafe self.client = unsafe client
        unsafe self.cluster = unsafe cluster
        self.brokerCount = brokerCount
    }

    deinit {
        unsafe rd_kafka_mock_cluster_destroy(cluster)
        unsafe rd_kafka_destroy(client)
    }

    /// `host:port,…` for `bootstrap.servers`.
    public var bootstrapServers: String { unsafe String(cString: rd_kafka_mock_cluster_bootstraps(cluster)) }

    /// Makes a topic.
    /// - Throws: `topicAlreadyExists`.
    public func createTopic(_ name: String, partitions: Int, replication: Int = 1) throws(KafkaError) {
        try KafkaError.check(
            unsafe rd_kafka_mock_topic_create(cluster, name, Int32(partitions), Int32(replication)),
            "Cannot make topic '\(name)'")
    }

    public func setBroker(_ id: Int32, isUp: Bool) throws(KafkaError) {
        let response =
            unsafe isUp ? rd_kafka_mock_broker_set_up(cluster, id) : rd_kafka_mock_broker_set_down(cluster, id)
        try KafkaError.check(response, "Cannot take broker \(id) \(isUp ? "up" : "down")")
    }

    /// Delays each response of a broker.
    public func setRoundTrip(broker id: Int32, milliseconds: Int32) throws(KafkaError) {
        try KafkaError.check(
            unsafe rd_kafka_mock_broker_set_rtt(cluster, id, milliseconds), "Cannot delay broker \(id)")
    }

    public func setLeader(of partition: KafkaPartition, broker id: Int32) throws(KafkaError) {
        try KafkaError.check(
            unsafe rd_kafka_mock_partition_set_leader(cluster, partition.topic, partition.partition, id),
            "Cannot make broker \(id) the leader of \(partition)")
    }

    public func setCoordinator(_ kind: CoordinatorKind, key: String, broker id: Int32) throws(KafkaError) {
        try KafkaError.check(
            unsafe rd_kafka_mock_coordinator_set(cluster, kind.rawValue, key, id),
            "Cannot make broker \(id) the coordinator of '\(key)'")
    }

    /// Makes the next requests of a kind fail, one after the other, with these errors.
    public func pushErrors(_ errors: [InjectedError], for request: Request) {
        let responses = errors.map(\.response)
        unsafe responses.withUnsafeBufferPointer { buffer in
            // The library copies the array during the call.
            unsafe rd_kafka_mock_push_request_errors_array(
                cluster, request.rawValue, buffer.count, buffer.baseAddress)
        }
    }

    public func clearErrors(for request: Request) {
        unsafe rd_kafka_mock_clear_request_errors(cluster, request.rawValue)
    }
}

extension MockCluster.InjectedError {
    fileprivate var response: rd_kafka_resp_err_t {
        switch self {
        case .transport: RD_KAFKA_RESP_ERR__TRANSPORT
        case .notLeader: RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION
        case .notCoordinator: RD_KAFKA_RESP_ERR_NOT_COORDINATOR
        case .coordinatorLoading: RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS
        case .requestTimedOut: RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT
        case .notEnoughReplicas: RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS
        case .topicAuthorizationFailed: RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
        case .messageTooLarge: RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
        case .illegalGeneration: RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION
        case .unknownMember: RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID
        case .invalidProducerEpoch: RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH
        }
    }
}
