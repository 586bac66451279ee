// LogStore: a data directory with its topics.

import Glibc

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
    /// All topics by name.
    public internal(set) var topics: [String: Topic] = [:]

    let directory: String
    let context: LogContext
    private let lock: any AnyObject & Sendable
    private var nextProducerID: Int64
    private var isClosed = false

    private static let formatVersion = "1"
    private static let cleanMarker = "clean-shutdown"
    private static let storeFile = "store"

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
        _ = try TopicConfig(options.topicDefaults)
        self.directory = directory
        context = LogContext(fileSystem: fileSystem, options: options, clock: clock, executor: executor)
        lock = try storing { () throws(FileError) in
            if try fileSystem.list(directory) == nil {
                try fileSystem.createDirectory(directory)
                try fileSystem.syncDirectory(Self.parent(of: directory))
            }
            return try fileSystem.lock(directory + "/lock")
        }
        (clusterID, nextProducerID) = try Self.readOrMakeStoreFile(directory, fileSystem)
        try openTopics(storeWasClean: try takeCleanMarker())
    }

    /// The system's time in milliseconds since 1970.
    @Sendable public static func wallClockMilliseconds() -> Int64 {
        var time = timespec()
        _ = unsafe clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000
    }

    /// Milliseconds since 1970 as the wall clock had them at this process's start, counted on by the monotonic clock: for deadlines,
    /// which a jump of the wall clock must neither bring near nor put off.
    @Sendable public static func steadyClockMilliseconds() -> Int64 { steadyOffset + monotonicMilliseconds() }

    private static let steadyOffset = wallClockMilliseconds() - monotonicMilliseconds()

    private static func monotonicMilliseconds() -> Int64 {
        var time = timespec()
        _ = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000
    }

    /// The topic with that identity.
    public func topic(id: TopicID) -> Topic? { topics.values.first { $0.id == id } }

    /// The partition, if it exists.
    public func partition(_ topic: String, _ index: Int) -> PartitionLog? {
        guard let partitions = topics[topic]?.partitions, partitions.indices.contains(index) else { return nil }
        return partitions[index]
    }

    /// Calls back on the owner's thread when everything up to `position` may be acknowledged under the flush policy:
    /// at once (before returning) unless it is ``FlushPolicy/groupCommit``, else after the fsync that covers it, or with
    /// the error if that failed.
    public func whenDurable(
        _ position: DurabilityPosition, _ callback: @escaping (Result<Void, LogError>) -> Void
    ) {
        context.durability.wait(for: position, callback)
    }

    /// Starts a sync of all dirty files; if one is running, the next one follows it.
    public func flush() { context.durability.flushAll() }

    /// Rolls, removes and compacts segments that are due, forgets idle producers; call it every few seconds.
    ///
    /// Failures leave the partition as it was; they show again as errors of its next append.
    public func maintain() {
        guard !isClosed, context.refusal == nil else { return }
        let now = context.clock()
        for topic in topics.values {
            for partition in topic.partitions {
                try? partition.retain(now: now)
                partition.startCompaction(now: now)
            }
        }
        context.durability.kick()
    }

    /// Hands out producer ids that were never handed out before, durably.
    public func reserveProducerIDs(_ count: Int64) throws(LogError) -> Range<Int64> {
        try context.checkWritable()
        guard count > 0, nextProducerID <= Int64.max - count else {
            throw LogError(.invalidRequest, "\(count) producer ids cannot be reserved")
        }
        let range = nextProducerID..<(nextProducerID + count)
        try Self.writeStoreFile(directory, context.fileSystem, clusterID, nextProducerID: range.upperBound)
        nextProducerID = range.upperBound
        return range
    }

    /// Syncs everything, writes the clean-shutdown marker; the store refuses appends afterwards. The directory is free
    /// for another process once the last reference to the store has gone.
    public func close() throws(LogError) {
        guard !isClosed else { return }
        isClosed = true
        context.flusher.wait {}
        context.maintenance.wait {}
        let refusal = context.refusal ?? (context.health.hasFailed ? LogError(.storage, "a sync has failed") : nil)
        context.refuse(LogError(.storage, "the log is closed"))
        if let refusal { throw refusal }
        for topic in topics.values {
            for partition in topic.partitions { try partition.close() }
        }
        try storing { () throws(FileError) in
            try context.fileSystem.replace(
                directory + "/" + Self.cleanMarker, in: directory, with: Properties.encode(["clean": "true"]))
        }
    }

    /// Whether the last owner closed the store; removes the marker durably before anything is changed.
    private func takeCleanMarker() throws(LogError) -> Bool {
        let path = directory + "/" + Self.cleanMarker
        return try storing { () throws(FileError) in
            let bytes = try context.fileSystem.contents(of: path)
            try context.fileSystem.remove(path)
            try context.fileSystem.syncDirectory(directory)
            return bytes.flatMap(Properties.decode) != nil
        }
    }

    private static func readOrMakeStoreFile(
        _ directory: String, _ fileSystem: any FileSystem
    ) throws(LogError) -> (String, Int64) {
        let path = directory + "/" + storeFile
        if let bytes = try storing({ () throws(FileError) in try fileSystem.contents(of: path) }) {
            guard let values = Properties.decode(bytes), let cluster = values["cluster.id"],
                let producer = values["next.producer.id"].flatMap({ Int64($0) })
            else {
                throw LogError(.unknown, "\(path) is damaged; restore it from a copy")
            }
            guard values["format"] == formatVersion else {
                throw LogError(
                    .unknown, "\(directory) has format \(values["format"] ?? "?"), this program reads \(formatVersion)")
            }
            return (cluster, producer)
        }
        let cluster = Base64URL.text(.random(in: .min ... .max), .random(in: .min ... .max))
        try writeStoreFile(directory, fileSystem, cluster, nextProducerID: 0)
        return (cluster, 0)
    }

    private static func writeStoreFile(
        _ directory: String, _ fileSystem: any FileSystem, _ clusterID: String, nextProducerID: Int64
    ) throws(LogError) {
        let bytes = Properties.encode([
            "format": formatVersion, "cluster.id": clusterID, "next.producer.id": "\(nextProducerID)",
        ])
        try storing { () throws(FileError) in
            try fileSystem.replace(directory + "/" + storeFile, in: directory, with: bytes)
        }
    }

    static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
}

/// Kafka writes cluster ids as 22 letters of URL-safe Base64 without padding.
enum Base64URL {
    private static let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")

    static func text(_ high: UInt64, _ low: UInt64) -> String {
        var bytes: [UInt8] = []
        bytes.appendInteger(high)
        bytes.appendInteger(low)
        var text = ""
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = (0..<3).reduce(UInt32(0)) { group, index in
                group << 8 | (start + index < bytes.count ? UInt32(bytes[start + index]) : 0)
            }
            for letter in 0..<(min(3, bytes.count - start) + 1) {
                text.append(letters[Int(group >> UInt32(18 - 6 * letter)) & 63])
            }
        }
        return text
    }
}
