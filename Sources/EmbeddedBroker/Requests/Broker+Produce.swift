// Broker+Produce: takes record batches.

import EmbeddedLog
import Logging
import NIOCore

extension Broker {
    func produce(
        _ request: ProduceRequest, _ context: RequestContext, _ reply: @escaping (ProduceResponse) -> Void
    ) {
        var response = ProduceResponse()
        var last: DurabilityPosition?
        let isAcceptable = (-1...1).contains(request.acks)
        for topic in request.topics {
            var answers: [ProduceResponse.Partition] = []
            answers.reserveCapacity(topic.partitions.count)
            for partition in topic.partitions {
                guard isAcceptable else {
                    answers.append(.init(index: partition.index, error: .invalidRequiredAcks))
                    continue
                }
                let target = TopicPartition(topic: topic.name, partition: partition.index)
                let (answer, position) = append(partition.records, to: target, request.transactionalID)
                if let position { last = max(last ?? position, position) }
                answers.append(answer)
            }
            response.topics.append(.init(name: topic.name, partitions: answers))
        }
        switch (request.acks, last) {
        case (0, _):
            // No answer is expected; an error can only be told by closing, so that the client asks for metadata.
            if response.topics.contains(where: { $0.partitions.contains { $0.error != .none } }) {
                context.connection.close()
            }
            sendNothing(to: context)
        case (-1, .some(let position)):
            store.whenDurable(position) { result in
                if case .failure(let error) = result { response.fail(ProtocolError(error), error.message) }
                reply(response)
            }
        default: reply(response)
        }
    }

    private func append(
        _ records: ByteBuffer?, to target: TopicPartition, _ transactionalID: String?
    ) -> (ProduceResponse.Partition, DurabilityPosition?) {
        func refuse(
            _ error: ProtocolError, _ message: String? = nil
        ) -> (ProduceResponse.Partition, DurabilityPosition?) {
            (ProduceResponse.Partition(index: target.partition, error: error, message: message), nil)
        }
        guard let log = partition(target.topic, target.partition) else { return refuse(.unknownTopicOrPartition) }
        guard !InternalLog.topics.contains(target.topic) else {
            return refuse(.invalidTopic, "\(target.topic) belongs to the broker")
        }
        guard let records, records.readableBytes > 0 else { return refuse(.invalidRecord, "no records") }
        if let error = transactionRefusal(records, target, transactionalID) { return refuse(error) }
        do throws(LogError) {
            let result = try log.append(records.readableBytesUInt8Span.bytes)
            return (
                ProduceResponse.Partition(
                    index: target.partition, baseOffset: result.baseOffset,
                    appendTimeMilliseconds: result.logAppendTime, startOffset: result.logStartOffset),
                result.position
            )
        } catch {
            if error.code == .storage || error.code == .unknown {
                logger.error(
                    "Append failed", metadata: ["topic": "\(target.topic)", "error": "\(error)"])
            }
            return refuse(ProtocolError(error), error.message)
        }
    }

    /// A transactional batch belongs to an open transaction that knows its partition; without this check a producer
    /// that was given up could open a transaction that nobody ends.
    private func transactionRefusal(
        _ records: ByteBuffer, _ target: TopicPartition, _ transactionalID: String?
    ) -> ProtocolError? {
        let start = records.readerIndex
        guard let attributes: Int16 = records.getInteger(at: start + RecordBatchField.attributes),
            attributes & RecordBatchField.transactionalBit != 0,
            let id: Int64 = records.getInteger(at: start + RecordBatchField.producerID),
            let epoch: Int16 = records.getInteger(at: start + RecordBatchField.producerEpoch)
        else { return nil }
        guard let transactionalID else { return .invalidRequest }
        let error = transactions.checkProduce(
            transactionalID, ProducerIdentity(id: id, epoch: epoch), to: target)
        return error == .none ? nil : error
    }
}

/// Where the fields lie in a record batch of format 2.
private enum RecordBatchField {
    static let attributes = 21
    static let producerID = 43
    static let producerEpoch = 51
    static let transactionalBit: Int16 = 1 << 4
}

extension ProduceResponse {
    /// Turns what was appended into failures: it could not be made durable.
    fileprivate mutating func fail(_ error: ProtocolError, _ message: String) {
        for topic in topics.indices {
            for partition in topics[topic].partitions.indices
            where topics[topic].partitions[partition].error == .none {
                topics[topic].partitions[partition] = Partition(
                    index: topics[topic].partitions[partition].index, error: error, message: message)
            }
        }
    }
}
