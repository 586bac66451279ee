// TopicConfig: the settings of a topic, by Kafka's names, validated.

/// What the log does with a topic's records; read from text settings in Kafka's names.
public struct TopicConfig: Sendable, Equatable {
    /// `cleanup.policy` contains `delete`.
    public var deletes = true
    /// `cleanup.policy` contains `compact`.
    public var compacts = false
    /// `retention.ms`: age after which segments go; nil for -1 (never).
    public var retentionMilliseconds: Int64? = 604_800_000
    /// `retention.bytes`: size a partition is cut down to; nil for -1 (no limit).
    public var retentionBytes: Int64?
    /// `segment.bytes`: size at which a new segment is begun.
    public var segmentBytes: Int64 = 1 << 30
    /// `segment.ms`: age at which a new segment is begun.
    public var segmentMilliseconds: Int64 = 604_800_000
    /// `max.message.bytes`: largest record batch.
    public var messageBytesMax = 1_048_588
    /// `message.timestamp.type` is `LogAppendTime`.
    public var usesAppendTime = false
    /// `message.timestamp.before.max.ms`: how far a record's time may lie in the past; nil for no limit.
    public var timestampBeforeMilliseconds: Int64?
    /// `message.timestamp.after.max.ms`: how far a record's time may lie in the future; nil for no limit.
    public var timestampAfterMilliseconds: Int64?
    /// `min.cleanable.dirty.ratio`: share of not yet compacted bytes at which compaction starts.
    public var dirtyRatioMin = 0.5
    /// `min.compaction.lag.ms`: records younger than this are not compacted.
    public var compactionLagMilliseconds: Int64 = 0
    /// `delete.retention.ms`: how long a tombstone stays after its segment was first compacted.
    public var deleteRetentionMilliseconds: Int64 = 86_400_000

    /// Kafka's defaults.
    public init() {}

    /// Applies settings over Kafka's defaults.
    ///
    /// - Throws: `invalidConfig` naming the setting, the value and what is allowed.
    public init(_ settings: [String: String]) throws(LogError) {
        for (name, value) in settings.sorted(by: { $0.key < $1.key }) { try apply(name, value) }
    }

    /// Names of all settings the log knows, sorted.
    public static let names: [String] = [
        "cleanup.policy", "compression.type", "delete.retention.ms", "file.delete.delay.ms", "flush.messages",
        "flush.ms", "max.message.bytes", "message.timestamp.after.max.ms", "message.timestamp.before.max.ms",
        "message.timestamp.type", "min.cleanable.dirty.ratio", "min.compaction.lag.ms", "min.insync.replicas",
        "retention.bytes", "retention.ms", "segment.bytes", "segment.ms",
    ]

    /// The value of a setting as text; nil for a name the log does not know.
    public func value(of name: String) -> String? {
        switch name {
        case "cleanup.policy":
            [compacts ? "compact" : nil, deletes ? "delete" : nil].compactMap { $0 }.joined(separator: ",")
        case "compression.type": "producer"
        case "delete.retention.ms": "\(deleteRetentionMilliseconds)"
        case "file.delete.delay.ms": "0"
        case "flush.messages", "flush.ms": "\(Int64.max)"
        case "max.message.bytes": "\(messageBytesMax)"
        case "message.timestamp.after.max.ms": "\(timestampAfterMilliseconds ?? .max)"
        case "message.timestamp.before.max.ms": "\(timestampBeforeMilliseconds ?? .max)"
        case "message.timestamp.type": usesAppendTime ? "LogAppendTime" : "CreateTime"
        case "min.cleanable.dirty.ratio": "\(dirtyRatioMin)"
        case "min.compaction.lag.ms": "\(compactionLagMilliseconds)"
        case "min.insync.replicas": "1"
        case "retention.bytes": "\(retentionBytes ?? -1)"
        case "retention.ms": "\(retentionMilliseconds ?? -1)"
        case "segment.bytes": "\(segmentBytes)"
        case "segment.ms": "\(segmentMilliseconds)"
        default: nil
        }
    }

    private mutating func apply(_ name: String, _ value: String) throws(LogError) {
        let millisecondsMax = Int64.max
        switch name {
        case "cleanup.policy": try applyCleanupPolicy(value)
        case "compression.type":
            guard value == "producer" else {
                throw Self.invalid(name, value, "producer (batches are kept as they came)")
            }
        case "delete.retention.ms": deleteRetentionMilliseconds = try Self.integer(name, value, 0...millisecondsMax)
        // Settings that Kafka has and that have no effect here: the flush policy is the broker's, files go at once.
        case "file.delete.delay.ms": _ = try Self.integer(name, value, 0...millisecondsMax)
        case "flush.messages", "flush.ms": _ = try Self.integer(name, value, 0...millisecondsMax)
        case "max.message.bytes": messageBytesMax = Int(try Self.integer(name, value, 0...Int64(Int32.max)))
        case "message.timestamp.after.max.ms":
            timestampAfterMilliseconds = Self.limit(try Self.integer(name, value, 0...millisecondsMax))
        case "message.timestamp.before.max.ms":
            timestampBeforeMilliseconds = Self.limit(try Self.integer(name, value, 0...millisecondsMax))
        case "message.timestamp.type":
            guard value == "CreateTime" || value == "LogAppendTime" else {
                throw Self.invalid(name, value, "CreateTime or LogAppendTime")
            }
            usesAppendTime = value == "LogAppendTime"
        case "min.cleanable.dirty.ratio":
            guard let ratio = Double(value), (0...1).contains(ratio) else {
                throw Self.invalid(name, value, "a number from 0 to 1")
            }
            dirtyRatioMin = ratio
        case "min.compaction.lag.ms": compactionLagMilliseconds = try Self.integer(name, value, 0...millisecondsMax)
        case "min.insync.replicas":
            guard value == "1" else { throw Self.invalid(name, value, "1: this log is a single node") }
        case "retention.bytes": retentionBytes = Self.positive(try Self.integer(name, value, -1...Int64.max))
        case "retention.ms": retentionMilliseconds = Self.positive(try Self.integer(name, value, -1...millisecondsMax))
        case "segment.bytes": segmentBytes = try Self.integer(name, value, 1024...Int64(Int32.max))
        case "segment.ms": segmentMilliseconds = try Self.integer(name, value, 1...millisecondsMax)
        default:
            throw LogError(
                .invalidConfig, "unknown topic setting \(name); known: \(Self.names.joined(separator: ", "))")
        }
    }

    private mutating func applyCleanupPolicy(_ value: String) throws(LogError) {
        let words = Set(value.split(separator: ",").map { $0.trimmingSpaces() })
        guard !words.isEmpty, words.isSubset(of: ["delete", "compact"]) else {
            throw Self.invalid("cleanup.policy", value, "delete, compact or compact,delete")
        }
        deletes = words.contains("delete")
        compacts = words.contains("compact")
    }

    private static func integer(
        _ name: String, _ value: String, _ range: ClosedRange<Int64>
    ) throws(LogError) -> Int64 {
        guard let number = Int64(value.trimmingSpaces()), range.contains(number) else {
            throw invalid(name, value, "an integer from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    private static func positive(_ value: Int64) -> Int64? { value < 0 ? nil : value }
    private static func limit(_ value: Int64) -> Int64? { value == .max ? nil : value }

    private static func invalid(_ name: String, _ value: String, _ allowed: String) -> LogError {
        LogError(.invalidConfig, "\(name)=\(value): allowed is \(allowed)")
    }
}

extension StringProtocol {
    fileprivate func trimmingSpaces() -> String {
        String(drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
    }
}
