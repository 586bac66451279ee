// TopicAdministration: makes, lists and removes topics of a real cluster.

import CRdKafka

/// Topics of a cluster. Needs brokers with admin requests; a mock cluster has none.
@safe public final class TopicAdministration: Sendable {
    /// A topic to make.
    public struct NewTopic: Sendable {
        public var name: String
        public var partitions: Int
        /// -1 takes the broker's default.
        public var replication: Int
        /// Topic settings, for instance `retention.ms`.
        public var settings: [(name: String, value: String)]

        public init(
            name: String, partitions: Int, replication: Int = -1, settings: [(name: String, value: String)] = []
        ) {
            self.name = name
            self.partitions = partitions
            self.replication = replication
            self.settings = settings
        }
    }

    public enum Outcome: Sendable, Hashable {
        case created
        /// Nothing was changed; the partition count may differ from the one asked for.
        case existed
    }

    private let producer: Producer

    public init(configuration: KafkaConfiguration) throws(KafkaError) {
        producer = try Producer(configuration: configuration)
    }

    /// Asks over the connections of a producer that is there already.
    public init(_ producer: Producer) { self.producer = producer }

    /// Topics and partition counts of the cluster.
    public func topics(named names: [String]? = nil, timeoutMilliseconds: Int32) throws(KafkaError)
        -> [TopicDescription]
    {
        try producer.topics(named: names, timeoutMilliseconds: timeoutMilliseconds)
    }

    /// Makes topics. One that exists already is no error.
    ///
    /// - Throws: the first topic's error, with its name; topics before and after it may have been made.
    public func createTopics(
        _ topics: [NewTopic], timeoutMilliseconds: Int32
    ) throws(KafkaError) -> [String: Outcome] {
        guard !topics.isEmpty else { return [:] }
        var handles: [OpaquePointer?] = unsafe []
        // Owned here until the end of the call; the library copies what it needs.
        defer { for index in unsafe handles.indices { unsafe rd_kafka_NewTopic_destroy(handles[index]) } }
        for topic in topics { try unsafe handles.append(Self.newTopic(topic)) }
        let event = try unsafe request(
            timeoutMilliseconds: timeoutMilliseconds, operation: RD_KAFKA_ADMIN_OP_CREATETOPICS
        ) {
            options, queue in
            unsafe handles.withUnsafeMutableBufferPointer { buffer in
                unsafe rd_kafka_CreateTopics(producer.client, buffer.baseAddress, buffer.count, options, queue)
            }
        }
        guard let event else { throw Self.timeout(timeoutMilliseconds) }
        if let error = event.error(context: "Cannot make topics") { throw error }
        var count = 0
        let result = unsafe rd_kafka_event_CreateTopics_result(event.pointer)
        let answers = unsafe rd_kafka_CreateTopics_result_topics(result, &count)
        return try unsafe Self.outcomes(answers, count: count)
    }

    private static func outcomes(
        _ answers: UnsafeMutablePointer<OpaquePointer?>?, count: Int
    ) throws(KafkaError) -> [String: Outcome] {
        var outcomes: [String: Outcome] = [:]
        for index in 0..<count {
            // Owned by the event, which the caller holds.
            guard let answer = unsafe answers?[index] else { continue }
            let name = unsafe String(cString: rd_kafka_topic_result_name(answer))
            let response = unsafe rd_kafka_topic_result_error(answer)
            switch response {
            case RD_KAFKA_RESP_ERR_NO_ERROR: outcomes[name] = .created
            case RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS: outcomes[name] = .existed
            default:
                let detail = unsafe rd_kafka_topic_result_error_string(answer).map { unsafe String(cString: $0) }
                throw KafkaError(response, context: "Cannot make topic '\(name)'", detail: detail)
            }
        }
        return outcomes
    }

