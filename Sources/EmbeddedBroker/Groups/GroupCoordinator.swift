// GroupCoordinator: all consumer groups with their offsets, kept in __consumer_offsets.

import EmbeddedLog

/// A group's membership and offsets.
final class Group {
    var machine: GroupMachine
    var offsets: [TopicPartition: GroupOffset] = [:]
    /// Offsets within undecided transactions, by producer id.
    var pending: [Int64: [TopicPartition: GroupOffset]] = [:]

    init(_ machine: GroupMachine) { self.machine = machine }

    var hasOffsets: Bool { !offsets.isEmpty || !pending.isEmpty }
}

/// Owner of the groups' state machines: carries out what they decide. Used on the broker's event loop only.
final class GroupCoordinator {
    private(set) var groups: [String: Group] = [:]
    private let log: InternalLog
    private let limits: GroupLimits
    private var nextToken: ReplyToken = 0
    private var joinReplies: [ReplyToken: (JoinGroupResponse) -> Void] = [:]
    private var syncReplies: [ReplyToken: (SyncGroupResponse) -> Void] = [:]

    /// Loads all groups.
    init(log: InternalLog, limits: GroupLimits, now: Int64) throws(LogError) {
        self.log = log
        self.limits = limits
        var values: [GroupRecordKey: [UInt8]] = [:]
        try log.load { record in
            guard let key = record.key.flatMap(GroupRecordKey.init(encoded:)) else { return }
            values[key] = record.value
        }
        for (key, value) in values { restore(key, value, now: now) }
    }

    private func restore(_ key: GroupRecordKey, _ value: [UInt8], now: Int64) {
        let group = group(orMake: key.group)
        switch key.kind {
        case .membership:
            guard let record = GroupMembershipRecord(encoded: value) else { return }
            group.machine = GroupMachine(id: key.group, limits: limits, record: record, now: now)
        case .offset:
            group.offsets[key.topicPartition] = GroupOffset(encoded: value)
        case .pendingOffset:
            group.pending[key.producerID, default: [:]][key.topicPartition] = GroupOffset(encoded: value)
        case nil: break
        }
    }

    func group(orMake id: String) -> Group {
        if let group = groups[id] { return group }
        let group = Group(GroupMachine(id: id, limits: limits))
        groups[id] = group
        return group
    }

    // MARK: Membership

    func join(
        _ request: JoinGroupRequest, client: GroupMachine.Client, now: Int64,
        reply: @escaping (JoinGroupResponse) -> Void
    ) {
        guard !request.groupID.isEmpty else { return reply(request.failed(.invalidGroupID)) }
        // Asking with an id of old does not make a group.
        guard request.memberID.isEmpty || groups[request.groupID] != nil else {
            return reply(request.failed(.unknownMemberID))
        }
        let group = group(orMake: request.groupID)
        nextToken += 1
        joinReplies[nextToken] = reply
        let base = request.groupInstanceID ?? client.id
        execute(
            group.machine.join(
                request, client: client, newMemberID: "\(base)-\(Self.randomText())", token: nextToken, now: now),
            on: group)
    }

    func sync(_ request: SyncGroupRequest, now: Int64, reply: @escaping (SyncGroupResponse) -> Void) {
        guard !request.groupID.isEmpty else { return reply(request.failed(.invalidGroupID)) }
        guard let group = groups[request.groupID] else { return reply(request.failed(.unknownMemberID)) }
        nextToken += 1
        syncReplies[nextToken] = reply
        execute(group.machine.sync(request, token: nextToken, now: now), on: group)
    }

    func heartbeat(_ request: HeartbeatRequest, now: Int64) -> ProtocolError {
        guard !request.groupID.isEmpty else { return .invalidGroupID }
        guard let group = groups[request.groupID] else { return .unknownMemberID }
        return group.machine.heartbeat(request, now: now)
    }

    func leave(group id: String, memberID: String, instanceID: String?, now: Int64) -> ProtocolError {
        guard !id.isEmpty else { return .invalidGroupID }
        guard let group = groups[id] else { return .unknownMemberID }
        let (error, actions) = group.machine.leave(memberID: memberID, instanceID: instanceID, now: now)
        execute(actions, on: group)
        return error
    }

