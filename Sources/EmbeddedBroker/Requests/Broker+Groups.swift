// Broker+Groups: the requests of consumer groups.

import EmbeddedLog

extension Broker {
    func joinGroup(
        _ request: JoinGroupRequest, _ context: RequestContext, _ reply: @escaping (JoinGroupResponse) -> Void
    ) {
        let client = GroupMachine.Client(
            id: context.clientID, host: context.connection.clientHost, needsKnownMemberID: context.version >= 4,
            skipsAssignment: context.version >= 9)
        groups.join(request, client: client, now: now, reply: reply)
    }

    func syncGroup(
        _ request: SyncGroupRequest, _ context: RequestContext, _ reply: @escaping (SyncGroupResponse) -> Void
    ) {
        groups.sync(request, now: now, reply: reply)
    }

    func heartbeat(_ request: HeartbeatRequest, _ context: RequestContext) -> HeartbeatResponse {
        HeartbeatResponse(error: groups.heartbeat(request, now: now))
    }

    func leaveGroup(_ request: LeaveGroupRequest, _ context: RequestContext) -> LeaveGroupResponse {
        guard context.version >= 3 else {
            return LeaveGroupResponse(
                error: groups.leave(group: request.groupID, memberID: request.memberID, instanceID: nil, now: now))
        }
        guard !request.groupID.isEmpty else { return request.failed(.invalidGroupID) }
        return LeaveGroupResponse(
            members: request.members.map {
                .init(
                    memberID: $0.memberID, groupInstanceID: $0.groupInstanceID,
                    error: groups.leave(
                        group: request.groupID, memberID: $0.memberID, instanceID: $0.groupInstanceID, now: now))
            })
    }

    // MARK: Offsets