    /// One setting of each topic, for instance `max.message.bytes`, as the brokers have it. A topic that they do not
    /// describe, because it is absent or this client may not ask, is left out.
    public func setting(
        _ name: String, of topics: [String], timeoutMilliseconds: Int32
    ) throws(KafkaError) -> [String: String] {
        guard !topics.isEmpty else { return [:] }
        var resources: [OpaquePointer?] = unsafe topics.map {
            unsafe rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, $0)
        }
        defer {
            for index in unsafe resources.indices { unsafe rd_kafka_ConfigResource_destroy(resources[index]) }
        }
        let event = try unsafe request(
            timeoutMilliseconds: timeoutMilliseconds, operation: RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS
        ) { options, queue in
            unsafe resources.withUnsafeMutableBufferPointer { buffer in
                unsafe rd_kafka_DescribeConfigs(producer.client, buffer.baseAddress, buffer.count, options, queue)
            }
        }
        guard let event else { throw Self.timeout(timeoutMilliseconds) }
        if let error = event.error(context: "Cannot read the topics' settings") { throw error }
        var count = 0
        let answers = unsafe rd_kafka_DescribeConfigs_result_resources(
            rd_kafka_event_DescribeConfigs_result(event.pointer), &count)
        var values: [String: String] = [:]
        for index in 0..<count {
            // Owned by the event, which is held until the end of the call.
            guard let answer = unsafe answers?[index],
                unsafe rd_kafka_ConfigResource_error(answer) == RD_KAFKA_RESP_ERR_NO_ERROR
            else { continue }
            let topic = unsafe String(cString: rd_kafka_ConfigResource_name(answer))
            values[topic] = unsafe Self.value(of: name, in: answer)
        }
        return values
    }

    private static func value(of name: String, in resource: OpaquePointer) -> String? {
        var count = 0
        let entries = unsafe rd_kafka_ConfigResource_configs(resource, &count)
        for index in 0..<count {
            guard let entry = unsafe entries?[index], unsafe String(cString: rd_kafka_ConfigEntry_name(entry)) == name
            else { continue }
            return unsafe rd_kafka_ConfigEntry_value(entry).map { unsafe String(cString: $0) }
        }
        return nil
    }

    private static func newTopic(_ topic: NewTopic) throws(KafkaError) -> OpaquePointer {
        let (handle, text) = unsafe withErrorText { buffer, size in
            unsafe rd_kafka_NewTopic_new(
                topic.name, Int32(topic.partitions), Int32(topic.replication), buffer, size)
        }
        guard let handle = unsafe handle else {
            throw KafkaError(code: .invalidArgument, message: "Topic '\(topic.name)': \(text)")
        }
        for (name, value) in topic.settings {
            let response = unsafe rd_kafka_NewTopic_set_config(handle, name, value)
            guard response == RD_KAFKA_RESP_ERR_NO_ERROR else {
                unsafe rd_kafka_NewTopic_destroy(handle)
                throw KafkaError(response, context: "Topic '\(topic.name)', setting '\(name)'")
            }
        }
        return unsafe handle
    }

    /// Sends an admin request and waits for its answer; nil when none came in time.
    private func request(
        timeoutMilliseconds: Int32, operation: rd_kafka_admin_op_t, _ send: (OpaquePointer?, OpaquePointer) -> Void
    ) throws(KafkaError) -> EventHandle? {
        guard let queue = unsafe rd_kafka_queue_new(producer.client) else {
            throw KafkaError(code: .other, message: "Cannot make a queue for the answer")
        }
        defer { unsafe rd_kafka_queue_destroy(queue) }
        let options = unsafe rd_kafka_AdminOptions_new(producer.client, operation)
        defer { unsafe rd_kafka_AdminOptions_destroy(options) }
        let (response, text) = unsafe withErrorText { buffer, size in
            unsafe rd_kafka_AdminOptions_set_request_timeout(options, timeoutMilliseconds, buffer, size)
        }
        guard response == RD_KAFKA_RESP_ERR_NO_ERROR else {
            throw KafkaError(response, context: "Cannot set the time-out", detail: text)
        }
        unsafe send(options, queue)
        // The library ends the request itself after the time-out; the extra second only covers a library that does not.
        let graceMilliseconds: Int32 = 1_000
        guard let pointer = unsafe rd_kafka_queue_poll(queue, timeoutMilliseconds + graceMilliseconds) else {
            return nil
        }
        return unsafe EventHandle(adopting: pointer)
    }

    private static func timeout(_ milliseconds: Int32) -> KafkaError {
        KafkaError(
            code: .timedOut, message: "No broker answered the admin request within \(milliseconds) ms",
            isRetriable: true)
    }
}
