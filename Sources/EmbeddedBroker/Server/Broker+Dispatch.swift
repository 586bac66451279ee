// Broker+Dispatch: from a frame to the handler of its request, and from its response to bytes.

import Logging
import NIOCore

/// Where a request came from.
struct RequestContext {
    let key: APIKey
    let version: Int16
    let correlationID: Int32
    let clientID: String
    let connection: ConnectionHandler
    let slot: Int
}

/// Why a connection is closed instead of answered.
enum FrameError: Error, CustomStringConvertible {
    case unknownRequest(Int16)
    case unsupportedVersion(APIKey, Int16)
    case malformedHeader
    case malformed(APIKey, Int16, WireError)

    var description: String {
        switch self {
        case .unknownRequest(let key): "unknown request \(key)"
        case .unsupportedVersion(let key, let version): "unsupported version \(version) of \(key)"
        case .malformedHeader: "malformed request header"
        case .malformed(let key, let version, let error): "malformed \(key) request, version \(version): \(error)"
        }
    }
}

extension Broker {
    /// Handles one request.
    ///
    /// - Throws: when nothing can be answered; the connection is to be closed then, as Kafka does.
    func handle(_ frame: ByteBuffer, on connection: ConnectionHandler, slot: Int) throws(FrameError) {
        var frame = frame
        guard let number = frame.readInteger(as: Int16.self), let version = frame.readInteger(as: Int16.self),
            let correlationID = frame.readInteger(as: Int32.self)
        else { throw .malformedHeader }
        guard let key = APIKey(rawValue: number) else { throw .unknownRequest(number) }
        guard key.versions.contains(version) else {
            guard key == .apiVersions else { throw .unsupportedVersion(key, version) }
            // The client learns from an answer in version 0 what it may send.
            let context = RequestContext(
                key: key, version: 0, correlationID: correlationID, clientID: "", connection: connection, slot: slot)
            return send(apiVersions(error: .unsupportedVersion), to: context)
        }
        // The header's client id is an ordinary string in all versions; only its tagged fields depend on flexibility.
        var header = WireCoder(reading: frame, version: version, isFlexible: false)
        var clientID: String?
        do {
            try header.nullableString(&clientID)
        } catch { throw .malformedHeader }
        frame.moveReaderIndex(forwardBy: frame.readableBytes - header.readableBytes)
        var body = WireCoder(reading: frame, version: version, isFlexible: key.isFlexible(version))
        do {
            try body.tags()
        } catch { throw .malformedHeader }
        let context = RequestContext(
            key: key, version: version, correlationID: correlationID, clientID: clientID ?? "",
            connection: connection, slot: slot)
        do {
            try dispatch(&body, context)
        } catch { throw .malformed(key, version, error) }
    }

    private func dispatch(_ body: inout WireCoder, _ context: RequestContext) throws(WireError) {
        switch context.key {
        case .produce: try run(&body, context, produce)
        case .fetch: try run(&body, context, fetch)
        case .listOffsets: try run(&body, context, Self.direct(listOffsets))
        case .metadata: try run(&body, context, Self.direct(metadata))
        case .offsetCommit: try run(&body, context, offsetCommit)
        case .offsetFetch: try run(&body, context, Self.direct(offsetFetch))
        case .findCoordinator: try run(&body, context, Self.direct(findCoordinator))
        case .joinGroup: try run(&body, context, joinGroup)
        case .heartbeat: try run(&body, context, Self.direct(heartbeat))
        case .leaveGroup: try run(&body, context, Self.direct(leaveGroup))
        case .syncGroup: try run(&body, context, syncGroup)
        case .describeGroups: try run(&body, context, Self.direct(describeGroups))
        case .listGroups: try run(&body, context, Self.direct(listGroups))
        case .apiVersions:
            try run(&body, context, Self.direct { [self] (_: ApiVersionsRequest, _) in apiVersions(error: .none) })
        case .createTopics: try run(&body, context, Self.direct(createTopics))
        case .deleteTopics: try run(&body, context, Self.direct(deleteTopics))
        case .deleteRecords: try run(&body, context, Self.direct(deleteRecords))
        case .initProducerID: try run(&body, context, initProducerID)
        case .offsetForLeaderEpoch: try run(&body, context, Self.direct(offsetForLeaderEpoch))
        case .addPartitionsToTransaction: try run(&body, context, addPartitions)
        case .addOffsetsToTransaction: try run(&body, context, addOffsets)
        case .endTransaction: try run(&body, context, endTransaction)
        case .transactionOffsetCommit: try run(&body, context, transactionOffsetCommit)
        case .describeConfigs: try run(&body, context, Self.direct(describeConfigs))
        case .alterConfigs: try run(&body, context, Self.direct(alterConfigs))
        case .createPartitions: try run(&body, context, Self.direct(createPartitions))
        case .deleteGroups: try run(&body, context, Self.direct(deleteGroups))
        case .incrementalAlterConfigs: try run(&body, context, Self.direct(incrementalAlterConfigs))
        case .offsetDelete: try run(&body, context, Self.direct(offsetDelete))
        case .describeCluster: try run(&body, context, Self.direct(describeCluster))
        }
    }

