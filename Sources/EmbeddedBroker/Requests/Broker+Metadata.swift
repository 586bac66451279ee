// Broker+Metadata: the cluster of one, its topics, and where coordinators are.

import EmbeddedLog
import Logging

extension Broker {
    func metadata(_ request: MetadataRequest, _ context: RequestContext) -> MetadataResponse {
        var response = MetadataResponse(
            brokers: [selfNode(for: context.connection)], clusterID: store.clusterID, controller: options.nodeID)
        guard let wanted = request.topics else {
            response.topics = store.topics.values.sorted { $0.name < $1.name }.map(describe)
            return response
        }
        response.topics = wanted.map { describe($0, allowsCreation: request.allowsAutoCreation) }
        return response
    }

    private func describe(_ wanted: MetadataRequest.Topic, allowsCreation: Bool) -> MetadataResponse.Topic {
        guard let name = wanted.name else {
            guard let topic = store.topic(id: TopicID(wanted.id)) else {
                return .init(error: .unknownTopicID, id: wanted.id)
            }
            return describe(topic)
        }
        if let topic = store.topics[name] { return describe(topic) }
        if let reason = store.reasonNotToCreate(name, partitions: 1), reason.code == .invalidTopic {
            return .init(error: .invalidTopic, name: name)
        }
        guard allowsCreation, options.autoCreatesTopics, !InternalLog.topics.contains(name) else {
            return .init(error: .unknownTopicOrPartition, name: name)
        }
        do throws(LogError) {
            let topic = try makeTopic(name, partitions: options.defaultPartitions)
            logger.info("Topic made by use", metadata: ["topic": "\(name)"])
            return describe(topic)
        } catch { return .init(error: ProtocolError(error), name: name) }
    }

    private func describe(_ topic: Topic) -> MetadataResponse.Topic {
        let node = [options.nodeID]
        return .init(
            name: topic.name, id: WireUUID(topic.id), isInternal: InternalLog.topics.contains(topic.name),
            partitions: topic.partitions.map {
                .init(
                    index: Int32($0.index), leader: options.nodeID, leaderEpoch: Self.leaderEpoch, replicas: node,
                    inSync: node)
            })
    }

    func describeCluster(_ request: DescribeClusterRequest, _ context: RequestContext) -> DescribeClusterResponse {
        DescribeClusterResponse(
            clusterID: store.clusterID, controller: options.nodeID, brokers: [selfNode(for: context.connection)])
    }

    func findCoordinator(_ request: FindCoordinatorRequest, _ context: RequestContext) -> FindCoordinatorResponse {
        guard (0...1).contains(request.keyType) else { return request.failed(.invalidRequest) }
        let node = selfNode(for: context.connection)
        return FindCoordinatorResponse(
            nodeID: node.nodeID, host: node.host, port: node.port,
            coordinators: request.keys.map {
                .init(key: $0, nodeID: node.nodeID, host: node.host, port: node.port)
            })
    }
}
