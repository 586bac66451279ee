// Pipeline: the validated contract of a pipeline, as read from topics/<pipeline>/pipeline.yaml.

public import EventContracts

/// One pipeline, fully validated. Every default is filled in; nothing here is optional by accident.
public struct Pipeline: Sendable {
    public var name: String
    public var prefix: String
    public var topics: PipelineTopics
    /// Folder of pipeline.yaml; relative paths in the file are relative to it.
    public var directory: String
    public var topicSettings: [TopicSetting]
    public var input: InputContract
    public var features: FeatureSettings
    public var model: ModelReference
    public var batching: MicroBatching
    public var sink: SinkSettings
}

public struct TopicSetting: Sendable, Equatable {
    /// Full topic name.
    public var topic: String
    public var partitions: Int
    public var retentionMilliseconds: Int64
}

/// What `ingest-consumer` accepts.
public struct InputContract: Sendable {
    public enum Format: String, Sendable, CaseIterable { case json, cloudevents }
    public enum UnknownFields: String, Sendable, CaseIterable { case reject, ignore }

    public var schema: EventSchema
    public var formats: Set<Format>
    /// Field of the payload with the event time (RFC 3339). CloudEvents without it use `ce_time`.
    public var eventTimeField: String?
    /// Plain JSON: the field with the publisher's id and the constant source, so that repeats are recognised.
    public var identity: PlainIdentity?
    public var isKeyRequired: Bool
    public var unknownFields: UnknownFields
    public var bytesMax: Int
    public var depthMax: Int
    /// An event time this far ahead of the publish time is a dead letter.
    public var clockSkewMilliseconds: Int64
    public var duplicateWindowRecords: Int
    public var duplicateWindowMilliseconds: Int64
}

public struct PlainIdentity: Sendable, Equatable {
    public var idField: String
    public var source: String
}

/// A flat JSON Schema (draft 2020-12 subset), compiled once. Field order is the order in the schema file.
public struct EventSchema: Sendable, Equatable {
    public enum FieldType: String, Sendable { case number, integer, boolean, string, timestamp }

    public struct Field: Sendable, Equatable {
        public var name: String
        public var type: FieldType
        public var isRequired: Bool
        public var isNullable: Bool
        public var minimum: Double?
        public var maximum: Double?
        public var isMinimumExclusive: Bool
        public var isMaximumExclusive: Bool
        public var enumeration: [String]?
        public var lengthMax: Int?
        public var pattern: String?
    }

    public var fields: [Field]
    /// First word of the SHA-256 of the canonical text of the schema's fields; travels in every `events` record.
    public var contractHash: UInt64

    /// Fields whose values stand in the numeric columns: number, integer, boolean (0/1), timestamp (microseconds).
    public var numericFields: [Field] { fields.filter { $0.type != .string } }
    public var textFields: [Field] { fields.filter { $0.type == .string } }
}

/// One model input, made from one numeric field of the event.
public struct FeatureSettings: Sendable {
    public struct Column: Sendable, Equatable {
        public enum Impute: Sendable, Equatable {
            case mean, median
            case constant(Double)
            /// A missing value is a dead letter.
            case reject
        }
        public enum Scale: String, Sendable, CaseIterable { case none, standard, minmax }
        public enum OutlierPolicy: String, Sendable, CaseIterable { case none, clip, flag, reject }

        public var name: String
        public var field: String
        public var impute: Impute
        public var scale: Scale
        public var outlierPolicy: OutlierPolicy
        /// Quantiles of the reference data that bound the usual range; used unless the policy is none.
        public var lowerQuantile: Double
        public var upperQuantile: Double
    }

    public var columns: [Column]
    /// Path of the fitted transform (written by `penstock fit`).
    public var transformPath: String
}

public struct ModelReference: Sendable, Equatable {
    public var name: String
    /// Path of the model manifest (written by `penstock train`), which names the ONNX file beside it.
    public var manifestPath: String
    /// Score at or above which the label is 1, for binary classifiers.
    public var decisionThreshold: Double
}

/// When a micro-batch closes; whichever comes first.
public struct MicroBatching: Sendable, Equatable {
    public var recordsMax: Int
    public var bytesMax: Int
    public var deadlineMicroseconds: Int64
}

public struct SinkSettings: Sendable, Equatable {
    public enum PartitionSpan: String, Sendable, CaseIterable { case day, week, month }

    public var schema: String
    public var table: String
    public var partitionSpan: PartitionSpan
    /// Partitions made ahead of the newest event time.
    public var partitionsAhead: Int
    /// Partitions wholly older than this, by event time, are dropped; nil keeps all.
    public var retentionMilliseconds: Int64?
}
