// Broker+Topics: making, deleting and enlarging topics.

import EmbeddedLog
import Logging

extension Broker {
    func createTopics(_ request: CreateTopicsRequest, _ context: RequestContext) -> CreateTopicsResponse {
        let names = Dictionary(grouping: request.topics, by: \.name)
        return CreateTopicsResponse(
            topics: request.topics.map { wanted in
                guard names[wanted.name]?.count == 1 else {
                    return .init(name: wanted.name, error: .invalidRequest, message: "named twice")
                }
                return create(wanted, validatesOnly: request.validatesOnly)
            })
    }

    private func create(_ wanted: CreateTopicsRequest.Topic, validatesOnly: Bool) -> CreateTopicsResponse.Topic {
        func refuse(_ error: ProtocolError, _ message: String) -> CreateTopicsResponse.Topic {
            .init(name: wanted.name, error: error, message: message)
        }
        guard wanted.replication == 1 || wanted.replication == -1 else {
            return refuse(.invalidReplicationFactor, "Replication \(wanted.replication): this broker is a single node")
        }
        var partitions = wanted.partitions == -1 ? options.defaultPartitions : Int(wanted.partitions)
        if !wanted.assignments.isEmpty {
            guard wanted.assignments.allSatisfy({ $0.brokers == [options.nodeID] }),
                wanted.assignments.map(\.index).sorted() == Array(0..<Int32(wanted.assignments.count))
            else { return refuse(.invalidReplicaAssignment, "The only broker is \(options.nodeID)") }
            partitions = wanted.assignments.count
        }
        let settings = Dictionary(wanted.settings.compactMap { setting in setting.value.map { (setting.name, $0) } }) {
            _, last in last
        }
        if validatesOnly {
            if let reason = store.reasonNotToCreate(wanted.name, partitions: partitions, overrides: settings) {
                return refuse(ProtocolError(reason), reason.message)
            }
            return .init(name: wanted.name, partitions: Int32(partitions), replication: 1)
        }
        do throws(LogError) {
            let topic = try makeTopic(wanted.name, partitions: partitions, overrides: settings)
            logger.info("Topic made", metadata: ["topic": "\(topic.name)", "partitions": "\(partitions)"])
            return .init(
                name: topic.name, id: WireUUID(topic.id), partitions: Int32(partitions), replication: 1,
                settings: TopicConfig.names.map {
                    .init(
                        name: $0, value: topic.config.value(of: $0),
                        source: (topic.overrides[$0] == nil ? ConfigSource.standard : .topic).rawValue)
                })
        } catch { return refuse(ProtocolError(error), error.message) }
    }

    func deleteTopics(_ request: DeleteTopicsRequest, _ context: RequestContext) -> DeleteTopicsResponse {
        DeleteTopicsResponse(
            topics: request.all.map { wanted in
                let topic = wanted.name.flatMap { store.topics[$0] } ?? store.topic(id: TopicID(wanted.id))
                guard let topic else {
                    return .init(
                        name: wanted.name, id: wanted.id,
                        error: wanted.name == nil ? .unknownTopicID : .unknownTopicOrPartition)
                }
                guard !InternalLog.topics.contains(topic.name) else {
                    return .init(name: topic.name, id: wanted.id, error: .invalidTopic, message: "The broker's own")
                }
                do throws(LogError) {
                    let partitions = topic.partitions
                    try store.deleteTopic(topic.name)
                    try groups.removeOffsets(ofTopic: topic.name)
                    waitingFetches.topicDeleted(partitions)
                    logger.info("Topic deleted", metadata: ["topic": "\(topic.name)"])
                    return .init(name: topic.name, id: WireUUID(topic.id))
                } catch {
                    return .init(
                        name: topic.name, id: wanted.id, error: ProtocolError(error), message: error.message)
                }
            })
    }

    func createPartitions(
        _ request: CreatePartitionsRequest, _ context: RequestContext
    ) -> CreatePartitionsResponse {
        CreatePartitionsResponse(
            topics: request.topics.map { wanted in
                guard let topic = store.topics[wanted.name] else {
                    return .init(name: wanted.name, error: .unknownTopicOrPartition)
                }
                let current = topic.partitions.count
                guard Int(wanted.count) > current else {
                    return .init(
                        name: wanted.name, error: .invalidPartitions, message: "The topic has \(current) partitions")
                }
                if let assignments = wanted.assignments {
                    guard assignments.count == Int(wanted.count) - current,
                        assignments.allSatisfy({ $0.brokers == [options.nodeID] })
                    else { return .init(name: wanted.name, error: .invalidReplicaAssignment) }
                }
                guard !request.validatesOnly else { return .init(name: wanted.name) }
                do throws(LogError) {
                    try store.addPartitions(to: wanted.name, total: Int(wanted.count))
                    if let topic = store.topics[wanted.name] { watch(topic) }
                    return .init(name: wanted.name)
                } catch { return .init(name: wanted.name, error: ProtocolError(error), message: error.message) }
            })
    }
}
