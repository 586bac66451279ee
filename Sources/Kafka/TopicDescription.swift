// TopicDescription: topics and their partition counts, from the cluster's metadata.

import CRdKafka

/// A topic as the cluster describes it.
public struct TopicDescription: Hashable, Sendable {
    public var name: String
    public var partitionCount: Int

    public init(name: String, partitionCount: Int) {
        self.name = name
        self.partitionCount = partitionCount
    }

    public var partitions: [KafkaPartition] {
        (0..<partitionCount).map { KafkaPartition(topic: name, partition: Int32($0)) }
    }

    /// Reads the cluster's metadata. With names, topics that do not exist are left out.
    static func list(
        client: OpaquePointer, named names: [String]?, timeoutMilliseconds: Int32
    ) throws(KafkaError) -> [TopicDescription] {
        var metadata: UnsafePointer<rd_kafka_metadata>?
        try KafkaError.check(
            unsafe rd_kafka_metadata(client, 1, nil, &metadata, timeoutMilliseconds), "Cannot read the topics")
        guard let metadata = unsafe metadata else { return [] }
        // The structure is ours until destroyed; everything is copied out before.
        defer { unsafe rd_kafka_metadata_destroy(metadata) }
        var result: [TopicDescription] = []
        for index in 0..<Int(unsafe metadata.pointee.topic_cnt) {
            let topic = unsafe metadata.pointee.topics[index]
            guard unsafe topic.err == RD_KAFKA_RESP_ERR_NO_ERROR else { continue }
            let name = unsafe String(cString: topic.topic)
            guard names?.contains(name) ?? true else { continue }
            result.append(TopicDescription(name: name, partitionCount: unsafe Int(topic.partition_cnt)))
        }
        return result
    }
}
