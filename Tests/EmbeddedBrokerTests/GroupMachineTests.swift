// GroupMachineTests: the edges of a group's state machine, without a network or a clock.

import Testing

@testable import EmbeddedBroker

@Suite("A group's state machine")
final class GroupMachineTests {
    private var group = GroupMachine(id: "g")
    private var token: ReplyToken = 0

    private static let client = GroupMachine.Client(id: "c", host: "/127.0.0.1", needsKnownMemberID: false)

    private static func request(
        _ member: String = "", instance: String? = nil, protocols: [String] = ["range"], metadata: [UInt8] = [1]
    ) -> JoinGroupRequest {
        JoinGroupRequest(
            groupID: "g", sessionTimeoutMilliseconds: 10_000, rebalanceTimeoutMilliseconds: 30_000, memberID: member,
            groupInstanceID: instance, protocolType: "consumer",
            protocols: protocols.map { .init(name: $0, metadata: metadata) })
    }

    private func join(
        _ request: JoinGroupRequest, as id: String, now: Int64 = 0,
        client: GroupMachine.Client = GroupMachineTests.client
    ) -> [GroupAction] {
        token += 1
        return group.join(request, client: client, newMemberID: id, token: token, now: now)
    }

    private func sync(
        _ member: String, _ assignments: [String: [UInt8]] = [:], now: Int64 = 0
    ) -> [GroupAction] {
        token += 1
        let request = SyncGroupRequest(
            groupID: "g", generation: group.generation, memberID: member,
            assignments: assignments.sorted { $0.key < $1.key }.map { .init(memberID: $0.key, assignment: $0.value) })
        return group.sync(request, token: token, now: now)
    }

    /// A stable group of `a` (the leader) and `b`.
    private func makeStable(instance: String? = nil) {
        _ = join(Self.request(instance: instance), as: "a")
        _ = join(Self.request(), as: "b")
        _ = join(Self.request("a", instance: instance), as: "")
        _ = sync("b")
        _ = sync("a", ["a": [1], "b": [2]])
        #expect(group.phase == .stable)
    }

    private func heartbeat(_ request: HeartbeatRequest, now: Int64) -> ProtocolError {
        group.heartbeat(request, now: now)
    }

    private func checkCommit(memberID: String, instanceID: String?, generation: Int32, now: Int64) -> ProtocolError {
        group.checkCommit(memberID: memberID, instanceID: instanceID, generation: generation, now: now)
    }

    private func leave(memberID: String, instanceID: String?, now: Int64) -> (ProtocolError, [GroupAction]) {
        group.leave(memberID: memberID, instanceID: instanceID, now: now)
    }

    private func tick(now: Int64) -> [GroupAction] { group.tick(now: now) }

    private func sync(_ request: SyncGroupRequest, token: ReplyToken) -> [GroupAction] {
        group.sync(request, token: token, now: 0)
    }

    private static func joined(_ actions: [GroupAction]) -> [JoinGroupResponse] {
        actions.compactMap { if case .answerJoin(_, let response) = $0 { response } else { nil } }
    }

    private static func synced(_ actions: [GroupAction]) -> [SyncGroupResponse] {
        actions.compactMap { if case .answerSync(_, let response) = $0 { response } else { nil } }
    }

    @Test("The first member begins generation 1 as its leader")
    func first() {
        let answers = Self.joined(join(Self.request(), as: "a"))
        #expect(answers.count == 1)
        #expect(answers.first?.generation == 1)
        #expect(answers.first?.leader == "a")
        #expect(answers.first?.members.map(\.memberID) == ["a"])
        #expect(group.phase == .completingRebalance)
    }

    @Test("A new member is told its id first and joins with it")
    func knownMember() {
        let client = GroupMachine.Client(id: "c", host: "", needsKnownMemberID: true)
        let first = Self.joined(join(Self.request(), as: "a", client: client))
        #expect(first.first?.error == .memberIDRequired)
        #expect(first.first?.memberID == "a")
        #expect(group.phase == .empty)
        let second = Self.joined(join(Self.request("a"), as: "", client: client))
        #expect(second.first?.error == ProtocolError.none)
    }

    @Test("An id that was given out and not used is forgotten after the session time-out")
    func pendingExpires() {
        let client = GroupMachine.Client(id: "c", host: "", needsKnownMemberID: true)
        _ = join(Self.request(), as: "a", client: client)
        #expect(group.nextDeadline == 10_000)
        _ = tick(now: 10_000)
        #expect(group.isUnused)
        #expect(Self.joined(join(Self.request("a"), as: "")).first?.error == .unknownMemberID)
    }

    @Test("A second member makes the first join again; the leader's assignment reaches both")
    func second() {
        _ = join(Self.request(), as: "a")
        _ = sync("a", ["a": [9]])
        #expect(join(Self.request(), as: "b").isEmpty)
        #expect(heartbeat(.init(groupID: "g", generation: 1, memberID: "a"), now: 0) == .rebalanceInProgress)
        let answers = Self.joined(join(Self.request("a"), as: ""))
        #expect(answers.map(\.generation) == [2, 2])
        #expect(Set(answers.map(\.members.count)) == [2, 0])
        #expect(sync("b").isEmpty)
        let assigned = Self.synced(sync("a", ["a": [1], "b": [2]]))
        #expect(Set(assigned.map(\.assignment)) == [[1], [2]])
        #expect(group.phase == .stable)
    }

