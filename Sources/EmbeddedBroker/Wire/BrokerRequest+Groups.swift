// BrokerRequest+Groups: the answers to failed requests of groups and transactions.

extension JoinGroupRequest: BrokerRequest {
    static var key: APIKey { .joinGroup }
    func failed(_ error: ProtocolError) -> JoinGroupResponse { JoinGroupResponse(error: error, memberID: memberID) }
}

extension SyncGroupRequest: BrokerRequest {
    static var key: APIKey { .syncGroup }
    func failed(_ error: ProtocolError) -> SyncGroupResponse { SyncGroupResponse(error: error) }
}

extension HeartbeatRequest: BrokerRequest {
    static var key: APIKey { .heartbeat }
    func failed(_ error: ProtocolError) -> HeartbeatResponse { HeartbeatResponse(error: error) }
}

extension LeaveGroupRequest: BrokerRequest {
    static var key: APIKey { .leaveGroup }
    func failed(_ error: ProtocolError) -> LeaveGroupResponse { LeaveGroupResponse(error: error) }
}

extension OffsetCommitRequest: BrokerRequest {
    static var key: APIKey { .offsetCommit }
    func failed(_ error: ProtocolError) -> OffsetCommitResponse {
        OffsetCommitResponse(
            topics: topics.map { topic in
                .init(name: topic.name, partitions: topic.partitions.map { .init(index: $0.index, error: error) })
            })
    }
}

extension TransactionOffsetCommitRequest: BrokerRequest {
    static var key: APIKey { .transactionOffsetCommit }
    func failed(_ error: ProtocolError) -> TransactionOffsetCommitResponse {
        TransactionOffsetCommitResponse(
            topics: topics.map { topic in
                .init(name: topic.name, partitions: topic.partitions.map { .init(index: $0.index, error: error) })
            })
    }
}

extension OffsetDeleteRequest: BrokerRequest {
    static var key: APIKey { .offsetDelete }
    func failed(_ error: ProtocolError) -> OffsetDeleteResponse { OffsetDeleteResponse(error: error) }
}

extension OffsetFetchRequest: BrokerRequest {
    static var key: APIKey { .offsetFetch }
    func failed(_ error: ProtocolError) -> OffsetFetchResponse {
        // Version 1 has no field for the whole: each partition tells it.
        OffsetFetchResponse(
            topics: (topics ?? []).map { topic in
                .init(name: topic.name, partitions: topic.partitions.map { .init(index: $0, error: error) })
            },
            error: error, groups: groups.map { .init(groupID: $0.groupID, error: error) })
    }
}

extension DescribeGroupsRequest: BrokerRequest {
    static var key: APIKey { .describeGroups }
    func failed(_ error: ProtocolError) -> DescribeGroupsResponse {
        DescribeGroupsResponse(groups: groups.map { .init(error: error, groupID: $0) })
    }
}

extension ListGroupsRequest: BrokerRequest {
    static var key: APIKey { .listGroups }
    func failed(_ error: ProtocolError) -> ListGroupsResponse { ListGroupsResponse(error: error) }
}

extension DeleteGroupsRequest: BrokerRequest {
    static var key: APIKey { .deleteGroups }
    func failed(_ error: ProtocolError) -> DeleteGroupsResponse {
        DeleteGroupsResponse(results: groups.map { .init(groupID: $0, error: error) })
    }
}

extension InitProducerIDRequest: BrokerRequest {
    static var key: APIKey { .initProducerID }
    func failed(_ error: ProtocolError) -> InitProducerIDResponse { InitProducerIDResponse(error: error) }
}

extension AddPartitionsRequest: BrokerRequest {
    static var key: APIKey { .addPartitionsToTransaction }
    func failed(_ error: ProtocolError) -> AddPartitionsResponse {
        AddPartitionsResponse(
            topics: topics.map { topic in
                .init(name: topic.name, partitions: topic.partitions.map { .init(index: $0, error: error) })
            })
    }
}

extension AddOffsetsRequest: BrokerRequest {
    static var key: APIKey { .addOffsetsToTransaction }
    func failed(_ error: ProtocolError) -> AddOffsetsResponse { AddOffsetsResponse(error: error) }
}

extension EndTransactionRequest: BrokerRequest {
    static var key: APIKey { .endTransaction }
    func failed(_ error: ProtocolError) -> EndTransactionResponse { EndTransactionResponse(error: error) }
}
