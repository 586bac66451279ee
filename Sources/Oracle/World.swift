// World: everything the oracle looks at, as plain values: topics, tables, offsets.

import Foundation

/// Where an input record stands.
public struct Origin: Hashable, Sendable, Comparable, CustomStringConvertible {
    public var partition: Int32
    public var offset: Int64

    public init(partition: Int32, offset: Int64) {
        self.partition = partition
        self.offset = offset
    }

    public static func < (lhs: Origin, rhs: Origin) -> Bool {
        lhs.partition == rhs.partition ? lhs.offset < rhs.offset : lhs.partition < rhs.partition
    }

    public var description: String { "partition \(partition), offset \(offset)" }
}

public struct LogHeader: Hashable, Sendable {
    public var name: [UInt8]
    public var value: [UInt8]?

    public init(name: [UInt8], value: [UInt8]?) {
        self.name = name
        self.value = value
    }

    public init(_ name: String, _ value: String) {
        self.init(name: Array(name.utf8), value: Array(value.utf8))
    }
}

/// A record of a topic. A missing key and a tombstone's value are nil.
public struct LogRecord: Hashable, Sendable {
    public var origin: Origin
    public var timestampMilliseconds: Int64
    public var key: [UInt8]?
    public var value: [UInt8]?
    public var headers: [LogHeader]

    public init(
        origin: Origin, timestampMilliseconds: Int64, key: [UInt8]?, value: [UInt8]?, headers: [LogHeader] = []
    ) {
        self.origin = origin
        self.timestampMilliseconds = timestampMilliseconds
        self.key = key
        self.value = value
        self.headers = headers
    }

    /// Text of the last header of that name, if it is UTF-8.
    func headerText(_ name: String) -> String? {
        let bytes = Array(name.utf8)
        guard let value = headers.last(where: { $0.name == bytes })?.value else { return nil }
        return String(validating: value, as: UTF8.self)
    }

    func hasHeader(_ name: String) -> Bool {
        let bytes = Array(name.utf8)
        return headers.contains { $0.name == bytes }
    }
}

/// A topic between its first offsets and the end offsets at the time of reading.
public struct TopicLog: Sendable {
    /// By partition and offset, ascending.
    public var records: [LogRecord]
    /// First offset of each partition, and the one after its last.
    public var starts: [Int32: Int64]
    public var ends: [Int32: Int64]

    public init(records: [LogRecord] = [], starts: [Int32: Int64] = [:], ends: [Int32: Int64] = [:]) {
        self.records = records.sorted { $0.origin < $1.origin }
        self.starts = starts
        self.ends = ends
    }
}

/// What one prediction says, in the topic and in PostgreSQL alike; names as in docs/formats.md.
public struct PredictionFacts: Sendable, Equatable {
    public var eventID: EventIdentifier
    public var source: String?
    public var id: String?
    public var entity: String?
    public var eventTime: Int64
    public var publishedAt: Int64
    public var model: String
    public var modelVersion: String
    public var contract: String
    public var score: Double
    public var label: Int
    public var imputed: Int
    public var outliers: Int
    public var payload: String
    public var origin: Origin

    public init(
        eventID: EventIdentifier, source: String?, id: String?, entity: String?, eventTime: Int64, publishedAt: Int64,
        model: String, modelVersion: String, contract: String, score: Double, label: Int, imputed: Int, outliers: Int,
        payload: String, origin: Origin
    ) {
        self.eventID = eventID
        self.source = source
        self.id = id
        self.entity = entity
        self.eventTime = eventTime
        self.publishedAt = publishedAt
        self.model = model
        self.modelVersion = modelVersion
        self.contract = contract
        self.score = score
        self.label = label
        self.imputed = imputed
        self.outliers = outliers
        self.payload = payload
        self.origin = origin
    }
}

/// A repeat that the sink recognised.
public struct TableDuplicate: Sendable, Equatable {
    public var eventID: EventIdentifier
    public var origin: Origin

    public init(eventID: EventIdentifier, origin: Origin) {
        self.eventID = eventID
        self.origin = origin
    }
}

/// A snapshot of the whole pipeline.
public struct World: Sendable {
    public var clusterID: String
    public var inputs: TopicLog
    public var events: TopicLog
    public var features: TopicLog
    public var predictions: TopicLog
    public var duplicates: TopicLog
    /// Dead letters by the topic whose records they are: `inputs`, `events`, `features`, `predictions`.
    public var deadLetters: [SourceTopic: TopicLog]
    public var rows: [PredictionFacts]
    public var tableDuplicates: [TableDuplicate]
    /// The next offset of `predictions` that the sink will read, per partition.
    public var sinkOffsets: [Int32: Int64]
    /// The next offset of the consumer group that reads a topic, per partition; nil where it was not asked.
    public var groupOffsets: [SourceTopic: [Int32: Int64]] = [:]
    /// Those of `events` and `features` that must hold what their readers were given.
    public var internalTopics: Set<SourceTopic> = []
    /// Stages (`ingest`, `transform`) in a later one's process: what that refuses is a dead letter of the first one's input.
    public var absorbedStages: Set<String> = []
    /// Whether the profile `exact` is promised: no topic may show an input record twice.
    public var isExact = false

    public init(
        clusterID: String, inputs: TopicLog, events: TopicLog, features: TopicLog, predictions: TopicLog,
        duplicates: TopicLog, deadLetters: [SourceTopic: TopicLog], rows: [PredictionFacts],
        tableDuplicates: [TableDuplicate], sinkOffsets: [Int32: Int64]
    ) {
        self.clusterID = clusterID
        self.inputs = inputs
        self.events = events
        self.features = features
        self.predictions = predictions
        self.duplicates = duplicates
        self.deadLetters = deadLetters
        self.rows = rows
        self.tableDuplicates = tableDuplicates
        self.sinkOffsets = sinkOffsets
    }

    func log(of topic: SourceTopic) -> TopicLog {
        switch topic {
        case .inputs: inputs
        case .events: events
        case .features: features
        case .predictions: predictions
        }
    }
}

/// The topics whose records can become dead letters.
public enum SourceTopic: String, Sendable, CaseIterable, Hashable {
    case inputs, events, features, predictions
}

/// The oracle cannot judge: what it needs is missing or unreadable. Exit code 2.
public struct OracleError: Error, Sendable, CustomStringConvertible {
    public var message: String
    public var description: String { message }

    public init(_ message: String) {
        self.message = message
    }
}
