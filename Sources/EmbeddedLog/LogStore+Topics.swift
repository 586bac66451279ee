// LogStore+Topics: creates, changes and deletes topics, each change whole or not at all.

extension LogStore {
    private var topicsDirectory: String { directory + "/topics" }

    /// Makes a topic, durably.
    ///
    /// - Throws: `topicAlreadyExists`, `invalidTopic` (name), `invalidPartitions`, `invalidConfig`, `storage`.
    public func createTopic(
        _ name: String, partitions: Int, overrides: [String: String] = [:]
    ) throws(LogError) -> Topic {
        try context.checkWritable()
        if let refusal = reasonNotToCreate(name, partitions: partitions, overrides: overrides) { throw refusal }
        let metadata = TopicMetadata(name: name, id: .random(), partitions: partitions, overrides: overrides)
        let final = topicsDirectory + "/" + metadata.id.description
        let staging = final + ".creating"
        let fileSystem = context.fileSystem
        try storing { () throws(FileError) in
            try fileSystem.createDirectory(staging)
            for index in 0..<partitions { try Self.makePartition("\(staging)/\(index)", fileSystem) }
            try fileSystem.replace("\(staging)/\(TopicMetadata.fileName)", in: staging, with: metadata.encode())
            try fileSystem.rename(staging, to: final)
            try fileSystem.syncDirectory(topicsDirectory)
        }
        let topic = try openTopic(metadata, final, storeWasClean: false)
        topics[name] = topic
        return topic
    }

    /// The error ``createTopic(_:partitions:overrides:)`` would throw, for validate-only requests; nil if none.
    public func reasonNotToCreate(
        _ name: String, partitions: Int, overrides: [String: String] = [:]
    ) -> LogError? {
        if let refusal = TopicMetadata.refusal(ofName: name) { return refusal }
        if topics[name] != nil { return LogError(.topicAlreadyExists, "topic \(name) exists") }
        // As Kafka: metrics write both letters alike.
        let folded = name.replacing(".", with: "_")
        if let other = topics.keys.first(where: { $0.replacing(".", with: "_") == folded }) {
            return LogError(.invalidTopic, "topic \(name) collides with \(other): '.' and '_' count as one")
        }
        if let refusal = refusal(ofAdding: partitions) { return refusal }
        do throws(LogError) {
            _ = try config(overrides)
            return nil
        } catch {
            return error
        }
    }

    /// Removes a topic: durably gone on return, its files go in the background.
    public func deleteTopic(_ name: String) throws(LogError) {
        try context.checkWritable()
        guard let topic = topics[name] else { throw LogError(.unknownTopicOrPartition, "there is no topic \(name)") }
        let path = topicsDirectory + "/" + topic.id.description
        let doomed = path + ".deleted"
        let fileSystem = context.fileSystem
        try storing { () throws(FileError) in
            try fileSystem.rename(path, to: doomed)
            try fileSystem.syncDirectory(topicsDirectory)
        }
        topics[name] = nil
        for partition in topic.partitions {
            partition.isDeleted = true
            context.durability.forget(partition)
            for segment in partition.segments { context.cache.remove(segment) }
        }
        context.maintenance.run {
            try? Self.removeTree(doomed, fileSystem)
        } then: { _ in
        }
    }

    /// Raises a topic's partition count to `total`, durably; the new partitions are the last ones.
    public func addPartitions(to name: String, total: Int) throws(LogError) {
        try context.checkWritable()
        guard let topic = topics[name] else { throw LogError(.unknownTopicOrPartition, "there is no topic \(name)") }
        let present = topic.partitions.count
        guard total > present else {
            throw LogError(.invalidPartitions, "topic \(name) has \(present) partitions; \(total) is not more")
        }
        if let refusal = refusal(ofAdding: total - present) { throw refusal }
        let path = topicsDirectory + "/" + topic.id.description
        let fileSystem = context.fileSystem
        try storing { () throws(FileError) in
            for index in present..<total { try Self.makePartition("\(path)/\(index)", fileSystem) }
        }
        let metadata = TopicMetadata(name: name, id: topic.id, partitions: total, overrides: topic.overrides)
        try write(metadata)
        for index in present..<total {
            topic.partitions.append(try openPartition(topic.name, index, path, topic.config, storeWasClean: false))
        }
    }

