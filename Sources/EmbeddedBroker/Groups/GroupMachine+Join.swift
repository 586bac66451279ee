// GroupMachine+Join: how members come in and how a generation begins.

extension GroupMachine {
    /// Who asks, besides what the request says.
    struct Client: Equatable {
        var id: String
        var host: String
        /// From version 4 on: a new member gets an id first and joins with it.
        var needsKnownMemberID: Bool
        /// From version 9 on: a static leader that comes back can be told that its assignment stands.
        var skipsAssignment = false
    }

    /// Handles a join; `newMemberID` is used if a new member needs an id.
    mutating func join(
        _ request: JoinGroupRequest, client: Client, newMemberID: String, token: ReplyToken, now: Int64
    ) -> [GroupAction] {
        if let error = refusal(of: request) {
            return [.answerJoin(token, JoinGroupResponse(error: error, memberID: request.memberID))]
        }
        if request.memberID.isEmpty {
            return joinUnknown(request, client: client, newMemberID: newMemberID, token: token, now: now)
        }
        if pendingMembers.removeValue(forKey: request.memberID) != nil {
            return add(request, id: request.memberID, client: client, token: token, now: now)
        }
        switch identify(request.memberID, instanceID: request.groupInstanceID) {
        case .failure(let error):
            return [.answerJoin(token, JoinGroupResponse(error: error, memberID: request.memberID))]
        case .success(let index):
            return rejoin(request, at: index, token: token, now: now)
        }
    }

    private func refusal(of request: JoinGroupRequest) -> ProtocolError? {
        guard limits.sessionTimeoutMilliseconds.contains(request.sessionTimeoutMilliseconds) else {
            return .invalidSessionTimeout
        }
        // A sole member that comes back may change its protocols; members that stay decide for the others.
        let others = members.filter { $0.id != request.memberID && $0.instanceID != (request.groupInstanceID ?? "") }
        var rest = self
        rest.members = others
        guard rest.accepts(protocolType: request.protocolType, protocols: request.protocols) else {
            return .inconsistentGroupProtocol
        }
        let isNew = request.memberID.isEmpty || pendingMembers[request.memberID] != nil
        return isNew && others.count >= limits.membersMax ? .groupMaxSizeReached : nil
    }

    private mutating func joinUnknown(
        _ request: JoinGroupRequest, client: Client, newMemberID: String, token: ReplyToken, now: Int64
    ) -> [GroupAction] {
        if let instanceID = request.groupInstanceID {
            guard let index = index(ofInstance: instanceID) else {
                return add(request, id: newMemberID, client: client, token: token, now: now)
            }
            return replace(at: index, with: request, client: client, newMemberID: newMemberID, token: token, now: now)
        }
        guard client.needsKnownMemberID else {
            return add(request, id: newMemberID, client: client, token: token, now: now)
        }
        pendingMembers[newMemberID] = now + Int64(request.sessionTimeoutMilliseconds)
        return [.answerJoin(token, JoinGroupResponse(error: .memberIDRequired, memberID: newMemberID))]
    }

    private mutating func add(
        _ request: JoinGroupRequest, id: String, client: Client, token: ReplyToken, now: Int64
    ) -> [GroupAction] {
        if members.isEmpty { protocolType = request.protocolType }
        var member = Member(
            id: id, instanceID: request.groupInstanceID, clientID: client.id, clientHost: client.host,
            sessionTimeoutMilliseconds: 0, rebalanceTimeoutMilliseconds: 0, protocols: [], deadline: now)
        member.update(from: request, token: token, now: now)
        members.append(member)
        if leader == nil { leader = id }
        return phase == .preparingRebalance ? completeIfAllJoined(now: now) : prepareRebalance(now: now)
    }

    private mutating func rejoin(
        _ request: JoinGroupRequest, at index: Int, token: ReplyToken, now: Int64
    ) -> [GroupAction] {
        let isChanged = members[index].protocols != request.protocols
        switch phase {
        case .preparingRebalance:
            var actions: [GroupAction] = []
            // The client gave up waiting and asked again: the newer request gets the answer.
            if let old = members[index].joinReply {
                actions.append(.answerJoin(old, JoinGroupResponse(error: .rebalanceInProgress)))
            }
            members[index].update(from: request, token: token, now: now)
            return actions + completeIfAllJoined(now: now)
        case .completingRebalance where !isChanged, .stable where !isChanged && members[index].id != leader:
            // The answer got lost, or the member asks without need.
            touch(index, now: now)
            return [.answerJoin(token, joinResponse(for: members[index]))]
        case .completingRebalance, .stable:
            members[index].update(from: request, token: token, now: now)
            return prepareRebalance(now: now)
        case .empty:
            return [.answerJoin(token, JoinGroupResponse(error: .unknownMemberID, memberID: request.memberID))]
        }
    }

