// StoreOptions: when data are made durable, and the store's bounds.

/// When appended records are forced to the disk.
public enum FlushPolicy: Sendable, Equatable {
    /// The operating system decides. Survives a killed process, not a power loss.
    case none
    /// A record is acknowledged and shown to readers after the next fsync that covers it; one fsync covers many appends.
    case groupCommit
    /// As ``none``, and all dirty files are synced about every so many milliseconds: the owner calls
    /// ``LogStore/flush()`` at that interval.
    case interval(milliseconds: Int)
}

/// Settings of a ``LogStore``.
public struct StoreOptions: Sendable {
    /// When appended records are forced to the disk.
    public var flushPolicy: FlushPolicy = .none
    /// Defaults for topics, in Kafka's names (`retention.ms`, …); a topic's own settings come first.
    public var topicDefaults: [String: String] = [:]
    /// How long an idle producer's sequence numbers are remembered.
    public var producerExpiryMilliseconds: Int64 = 86_400_000
    /// Producers remembered per partition; beyond it the longest idle one without an open transaction is forgotten.
    public var producersPerPartitionMax = 100_000
    /// Bytes of index of closed segments held in memory, over all partitions; the least recently used go first.
    public var indexBytesMax = 32 << 20
    /// Open files of closed segments, over all partitions.
    public var openSegmentsMax = 256
    /// Distinct keys that one compaction pass remembers; a longer dirty part takes several passes.
    public var compactionKeysMax = 1_000_000
    /// Partitions in all topics together.
    public var partitionsMax = 10_000
    /// Whether background work (fsync, compaction, removal) runs on its own threads; tests run it in the caller.
    var backgroundThreads = true

    /// The default options.
    public init() {}
}

/// Hands a closure to the thread that owns the store (an event loop's `execute`).
public typealias OwnerExecutor = @Sendable (@escaping @Sendable () -> Void) -> Void