    /// Looks at all time-outs.
    func tick(now: Int64) {
        for group in groups.values {
            guard let deadline = group.machine.nextDeadline, deadline <= now else { continue }
            execute(group.machine.tick(now: now), on: group)
            // A group that never came to anything leaves nothing behind.
            if group.machine.isUnused, group.machine.generation == 0, !group.hasOffsets {
                groups[group.machine.id] = nil
            }
        }
    }

    private func execute(_ actions: [GroupAction], on group: Group) {
        for action in actions {
            switch action {
            case .answerJoin(let token, let response): joinReplies.removeValue(forKey: token)?(response)
            case .answerSync(let token, let response): syncReplies.removeValue(forKey: token)?(response)
            case .persist:
                // Without it a restart makes the members join again; that is no reason to refuse them now.
                _ = try? write([(GroupRecordKey(.membership, group: group.machine.id), group.machine.record.encoded())])
            }
        }
    }

    private static func randomText() -> String {
        "\(String(UInt64.random(in: .min ... .max), radix: 16))\(String(UInt64.random(in: .min ... .max), radix: 16))"
    }

    // MARK: Records

    /// Writes records as one batch; a nil value removes what the key stood for.
    private func write(_ entries: [(GroupRecordKey, [UInt8]?)]) throws(LogError) -> DurabilityPosition {
        let time = LogStore.wallClockMilliseconds()
        return try log.append(entries.map { LogRecord(key: $0.0.encoded(), value: $0.1, timestamp: time) })
    }

    // MARK: Offsets

    /// Commits offsets; they count once the position is durable.
    func commit(_ offsets: [TopicPartition: GroupOffset], to id: String) throws(LogError) -> DurabilityPosition? {
        guard !offsets.isEmpty else { return nil }
        let position = try write(
            offsets.map { (GroupRecordKey(.offset, group: id, partition: $0.key), $0.value.encoded()) })
        group(orMake: id).offsets.merge(offsets) { _, new in new }
        return position
    }

    /// Keeps offsets until their transaction is decided.
    func hold(
        _ offsets: [TopicPartition: GroupOffset], of id: String, producerID: Int64
    ) throws(LogError) -> DurabilityPosition? {
        guard !offsets.isEmpty else { return nil }
        let position = try write(
            offsets.map {
                let key = GroupRecordKey(.pendingOffset, group: id, partition: $0.key, producerID: producerID)
                return (key, $0.value.encoded())
            })
        group(orMake: id).pending[producerID, default: [:]].merge(offsets) { _, new in new }
        return position
    }

    /// Carries out a decided transaction's offsets; doing it again does nothing.
    func endTransaction(
        producerID: Int64, group id: String, commits: Bool
    ) throws(LogError) -> DurabilityPosition? {
        guard let group = groups[id], let held = group.pending[producerID], !held.isEmpty else { return nil }
        var entries: [(GroupRecordKey, [UInt8]?)] = held.map {
            (GroupRecordKey(.pendingOffset, group: id, partition: $0.key, producerID: producerID), nil)
        }
        if commits {
            entries += held.map { (GroupRecordKey(.offset, group: id, partition: $0.key), $0.value.encoded()) }
        }
        let position = try write(entries)
        group.pending[producerID] = nil
        if commits { group.offsets.merge(held) { _, new in new } }
        return position
    }

    /// Forgets offsets.
    func removeOffsets(_ partitions: [TopicPartition], of id: String) throws(LogError) {
        guard let group = groups[id] else { return }
        let known = partitions.filter { group.offsets[$0] != nil }
        guard !known.isEmpty else { return }
        _ = try write(known.map { (GroupRecordKey(.offset, group: id, partition: $0), nil) })
        for partition in known { group.offsets[partition] = nil }
    }

    /// Forgets all offsets of a deleted topic.
    func removeOffsets(ofTopic topic: String) throws(LogError) {
        for (id, group) in groups {
            try removeOffsets(group.offsets.keys.filter { $0.topic == topic }, of: id)
        }
    }

    func delete(_ id: String) -> ProtocolError {
        guard !id.isEmpty else { return .invalidGroupID }
        guard let group = groups[id] else { return .groupIDNotFound }
        guard group.machine.isUnused, group.pending.isEmpty else { return .nonEmptyGroup }
        do throws(LogError) {
            _ = try write(
                [(GroupRecordKey(.membership, group: id), nil)]
                    + group.offsets.keys.map { (GroupRecordKey(.offset, group: id, partition: $0), nil) })
        } catch { return ProtocolError(error) }
        groups[id] = nil
        return .none
    }
}
