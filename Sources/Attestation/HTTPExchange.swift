// HTTPExchange: one HTTP request and its answer, for threads that may wait.

import Dispatch
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// A key broker's address: `https://host:port`, or `http://` on this machine alone.
public struct BrokerAddress: Sendable, Equatable, CustomStringConvertible {
    public let host: String
    public let port: Int
    public let isEncrypted: Bool

    public init(_ text: String) throws(AttestationError) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: true)
        guard parts.count == 2, parts[0] == "https:" || parts[0] == "http:",
            let colon = parts[1].lastIndex(of: ":"), let port = Int(parts[1][parts[1].index(after: colon)...]),
            (1...65_535).contains(port)
        else {
            throw AttestationError(
                .protocolError, "the key broker's address '\(text)' must be https://HOST:PORT")
        }
        host = String(parts[1][..<colon])
        self.port = port
        isEncrypted = parts[0] == "https:"
        guard isEncrypted || host == "127.0.0.1" || host == "localhost" else {
            throw AttestationError(
                .protocolError, "the key broker's address '\(text)' must be https:// unless it is on this machine")
        }
    }

    public var description: String { "\(isEncrypted ? "https" : "http")://\(host):\(port)" }
}

/// What came back.
struct HTTPAnswer: Sendable {
    var status: Int
    var cookie: String?
    var body: [UInt8]
}

/// A client for one key broker: a connection for each request, closed afterwards.
final class HTTPExchange: Sendable {
    private let address: BrokerAddress
    private let tls: NIOSSLContext?
    static let timeoutSeconds: Int64 = 15

    /// - Parameter certificatePath: PEM of the broker's own certificate, the only one that is accepted.
    init(address: BrokerAddress, certificatePath: String?) throws(AttestationError) {
        self.address = address
        guard address.isEncrypted else {
            tls = nil
            return
        }
        guard let certificatePath else {
            throw AttestationError(
                .protocolError, "\(address) needs the key broker's certificate (--key-broker-certificate FILE)")
        }
        do {
            var configuration = TLSConfiguration.makeClientConfiguration()
            configuration.minimumTLSVersion = .tlsv13
            configuration.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(certificatePath))
            // The broker's own certificate is pinned, so its name adds nothing.
            configuration.certificateVerification = .noHostnameVerification
            tls = try NIOSSLContext(configuration: configuration)
        } catch {
            throw AttestationError(
                .protocolError, "the key broker's certificate \(certificatePath) cannot be used: \(error)")
        }
    }

    /// Sends a request and waits for the whole answer. Blocks the calling thread.
    func send(
        _ method: HTTPMethod, _ path: String, headers: [(String, String)] = [], body: [UInt8] = []
    ) throws(AttestationError) -> HTTPAnswer {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        defer { group.shutdownGracefully(queue: .global()) { _ in } }
        let loop = group.next()
        let promise = loop.makePromise(of: HTTPAnswer.self)
        var head = HTTPRequestHead(version: .http1_1, method: method, uri: path)
        head.headers.add(name: "Host", value: "\(address.host):\(address.port)")
        head.headers.add(name: "Connection", value: "close")
        head.headers.add(name: "Content-Length", value: String(body.count))
        for (name, value) in headers { head.headers.add(name: name, value: value) }
        let request = head
        let (tls, timeout) = (tls, TimeAmount.seconds(Self.timeoutSeconds))
        let bootstrap = ClientBootstrap(group: loop)
            .connectTimeout(.seconds(5))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if let tls { try pipeline.addHandler(NIOSSLClientHandler(context: tls, serverHostname: nil)) }
                    try pipeline.addHTTPClientHandlers()
                    try pipeline.addHandler(IdleStateHandler(allTimeout: timeout))
                    try pipeline.addHandler(AnswerCollector(request: request, body: body, promise: promise))
                }
            }
        bootstrap.connect(host: address.host, port: address.port).whenFailure { promise.fail($0) }
        do {
            return try promise.futureResult.wait()
        } catch let error as AttestationError {
            throw error
        } catch {
            throw AttestationError(.unreachable, "the key broker at \(address) cannot be reached: \(error)")
        }
    }
}

/// Writes the request when the connection is up and gathers the answer.
private final class AnswerCollector: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    private let request: HTTPRequestHead
    private let body: [UInt8]
    private let promise: EventLoopPromise<HTTPAnswer>
    private var answer = HTTPAnswer(status: 0, cookie: nil, body: [])

    init(request: HTTPRequestHead, body: [UInt8], promise: EventLoopPromise<HTTPAnswer>) {
        self.request = request
        self.body = body
        self.promise = promise
    }

    func channelActive(context: ChannelHandlerContext) {
        context.write(wrapOutboundOut(.head(request)), promise: nil)
        if !body.isEmpty { context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: body)))), promise: nil) }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            answer.status = Int(head.status.code)
            answer.cookie = head.headers.first(name: "Set-Cookie")
        case .body(let part):
            guard answer.body.count + part.readableBytes <= RCAR.responseBytesMax else {
                return fail(context, AttestationError(.protocolError, "the key broker's answer is too long"))
            }
            answer.body += Array(part.readableBytesView)
        case .end:
            promise.succeed(answer)
            context.close(promise: nil)
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard event is IdleStateHandler.IdleStateEvent else { return context.fireUserInboundEventTriggered(event) }
        fail(context, AttestationError(.unreachable, "the key broker did not answer in time"))
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        fail(context, AttestationError(.unreachable, "the connection to the key broker failed: \(error)"))
    }

    func channelInactive(context: ChannelHandlerContext) {
        // A second result of a promise is ignored by whoever came first having closed the channel.
        promise.fail(AttestationError(.unreachable, "the key broker closed the connection"))
    }

    private func fail(_ context: ChannelHandlerContext, _ error: AttestationError) {
        promise.fail(error)
        context.close(promise: nil)
    }
}
