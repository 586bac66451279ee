// MonitorLogic: the pure logic of a process that folds topics into a state, and what it tells the world.

public import EventContracts
public import StageRuntime

/// A record that a monitor writes.
public struct MonitorOutput: Sendable, Equatable {
    public var topic: String
    public var key: [UInt8]
    public var value: [UInt8]

    public init(topic: String, key: String, value: [UInt8]) {
        self.topic = topic
        self.key = Array(key.utf8)
        self.value = value
    }
}

/// Folds the records of its topics into a state. Outputs, state and positions become durable in one transaction, so that
/// a killed process goes on as if nothing had happened: no output is lost, none is written twice.
///
/// Called from one thread. Records of one partition come in order, those of different partitions in any order.
public protocol MonitorLogic: SendableMetatype {
    associatedtype State: Codable

    /// What the next process needs to go on.
    var state: State { get }
    /// Goes on from a snapshot. Called before the first record.
    /// - Throws: when the snapshot is not usable; the message says how to mend it.
    mutating func restore(_ state: State) throws

    /// Where to read from so that what is not in the snapshot can be rebuilt, for partitions where that lies before the
    /// snapshot's position.
    var rebuildPositions: [TopicPartition: Int64] { get }
    /// Takes records before the snapshot's position: what they led to was written already.
    mutating func rebuild(_ batch: RecordBatch) throws
    /// Takes a sealed batch.
    mutating func take(_ batch: RecordBatch) throws
    /// Called at least every `tickMilliseconds`, also without records. The time is wall clock.
    mutating func tick(nowMicroseconds: Int64) throws
    /// Called before a snapshot with the positions that it will carry.
    mutating func willSnapshot(at positions: [TopicPartition: Int64])
    /// What is to be written; empties the list.
    mutating func takeOutputs() -> [MonitorOutput]
}

extension MonitorLogic {
    public var rebuildPositions: [TopicPartition: Int64] { [:] }
    public mutating func rebuild(_ batch: RecordBatch) throws {}
    public mutating func tick(nowMicroseconds: Int64) throws {}
    public mutating func willSnapshot(at positions: [TopicPartition: Int64]) {}
}

/// What a monitor's runner is told once.
public struct MonitorSettings: Sendable {
    /// Name of the program: key of its snapshots.
    public var program: String
    public var inputTopics: [String]
    public var stateTopic: String
    /// Topics that outputs may go to.
    public var outputTopics: [String]
    /// Where partitions start without a snapshot.
    public var startsAtEnd: Bool
    public var startMillisecondsMax: Int
    /// A snapshot is written at least so often while records come.
    public var snapshotMilliseconds: Int64 = 1_000
    public var tickMilliseconds: Int64 = 200
    /// Records between two snapshots, at most.
    public var recordsMax = 20_000

    public init(
        program: String, inputTopics: [String], stateTopic: String, outputTopics: [String], startsAtEnd: Bool = false,
        startMillisecondsMax: Int = 60_000
    ) {
        self.program = program
        self.inputTopics = inputTopics
        self.stateTopic = stateTopic
        self.outputTopics = outputTopics
        self.startsAtEnd = startsAtEnd
        self.startMillisecondsMax = startMillisecondsMax
    }
}

/// A snapshot as `<p>.monitor-state` holds it.
struct Snapshot<State: Codable>: Codable {
    struct Position: Codable {
        var topic: String
        var partition: Int32
        var next: Int64
    }

    var v = 1
    var program: String
    var positions: [Position]
    var state: State
}
