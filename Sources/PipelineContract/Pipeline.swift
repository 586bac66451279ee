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
    public var fusion = StageFusion.none
    public var sink: SinkSettings
    public var monitors: MonitorSettings
    public var reactions: ReactionSettings

    public init(
        name: String, prefix: String, topics: PipelineTopics, directory: String, topicSettings: [TopicSetting],
        input: InputContract, features: FeatureSettings, model: ModelReference, batching: MicroBatching,
        sink: SinkSettings, monitors: MonitorSettings = MonitorSettings(),
        reactions: ReactionSettings = ReactionSettings()
    ) {
        self.name = name
        self.prefix = prefix
        self.topics = topics
        self.directory = directory
        self.topicSettings = topicSettings
        self.input = input
        self.features = features
        self.model = model
        self.batching = batching
        self.sink = sink
        self.monitors = monitors
        self.reactions = reactions
    }
}

public struct TopicSetting: Sendable, Equatable {
    /// Full topic name.
    public var topic: String
    public var partitions: Int
    /// Kafka's `retention.ms`; -1 keeps everything.
    public var retentionMilliseconds: Int64
    /// Keeps the latest record of each key, instead of the latest days.
    public var isCompacted: Bool

    public init(topic: String, partitions: Int, retentionMilliseconds: Int64, isCompacted: Bool = false) {
        self.topic = topic
        self.partitions = partitions
        self.retentionMilliseconds = retentionMilliseconds
        self.isCompacted = isCompacted
    }

    /// The topic's settings by Kafka's names, for whoever makes it.
    public var kafkaSettings: [(name: String, value: String)] {
        [
            ("retention.ms", String(retentionMilliseconds)),
            ("cleanup.policy", isCompacted ? "compact" : "delete"),
            // Evidence keeps the time at which it was written, or retention would remove it too early.
            ("message.timestamp.type", topic.hasSuffix(".dlq") ? "LogAppendTime" : "CreateTime"),
        ]
    }
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

    public init(
        schema: EventSchema, formats: Set<Format>, eventTimeField: String?, identity: PlainIdentity?,
        isKeyRequired: Bool, unknownFields: UnknownFields, bytesMax: Int, depthMax: Int, clockSkewMilliseconds: Int64,
        duplicateWindowRecords: Int, duplicateWindowMilliseconds: Int64
    ) {
        self.schema = schema
        self.formats = formats
        self.eventTimeField = eventTimeField
        self.identity = identity
        self.isKeyRequired = isKeyRequired
        self.unknownFields = unknownFields
        self.bytesMax = bytesMax
        self.depthMax = depthMax
        self.clockSkewMilliseconds = clockSkewMilliseconds
        self.duplicateWindowRecords = duplicateWindowRecords
        self.duplicateWindowMilliseconds = duplicateWindowMilliseconds
    }
}

public struct PlainIdentity: Sendable, Equatable {
    public var idField: String
    public var source: String

    public init(idField: String, source: String) {
        self.idField = idField
        self.source = source
    }
}

/// How the model's input row is made from an event.
public struct FeatureSettings: Sendable {
    /// One model input, made from one numeric field of the event.
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

        public init(
            name: String, field: String, impute: Impute, scale: Scale, outlierPolicy: OutlierPolicy,
            lowerQuantile: Double, upperQuantile: Double
        ) {
            self.name = name
            self.field = field
            self.impute = impute
            self.scale = scale
            self.outlierPolicy = outlierPolicy
            self.lowerQuantile = lowerQuantile
            self.upperQuantile = upperQuantile
        }
    }

    public var columns: [Column]
    /// Path of the fitted transform (written by `penstock fit`).
    public var transformPath: String

    public init(columns: [Column], transformPath: String) {
        self.columns = columns
        self.transformPath = transformPath
    }
}

public struct ModelReference: Sendable, Equatable {
    public var name: String
    /// Path of the model manifest (written by `penstock train`), which names the ONNX file beside it.
    public var manifestPath: String
    /// Score at or above which the label is 1, for binary classifiers.
    public var decisionThreshold: Double

    public init(name: String, manifestPath: String, decisionThreshold: Double) {
        self.name = name
        self.manifestPath = manifestPath
        self.decisionThreshold = decisionThreshold
    }
}

/// When a micro-batch closes; whichever comes first.
public struct MicroBatching: Sendable, Equatable {
    public var recordsMax: Int
    public var bytesMax: Int
    public var deadlineMicroseconds: Int64

    public init(recordsMax: Int, bytesMax: Int, deadlineMicroseconds: Int64) {
        self.recordsMax = recordsMax
        self.bytesMax = bytesMax
        self.deadlineMicroseconds = deadlineMicroseconds
    }
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

    public init(
        schema: String, table: String, partitionSpan: PartitionSpan, partitionsAhead: Int, retentionMilliseconds: Int64?
    ) {
        self.schema = schema
        self.table = table
        self.partitionSpan = partitionSpan
        self.partitionsAhead = partitionsAhead
        self.retentionMilliseconds = retentionMilliseconds
    }
}
