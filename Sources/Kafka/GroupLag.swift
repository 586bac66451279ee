// GroupLag: how far a group is behind, without joining it.

/// Where a group stands in one partition.
public struct PartitionLag: Hashable, Sendable {
    public var partition: KafkaPartition
    /// Nil when the group never committed anything for the partition.
    public var committed: CommittedOffset?
    public var watermarks: Watermarks

    public init(partition: KafkaPartition, committed: CommittedOffset?, watermarks: Watermarks) {
        self.partition = partition
        self.committed = committed
        self.watermarks = watermarks
    }

    /// Records the group has still to read. Without a commit, all that the partition holds.
    public var lag: Int64 { max(0, watermarks.high - max(committed?.offset ?? watermarks.low, watermarks.low)) }

    /// Offsets the group had not read when they left the log; 0 when nothing is lost.
    public var lost: Int64 { max(0, watermarks.low - (committed?.offset ?? watermarks.low)) }
}

extension Consumer {
    /// Where this consumer's group stands in all partitions of these topics. The consumer need not have joined the group:
    /// for a look from outside, make one with the group's id and neither subscribe nor assign.
    ///
    /// - Throws: `unknownTopicOrPartition` naming a topic that does not exist.
    public func lag(ofTopics topics: [String], timeoutMilliseconds: Int32) throws(KafkaError) -> [PartitionLag] {
        let described = try self.topics(named: topics, timeoutMilliseconds: timeoutMilliseconds)
        if let missing = topics.first(where: { name in !described.contains { $0.name == name } }) {
            throw KafkaError(code: .unknownTopicOrPartition, message: "There is no topic '\(missing)'")
        }
        let partitions = described.flatMap(\.partitions).sorted()
        let committed = try committed(partitions, timeoutMilliseconds: timeoutMilliseconds)
        var result: [PartitionLag] = []
        for partition in partitions {
            let watermarks = try watermarks(partition, timeoutMilliseconds: timeoutMilliseconds)
            result.append(
                PartitionLag(partition: partition, committed: committed[partition], watermarks: watermarks))
        }
        return result
    }
}
