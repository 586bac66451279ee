// BrokerProvider: which Kafka broker a local deployment uses.

import FoundationEssentials
import Glibc

/// The one place that knows what kind of broker runs. Consumers and commands only ever see its bootstrap address.
public protocol BrokerProvider: Sendable {
    /// Whether records, group offsets and the cluster id survive a restart of the broker.
    var isDurable: Bool { get }
    /// Whether an aborted transaction stays invisible, which the profile `exact` rests on.
    var hasTransactions: Bool { get }
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
    public var hasTransactions: Bool { false }

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

    public func bootstrapServers(data: DataDirectory) -> String? { AddressFile.read(addressFile(data)) }
}

/// What a broker writes once it listens.
private enum AddressFile {
    static func read(_ path: String) -> String? {
        guard let bytes = FileManager.default.contents(atPath: path) else { return nil }
        // Written in one piece by the broker.
        let address = String(decoding: bytes, as: UTF8.self).filter { !$0.isWhitespace }
        return address.isEmpty ? nil : address
    }
}

/// A TCP port on 127.0.0.1.
public enum LoopbackPort {
    /// Below the ports that the kernel gives to outgoing connections: a client that tries to reach a server which is away
    /// could get the server's own port for its end, connect to itself and hold the port.
    static let range: Range<UInt16> = 20_000..<32_768

    /// A port that was free just now, to keep for a server that will be started again and again.
    public static func choose() -> UInt16 {
        for _ in 0..<1_000 {
            let port = UInt16.random(in: range)
            if isFree(port) { return port }
        }
        return 0
    }

    /// Whether it could be bound just now.
    static func isFree(_ port: UInt16) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var reuse: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &reuse, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr = in_addr(s_addr: UInt32(0x7f00_0001).bigEndian)
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}

/// Our own durable log in a process of its own: records, groups and the cluster id survive a restart.
public struct EmbeddedLogProvider: BrokerProvider {
    public var executable: String
    /// A topic with its settings by Kafka's names.
    public typealias Topic = (name: String, partitions: Int, settings: [(name: String, value: String)])

    /// Topics to make where they are missing; those that are there get the settings.
    public var topics: [Topic]

    public init(executable: String, topics: [Topic]) {
        self.executable = executable
        self.topics = topics
    }

    public var isDurable: Bool { true }
    public var consumerSettings: [String] { [] }

    private func addressFile(_ data: DataDirectory) -> String { "\(data.run)/broker.address" }

    public func launch(data: DataDirectory) throws(DeploymentError) -> Launch? {
        // A broker that is started again keeps its address, so that its clients find it without being told, also when the
        // one before died before it could listen.
        let file = "\(data.run)/broker.port"
        let before = AddressFile.read(file).flatMap { UInt16($0) }
        let port = before.flatMap { LoopbackPort.isFree($0) ? $0 : nil } ?? LoopbackPort.choose()
        do {
            try Data("\(port)\n".utf8).write(to: URL(filePath: file), options: .atomic)
        } catch {
            throw DeploymentError(.state, "cannot write \(file): \(error)")
        }
        try? FileManager.default.removeItem(atPath: addressFile(data))
        return Launch(
            executable: executable,
            arguments: [
                "--data", "\(data.path)/broker", "--listen", "127.0.0.1:\(port)", "--auto-create", "false",
                "--address-file", addressFile(data), "--exit-with-parent",
            ]
                + topics.flatMap { topic in
                    let settings = topic.settings.map { "\($0.name)=\($0.value)" }.joined(separator: ",")
                    return ["--topic", "\(topic.name):\(topic.partitions)\(settings.isEmpty ? "" : ":\(settings)")"]
                })
    }

    public func bootstrapServers(data: DataDirectory) -> String? { AddressFile.read(addressFile(data)) }
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

extension BrokerProvider {
    public var hasTransactions: Bool { true }
}
