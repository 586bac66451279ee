// GroupMachine: one consumer group's membership as a pure value; requests and time go in, replies come out.

/// Stands for a request whose answer may come later.
typealias ReplyToken = UInt64

/// What the owner of a ``GroupMachine`` has to do, in order.
enum GroupAction: Equatable {
    case answerJoin(ReplyToken, JoinGroupResponse)
    case answerSync(ReplyToken, SyncGroupResponse)
    /// The membership is to be written to the log.
    case persist
}

/// Bounds of groups.
struct GroupLimits: Sendable, Equatable {
    var sessionTimeoutMilliseconds: ClosedRange<Int32> = 500...1_800_000
    var initialRebalanceDelayMilliseconds: Int64 = 0
    var membersMax = 10_000
}

/// The classic group protocol of one group: joins, generations, static members, time-outs. Members choose the protocol
/// (eager or cooperative) and the leader assigns; the coordinator only keeps order.
struct GroupMachine: Equatable {
    enum Phase: String, Sendable {
        case empty = "Empty"
        case preparingRebalance = "PreparingRebalance"
        case completingRebalance = "CompletingRebalance"
        case stable = "Stable"
    }

    struct Member: Equatable {
        var id: String
        var instanceID: String?
        var clientID: String
        var clientHost: String
        var sessionTimeoutMilliseconds: Int64
        var rebalanceTimeoutMilliseconds: Int64
        var protocols: [JoinGroupRequest.GroupProtocol]
        var assignment: [UInt8] = []
        /// When it counts as gone, unless it waits for an answer.
        var deadline: Int64
        var joinReply: ReplyToken?
        var syncReply: ReplyToken?

        var isWaiting: Bool { joinReply != nil || syncReply != nil }

        func metadata(of protocolName: String) -> [UInt8] {
            protocols.first { $0.name == protocolName }?.metadata ?? []
        }
    }

    let id: String
    let limits: GroupLimits
    var phase = Phase.empty
    var generation: Int32 = 0
    var protocolType: String?
    var protocolName: String?
    var leader: String?
    /// In the order they joined.
    var members: [Member] = []
    /// Ids given out that were not used yet, with the time they are forgotten.
    var pendingMembers: [String: Int64] = [:]
    /// When the rebalance goes on without the members that are missing.
    var rebalanceDeadline: Int64?
    /// Until when a rebalance of a group that was empty waits for more members.
    var initialDelayEnd: Int64?

    init(id: String, limits: GroupLimits = GroupLimits()) {
        self.id = id
        self.limits = limits
    }

    func index(of memberID: String) -> Int? { members.firstIndex { $0.id == memberID } }
    func index(ofInstance instanceID: String) -> Int? { members.firstIndex { $0.instanceID == instanceID } }

    /// Whether nothing is left of the membership.
    var isUnused: Bool { members.isEmpty && pendingMembers.isEmpty }

    /// Checks who speaks: a static member that was replaced is fenced, an unknown one has to join.
    func identify(_ memberID: String, instanceID: String?) -> Result<Int, ProtocolError> {
        if let instanceID {
            guard let index = index(ofInstance: instanceID) else { return .failure(.unknownMemberID) }
            return members[index].id == memberID ? .success(index) : .failure(.fencedInstanceID)
        }
        guard let index = index(of: memberID) else { return .failure(.unknownMemberID) }
        return .success(index)
    }

    mutating func touch(_ index: Int, now: Int64) {
        members[index].deadline = now + members[index].sessionTimeoutMilliseconds
    }

    // MARK: Protocols

    /// Whether somebody with these protocols can join the members there are.
    func accepts(protocolType: String, protocols: [JoinGroupRequest.GroupProtocol]) -> Bool {
        guard !protocols.isEmpty, !protocolType.isEmpty else { return false }
        guard !members.isEmpty else { return true }
        guard protocolType == self.protocolType else { return false }
        return protocols.contains { candidate in
            members.allSatisfy { $0.protocols.contains { $0.name == candidate.name } }
        }
    }

    /// The protocol all members know that most of them prefer; of equals, the first one's preference.
    func selectedProtocol() -> String? {
        guard let first = members.first else { return nil }
        let common = first.protocols.map(\.name).filter { name in
            members.allSatisfy { $0.protocols.contains { $0.name == name } }
        }
        var votes: [String: Int] = [:]
        for member in members {
            guard let vote = member.protocols.first(where: { common.contains($0.name) }) else { continue }
            votes[vote.name, default: 0] += 1
        }
        var best: String?
        for name in common where best.map({ votes[name, default: 0] > votes[$0, default: 0] }) ?? true { best = name }
        return best
    }

    // MARK: Heartbeats and commits

    mutating func heartbeat(_ request: HeartbeatRequest, now: Int64) -> ProtocolError {
        guard phase != .empty else { return .unknownMemberID }
        switch identify(request.memberID, instanceID: request.groupInstanceID) {
        case .failure(let error): return error
        case .success(let index):
            guard request.generation == generation else { return .illegalGeneration }
            touch(index, now: now)
            return phase == .preparingRebalance ? .rebalanceInProgress : .none
        }
    }

    /// Whether offsets may be committed. A generation below 0 is a consumer without membership, which only an empty
    /// group takes offsets from.
    mutating func checkCommit(
        memberID: String, instanceID: String?, generation: Int32, now: Int64
    ) -> ProtocolError {
        if generation < 0, phase == .empty { return .none }
        switch identify(memberID, instanceID: instanceID) {
        case .failure(let error): return error
        case .success(let index):
            guard generation == self.generation else { return .illegalGeneration }
            touch(index, now: now)
            return phase == .completingRebalance ? .rebalanceInProgress : .none
        }
    }

    /// The same for offsets within a transaction; a producer that gives no group metadata is believed.
    mutating func checkTransactionCommit(
        memberID: String, instanceID: String?, generation: Int32, now: Int64
    ) -> ProtocolError {
        if memberID.isEmpty, instanceID == nil, generation < 0 { return .none }
        switch identify(memberID, instanceID: instanceID) {
        case .failure(let error): return error
        case .success(let index):
            guard generation == self.generation else { return .illegalGeneration }
            touch(index, now: now)
            return .none
        }
    }
}
