// StageSettings: everything a stage's runner is told once, with the name and default of every bound.

public import Kafka

/// Settings of a `StageRunner`, validated by who builds them.
public struct StageSettings: Sendable {
    /// Where a partition starts for which nothing is stored.
    public enum PipelineStart: String, Sendable, CaseIterable {
        case earliest, latest
    }

    /// What to do when the log no longer holds records that were not processed.
    public enum LostRangePolicy: String, Sendable, CaseIterable {
        /// Raise the alarm and go on from the log's start.
        case proceed = "continue"
        /// Raise the alarm and stop with exit code 1.
        case stop
    }

    /// Name of the stage, as metrics and logs show it: `ingest`, `transform`, `inference`, `sink`.
    public var stage: String
    public var group: String
    /// Name of this process within the group.
    public var instance: String
    public var inputTopics: [String]
    /// Copy record headers into the batch. Only the input stage needs them; dead letters of inner topics have none to keep.
    public var readsHeaders: Bool
    public var consumer: KafkaConfiguration
    public var batch: BatchLimits

    public var start = PipelineStart.earliest
    public var lostRangePolicy = LostRangePolicy.proceed

    /// Time between two commits of the group's offsets.
    public var commitIntervalMilliseconds = 100
    /// For finishing the batch in hand and draining the delivery, on revocation and at shutdown.
    public var drainMillisecondsMax = 20_000
    /// For a broker to answer and the topics to appear at start.
    public var startMillisecondsMax = 30_000
    /// For one question to a broker: committed offsets, watermarks.
    public var requestMillisecondsMax = 10_000
    /// For the answer to a synchronous commit, during which the loop does not turn; it is tried again.
    public var commitMillisecondsMax = 3_000
    /// Lag without movement and without a declared reason for this long: the process reports itself as stuck.
    public var stuckMillisecondsMax = 60_000
    /// Back-pressure shorter than this is waited out; longer, the partitions are paused.
    public var pauseAfterMilliseconds = 200
    /// A suspicious chunk that was processed and still waits after this long is taken back as evidence.
    public var trialMillisecondsMax = 1_000
    /// Multiple of a full micro-batch that may be begun beyond the group's committed offset. What a death leaves
    /// suspicious is at most this.
    public var reachBatches = 32

    /// A partition whose last offsets hold no record (the markers of transactions) is moved over them after this time
    /// without a record, so that its lag ends at 0.
    public var idleMilliseconds = 200

    /// Planted mistakes for the oracle's own test; empty in operation.
    public var faults: Set<RuntimeFault> = []
    /// Where the process ends itself; nil in operation.
    public var kills: KillPlan?
    /// A record that holds these bytes ends the process: the operator that no one expected. Nil in operation.
    public var poison: [UInt8]?

    public init(
        stage: String, group: String, instance: String, inputTopics: [String], readsHeaders: Bool,
        consumer: KafkaConfiguration, batch: BatchLimits
    ) {
        self.stage = stage
        self.group = group
        self.instance = instance
        self.inputTopics = inputTopics
        self.readsHeaders = readsHeaders
        self.consumer = consumer
        self.batch = batch
    }

    var crashGuardLimits: CrashGuardLimits {
        CrashGuardLimits(
            batchRecordsMax: batch.recordsMax, reachOffsets: Int64(batch.recordsMax) * Int64(reachBatches))
    }
}

/// Why a stage stops with an exit code other than 0. The message is one line for a person: what, where, how to mend it.
public struct StageFailure: Error, Sendable, CustomStringConvertible {
    /// 1: a failure; 2: wrong use or configuration.
    public var exitCode: Int32
    public var message: String
    public var description: String { message }

    public init(exitCode: Int32 = 1, _ message: String) {
        self.exitCode = exitCode
        self.message = message
    }
}
