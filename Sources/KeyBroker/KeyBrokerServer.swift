// KeyBrokerServer: the key broker over HTTPS.

import Attestation
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Sealing

/// Serves a broker on one address, TLS 1.3 alone unless the address is this machine's own.
package final class KeyBrokerServer: Sendable {
    package let port: Int
    private let channel: any Channel
    private let group: MultiThreadedEventLoopGroup
    /// Requests are answered here: signatures and disk must not hold up the event loop.
    private let workers: NIOThreadPool

    static let bodyBytesMax = 1 << 20

    /// - Parameter tls: paths of certificate and key in PEM; nil serves plain HTTP, on a loopback address only.
    package static func start(
        _ service: KeyBrokerService, host: String, port: Int, tls: (certificate: String, key: String)?,
        clock: @escaping @Sendable () -> Int64
    ) async throws -> KeyBrokerServer {
        guard tls != nil || host == "127.0.0.1" || host == "::1" else {
            throw SealingError(.badKeyFile, "without TLS the key broker serves 127.0.0.1 only, not \(host)")
        }
        var context: NIOSSLContext?
        if let tls {
            var configuration = TLSConfiguration.makeServerConfiguration(
                certificateChain: try NIOSSLCertificate.fromPEMFile(tls.certificate).map { .certificate($0) },
                privateKey: .privateKey(try NIOSSLPrivateKey(file: tls.key, format: .pem)))
            configuration.minimumTLSVersion = .tlsv13
            context = try NIOSSLContext(configuration: configuration)
        }
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let workers = NIOThreadPool(numberOfThreads: 2)
        workers.start()
        let secure = context
        do {
            let channel = try await ServerBootstrap(group: group)
                .serverChannelOption(.backlog, value: 64)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .childChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let pipeline = channel.pipeline.syncOperations
                        if let secure { try pipeline.addHandler(NIOSSLServerHandler(context: secure)) }
                        try pipeline.configureHTTPServerPipeline(withErrorHandling: true)
                        try pipeline.addHandler(IdleStateHandler(allTimeout: .seconds(30)))
                        try pipeline.addHandler(RequestHandler(service: service, workers: workers, clock: clock))
                    }
                }
                .bind(host: host, port: port).get()
            return KeyBrokerServer(channel: channel, group: group, workers: workers)
        } catch {
            try? await group.shutdownGracefully()
            throw error
        }
    }

    private init(channel: any Channel, group: MultiThreadedEventLoopGroup, workers: NIOThreadPool) {
        self.channel = channel
        self.group = group
        self.workers = workers
        port = channel.localAddress?.port ?? 0
    }

    package func shutdown() async {
        // A socket that is closed already is what was wanted.
        try? await channel.close().get()
        try? await workers.shutdownGracefully()
        try? await group.shutdownGracefully()
    }
}

/// Gathers one request after the other and has it answered by a worker.
private final class RequestHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let service: KeyBrokerService
    private let workers: NIOThreadPool
    private let clock: @Sendable () -> Int64
    private var head: HTTPRequestHead?
    private var body: [UInt8] = []
    private var isTooLong = false

    init(service: KeyBrokerService, workers: NIOThreadPool, clock: @escaping @Sendable () -> Int64) {
        self.service = service
        self.workers = workers
        self.clock = clock
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            self.head = head
            body = []
            isTooLong = false
        case .body(let part):
            isTooLong = isTooLong || body.count + part.readableBytes > KeyBrokerServer.bodyBytesMax
            if !isTooLong { body += Array(part.readableBytesView) }
        case .end:
            guard let head else { return }
            self.head = nil
            guard !isTooLong else { return context.close(promise: nil) }
            respond(to: head, context)
        }
    }

    private func respond(to head: HTTPRequestHead, _ context: ChannelHandlerContext) {
        let request = Self.request(head, body: body, peer: context.remoteAddress?.ipAddress ?? "unknown")
        body = []
        let (service, clock, isKeepAlive) = (service, clock, head.isKeepAlive)
        let answer = workers.runIfActive(eventLoop: context.eventLoop) { service.answer(request, now: clock()) }
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        answer.whenComplete { result in
            let (handler, context) = bound.value
            guard case .success(let response) = result else { return context.close(promise: nil) }
            handler.write(response, context, isKeepAlive: isKeepAlive)
        }
    }

    private static func request(_ head: HTTPRequestHead, body: [UInt8], peer: String) -> BrokerRequest {
        let parts = head.uri.split(separator: "?", maxSplits: 1)
        var query: [String: String] = [:]
        for pair in parts.count > 1 ? parts[1].split(separator: "&") : [] {
            let words = pair.split(separator: "=", maxSplits: 1)
            query[String(words[0])] = words.count > 1 ? String(words[1]) : ""
        }
        return BrokerRequest(
            method: head.method.rawValue, path: String(parts.first ?? ""), query: query,
            cookie: head.headers.first(name: "Cookie"), authorization: head.headers.first(name: "Authorization"),
            body: body, peer: peer)
    }

    private func write(_ response: BrokerResponse, _ context: ChannelHandlerContext, isKeepAlive: Bool) {
        var headers = HTTPHeaders()
        headers.add(name: "Content-Type", value: response.contentType)
        headers.add(name: "Content-Length", value: String(response.body.count))
        headers.add(name: "Cache-Control", value: "no-store")
        if let cookie = response.cookie { headers.add(name: "Set-Cookie", value: cookie) }
        if !isKeepAlive { headers.add(name: "Connection", value: "close") }
        let head = HTTPResponseHead(
            version: .http1_1, status: HTTPResponseStatus(statusCode: response.status), headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: response.body)))), promise: nil)
        let done = context.writeAndFlush(wrapOutboundOut(.end(nil)))
        guard !isKeepAlive else { return }
        let channel = context.channel
        done.whenComplete { _ in channel.close(promise: nil) }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard event is IdleStateHandler.IdleStateEvent else { return context.fireUserInboundEventTriggered(event) }
        context.close(promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
