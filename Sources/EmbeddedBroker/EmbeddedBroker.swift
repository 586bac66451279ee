// EmbeddedBroker: a durable single-node broker that speaks Kafka's protocol, inside this process.

import EmbeddedLog
public import Logging
import NIOCore
import NIOPosix

/// A running broker. Every Kafka client can use it at ``bootstrapServers``.
///
/// One thread owns all of it; fsync and compaction run on threads of the log's own.
public final class EmbeddedBroker: Sendable {
    /// `HOST:PORT` for `bootstrap.servers`.
    public let bootstrapServers: String
    public let port: Int
    public let clusterID: String
    /// Makes requests go wrong, for tests.
    public let faults: FaultInjector

    private let group: MultiThreadedEventLoopGroup
    private let listener: any Channel
    private let broker: NIOLoopBound<Broker>

    private static let acceptBacklog: Int32 = 256
    private static let writeBufferBytes = (low: 1 << 20, high: 4 << 20)

    private init(
        listener: any Channel, group: MultiThreadedEventLoopGroup, broker: NIOLoopBound<Broker>, clusterID: String,
        bootstrapServers: String, faults: FaultInjector
    ) {
        self.listener = listener
        self.group = group
        self.broker = broker
        self.clusterID = clusterID
        self.bootstrapServers = bootstrapServers
        self.faults = faults
        port = listener.localAddress?.port ?? 0
    }

    /// Opens the log, recovers it, and listens.
    ///
    /// - Throws: ``BrokerStartError`` when the directory is locked or damaged, or the address cannot be bound.
    public static func start(
        _ options: BrokerOptions, logger: Logger = Logger(label: "embedded-broker")
    ) async throws -> EmbeddedBroker {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        let faults = FaultInjector()
        let opened: (broker: NIOLoopBound<Broker>, clusterID: String)
        do {
            opened = try await loop.submit {
                let broker = try Broker(options: options, logger: logger, loop: loop, faults: faults)
                // Before the first client can come.
                broker.start()
                return (NIOLoopBound(broker, eventLoop: loop), broker.store.clusterID)
            }.get()
        } catch {
            try? await group.shutdownGracefully()
            throw BrokerStartError(place: options.directory, cause: error)
        }
        let bound = opened.broker
        do {
            let listener = try await listen(on: group, options, bound)
            let host = options.advertisedHost ?? options.host
            let shownHost = host.contains(":") ? "[\(host)]" : host
            return EmbeddedBroker(
                listener: listener, group: group, broker: bound, clusterID: opened.clusterID,
                bootstrapServers: "\(shownHost):\(listener.localAddress?.port ?? options.port)", faults: faults)
        } catch {
            try? await loop.submit { bound.value.stop() }.get()
            try? await group.shutdownGracefully()
            throw BrokerStartError(place: "\(options.host):\(options.port)", cause: error)
        }
    }

    private static func listen(
        on group: MultiThreadedEventLoopGroup, _ options: BrokerOptions, _ bound: NIOLoopBound<Broker>
    ) async throws -> any Channel {
        try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: acceptBacklog)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
            .childChannelOption(
                .writeBufferWaterMark, value: .init(low: writeBufferBytes.low, high: writeBufferBytes.high)
            )
            .childChannelOption(
                .recvAllocator,
                value: AdaptiveRecvByteBufferAllocator(minimum: 4_096, initial: 16_384, maximum: 1 << 20)
            )
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(IdleStateHandler(readTimeout: .seconds(options.idleSecondsMax)))
                    try pipeline.addHandler(ConnectionHandler(broker: bound.value))
                }
            }
            .bind(host: options.host, port: options.port).get()
    }

    /// Makes a topic. One that is there keeps its partitions, and takes these settings over its own.
    public func createTopic(_ name: String, partitions: Int, settings: [String: String] = [:]) async throws {
        let broker = broker
        try await group.next().submit {
            guard let topic = broker.value.store.topics[name] else {
                _ = try broker.value.makeTopic(name, partitions: partitions, overrides: settings)
                return
            }
            let changed = topic.overrides.merging(settings) { $1 }
            if changed != topic.overrides { try broker.value.store.setOverrides(of: name, to: changed) }
        }.get()
    }

    /// The settings made for a topic, by Kafka's names; nil if there is no such topic.
    func settings(ofTopic name: String) async throws -> [String: String]? {
        let broker = broker
        return try await group.next().submit { broker.value.store.topics[name]?.overrides }.get()
    }

    /// Closes all connections and the log, and ends the thread. May be called once.
    public func stop() async {
        let broker = broker
        // A listener that is closed already is what was wanted.
        try? await listener.close().get()
        try? await group.next().submit { broker.value.stop() }.get()
        try? await group.shutdownGracefully()
    }
}

/// The broker could not be started.
public struct BrokerStartError: Error, CustomStringConvertible {
    /// The directory or the address.
    public var place: String
    public var cause: any Error

    public var description: String {
        "Cannot serve the log at \(place): \(cause). Choose another --data or --listen, or stop the process that uses it."
    }
}
