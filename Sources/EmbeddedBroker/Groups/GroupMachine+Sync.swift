// GroupMachine+Sync: assignments, leaving, and what time does to a group.

extension GroupMachine {
    mutating func sync(_ request: SyncGroupRequest, token: ReplyToken, now: Int64) -> [GroupAction] {
        func refuse(_ error: ProtocolError) -> [GroupAction] { [.answerSync(token, SyncGroupResponse(error: error))] }
        let index: Int
        switch identify(request.memberID, instanceID: request.groupInstanceID) {
        case .failure(let error): return refuse(error)
        case .success(let found): index = found
        }
        guard phase != .empty else { return refuse(.unknownMemberID) }
        guard request.generation == generation else { return refuse(.illegalGeneration) }
        if let type = request.protocolType, type != protocolType { return refuse(.inconsistentGroupProtocol) }
        if phase != .preparingRebalance, let name = request.protocolName, name != protocolName {
            return refuse(.inconsistentGroupProtocol)
        }
        switch phase {
        case .empty: return refuse(.unknownMemberID)
        case .preparingRebalance: return refuse(.rebalanceInProgress)
        case .stable:
            touch(index, now: now)
            return [.answerSync(token, syncResponse(for: members[index]))]
        case .completingRebalance:
            var actions: [GroupAction] = []
            if let old = members[index].syncReply {
                actions.append(.answerSync(old, SyncGroupResponse(error: .rebalanceInProgress)))
            }
            members[index].syncReply = token
            guard members[index].id == leader else { return actions }
            return actions + complete(with: request.assignments, now: now)
        }
    }

    /// The leader's assignment came: the generation stands.
    private mutating func complete(with assignments: [SyncGroupRequest.Assignment], now: Int64) -> [GroupAction] {
        phase = .stable
        rebalanceDeadline = nil
        let assigned = Dictionary(assignments.map { ($0.memberID, $0.assignment) }) { first, _ in first }
        var actions: [GroupAction] = [.persist]
        for index in members.indices {
            members[index].assignment = assigned[members[index].id] ?? []
            guard let token = members[index].syncReply else { continue }
            members[index].syncReply = nil
            touch(index, now: now)
            actions.append(.answerSync(token, syncResponse(for: members[index])))
        }
        return actions
    }

    private func syncResponse(for member: Member) -> SyncGroupResponse {
        SyncGroupResponse(protocolType: protocolType, protocolName: protocolName, assignment: member.assignment)
    }

    // MARK: Leaving

    /// Removes one member; static members may be named by their instance alone.
    mutating func leave(memberID: String, instanceID: String?, now: Int64) -> (ProtocolError, [GroupAction]) {
        if instanceID == nil, pendingMembers.removeValue(forKey: memberID) != nil {
            return (.none, completeIfAllJoined(now: now))
        }
        if let instanceID, memberID.isEmpty {
            guard let index = index(ofInstance: instanceID) else { return (.unknownMemberID, []) }
            return (.none, remove(at: index, now: now))
        }
        switch identify(memberID, instanceID: instanceID) {
        case .failure(let error): return (error, [])
        case .success(let index): return (.none, remove(at: index, now: now))
        }
    }

    /// Answers what the member waits for with an error.
    mutating func dismiss(at index: Int, error: ProtocolError) -> [GroupAction] {
        var actions: [GroupAction] = []
        if let token = members[index].joinReply {
            actions.append(.answerJoin(token, JoinGroupResponse(error: error, memberID: members[index].id)))
        }
        if let token = members[index].syncReply {
            actions.append(.answerSync(token, SyncGroupResponse(error: error)))
        }
        members[index].joinReply = nil
        members[index].syncReply = nil
        return actions
    }

    private mutating func remove(at index: Int, now: Int64) -> [GroupAction] {
        let actions = dismiss(at: index, error: .unknownMemberID)
        let removed = members.remove(at: index)
        if leader == removed.id { leader = members.first?.id }
        switch phase {
        case .stable, .completingRebalance: return actions + prepareRebalance(now: now)
        case .preparingRebalance: return actions + completeIfAllJoined(now: now)
        case .empty: return actions
        }
    }

    // MARK: Time

    /// The next time ``tick(now:)`` has something to do.
    var nextDeadline: Int64? {
        var next = rebalanceDeadline ?? .max
        if let initialDelayEnd { next = min(next, initialDelayEnd) }
        for deadline in pendingMembers.values { next = min(next, deadline) }
        for member in members where !member.isWaiting { next = min(next, member.deadline) }
        return next == .max ? nil : next
    }

    /// Ends sessions and rebalances whose time is over.
    mutating func tick(now: Int64) -> [GroupAction] {
        var actions: [GroupAction] = []
        let pendingCount = pendingMembers.count
        pendingMembers = pendingMembers.filter { $0.value > now }
        if pendingMembers.count < pendingCount { actions += completeIfAllJoined(now: now) }
        // While it waits for the coordinator, a member cannot send heartbeats.
        for id in members.filter({ !$0.isWaiting && $0.deadline <= now }).map(\.id) {
            guard let index = index(of: id) else { continue }
            actions += remove(at: index, now: now)
        }
        if let end = initialDelayEnd, end <= now { actions += completeIfAllJoined(now: now) }
        guard let deadline = rebalanceDeadline, deadline <= now else { return actions }
        switch phase {
        case .preparingRebalance:
            pendingMembers = [:]
            actions += completeJoin(now: now)
        case .completingRebalance:
            // Those who never asked for their assignment hold up the others.
            let leaderID = leader
            for id in members.filter({ $0.syncReply == nil }).map(\.id) {
                guard phase == .completingRebalance || id == leaderID, let index = index(of: id) else { continue }
                actions += remove(at: index, now: now)
            }
            if phase == .completingRebalance { rebalanceDeadline = nil }
        case .empty, .stable: rebalanceDeadline = nil
        }
        return actions
    }
}
