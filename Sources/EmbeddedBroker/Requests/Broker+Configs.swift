// Broker+Configs: settings of topics, and what can be told of the broker's own.

import EmbeddedLog

/// Where a setting's value comes from, by the protocol's numbers.
enum ConfigSource: Int8 {
    case topic = 1
    case broker = 4
    case standard = 5
}

private enum ResourceKind {
    static let topic: Int8 = 2
    static let broker: Int8 = 4
}

private enum ConfigOperation {
    static let set: Int8 = 0
    static let delete: Int8 = 1
    static let append: Int8 = 2
    static let subtract: Int8 = 3
}

extension Broker {
    // MARK: Describe

    func describeConfigs(_ request: DescribeConfigsRequest, _ context: RequestContext) -> DescribeConfigsResponse {
        DescribeConfigsResponse(
            resources: request.resources.map { wanted in
                var answer = DescribeConfigsResponse.Resource(type: wanted.type, name: wanted.name)
                let keys = wanted.keys.map(Set.init)
                switch wanted.type {
                case ResourceKind.topic:
                    guard let topic = store.topics[wanted.name] else {
                        answer.error = .unknownTopicOrPartition
                        return answer
                    }
                    answer.settings = TopicConfig.names.filter { keys?.contains($0) ?? true }.map {
                        describe($0, of: topic)
                    }
                case ResourceKind.broker where wanted.name.isEmpty || wanted.name == "\(options.nodeID)":
                    answer.settings = brokerSettings(port: context.connection.localPort).filter {
                        keys?.contains($0.name) ?? true
                    }.map {
                        .init(name: $0.name, value: $0.value, isReadOnly: true, source: ConfigSource.broker.rawValue)
                    }
                default:
                    answer.error = .invalidRequest
                    answer.message = "Only topics and broker \(options.nodeID) have settings"
                }
                return answer
            })
    }

    private func describe(_ name: String, of topic: Topic) -> DescribeConfigsResponse.Resource.Setting {
        let source: ConfigSource =
            topic.overrides[name] != nil ? .topic : options.store.topicDefaults[name] != nil ? .broker : .standard
        return .init(name: name, value: topic.config.value(of: name), source: source.rawValue)
    }

    private func brokerSettings(port: Int) -> [(name: String, value: String)] {
        [
            ("advertised.listeners", "PLAINTEXT://\(options.advertisedHost ?? options.host):\(port)"),
            ("auto.create.topics.enable", "\(options.autoCreatesTopics)"),
            ("broker.id", "\(options.nodeID)"),
            ("default.replication.factor", "1"),
            ("group.initial.rebalance.delay.ms", "\(options.initialRebalanceDelayMilliseconds)"),
            ("group.max.session.timeout.ms", "\(options.sessionTimeoutMilliseconds.upperBound)"),
            ("group.min.session.timeout.ms", "\(options.sessionTimeoutMilliseconds.lowerBound)"),
            ("log.dirs", options.directory),
            ("num.partitions", "\(options.defaultPartitions)"),
            ("socket.request.max.bytes", "\(options.requestBytesMax)"),
            ("transaction.max.timeout.ms", "\(options.transactionTimeoutMillisecondsMax)"),
        ]
    }

    // MARK: Alter

    /// Replaces all settings of a topic.
    func alterConfigs(_ request: AlterConfigsRequest, _ context: RequestContext) -> AlterConfigsResponse {
        AlterConfigsResponse(
            resources: request.resources.map { wanted in
                let settings = Dictionary(wanted.settings.compactMap { s in s.value.map { (s.name, $0) } }) { $1 }
                return alter(wanted.type, wanted.name, validatesOnly: request.validatesOnly) { _ in settings }
            })
    }

    /// Changes single settings of a topic.
    func incrementalAlterConfigs(
        _ request: IncrementalAlterConfigsRequest, _ context: RequestContext
    ) -> AlterConfigsResponse {
        AlterConfigsResponse(
            resources: request.resources.map { wanted in
                alter(wanted.type, wanted.name, validatesOnly: request.validatesOnly) { topic throws(LogError) in
                    var settings = topic.overrides
                    for change in wanted.settings { try Self.apply(change, to: &settings, of: topic) }
                    return settings
                }
            })
    }

    private static func apply(
        _ change: IncrementalAlterConfigsRequest.Resource.Setting, to settings: inout [String: String], of topic: Topic
    ) throws(LogError) {
        let current = settings[change.name] ?? topic.config.value(of: change.name) ?? ""
        let items = current.split(separator: ",").map(String.init)
        let given = (change.value ?? "").split(separator: ",").map(String.init)
        switch change.operation {
        case ConfigOperation.set:
            guard let value = change.value else { throw LogError(.invalidRequest, "\(change.name) has no value") }
            settings[change.name] = value
        case ConfigOperation.delete: settings[change.name] = nil
        case ConfigOperation.append:
            settings[change.name] = (items + given.filter { !items.contains($0) }).joined(separator: ",")
        case ConfigOperation.subtract:
            settings[change.name] = items.filter { !given.contains($0) }.joined(separator: ",")
        default: throw LogError(.invalidRequest, "operation \(change.operation) on \(change.name)")
        }
    }

    private func alter(
        _ type: Int8, _ name: String, validatesOnly: Bool, _ settings: (Topic) throws(LogError) -> [String: String]
    ) -> AlterConfigsResponse.Resource {
        var answer = AlterConfigsResponse.Resource(type: type, name: name)
        guard type == ResourceKind.topic else {
            answer.error = .invalidRequest
            answer.message = "Only topics' settings can be changed while the broker runs"
            return answer
        }
        guard let topic = store.topics[name] else {
            answer.error = .unknownTopicOrPartition
            return answer
        }
        do throws(LogError) {
            let changed = try settings(topic)
            _ = try TopicConfig(changed)
            if !validatesOnly { try store.setOverrides(of: name, to: changed) }
        } catch {
            answer.error = ProtocolError(error)
            answer.message = error.message
        }
        return answer
    }
}