    func offsetCommit(
        _ request: OffsetCommitRequest, _ context: RequestContext,
        _ reply: @escaping (OffsetCommitResponse) -> Void
    ) {
        guard !request.groupID.isEmpty else { return reply(request.failed(.invalidGroupID)) }
        let error: ProtocolError
        if let group = groups.groups[request.groupID] {
            error = group.machine.checkCommit(
                memberID: request.memberID, instanceID: request.groupInstanceID, generation: request.generation,
                now: now)
        } else {
            error = request.generation < 0 ? .none : .illegalGeneration
        }
        guard error == .none else { return reply(request.failed(error)) }
        var offsets: [TopicPartition: GroupOffset] = [:]
        let time = now
        var response = OffsetCommitResponse(
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
        whenDurable(Result { () throws(LogError) in try groups.commit(offsets, to: request.groupID) }) { error in
            if error != .none { response.topics.fail(error) }
            reply(response)
        }
    }

    func refusal(of metadata: String?, for target: TopicPartition) -> ProtocolError {
        guard partition(target.topic, target.partition) != nil else { return .unknownTopicOrPartition }
        return (metadata?.utf8.count ?? 0) <= options.offsetMetadataBytesMax ? .none : .offsetMetadataTooLarge
    }

    /// Calls back once a write, if there was one, may be acknowledged.
    func whenDurable(
        _ written: Result<DurabilityPosition?, LogError>, _ body: @escaping (ProtocolError) -> Void
    ) {
        switch written {
        case .failure(let error): body(ProtocolError(error))
        case .success(nil): body(.none)
        case .success(.some(let position)):
            store.whenDurable(position) { result in
                switch result {
                case .success: body(.none)
                case .failure(let error): body(ProtocolError(error))
                }
            }
        }
    }

    func offsetFetch(_ request: OffsetFetchRequest, _ context: RequestContext) -> OffsetFetchResponse {
        guard context.version >= 8 else {
            return OffsetFetchResponse(
                topics: committed(request.groupID, request.topics, requiresStable: request.requiresStable))
        }
        return OffsetFetchResponse(
            groups: request.groups.map {
                .init(
                    groupID: $0.groupID,
                    topics: committed($0.groupID, $0.topics, requiresStable: request.requiresStable))
            })
    }

    private func committed(
        _ id: String, _ wanted: [TopicPartitions]?, requiresStable: Bool
    ) -> [OffsetFetchResponse.Topic] {
        let group = groups.groups[id]
        let wanted =
            wanted
            ?? Dictionary(grouping: group?.offsets.keys.sorted() ?? [], by: \.topic).sorted { $0.key < $1.key }.map {
                TopicPartitions(name: $0.key, partitions: $0.value.map(\.partition))
            }
        return wanted.map { topic in
            .init(
                name: topic.name,
                partitions: topic.partitions.map { index in
                    let target = TopicPartition(topic: topic.name, partition: index)
                    if requiresStable, group?.pending.values.contains(where: { $0[target] != nil }) == true {
                        return .init(index: index, metadata: "", error: .unstableOffsetCommit)
                    }
                    guard let offset = group?.offsets[target] else { return .init(index: index, metadata: "") }
                    return .init(
                        index: index, offset: offset.offset, leaderEpoch: offset.leaderEpoch,
                        metadata: offset.metadata ?? "")
                })
        }
    }

    func offsetDelete(_ request: OffsetDeleteRequest, _ context: RequestContext) -> OffsetDeleteResponse {
        guard let group = groups.groups[request.groupID] else { return request.failed(.groupIDNotFound) }
        guard group.machine.phase == .empty || group.machine.protocolType == "consumer" else {
            return request.failed(.nonEmptyGroup)
        }
        // Members' subscriptions are theirs to read: while there are members, no topic is known to be free.
        let error: ProtocolError = group.machine.members.isEmpty ? .none : .groupSubscribedToTopic
        return OffsetDeleteResponse(
            topics: request.topics.map { topic in
                var failure = error
                if failure == .none {
                    let targets = topic.partitions.map { TopicPartition(topic: topic.name, partition: $0.index) }
                    do throws(LogError) { try groups.removeOffsets(targets, of: request.groupID) } catch {
                        failure = ProtocolError(error)
                    }
                }
                return .init(
                    name: topic.name, partitions: topic.partitions.map { .init(index: $0.index, error: failure) })
            })
    }

    // MARK: Administration

    func describeGroups(_ request: DescribeGroupsRequest, _ context: RequestContext) -> DescribeGroupsResponse {
        DescribeGroupsResponse(
            groups: request.groups.map { id in
                guard let machine = groups.groups[id]?.machine else { return .init(groupID: id, state: "Dead") }
                let isStable = machine.phase == .stable
                return .init(
                    groupID: id, state: machine.phase.rawValue, protocolType: machine.protocolType ?? "",
                    protocolName: isStable ? machine.protocolName ?? "" : "",
                    members: machine.members.map {
                        .init(
                            memberID: $0.id, groupInstanceID: $0.instanceID, clientID: $0.clientID,
                            clientHost: $0.clientHost,
                            metadata: isStable ? $0.metadata(of: machine.protocolName ?? "") : [],
                            assignment: isStable ? $0.assignment : [])
                    })
            })
    }

    func listGroups(_ request: ListGroupsRequest, _ context: RequestContext) -> ListGroupsResponse {
        let all = groups.groups.values.sorted { $0.machine.id < $1.machine.id }
        let wanted = Set(request.states.map { $0.lowercased() })
        return ListGroupsResponse(
            groups: all.filter { wanted.isEmpty || wanted.contains($0.machine.phase.rawValue.lowercased()) }.map {
                .init(
                    groupID: $0.machine.id, protocolType: $0.machine.protocolType ?? "",
                    state: $0.machine.phase.rawValue)
            })
    }

    func deleteGroups(_ request: DeleteGroupsRequest, _ context: RequestContext) -> DeleteGroupsResponse {
        DeleteGroupsResponse(results: request.groups.map { .init(groupID: $0, error: groups.delete($0)) })
    }
}

extension [TopicErrors] {
    /// Turns successes into this failure.
    mutating func fail(_ error: ProtocolError) {
        for topic in indices {
            for partition in self[topic].partitions.indices where self[topic].partitions[partition].error == .none {
                self[topic].partitions[partition].error = error
            }
        }
    }
}