    @Test("Heartbeats are checked for member, generation and phase")
    func heartbeats() {
        #expect(heartbeat(.init(groupID: "g", memberID: "a"), now: 0) == .unknownMemberID)
        makeStable()
        let generation = group.generation
        #expect(heartbeat(.init(groupID: "g", generation: generation, memberID: "a"), now: 0) == .none)
        #expect(heartbeat(.init(groupID: "g", generation: 1, memberID: "a"), now: 0) == .illegalGeneration)
        #expect(heartbeat(.init(groupID: "g", generation: generation, memberID: "x"), now: 0) == .unknownMemberID)
    }

    @Test("A member without heartbeats is dropped when its session is over")
    func session() {
        makeStable()
        _ = heartbeat(.init(groupID: "g", generation: group.generation, memberID: "a"), now: 6_000)
        _ = tick(now: 10_000)
        #expect(group.members.map(\.id) == ["a"])
        #expect(group.phase == .preparingRebalance)
    }

    @Test("A rebalance goes on without dynamic members that do not join in time")
    func rebalanceTimeout() {
        makeStable()
        _ = join(Self.request(), as: "c", now: 0)
        for time in stride(from: Int64(5_000), through: 25_000, by: 5_000) {
            _ = heartbeat(.init(groupID: "g", generation: group.generation, memberID: "a"), now: time)
            _ = heartbeat(.init(groupID: "g", generation: group.generation, memberID: "b"), now: time)
            _ = tick(now: time)
        }
        let answers = Self.joined(tick(now: 30_000))
        #expect(answers.map(\.memberID) == ["c"])
        #expect(group.members.map(\.id) == ["c"])
        #expect(group.leader == "c")
    }

    @Test("The last member that leaves empties the group and raises the generation")
    func leave() {
        _ = join(Self.request(), as: "a")
        _ = sync("a", ["a": [1]])
        let (error, actions) = leave(memberID: "a", instanceID: nil, now: 0)
        #expect(error == .none)
        #expect(actions == [.persist])
        #expect(group.phase == .empty)
        #expect(group.generation == 2)
        #expect(leave(memberID: "a", instanceID: nil, now: 0).0 == .unknownMemberID)
    }

    @Test("A static member takes over from its former self without a rebalance, and fences it")
    func staticMember() {
        makeStable(instance: "i")
        let generation = group.generation
        let actions = join(Self.request(instance: "i"), as: "a2")
        #expect(actions.contains(.persist))
        #expect(Self.joined(actions).first?.generation == generation)
        #expect(group.phase == .stable)
        #expect(Self.synced(sync("a2")).first?.assignment == [1])
        let old = HeartbeatRequest(groupID: "g", generation: generation, memberID: "a", groupInstanceID: "i")
        #expect(heartbeat(old, now: 0) == .fencedInstanceID)
    }

    @Test("Members without a common protocol do not come together")
    func protocols() {
        _ = join(Self.request(protocols: ["range", "sticky"]), as: "a")
        let answers = Self.joined(join(Self.request(protocols: ["other"]), as: "b"))
        #expect(answers.first?.error == .inconsistentGroupProtocol)
        _ = join(Self.request(protocols: ["sticky"]), as: "b")
        #expect(group.selectedProtocol() == "sticky")
    }

    @Test("A time-out of the session outside the bounds is refused")
    func bounds() {
        var request = Self.request()
        request.sessionTimeoutMilliseconds = 1
        #expect(Self.joined(join(request, as: "a")).first?.error == .invalidSessionTimeout)
    }

    @Test("A follower that asks again in a stable group gets the same generation; the leader begins a new one")
    func rejoin() {
        makeStable()
        let generation = group.generation
        #expect(Self.joined(join(Self.request("b"), as: "")).first?.generation == generation)
        #expect(group.phase == .stable)
        #expect(join(Self.request("a"), as: "").isEmpty)
        #expect(group.phase == .preparingRebalance)
    }

    @Test("Synchronising is refused to strangers, to the past and during a rebalance")
    func syncErrors() {
        makeStable()
        #expect(Self.synced(sync("x")).first?.error == .unknownMemberID)
        let old = SyncGroupRequest(groupID: "g", generation: 0, memberID: "a")
        #expect(Self.synced(sync(old, token: 99)).first?.error == .illegalGeneration)
        _ = join(Self.request(), as: "c")
        #expect(Self.synced(sync("a")).first?.error == .rebalanceInProgress)
    }

    @Test("Commits are checked for membership and generation; without members anybody may commit")
    func commits() {
        #expect(checkCommit(memberID: "", instanceID: nil, generation: -1, now: 0) == .none)
        makeStable()
        let generation = group.generation
        #expect(checkCommit(memberID: "a", instanceID: nil, generation: generation, now: 0) == .none)
        #expect(checkCommit(memberID: "a", instanceID: nil, generation: 1, now: 0) == .illegalGeneration)
        #expect(checkCommit(memberID: "x", instanceID: nil, generation: 1, now: 0) == .unknownMemberID)
        #expect(checkCommit(memberID: "", instanceID: nil, generation: -1, now: 0) == .unknownMemberID)
    }

    @Test("A group comes back from its record with its members and assignments")
    func record() throws {
        makeStable(instance: "i")
        let record = try #require(GroupMembershipRecord(encoded: group.record.encoded()))
        let restored = GroupMachine(id: "g", limits: GroupLimits(), record: record, now: 0)
        #expect(restored == group)
    }
}
