// HealthServer: /livez, /readyz and /metrics over HTTP.

import NIOCore
import NIOHTTP1
import NIOPosix

/// A small HTTP server for probes and Prometheus, on its own thread.
public final class HealthServer: Sendable {
    /// The bound port, also when 0 was asked for.
    public let port: Int
    private let channel: any Channel
    private let group: MultiThreadedEventLoopGroup

    /// A probe closes its connection soon; one that is silent for so long is closed.
    private static let idleSecondsMax: Int64 = 30

    /// Binds and serves.
    ///
    /// - Parameters:
    ///   - host: 127.0.0.1 unless the figures shall be seen from other machines.
    ///   - port: 0 takes a free one.
    /// - Throws: `HealthServerError` when the address cannot be bound.
    public static func start(
        host: String = "127.0.0.1", port: Int, health: HealthState, metrics: MetricsRegistry
    ) async throws -> HealthServer {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        do {
            let channel = try await ServerBootstrap(group: group)
                .serverChannelOption(.backlog, value: 16)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .childChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let pipeline = channel.pipeline.syncOperations
                        try pipeline.configureHTTPServerPipeline(withErrorHandling: true)
                        try pipeline.addHandler(IdleStateHandler(allTimeout: .seconds(idleSecondsMax)))
                        try pipeline.addHandler(HealthHandler(health: health, metrics: metrics))
                    }
                }
                .bind(host: host, port: port).get()
            return HealthServer(channel: channel, group: group)
        } catch {
            try? await group.shutdownGracefully()
            throw HealthServerError(address: "\(host):\(port)", cause: error)
        }
    }

    private init(channel: any Channel, group: MultiThreadedEventLoopGroup) {
        self.channel = channel
        self.group = group
        port = channel.localAddress?.port ?? 0
    }

    /// Closes the listening socket and all connections, and ends the thread. May be called once.
    public func shutdown() async {
        // A socket that is closed already is what was wanted.
        try? await channel.close().get()
        try? await group.shutdownGracefully()
    }
}

/// The health server could not be started.
public struct HealthServerError: Error, CustomStringConvertible {
    public var address: String
    public var cause: any Error

    public var description: String {
        "Cannot serve health on \(address): \(cause). Choose another --health-port, or 0 for a free one."
    }
}

/// Answers one request after the other on a connection.
private final class HealthHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let health: HealthState
    private let metrics: MetricsRegistry
    private var request: HTTPRequestHead?

    init(health: HealthState, metrics: MetricsRegistry) {
        self.health = health
        self.metrics = metrics
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): request = head
        case .body: break
        case .end:
            guard let head = request else { return }
            request = nil
            answer(head, context: context)
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is IdleStateHandler.IdleStateEvent {
            context.close(promise: nil)
        } else {
            context.fireUserInboundEventTriggered(event)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func answer(_ head: HTTPRequestHead, context: ChannelHandlerContext) {
        let response = HealthResponse(method: head.method, uri: head.uri, health: health, metrics: metrics)
        var headers = HTTPHeaders()
        headers.add(name: "Content-Type", value: response.contentType)
        headers.add(name: "Content-Length", value: String(response.body.utf8.count))
        headers.add(name: "Cache-Control", value: "no-store")
        if response.status == .methodNotAllowed { headers.add(name: "Allow", value: "GET, HEAD") }
        if !head.isKeepAlive { headers.add(name: "Connection", value: "close") }
        let answerHead = HTTPResponseHead(version: head.version, status: response.status, headers: headers)
        context.write(wrapOutboundOut(.head(answerHead)), promise: nil)
        if head.method != .HEAD {
            context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: response.body)))), promise: nil)
        }
        let end = context.writeAndFlush(wrapOutboundOut(.end(nil)))
        guard !head.isKeepAlive else { return }
        let channel = context.channel
        end.whenComplete { _ in channel.close(promise: nil) }
    }
}

/// The answer to one request.
struct HealthResponse {
    var status: HTTPResponseStatus
    var contentType: String
    var body: String

    init(method: HTTPMethod, uri: String, health: HealthState, metrics: MetricsRegistry) {
        guard method == .GET || method == .HEAD else {
            self.init(.methodNotAllowed, [.init(check: "method", message: "Use GET.")])
            return
        }
        switch uri.prefix(while: { $0 != "?" }) {
        case "/livez": self.init(failures: health.livenessFailures)
        case "/readyz": self.init(failures: health.readinessFailures, notes: health.notes)
        case "/metrics":
            self.init(status: .ok, contentType: MetricsRegistry.contentType, body: metrics.exposition())
        default:
            self.init(.notFound, [.init(check: "path", message: "There is /livez, /readyz and /metrics.")])
        }
    }

    private init(failures: [HealthState.Reason], notes: [(subject: String, text: String)] = []) {
        self.init(failures.isEmpty ? .ok : .serviceUnavailable, failures, notes: notes)
    }

    private init(
        _ status: HTTPResponseStatus, _ reasons: [HealthState.Reason], notes: [(subject: String, text: String)] = []
    ) {
        let list = reasons.map { reason in
            "{\"check\":\(JSONText.string(reason.check)),\"message\":\(JSONText.string(reason.message))}"
        }
        let word = reasons.isEmpty ? "ok" : "failing"
        let suffix = reasons.isEmpty ? "" : ",\"reasons\":[\(list.joined(separator: ","))]"
        let facts = notes.map { "\(JSONText.string($0.subject)):\(JSONText.string($0.text))" }
        let tail = facts.isEmpty ? "" : ",\"notes\":{\(facts.joined(separator: ","))}"
        self.init(
            status: status, contentType: "application/json", body: "{\"status\":\"\(word)\"\(suffix)\(tail)}\n")
    }

    private init(status: HTTPResponseStatus, contentType: String, body: String) {
        self.status = status
        self.contentType = contentType
        self.body = body
    }
}
