// Broker+Fetch: hands out record batches as they lie in the log.

import EmbeddedLog
import NIOCore

extension Broker {
    func fetch(_ request: FetchRequest, _ context: RequestContext, _ reply: @escaping (FetchResponse) -> Void) {
        // Sessions are never made: clients send whole requests. One of another broker's is told to start anew.
        guard request.sessionID == 0 || request.sessionEpoch <= 0 else {
            return reply(FetchResponse(error: ProtocolError(code: 70)))
        }
        let found = read(request, context.version)
        let isEnough = found.bytes >= Int(request.bytesMin) || found.hasError || found.watched.isEmpty
        guard !isEnough, request.waitMillisecondsMax > 0 else { return reply(found.response) }
        for (partition, _) in found.watched where partition.onVisible == nil {
            if let topic = store.topics[partition.topic] { watch(topic) }
        }
        let waiting = WaitingFetch(watched: found.watched, isolation: request.isolationLevel) { [self] isLast in
            let found = read(request, context.version)
            guard isLast || found.hasError || found.bytes >= Int(request.bytesMin) else { return false }
            reply(found.response)
            return true
        }
        waitingFetches.add(waiting, waitMilliseconds: Int64(request.waitMillisecondsMax))
    }

    private struct Found {
        var response = FetchResponse()
        var bytes = 0
        var hasError = false
        var watched: [(partition: PartitionLog, offset: Int64)] = []
    }

    private func read(_ request: FetchRequest, _ version: Int16) -> Found {
        var found = Found()
        let budget = min(Int(max(0, request.bytesMax)), options.fetchBytesMax)
        for topic in request.topics {
            let known = version >= 13 ? store.topic(id: TopicID(topic.id)) : store.topics[topic.name]
            let unknown = version >= 13 ? ProtocolError.unknownTopicID : .unknownTopicOrPartition
            var answers: [FetchResponse.Partition] = []
            answers.reserveCapacity(topic.partitions.count)
            for wanted in topic.partitions {
                guard let log = known?.partitions.element(at: wanted.index) else {
                    found.hasError = true
                    answers.append(.init(index: wanted.index, error: known == nil ? unknown : .unknownTopicOrPartition))
                    continue
                }
                guard wanted.leaderEpoch <= 0 else {
                    found.hasError = true
                    answers.append(.init(index: wanted.index, error: .unknownLeaderEpoch))
                    continue
                }
                answers.append(read(wanted, of: log, request, budget: budget, into: &found))
            }
            found.response.topics.append(.init(name: topic.name, id: topic.id, partitions: answers))
        }
        return found
    }

    private func read(
        _ wanted: FetchRequest.Partition, of log: PartitionLog, _ request: FetchRequest, budget: Int,
        into found: inout Found
    ) -> FetchResponse.Partition {
        var answer = FetchResponse.Partition(
            index: wanted.index, highWatermark: log.highWatermark, lastStableOffset: log.lastStableOffset,
            startOffset: log.logStartOffset)
        let isolation = request.isolationLevel
        // A reader that is at the end costs no look-up.
        let end = isolation == .readCommitted ? log.lastStableOffset : log.highWatermark
        let room = budget - found.bytes
        do throws(LogError) {
            // The first records of an answer come even if they are more than the budget, or the reader never gets on.
            if wanted.offset != end, room > 0 || found.bytes == 0 {
                let slice = try log.locate(
                    from: wanted.offset, maxBytes: min(room, Int(max(0, wanted.bytesMax))), isolation: isolation,
                    atLeastOneBatch: found.bytes == 0)
                if slice.byteCount > 0 {
                    answer.records = try bytes(of: slice, in: log)
                    found.bytes += slice.byteCount
                }
                if isolation == .readCommitted {
                    answer.aborted = slice.abortedTransactions.map {
                        .init(producerID: $0.producerID, firstOffset: $0.firstOffset)
                    }
                }
            }
        } catch {
            found.hasError = true
            answer.error = ProtocolError(error)
            if error.code == .offsetOutOfRange { answer.highWatermark = log.highWatermark }
        }
        if isolation == .readCommitted, answer.aborted == nil { answer.aborted = [] }
        found.watched.append((log, wanted.offset))
        return answer
    }

    private func bytes(of slice: LogSlice, in log: PartitionLog) throws(LogError) -> ByteBuffer {
        var buffer = ByteBufferAllocator().buffer(capacity: slice.byteCount)
        var outcome: Result<Int, LogError> = .success(0)
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: slice.byteCount) { memory in
            let target = UnsafeMutableRawBufferPointer(rebasing: memory[..<slice.byteCount])
            do throws(LogError) {
                let count = try log.read(slice, into: target)
                outcome = .success(count)
                return count
            } catch {
                outcome = .failure(error)
                return 0
            }
        }
        _ = try outcome.get()
        return buffer
    }
}

extension FetchRequest {
    fileprivate var isolationLevel: Isolation { isolation == 1 ? .readCommitted : .readUncommitted }
}

extension TopicID {
    init(_ id: WireUUID) { self.init(high: id.high, low: id.low) }
}

extension WireUUID {
    init(_ id: TopicID) { self.init(high: id.high, low: id.low) }
}

extension Array {
    /// The element with that number, if there is one.
    func element(at index: Int32) -> Element? { indices.contains(Int(index)) ? self[Int(index)] : nil }
}
