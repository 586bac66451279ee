// LogStore: a data directory with its topics.

/// A topic and its partitions.
///
/// Not thread-safe: used by the one thread that owns the ``LogStore``.
public final class Topic {
    /// The name.
    public let name: String
    /// The persistent identity; a topic created again under the same name has another.
    public let id: TopicID
    /// All settings with the defaults filled in.
    public internal(set) var config: TopicConfig
    /// The settings made for this topic, by Kafka's names.
    public internal(set) var overrides: [String: String]
    /// The partitions by number.
    public internal(set) var partitions: [PartitionLog]

    init(name: String, id: TopicID, config: TopicConfig, overrides: [String: String], partitions: [PartitionLog]) {
        self.name = name
        self.id = id
        self.config = config
        self.overrides = overrides
        self.partitions = partitions
    }
}

/// All topics below one data directory, locked for this process.
///
/// Not thread-safe: one thread (the broker's event loop) makes it and uses it and everything reached through it. Only
/// fsync, compaction and the removal of files run on threads of the store's own; their results come back through the
/// owner's executor.
public final class LogStore {
    /// The cluster's identity: random, made with the directory.
    public let clusterID: String

    /// Opens the directory, making it if it is missing, and recovers every partition.
    ///
    /// - Parameters:
    ///   - executor: runs a closure on the owner's thread; used for durability and maintenance results.
    ///   - clock: wall-clock time in milliseconds since 1970.
    /// - Throws: `storage` if the directory is locked or cannot be used, `unknown` if its format is not this version's.
    public init(
        directory: String, options: StoreOptions = StoreOptions(), fileSystem: any FileSystem = POSIXFileSystem(),
        clock: @escaping @Sendable () -> Int64 = LogStore.wallClockMilliseconds, executor: @escaping OwnerExecutor
    ) throws(LogError) {
        clusterID = ""
        throw LogError(.storage, "closed")
    }

    /// The system's time in milliseconds since 1970.
    @Sendable public static func wallClockMilliseconds() -> Int64 { 0 }

    /// All topics by name.
    public private(set) var topics: [String: Topic] = [:]

    /// The topic with that identity.
    public func topic(id: TopicID) -> Topic? { nil }

    /// The partition, if it exists.
    public func partition(_ topic: String, _ index: Int) -> PartitionLog? { nil }

    /// Makes a topic, durably.
    ///
    /// - Throws: `topicAlreadyExists`, `invalidTopic` (name), `invalidPartitions`, `invalidConfig`, `storage`.
    public func createTopic(
        _ name: String, partitions: Int, overrides: [String: String] = [:]
    ) throws(LogError) -> Topic {
        throw LogError(.storage, "closed")
    }

    /// The error ``createTopic(_:partitions:overrides:)`` would throw, for validate-only requests; nil if none.
    public func reasonNotToCreate(
        _ name: String, partitions: Int, overrides: [String: String] = [:]
    ) -> LogError? { nil }

    /// Removes a topic: durably gone on return, its files go in the background.
    public func deleteTopic(_ name: String) throws(LogError) {}

    /// Raises a topic's partition count to `total`, durably; the new partitions are the last ones.
    public func addPartitions(to name: String, total: Int) throws(LogError) {}

    /// Replaces a topic's settings, durably.
    public func setOverrides(of name: String, to overrides: [String: String]) throws(LogError) {}

    /// Calls back on the owner's thread when everything up to `position` may be acknowledged under the flush policy:
    /// at once (before returning) unless it is ``FlushPolicy/groupCommit``, else after the fsync that covers it, or with
    /// the error if that failed.
    public func whenDurable(
        _ position: DurabilityPosition, _ callback: @escaping (Result<Void, LogError>) -> Void
    ) {}

    /// Starts a sync of all dirty files unless one is running.
    public func flush() {}

    /// Rolls, removes and compacts segments that are due, forgets idle producers; call it every few seconds.
    public func maintain() {}

    /// Hands out producer ids that were never handed out before, durably.
    public func reserveProducerIDs(_ count: Int64) throws(LogError) -> Range<Int64> { 0..<0 }

    /// Syncs everything, writes the clean-shutdown marker and releases the directory; the store refuses all afterwards.
    public func close() throws(LogError) {}
}
