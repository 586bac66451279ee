// PostgresDelivery+Options: limits and time-outs of the sink's delivery.

public import Postgres

extension PostgresDelivery {
    public struct Options: Sendable {
        public var connection: PostgresOptions
        public var target: SinkTarget
        /// Longest time that `open` tries to reach the server before the process gives up.
        public var startMillisecondsMax = 10_000
        public var backoffMillisecondsMin = 50
        public var backoffMillisecondsMax = 5_000
        /// Outbox rows read and published at a time.
        public var outboxRowsMax = 256
        /// Longest time spent on publishing dead letters when partitions are given up.
        public var drainMillisecondsMax = 2_000
        public var maintenanceMilliseconds = 60_000
        /// An event time this far ahead of the clock is refused instead of making a partition for it.
        public var daysAheadMax = 366
        /// Partitions made on demand before a batch; more wait for its next attempt.
        public var partitionsPerAttemptMax = 64
        public var faults = Faults()
        public var hooks = Hooks()

        public init(
            url: String, target: SinkTarget, lockMilliseconds: Int = 3_000, statementMilliseconds: Int = 15_000,
            idleInTransactionMilliseconds: Int = 5_000
        ) {
            self.target = target
            connection = PostgresOptions(url: url, applicationName: "prediction-sink")
            connection.connectTimeoutMilliseconds = 3_000
            connection.operationTimeoutMilliseconds = statementMilliseconds + 5_000
            connection.limit(
                statementMilliseconds: statementMilliseconds, lockMilliseconds: lockMilliseconds,
                idleInTransactionMilliseconds: idleInTransactionMilliseconds)
        }
    }

    /// Planted faults, with which tests show that the oracle notices. Never for use.
    public struct Faults: Sendable {
        /// Moves the offsets without comparing: an overtaken instance stores its rows and sets the offsets back.
        public var noCompareAndSet = false

        public init() {}
    }

    /// Where tests stop the delivery in the middle of a transaction.
    public struct Hooks: Sendable {
        public var afterCopy: (@Sendable () -> Void)?
        public var beforeCompareAndSet: (@Sendable () -> Void)?
        public var beforeCommit: (@Sendable () -> Void)?
        public var afterCommit: (@Sendable () -> Void)?

        public init() {}
    }
}