    /// Replaces a topic's settings, durably.
    public func setOverrides(of name: String, to overrides: [String: String]) throws(LogError) {
        try context.checkWritable()
        guard let topic = topics[name] else { throw LogError(.unknownTopicOrPartition, "there is no topic \(name)") }
        let config = try config(overrides)
        try write(
            TopicMetadata(name: name, id: topic.id, partitions: topic.partitions.count, overrides: overrides))
        topic.overrides = overrides
        topic.config = config
        for partition in topic.partitions { partition.config = config }
    }

    private func write(_ metadata: TopicMetadata) throws(LogError) {
        let path = topicsDirectory + "/" + metadata.id.description
        try storing { () throws(FileError) in
            try context.fileSystem.replace("\(path)/\(TopicMetadata.fileName)", in: path, with: metadata.encode())
        }
    }

    private func config(_ overrides: [String: String]) throws(LogError) -> TopicConfig {
        try TopicConfig(context.options.topicDefaults.merging(overrides) { $1 })
    }

    private func refusal(ofAdding partitions: Int) -> LogError? {
        guard partitions >= 1 else { return LogError(.invalidPartitions, "\(partitions) partitions") }
        let present = topics.values.reduce(0) { $0 + $1.partitions.count }
        let countMax = context.options.partitionsMax
        guard partitions <= countMax - present else {
            return LogError(
                .invalidPartitions, "\(partitions) more partitions; this broker has \(present) and holds \(countMax)")
        }
        return nil
    }

    /// A partition's directory with a first checkpoint, so that a missing one always means damage.
    private static func makePartition(_ path: String, _ fileSystem: any FileSystem) throws(FileError) {
        try fileSystem.createDirectory(path)
        try fileSystem.replace(
            path + "/" + PartitionCheckpoint.fileName, in: path, with: PartitionCheckpoint().encode())
    }

    /// Opens all topics; finishes interrupted creations and deletions by removing them.
    func openTopics(storeWasClean: Bool) throws(LogError) {
        let fileSystem = context.fileSystem
        let names = try storing { () throws(FileError) in
            try fileSystem.createDirectory(topicsDirectory)
            try fileSystem.syncDirectory(directory)
            return try fileSystem.list(topicsDirectory) ?? []
        }
        for name in names.sorted() {
            let path = topicsDirectory + "/" + name
            guard TopicID(hexadecimal: name) != nil else {
                if name.hasSuffix(".creating") || name.hasSuffix(".deleted") {
                    try storing { () throws(FileError) in try Self.removeTree(path, fileSystem) }
                }
                continue
            }
            let file = "\(path)/\(TopicMetadata.fileName)"
            let bytes = try storing { () throws(FileError) in try fileSystem.contents(of: file) }
            guard let metadata = bytes.flatMap(TopicMetadata.init) else {
                throw LogError(.unknown, "\(file) is missing or damaged; restore it from a copy or remove \(path)")
            }
            topics[metadata.name] = try openTopic(metadata, path, storeWasClean: storeWasClean)
        }
    }

    private func openTopic(
        _ metadata: TopicMetadata, _ path: String, storeWasClean: Bool
    ) throws(LogError) -> Topic {
        let config = try config(metadata.overrides)
        var partitions: [PartitionLog] = []
        for index in 0..<metadata.partitions {
            partitions.append(
                try openPartition(metadata.name, index, path, config, storeWasClean: storeWasClean))
        }
        return Topic(
            name: metadata.name, id: metadata.id, config: config, overrides: metadata.overrides, partitions: partitions)
    }

    private func openPartition(
        _ topic: String, _ index: Int, _ path: String, _ config: TopicConfig, storeWasClean: Bool
    ) throws(LogError) -> PartitionLog {
        let log = PartitionLog(
            topic: topic, index: index, directory: "\(path)/\(index)", config: config, context: context)
        try log.open(storeWasClean: storeWasClean)
        return log
    }

    /// Removes a directory with all below it.
    private static func removeTree(_ path: String, _ fileSystem: any FileSystem) throws(FileError) {
        for name in try fileSystem.list(path) ?? [] {
            let child = path + "/" + name
            if try fileSystem.list(child) != nil {
                try removeTree(child, fileSystem)
            } else {
                try fileSystem.remove(child)
            }
        }
        try fileSystem.removeDirectory(path)
    }
}
