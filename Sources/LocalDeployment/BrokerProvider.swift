// BrokerProvider: which Kafka broker a local deployment uses.

import FoundationEssentials

/// The one place that knows what kind of broker runs. Consumers and commands only ever see its bootstrap address.
public protocol BrokerProvider: Sendable {
    /// Whether records, group offsets and the cluster id survive a restart of the broker.
    var isDurable: Bool { get }
    /// `--set` options that suit consumers to this broker.
    var consumerSettings: [String] { get }
    /// What to start in this deployment, or nil when the broker runs elsewhere.
    func launch(data: DataDirectory) throws(DeploymentError) -> Launch?
    /// `bootstrap.servers`, once the broker accepts clients.
    func bootstrapServers(data: DataDirectory) -> String?
}

/// librdkafka's mock cluster in a process of its own: memory only, so each start is a new, empty cluster.
public struct MockBrokerProvider: BrokerProvider {
    public var executable: String
    /// Topics to make, because a mock cluster knows no administration.
    public var topics: [(name: String, partitions: Int)]

    public init(executable: String, topics: [(name: String, partitions: Int)]) {
        self.executable = executable
        self.topics = topics
    }

    public var isDurable: Bool { false }

    /// The mock cluster answers a fetch that finds nothing only when its whole wait is over, also when a record comes in
    /// between: the wait is a delay on each hop. A real broker answers at once, so that the default suits it.
    public var consumerSettings: [String] { ["kafka.consumer.fetch.wait.max.ms=1"] }

    private func addressFile(_ data: DataDirectory) -> String { "\(data.run)/broker.address" }

    public func launch(data: DataDirectory) throws(DeploymentError) -> Launch? {
        // The address of the broker before this one leads nowhere.
        try? FileManager.default.removeItem(atPath: addressFile(data))
        return Launch(
            executable: executable,
            arguments: ["--in-memory-mock", "--address-file", addressFile(data), "--exit-with-parent"]
                + topics.flatMap { ["--topic", "\($0.name):\($0.partitions)"] })
    }

    public func bootstrapServers(data: DataDirectory) -> String? {
        guard let bytes = FileManager.default.contents(atPath: addressFile(data)) else { return nil }
        // Written in one piece by the broker, once it listens.
        let address = String(decoding: bytes, as: UTF8.self).filter { !$0.isWhitespace }
        return address.isEmpty ? nil : address
    }
}

/// A cluster that somebody else runs.
public struct ExternalBrokerProvider: BrokerProvider {
    public var servers: String

    public init(servers: String) { self.servers = servers }

    public var isDurable: Bool { true }
    public var consumerSettings: [String] { [] }
    public func launch(data: DataDirectory) -> Launch? { nil }
    public func bootstrapServers(data: DataDirectory) -> String? { servers }
}
