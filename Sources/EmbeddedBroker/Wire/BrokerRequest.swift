// BrokerRequest: which response answers which request, also when the whole request failed.

/// A request with its response.
protocol BrokerRequest: WireStruct {
    associatedtype Response: WireStruct
    static var key: APIKey { get }
    /// The response that tells this error for everything that was asked.
    func failed(_ error: ProtocolError) -> Response
}

extension ApiVersionsRequest: BrokerRequest {
    static var key: APIKey { .apiVersions }
    func failed(_ error: ProtocolError) -> ApiVersionsResponse { ApiVersionsResponse(error: error) }
}

extension MetadataRequest: BrokerRequest {
    static var key: APIKey { .metadata }
    func failed(_ error: ProtocolError) -> MetadataResponse {
        MetadataResponse(topics: (topics ?? []).map { .init(error: error, name: $0.name, id: $0.id) })
    }
}

extension DescribeClusterRequest: BrokerRequest {
    static var key: APIKey { .describeCluster }
    func failed(_ error: ProtocolError) -> DescribeClusterResponse { DescribeClusterResponse(error: error) }
}

extension ProduceRequest: BrokerRequest {
    static var key: APIKey { .produce }
    func failed(_ error: ProtocolError) -> ProduceResponse {
        ProduceResponse(
            topics: topics.map { topic in
                .init(name: topic.name, partitions: topic.partitions.map { .init(index: $0.index, error: error) })
            })
    }
}

extension FetchRequest: BrokerRequest {
    static var key: APIKey { .fetch }
    func failed(_ error: ProtocolError) -> FetchResponse {
        FetchResponse(
            topics: topics.map { topic in
                .init(
                    name: topic.name, id: topic.id,
                    partitions: topic.partitions.map { .init(index: $0.index, error: error) })
            })
    }
}

extension ListOffsetsRequest: BrokerRequest {
    static var key: APIKey { .listOffsets }
    func failed(_ error: ProtocolError) -> ListOffsetsResponse {
        ListOffsetsResponse(
            topics: topics.map { topic in
                .init(name: topic.name, partitions: topic.partitions.map { .init(index: $0.index, error: error) })
            })
    }
}

extension OffsetForLeaderEpochRequest: BrokerRequest {
    static var key: APIKey { .offsetForLeaderEpoch }
    func failed(_ error: ProtocolError) -> OffsetForLeaderEpochResponse {
        OffsetForLeaderEpochResponse(
            topics: topics.map { topic in
                .init(name: topic.name, partitions: topic.partitions.map { .init(error: error, index: $0.index) })
            })
    }
}

extension DeleteRecordsRequest: BrokerRequest {
    static var key: APIKey { .deleteRecords }
    func failed(_ error: ProtocolError) -> DeleteRecordsResponse {
        DeleteRecordsResponse(
            topics: topics.map { topic in
                .init(name: topic.name, partitions: topic.partitions.map { .init(index: $0.index, error: error) })
            })
    }
}

extension FindCoordinatorRequest: BrokerRequest {
    static var key: APIKey { .findCoordinator }
    func failed(_ error: ProtocolError) -> FindCoordinatorResponse {
        FindCoordinatorResponse(error: error, coordinators: keys.map { .init(key: $0, error: error) })
    }
}

extension CreateTopicsRequest: BrokerRequest {
    static var key: APIKey { .createTopics }
    func failed(_ error: ProtocolError) -> CreateTopicsResponse {
        CreateTopicsResponse(topics: topics.map { .init(name: $0.name, error: error) })
    }
}

extension DeleteTopicsRequest: BrokerRequest {
    static var key: APIKey { .deleteTopics }
    /// The topics by name or identity, whatever the version.
    var all: [Topic] { topics + names.map { Topic(name: $0) } }

    func failed(_ error: ProtocolError) -> DeleteTopicsResponse {
        DeleteTopicsResponse(topics: all.map { .init(name: $0.name, id: $0.id, error: error) })
    }
}

extension CreatePartitionsRequest: BrokerRequest {
    static var key: APIKey { .createPartitions }
    func failed(_ error: ProtocolError) -> CreatePartitionsResponse {
        CreatePartitionsResponse(topics: topics.map { .init(name: $0.name, error: error) })
    }
}

extension DescribeConfigsRequest: BrokerRequest {
    static var key: APIKey { .describeConfigs }
    func failed(_ error: ProtocolError) -> DescribeConfigsResponse {
        DescribeConfigsResponse(resources: resources.map { .init(error: error, type: $0.type, name: $0.name) })
    }
}

extension AlterConfigsRequest: BrokerRequest {
    static var key: APIKey { .alterConfigs }
    func failed(_ error: ProtocolError) -> AlterConfigsResponse {
        AlterConfigsResponse(resources: resources.map { .init(error: error, type: $0.type, name: $0.name) })
    }
}

extension IncrementalAlterConfigsRequest: BrokerRequest {
    static var key: APIKey { .incrementalAlterConfigs }
    func failed(_ error: ProtocolError) -> AlterConfigsResponse {
        AlterConfigsResponse(resources: resources.map { .init(error: error, type: $0.type, name: $0.name) })
    }
}
