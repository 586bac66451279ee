// Broker+Transactions: the requests of idempotent and transactional producers.

import EmbeddedLog

extension Broker {
    func initProducerID(
        _ request: InitProducerIDRequest, _ context: RequestContext,
        _ reply: @escaping (InitProducerIDResponse) -> Void
    ) {
        func answer(_ result: Result<ProducerIdentity, ProtocolError>) {
            switch result {
            case .success(let identity):
                reply(InitProducerIDResponse(producerID: identity.id, producerEpoch: identity.epoch))
            case .failure(let error):
                // Older clients know a fenced producer by its epoch only.
                let isOld = error == .producerFenced && context.version < 4
                reply(request.failed(isOld ? .invalidProducerEpoch : error))
            }
        }
        guard let transactionalID = request.transactionalID else {
            return answer(transactions.initializeIdempotent())
        }
        guard !transactionalID.isEmpty else { return reply(request.failed(.invalidRequest)) }
        guard request.timeoutMilliseconds > 0, request.timeoutMilliseconds <= options.transactionTimeoutMillisecondsMax
        else { return reply(request.failed(.invalidTransactionTimeout)) }
        transactions.initialize(
            transactionalID, expected: ProducerIdentity(id: request.producerID, epoch: request.producerEpoch),
            timeoutMilliseconds: request.timeoutMilliseconds, now: now, reply: answer)
    }

    /// Which error an older client takes for "another producer took over".
    private func fenced(_ error: ProtocolError, _ context: RequestContext) -> ProtocolError {
        error == .producerFenced && context.version < 2 ? .invalidProducerEpoch : error
    }

    func addPartitions(
        _ request: AddPartitionsRequest, _ context: RequestContext,
        _ reply: @escaping (AddPartitionsResponse) -> Void
    ) {
        let wanted = request.topics.flatMap { topic in
            topic.partitions.map { TopicPartition(topic: topic.name, partition: $0) }
        }
        let unknown = wanted.filter { partition($0.topic, $0.partition) == nil }
        guard unknown.isEmpty else {
            // All or none: those that are known are not attempted.
            return reply(
                AddPartitionsResponse(
                    topics: request.topics.map { topic in
                        .init(
                            name: topic.name,
                            partitions: topic.partitions.map {
                                let isUnknown = unknown.contains(TopicPartition(topic: topic.name, partition: $0))
                                return .init(
                                    index: $0, error: isUnknown ? .unknownTopicOrPartition : .operationNotAttempted)
                            })
                    }))
        }
        transactions.add(
            partitions: wanted, to: request.transactionalID,
            from: ProducerIdentity(id: request.producerID, epoch: request.producerEpoch), now: now
        ) { [self] in reply(request.failed(fenced($0, context))) }
    }

    func addOffsets(
        _ request: AddOffsetsRequest, _ context: RequestContext, _ reply: @escaping (AddOffsetsResponse) -> Void
    ) {
        guard !request.groupID.isEmpty else { return reply(request.failed(.invalidGroupID)) }
        transactions.add(
            group: request.groupID, to: request.transactionalID,
            from: ProducerIdentity(id: request.producerID, epoch: request.producerEpoch), now: now
        ) { [self] in reply(request.failed(fenced($0, context))) }
    }

    func endTransaction(
        _ request: EndTransactionRequest, _ context: RequestContext,
        _ reply: @escaping (EndTransactionResponse) -> Void
    ) {
        transactions.end(
            request.transactionalID, commits: request.commits,
            from: ProducerIdentity(id: request.producerID, epoch: request.producerEpoch), now: now
        ) { [self] in reply(request.failed(fenced($0, context))) }
    }

    func transactionOffsetCommit(
        _ request: TransactionOffsetCommitRequest, _ context: RequestContext,
        _ reply: @escaping (TransactionOffsetCommitResponse) -> Void
    ) {
        guard !request.groupID.isEmpty else { return reply(request.failed(.invalidGroupID)) }
        var error = transactions.checkOffsets(
            request.transactionalID, ProducerIdentity(id: request.producerID, epoch: request.producerEpoch),
            group: request.groupID)
        if error == .none, let group = groups.groups[request.groupID] {
            error = group.machine.checkTransactionCommit(
                memberID: request.memberID, instanceID: request.groupInstanceID, generation: request.generation,
                now: now)
        } else if error == .none, request.generation >= 0 {
            error = .illegalGeneration
        }
        guard error == .none else { return reply(request.failed(error)) }
        var offsets: [TopicPartition: GroupOffset] = [:]
        let time = now
        var response = TransactionOffsetCommitResponse(
            topics: request.topics.map { topic in
                .init(
                    name: topic.name,
                    partitions: topic.partitions.map {
                        let target = TopicPartition(topic: topic.name, partition: $0.index)
                        let error = refusal(of: $0.metadata, for: target)
                        guard error == .none else { return .init(index: $0.index, error: error) }
                        offsets[target] = GroupOffset(
                            offset: $0.offset, leaderEpoch: $0.leaderEpoch, metadata: $0.metadata, committedAt: time)
                        return .init(index: $0.index)
                    })
            })
        let written = Result { () throws(LogError) in
            try groups.hold(offsets, of: request.groupID, producerID: request.producerID)
        }
        whenDurable(written) { error in
            if error != .none { response.topics.fail(error) }
            reply(response)
        }
    }
}
