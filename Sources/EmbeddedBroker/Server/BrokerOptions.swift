// BrokerOptions: what a broker is started with, and its bounds.

public import EmbeddedLog

/// Settings of an ``EmbeddedBroker``.
public struct BrokerOptions: Sendable {
    /// The data directory; made if it is missing, locked while the broker runs.
    public var directory: String
    public var host = "127.0.0.1"
    /// 0 takes a free port.
    public var port = 0
    /// The name clients are told to connect to; nil names the address they already use.
    public var advertisedHost: String?
    /// Partitions of topics made without a number.
    public var defaultPartitions = 4
    /// Whether asking for a topic's metadata makes it, if the client allows it.
    public var autoCreatesTopics = true
    /// The log's settings: fsync policy, topic defaults.
    public var store = StoreOptions()
    /// Tests put one that fails here.
    var fileSystem: any FileSystem = POSIXFileSystem()

    public var nodeID: Int32 = 1
    /// Connections at one time; more are closed at once.
    public var connectionsMax = 1_000
    /// Largest request. A longer one closes its connection.
    public var requestBytesMax = 64 << 20
    /// Unfinished requests of all connections together.
    public var receivedBytesMax = 256 << 20
    /// Requests of one connection that wait for their answers.
    public var requestsInFlightMax = 64
    /// Largest answer to a fetch, but for a single larger batch.
    public var fetchBytesMax = 16 << 20
    /// A connection that is silent for so long is closed.
    public var idleSecondsMax: Int64 = 600
    /// Session time-outs that members may ask for.
    public var sessionTimeoutMilliseconds: ClosedRange<Int32> = 500...1_800_000
    /// How long the first rebalance of an empty group waits for more members.
    public var initialRebalanceDelayMilliseconds: Int64 = 0
    /// Longest transaction time-out a producer may ask for.
    public var transactionTimeoutMillisecondsMax: Int32 = 900_000
    /// Bytes of text that may accompany a committed offset.
    public var offsetMetadataBytesMax = 4_096

    public init(directory: String) { self.directory = directory }
}
