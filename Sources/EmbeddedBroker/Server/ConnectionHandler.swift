// ConnectionHandler: frames of one connection in, answers out in the order of the requests.

import Logging
import NIOCore

/// Cuts the byte stream into requests and keeps the answers in order.
///
/// Requests are handled as they come, also while the answer to an earlier one is outstanding; answers wait for their
/// turn. Reading stops while the client does not take its answers or has too many requests under way.
final class ConnectionHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let broker: Broker
    private let options: BrokerOptions
    private var context: ChannelHandlerContext?
    private var received: ByteBuffer?
    /// Answers by the order of their requests; nil while outstanding.
    private var answers = CircularBuffer<[ByteBuffer]?>()
    private var firstAnswer = 0
    private var isHandling = false
    private var hasUnflushed = false
    private var wantsRead = false
    private var isAccepted = false
    /// The address the client used, which it is told again in answers.
    private(set) var localHost = ""
    private(set) var localPort = 0
    private(set) var clientHost = ""

    init(broker: Broker) {
        self.broker = broker
        options = broker.options
    }

    // MARK: Life

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        guard broker.connectionCount < options.connectionsMax else {
            broker.logger.warning(
                "Connection refused: too many", metadata: ["count": .stringConvertible(options.connectionsMax)])
            return context.close(promise: nil)
        }
        isAccepted = true
        broker.connectionCount += 1
        localHost = context.localAddress?.ipAddress ?? options.host
        localPort = context.localAddress?.port ?? options.port
        clientHost = "/\(context.remoteAddress?.ipAddress ?? "unknown")"
    }

    func channelInactive(context: ChannelHandlerContext) {
        setReceived(nil)
        answers.removeAll()
        self.context = nil
        if isAccepted { broker.connectionCount -= 1 }
        isAccepted = false
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A client that went away is no news.
        broker.logger.debug("Connection failed", metadata: ["error": "\(error)"])
        context.close(promise: nil)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is IdleStateHandler.IdleStateEvent {
            if answers.isEmpty { context.close(promise: nil) }
        } else {
            context.fireUserInboundEventTriggered(event)
        }
    }

    /// Ends the connection; answers that are outstanding are dropped.
    func close() { context?.close(promise: nil) }

    private func reject(_ context: ChannelHandlerContext, _ reason: String) {
        broker.logger.warning("Connection closed", metadata: ["reason": "\(reason)", "address": "\(clientHost)"])
        setReceived(nil)
        context.close(promise: nil)
    }

    // MARK: In

    private var isPaused: Bool {
        guard let context else { return true }
        return answers.count >= options.requestsInFlightMax || !context.channel.isWritable
    }

    func read(context: ChannelHandlerContext) {
        if isPaused { wantsRead = true } else { context.read() }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        if var buffer = received {
            // Given up first: a second owner would make the write copy it.
            let count = buffer.readableBytes
            received = nil
            buffer.writeBuffer(&bytes)
            received = buffer
            broker.receivedBytes += buffer.readableBytes - count
        } else {
            setReceived(bytes)
        }
        handleFrames(context)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        flush(context)
        context.fireChannelReadComplete()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        resume(context)
        context.fireChannelWritabilityChanged()
    }

    private func resume(_ context: ChannelHandlerContext) {
        guard !isPaused, !isHandling else { return }
        handleFrames(context)
        flush(context)
        guard wantsRead, !isPaused else { return }
        wantsRead = false
        context.read()
    }

    private func setReceived(_ buffer: ByteBuffer?) {
        broker.receivedBytes += (buffer?.readableBytes ?? 0) - (received?.readableBytes ?? 0)
        received = buffer
    }

    private func handleFrames(_ context: ChannelHandlerContext) {
        guard !isHandling else { return }
        isHandling = true
        defer { isHandling = false }
        while !isPaused, var buffer = received {
            guard let length: Int32 = buffer.getInteger(at: buffer.readerIndex) else { break }
            guard (8...options.requestBytesMax).contains(Int(length)) else {
                return reject(context, "request of \(length) bytes")
            }
            guard buffer.readableBytes >= 4 + Int(length) else {
                received = nil
                // A stream without a pause always leaves the beginning of a request behind: without this the buffer would
                // grow by all requests that came before it.
                buffer.discardReadBytes()
                buffer.reserveCapacity(minimumWritableBytes: min(4 + Int(length) - buffer.readableBytes, 1 << 20))
                received = buffer
                if broker.receivedBytes > options.receivedBytesMax { reject(context, "too much unfinished input") }
                return
            }
            buffer.moveReaderIndex(forwardBy: 4)
            guard let frame = buffer.readSlice(length: Int(length)) else { break }
            setReceived(buffer.readableBytes > 0 ? buffer : nil)
            let slot = firstAnswer + answers.count
            answers.append(nil)
            do {
                try broker.handle(frame, on: self, slot: slot)
            } catch {
                return reject(context, "\(error)")
            }
        }
    }

    // MARK: Out

    /// Gives a request its answer; an empty one where the protocol has none.
    func answer(_ slot: Int, _ pieces: [ByteBuffer]) {
        guard let context, slot >= firstAnswer, slot - firstAnswer < answers.count else { return }
        answers[answers.index(answers.startIndex, offsetBy: slot - firstAnswer)] = pieces
        while let first = answers.first, let ready = first {
            answers.removeFirst()
            firstAnswer += 1
            for piece in ready { context.write(wrapOutboundOut(piece), promise: nil) }
            hasUnflushed = hasUnflushed || !ready.isEmpty
        }
        guard !isHandling else { return }
        flush(context)
        resume(context)
    }

    private func flush(_ context: ChannelHandlerContext) {
        guard hasUnflushed else { return }
        hasUnflushed = false
        context.flush()
    }
}