    /// A static member came back without its id: it takes over from the one before, which is fenced.
    private mutating func replace(
        at index: Int, with request: JoinGroupRequest, client: Client, newMemberID: String, token: ReplyToken,
        now: Int64
    ) -> [GroupAction] {
        var actions = dismiss(at: index, error: .fencedInstanceID)
        let oldLeader = leader ?? ""
        let isLeader = members[index].id == leader
        let isChanged = members[index].protocols != request.protocols
        members[index].id = newMemberID
        members[index].clientID = client.id
        members[index].clientHost = client.host
        members[index].update(from: request, token: token, now: now)
        if isLeader { leader = newMemberID }
        switch phase {
        case .stable where selectedProtocol() == protocolName && !isChanged:
            members[index].joinReply = nil
            var response = joinResponse(for: members[index])
            if isLeader {
                // The assignment stands. Older clients take the answer as a follower's, under the old leader's name.
                response.skipsAssignment = client.skipsAssignment
                if !client.skipsAssignment {
                    response.leader = oldLeader
                    response.members = []
                }
            }
            return actions + [.persist, .answerJoin(token, response)]
        case .preparingRebalance:
            actions += completeIfAllJoined(now: now)
        case .stable, .completingRebalance, .empty:
            actions += prepareRebalance(now: now)
        }
        return actions
    }

    // MARK: Rebalance

    /// Calls all members to join again.
    mutating func prepareRebalance(now: Int64) -> [GroupAction] {
        var actions: [GroupAction] = []
        for index in members.indices {
            members[index].assignment = phase == .completingRebalance ? [] : members[index].assignment
            guard let token = members[index].syncReply else { continue }
            members[index].syncReply = nil
            touch(index, now: now)
            actions.append(.answerSync(token, SyncGroupResponse(error: .rebalanceInProgress)))
        }
        if phase == .empty, limits.initialRebalanceDelayMilliseconds > 0 {
            initialDelayEnd = now + limits.initialRebalanceDelayMilliseconds
        }
        phase = .preparingRebalance
        rebalanceDeadline = now + (members.map(\.rebalanceTimeoutMilliseconds).max() ?? 0)
        return actions + completeIfAllJoined(now: now)
    }

    mutating func completeIfAllJoined(now: Int64) -> [GroupAction] {
        guard phase == .preparingRebalance, pendingMembers.isEmpty, members.allSatisfy({ $0.joinReply != nil }) else {
            return []
        }
        if let end = initialDelayEnd, now < end, !members.isEmpty { return [] }
        return completeJoin(now: now)
    }

    /// Begins the next generation with those who joined. Static members may be late: only their session ends them.
    mutating func completeJoin(now: Int64) -> [GroupAction] {
        members.removeAll { $0.joinReply == nil && $0.instanceID == nil }
        initialDelayEnd = nil
        if !members.isEmpty, members.allSatisfy({ $0.joinReply == nil }) {
            // Nobody can lead: wait for the static members or their time-outs.
            rebalanceDeadline = now + (members.map(\.rebalanceTimeoutMilliseconds).max() ?? 0)
            return []
        }
        generation = generation == .max ? 1 : generation + 1
        guard !members.isEmpty else {
            phase = .empty
            leader = nil
            protocolName = nil
            rebalanceDeadline = nil
            return [.persist]
        }
        if !members.contains(where: { $0.id == leader && $0.joinReply != nil }) {
            leader = members.first { $0.joinReply != nil }?.id
        }
        protocolName = selectedProtocol()
        phase = .completingRebalance
        rebalanceDeadline = now + (members.map(\.rebalanceTimeoutMilliseconds).max() ?? 0)
        var actions: [GroupAction] = []
        for index in members.indices {
            members[index].assignment = []
            guard let token = members[index].joinReply else { continue }
            members[index].joinReply = nil
            touch(index, now: now)
            actions.append(.answerJoin(token, joinResponse(for: members[index])))
        }
        return actions
    }

    private func joinResponse(for member: Member) -> JoinGroupResponse {
        var response = JoinGroupResponse()
        response.generation = generation
        response.protocolType = protocolType
        response.protocolName = protocolName
        response.leader = leader ?? ""
        response.memberID = member.id
        guard member.id == leader else { return response }
        response.members = members.map {
            .init(memberID: $0.id, groupInstanceID: $0.instanceID, metadata: $0.metadata(of: protocolName ?? ""))
        }
        return response
    }
}

extension GroupMachine.Member {
    fileprivate mutating func update(from request: JoinGroupRequest, token: ReplyToken, now: Int64) {
        sessionTimeoutMilliseconds = Int64(request.sessionTimeoutMilliseconds)
        // Version 0 has no time-out of its own for the rebalance.
        let rebalance = request.rebalanceTimeoutMilliseconds
        rebalanceTimeoutMilliseconds = Int64(rebalance < 0 ? request.sessionTimeoutMilliseconds : rebalance)
        protocols = request.protocols
        joinReply = token
        deadline = now + sessionTimeoutMilliseconds
    }
}
