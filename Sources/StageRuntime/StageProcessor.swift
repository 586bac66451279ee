// StageProcessor: the pure logic of a stage, and Delivery: how its outcome becomes durable.

public import EventContracts

/// A partition of an input topic.
public struct TopicPartition: Hashable, Sendable, Comparable {
    public var topic: String
    public var partition: Int32

    public init(topic: String, partition: Int32) {
        self.topic = topic
        self.partition = partition
    }

    public static func < (lhs: TopicPartition, rhs: TopicPartition) -> Bool {
        lhs.topic == rhs.topic ? lhs.partition < rhs.partition : lhs.topic < rhs.topic
    }
}

/// What a processor may ask the runtime to read back before it starts on a partition.
public struct Rewind: Sendable {
    /// Records before the committed offset to replay through `rebuild`, at most.
    public var recordsMax: Int64
    /// Records older than this, before the first unprocessed record, need not be replayed.
    public var ageMillisecondsMax: Int64

    public init(recordsMax: Int64, ageMillisecondsMax: Int64) {
        self.recordsMax = recordsMax
        self.ageMillisecondsMax = ageMillisecondsMax
    }
}

/// Time is passed in, so that a processor is pure and tests choose the clock.
public struct ProcessingContext: Sendable {
    /// Wall clock at the start of the batch, microseconds since the Unix epoch.
    public var nowMicroseconds: Int64
    /// Identifies the cluster in derived event ids.
    public var clusterID: String

    public init(nowMicroseconds: Int64, clusterID: String) {
        self.nowMicroseconds = nowMicroseconds
        self.clusterID = clusterID
    }
}

/// The logic of a stage: synchronous, single-threaded, without Kafka inside. The runtime calls it from one dedicated
/// thread. A record that cannot be processed is data: give it to the output as a dead letter. A thrown error is a fault
/// of the stage itself: nothing of the batch is produced or committed and the process stops with the message.
public protocol StageProcessor: SendableMetatype {
    associatedtype Output

    /// State to rebuild from the input when a partition is assigned; nil for none.
    var rewind: Rewind? { get }

    /// Why no batch can be processed now, one sentence; nil when one can. The runner pauses its partitions meanwhile, keeps
    /// the batch in hand, commits nothing of it, and asks again.
    var obstacle: String? { get }

    func makeOutput() -> Output

    /// Replays records before the first unprocessed one. Must have no effect but on the processor's state.
    mutating func rebuild(_ batch: RecordBatch, context: ProcessingContext) throws

    /// Processes a sealed batch. `output` is empty on entry.
    mutating func process(_ batch: RecordBatch, context: ProcessingContext, into output: inout Output) throws

    /// Forgets the state of partitions that this instance no longer owns.
    mutating func forget(_ partitions: [TopicPartition])
}

extension StageProcessor {
    public var rewind: Rewind? { nil }
    public var obstacle: String? { nil }
    public mutating func rebuild(_ batch: RecordBatch, context: ProcessingContext) throws {}
    public mutating func forget(_ partitions: [TopicPartition]) {}
}

extension StageProcessor where Output == OutputBatch {
    public func makeOutput() -> OutputBatch { OutputBatch() }
}
