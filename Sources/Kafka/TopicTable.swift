// TopicTable: small indices for topics, so that no record costs a string.

import CRdKafka

/// Topics by index. A topic's handle is held from its registration to `removeAll`, which keeps its address from being
/// given to another topic: comparing addresses is therefore enough to recognise a record's topic.
@safe struct TopicTable: ~Copyable, @unchecked Sendable {
    // Sendable because the handles are thread-safe objects of the library and the owner keeps the table behind a mutex.
    private(set) var names: [String] = []
    private var handles: [OpaquePointer]

    init() { unsafe handles = [] }

    /// The index of a topic, registered on first use.
    mutating func register(_ name: String, client: OpaquePointer) throws(KafkaError) -> Int {
        if let index = names.firstIndex(of: name) { return index }
        guard let handle = unsafe rd_kafka_topic_new(client, name, nil) else {
            throw KafkaError(rd_kafka_last_error(), context: "Topic '\(name)'")
        }
        names.append(name)
        unsafe handles.append(handle)
        return names.count - 1
    }

    /// The handle behind an index; nil when there is no such index.
    func handle(at index: Int) -> OpaquePointer? {
        unsafe handles.indices.contains(index) ? handles[index] : nil
    }

    /// The index of a record's topic.
    mutating func index(ofRecordTopic topic: OpaquePointer, client: OpaquePointer) throws(KafkaError) -> Int {
        for index in unsafe handles.indices where unsafe handles[index] == topic { return index }
        return try unsafe register(String(cString: rd_kafka_topic_name(topic)), client: client)
    }

    /// Gives the handles back; must happen before the client is destroyed.
    mutating func removeAll() {
        for index in unsafe handles.indices { unsafe rd_kafka_topic_destroy(handles[index]) }
        unsafe handles.removeAll()
        names.removeAll()
    }
}