    /// A handler that answers when it returns, in the form of one that answers later.
    private static func direct<R: BrokerRequest>(
        _ handler: @escaping (R, RequestContext) -> R.Response
    ) -> (R, RequestContext, @escaping (R.Response) -> Void) -> Void {
        { request, context, reply in reply(handler(request, context)) }
    }

    private func run<R: BrokerRequest>(
        _ body: inout WireCoder, _ context: RequestContext,
        _ handler: @escaping (R, RequestContext, @escaping (R.Response) -> Void) -> Void
    ) throws(WireError) {
        let request: R = try body.readMessage()
        guard let fault = faults.next(for: context.key) else {
            return handler(request, context) { [self] response in send(response, to: context) }
        }
        switch fault {
        case .delay(let milliseconds):
            let work = NIOLoopBound((self, request, context, handler), eventLoop: loop)
            loop.scheduleTask(in: .milliseconds(Int64(milliseconds))) {
                let (broker, request, context, handler) = work.value
                handler(request, context) { broker.send($0, to: context) }
            }
        case .disconnectBefore: context.connection.close()
        case .disconnectAfter: handler(request, context) { _ in context.connection.close() }
        case .error(let error): send(request.failed(error), to: context)
        case .stall: break
        }
    }

    /// Writes a response in the request's version.
    func send<M: WireStruct>(_ message: M, to context: RequestContext) {
        var head = ByteBufferAllocator().buffer(capacity: 256)
        head.writeInteger(Int32(0))
        head.writeInteger(context.correlationID)
        let isFlexible = context.key.isFlexible(context.version)
        // The response header of ApiVersions has no tagged fields in any version: the client may not know yet.
        if isFlexible, context.key != .apiVersions { head.writeInteger(UInt8(0)) }
        var coder = WireCoder(writingInto: head, version: context.version, isFlexible: isFlexible)
        do {
            try coder.writeMessage(message)
        } catch {
            logger.error("Response not written", metadata: ["code": "\(context.key)", "error": "\(error)"])
            return context.connection.close()
        }
        var pieces = coder.pieces()
        let length = pieces.reduce(-4) { $0 + $1.readableBytes }
        pieces[0].setInteger(Int32(length), at: pieces[0].readerIndex)
        context.connection.answer(context.slot, pieces)
    }

    /// The answer to a request that has none.
    func sendNothing(to context: RequestContext) { context.connection.answer(context.slot, []) }

    func apiVersions(error: ProtocolError) -> ApiVersionsResponse {
        ApiVersionsResponse(
            error: error,
            ranges: APIKey.allCases.map {
                let versions = $0.advertisedVersions
                return .init(key: $0.rawValue, minimum: versions.lowerBound, maximum: versions.upperBound)
            })
    }
}
