// GroupRecords: how groups and their offsets are written to __consumer_offsets.

import EmbeddedLog

/// Key of a record of groups.
struct GroupRecordKey: WireStruct, Hashable {
    enum Kind: Int8 {
        case membership = 0
        case offset = 1
        /// An offset within an undecided transaction of `producerID`.
        case pendingOffset = 2
    }

    var format: Int16 = 1
    var kindNumber: Int8 = 0
    var group = ""
    var topic = ""
    var partition: Int32 = -1
    var producerID: Int64 = -1

    init() {}

    init(_ kind: Kind, group: String, partition: TopicPartition? = nil, producerID: Int64 = -1) {
        kindNumber = kind.rawValue
        self.group = group
        topic = partition?.topic ?? ""
        self.partition = partition?.partition ?? -1
        self.producerID = producerID
    }

    var kind: Kind? { format == 1 ? Kind(rawValue: kindNumber) : nil }
    var topicPartition: TopicPartition { TopicPartition(topic: topic, partition: partition) }

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.int16(&format)
        try coder.int8(&kindNumber)
        try coder.string(&group)
        try coder.string(&topic)
        try coder.int32(&partition)
        try coder.int64(&producerID)
    }
}

/// An offset as a group committed it.
struct GroupOffset: WireStruct, Equatable {
    var offset: Int64 = -1
    var leaderEpoch: Int32 = -1
    var metadata: String?
    var committedAt: Int64 = -1

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.int64(&offset)
        try coder.int32(&leaderEpoch)
        try coder.nullableString(&metadata)
        try coder.int64(&committedAt)
    }
}

/// The membership of a group in its last stable generation.
struct GroupMembershipRecord: WireStruct, Equatable {
    struct Member: WireStruct, Equatable {
        var id = ""
        var instanceID: String?
        var clientID = ""
        var clientHost = ""
        var sessionTimeoutMilliseconds: Int64 = 0
        var rebalanceTimeoutMilliseconds: Int64 = 0
        var protocols: [JoinGroupRequest.GroupProtocol] = []
        var assignment: [UInt8] = []

        mutating func code(_ coder: inout WireCoder) throws(WireError) {
            try coder.string(&id)
            try coder.nullableString(&instanceID)
            try coder.string(&clientID)
            try coder.string(&clientHost)
            try coder.int64(&sessionTimeoutMilliseconds)
            try coder.int64(&rebalanceTimeoutMilliseconds)
            try coder.array(&protocols)
            try coder.bytes(&assignment)
        }
    }

    var generation: Int32 = 0
    var protocolType: String?
    var protocolName: String?
    var leader: String?
    var members: [Member] = []

    mutating func code(_ coder: inout WireCoder) throws(WireError) {
        try coder.int32(&generation)
        try coder.nullableString(&protocolType)
        try coder.nullableString(&protocolName)
        try coder.nullableString(&leader)
        try coder.array(&members)
    }
}

extension GroupMachine {
    var record: GroupMembershipRecord {
        GroupMembershipRecord(
            generation: generation, protocolType: protocolType, protocolName: protocolName, leader: leader,
            members: members.map {
                .init(
                    id: $0.id, instanceID: $0.instanceID, clientID: $0.clientID, clientHost: $0.clientHost,
                    sessionTimeoutMilliseconds: $0.sessionTimeoutMilliseconds,
                    rebalanceTimeoutMilliseconds: $0.rebalanceTimeoutMilliseconds, protocols: $0.protocols,
                    assignment: $0.assignment)
            })
    }

    /// A group as it was before a restart; its members have a whole session time-out to come back.
    init(id: String, limits: GroupLimits, record: GroupMembershipRecord, now: Int64) {
        self.init(id: id, limits: limits)
        generation = record.generation
        protocolType = record.protocolType
        protocolName = record.protocolName
        leader = record.leader
        members = record.members.map {
            Member(
                id: $0.id, instanceID: $0.instanceID, clientID: $0.clientID, clientHost: $0.clientHost,
                sessionTimeoutMilliseconds: $0.sessionTimeoutMilliseconds,
                rebalanceTimeoutMilliseconds: $0.rebalanceTimeoutMilliseconds, protocols: $0.protocols,
                assignment: $0.assignment, deadline: now + $0.sessionTimeoutMilliseconds)
        }
        phase = members.isEmpty ? .empty : .stable
    }
}
