// CodecTests: each message in each of its versions survives being written and read.

import NIOCore
import Testing

@testable import EmbeddedBroker

@Suite("Codecs")
struct CodecTests {
    private static func written<M: WireStruct>(_ message: M, _ key: APIKey, _ version: Int16) throws -> [UInt8] {
        var coder = WireCoder(
            writingInto: ByteBuffer(), version: version, isFlexible: key.isFlexible(version))
        try coder.writeMessage(message)
        return coder.pieces().flatMap { Array($0.readableBytesView) }
    }

    /// Reads what was written, writes it again and compares: fields that a version lacks go back to their defaults.
    private static func check<M: WireStruct & Equatable>(_ message: M, _ key: APIKey) throws {
        for version in key.versions {
            let bytes = try written(message, key, version)
            var coder = WireCoder(
                reading: ByteBuffer(bytes: bytes), version: version, isFlexible: key.isFlexible(version))
            let read: M = try coder.readMessage()
            #expect(coder.readableBytes == 0, "\(key) version \(version) leaves bytes over")
            #expect(try written(read, key, version) == bytes, "\(key) version \(version)")
            let isWhole = version == key.versions.upperBound && !Self.dropsFields.contains(key)
            if isWhole { #expect(read == message, "\(key)") }
            for cut in bytes.indices where cut % 7 == 0 {
                var short = WireCoder(
                    reading: ByteBuffer(bytes: bytes.prefix(cut)), version: version, isFlexible: key.isFlexible(version)
                )
                // Cut short it is an error or, where the rest is optional, another message: never a crash.
                _ = try? short.readMessage(M.self)
            }
        }
    }

    /// Requests whose newest version lacks fields of the older ones.
    private static let dropsFields: Set<APIKey> = [
        .metadata, .fetch, .findCoordinator, .offsetFetch, .leaveGroup, .offsetCommit, .deleteTopics,
    ]

    private static let id = WireUUID(high: 1, low: 2)
    private static let partitions = [TopicPartitions(name: "t", partitions: [0, 1])]
    private static let errors = [TopicErrors(name: "t", partitions: [PartitionError(index: 1, error: .invalidTopic)])]

    @Test("Records and offsets")
    func records() throws {
        let records = ByteBuffer(string: String(repeating: "records", count: 1_000))
        try Self.check(
            ProduceRequest(
                transactionalID: "x", acks: 1, timeoutMilliseconds: 5,
                topics: [.init(name: "t", partitions: [.init(index: 3, records: records), .init(index: 4)])]), .produce)
        try Self.check(
            ProduceResponse(
                topics: [
                    .init(
                        name: "t",
                        partitions: [
                            .init(
                                index: 1, error: .messageTooLarge, baseOffset: 2, appendTimeMilliseconds: 3,
                                startOffset: 4, recordErrors: [.init(index: 5, message: "m")], message: "n")
                        ])
                ], throttleMilliseconds: 6), .produce)
        try Self.check(
            FetchRequest(
                replica: -1, waitMillisecondsMax: 1, bytesMin: 2, bytesMax: 3, isolation: 1, sessionID: 0,
                sessionEpoch: -1,
                topics: [.init(name: "t", id: Self.id, partitions: [.init(index: 1, offset: 2, bytesMax: 3)])],
                forgotten: [.init(name: "u", id: Self.id, partitions: [1])], rack: "r"), .fetch)
        try Self.check(
            FetchResponse(
                topics: [
                    .init(
                        name: "t", id: Self.id,
                        partitions: [
                            .init(
                                index: 1, highWatermark: 2, lastStableOffset: 3, startOffset: 4,
                                aborted: [.init(producerID: 5, firstOffset: 6)], records: records),
                            .init(index: 2, records: ByteBuffer(string: "short")),
                        ])
                ]), .fetch)
        try Self.check(
            ListOffsetsRequest(
                isolation: 1, topics: [.init(name: "t", partitions: [.init(index: 1, leaderEpoch: 2, timestamp: 3)])]),
            .listOffsets)
        try Self.check(
            ListOffsetsResponse(topics: [.init(name: "t", partitions: [.init(index: 1, timestamp: 2, offset: 3)])]),
            .listOffsets)
        try Self.check(
            OffsetForLeaderEpochRequest(topics: [.init(name: "t", partitions: [.init(index: 1, epoch: 2)])]),
            .offsetForLeaderEpoch)
        try Self.check(
            OffsetForLeaderEpochResponse(topics: [.init(name: "t", partitions: [.init(index: 1, endOffset: 2)])]),
            .offsetForLeaderEpoch)
        try Self.check(
            DeleteRecordsRequest(topics: [.init(name: "t", partitions: [.init(index: 1, offset: 2)])]), .deleteRecords)
        try Self.check(
            DeleteRecordsResponse(topics: [.init(name: "t", partitions: [.init(index: 1, lowWatermark: 2)])]),
            .deleteRecords)
    }

    @Test("Metadata and administration")
    func administration() throws {
        let broker = WireBroker(nodeID: 1, host: "h", port: 2, rack: "r")
        try Self.check(ApiVersionsRequest(softwareName: "a", softwareVersion: "b"), .apiVersions)
        try Self.check(ApiVersionsResponse(ranges: [.init(key: 1, minimum: 2, maximum: 3)]), .apiVersions)
        try Self.check(MetadataRequest(topics: [.init(id: Self.id, name: "t")], allowsAutoCreation: false), .metadata)
        try Self.check(MetadataRequest(topics: nil), .metadata)
        try Self.check(
            MetadataResponse(
                brokers: [broker], clusterID: "c", controller: 1,
                topics: [
                    .init(
                        name: "t", id: Self.id, isInternal: true,
                        partitions: [.init(index: 1, leader: 1, leaderEpoch: 0, replicas: [1], inSync: [1])])
                ]), .metadata)
        try Self.check(DescribeClusterRequest(includesOperations: true), .describeCluster)
        try Self.check(DescribeClusterResponse(clusterID: "c", brokers: [broker]), .describeCluster)
        try Self.check(
            CreateTopicsRequest(
                topics: [
                    .init(
                        name: "t", partitions: 1, replication: 1, assignments: [.init(index: 0, brokers: [1])],
                        settings: [.init(name: "a", value: nil)])
                ], timeoutMilliseconds: 5, validatesOnly: true), .createTopics)
        try Self.check(
            CreateTopicsResponse(
                topics: [
                    .init(
                        name: "t", id: Self.id, error: .invalidConfig, message: "m", partitions: 1, replication: 1,
                        settings: [.init(name: "a", value: "b", isReadOnly: true, source: 5, isSensitive: false)])
                ]), .createTopics)
        try Self.check(
            DeleteTopicsRequest(topics: [.init(name: nil, id: Self.id)], names: ["t"], timeoutMilliseconds: 1),
            .deleteTopics)
        try Self.check(DeleteTopicsResponse(topics: [.init(name: "t", id: Self.id, message: "m")]), .deleteTopics)
        try Self.check(
            CreatePartitionsRequest(topics: [.init(name: "t", count: 2, assignments: [.init(brokers: [1])])]),
            .createPartitions)
        try Self.check(CreatePartitionsResponse(topics: [.init(name: "t", message: "m")]), .createPartitions)
        try Self.check(
            DescribeConfigsRequest(resources: [.init(type: 2, name: "t", keys: ["a"]), .init(type: 2, name: "u")]),
            .describeConfigs)
        try Self.check(
            DescribeConfigsResponse(
                resources: [
                    .init(
                        type: 2, name: "t",
                        settings: [.init(name: "a", value: "b", synonyms: [.init(name: "c", value: nil, source: 1)])])
                ]), .describeConfigs)
        try Self.check(
            AlterConfigsRequest(resources: [.init(type: 2, name: "t", settings: [.init(name: "a", value: "b")])]),
            .alterConfigs)
        try Self.check(
            IncrementalAlterConfigsRequest(
                resources: [.init(type: 2, name: "t", settings: [.init(name: "a", operation: 1, value: nil)])]),
            .incrementalAlterConfigs)
        try Self.check(
            AlterConfigsResponse(resources: [.init(error: .invalidConfig, message: "m", type: 2, name: "t")]),
            .alterConfigs)
    }

    @Test("Groups")
    func groups() throws {
        try Self.check(FindCoordinatorRequest(key: "k", keyType: 1, keys: ["k", "l"]), .findCoordinator)
        try Self.check(
            FindCoordinatorResponse(host: "h", port: 1, coordinators: [.init(key: "k", nodeID: 1, host: "h", port: 2)]),
            .findCoordinator)
        try Self.check(
            JoinGroupRequest(
                groupID: "g", sessionTimeoutMilliseconds: 1, rebalanceTimeoutMilliseconds: 2, memberID: "m",
                groupInstanceID: "i", protocolType: "consumer", protocols: [.init(name: "range", metadata: [1, 2])],
                reason: "r"), .joinGroup)
        try Self.check(
            JoinGroupResponse(
                generation: 1, protocolType: "consumer", protocolName: "range", leader: "m", memberID: "m",
                members: [.init(memberID: "m", groupInstanceID: nil, metadata: [1])]), .joinGroup)
        try Self.check(
            SyncGroupRequest(
                groupID: "g", generation: 1, memberID: "m", groupInstanceID: "i", protocolType: "c", protocolName: "r",
                assignments: [.init(memberID: "m", assignment: [1])]), .syncGroup)
        try Self.check(SyncGroupResponse(protocolType: "c", protocolName: "r", assignment: [1, 2]), .syncGroup)
        try Self.check(
            HeartbeatRequest(groupID: "g", generation: 1, memberID: "m", groupInstanceID: "i"), .heartbeat)
        try Self.check(HeartbeatResponse(error: .rebalanceInProgress), .heartbeat)
        try Self.check(
            LeaveGroupRequest(groupID: "g", memberID: "m", members: [.init(memberID: "m", reason: "r")]), .leaveGroup)
        try Self.check(LeaveGroupResponse(members: [.init(memberID: "m", error: .unknownMemberID)]), .leaveGroup)
        try Self.check(
            OffsetCommitRequest(
                groupID: "g", generation: 1, memberID: "m", groupInstanceID: "i",
                topics: [.init(name: "t", partitions: [.init(index: 1, offset: 2, leaderEpoch: 3, metadata: "m")])]),
            .offsetCommit)
        try Self.check(OffsetCommitResponse(topics: Self.errors), .offsetCommit)
        try Self.check(
            OffsetFetchRequest(
                groupID: "g", topics: Self.partitions, groups: [.init(groupID: "g", topics: Self.partitions)],
                requiresStable: true), .offsetFetch)
        let topic = OffsetFetchResponse.Topic(name: "t", partitions: [.init(index: 1, offset: 2, metadata: "m")])
        try Self.check(
            OffsetFetchResponse(topics: [topic], groups: [.init(groupID: "g", topics: [topic])]), .offsetFetch)
        try Self.check(DescribeGroupsRequest(groups: ["g"], includesOperations: true), .describeGroups)
        try Self.check(
            DescribeGroupsResponse(
                groups: [.init(groupID: "g", state: "Stable", members: [.init(memberID: "m", metadata: [1])])]),
            .describeGroups)
        try Self.check(ListGroupsRequest(states: ["Stable"]), .listGroups)
        try Self.check(
            ListGroupsResponse(groups: [.init(groupID: "g", protocolType: "c", state: "Stable")]), .listGroups)
        try Self.check(DeleteGroupsRequest(groups: ["g"]), .deleteGroups)
        try Self.check(DeleteGroupsResponse(results: [.init(groupID: "g", error: .nonEmptyGroup)]), .deleteGroups)
        try Self.check(
            OffsetDeleteRequest(groupID: "g", topics: [.init(name: "t", partitions: [.init(index: 1)])]), .offsetDelete)
        try Self.check(OffsetDeleteResponse(topics: Self.errors), .offsetDelete)
    }

    @Test("Transactions")
    func transactions() throws {
        try Self.check(
            InitProducerIDRequest(transactionalID: "x", timeoutMilliseconds: 1, producerID: 2, producerEpoch: 3),
            .initProducerID)
        try Self.check(InitProducerIDResponse(producerID: 1, producerEpoch: 2), .initProducerID)
        try Self.check(
            AddPartitionsRequest(transactionalID: "x", producerID: 1, producerEpoch: 2, topics: Self.partitions),
            .addPartitionsToTransaction)
        try Self.check(AddPartitionsResponse(topics: Self.errors), .addPartitionsToTransaction)
        try Self.check(
            AddOffsetsRequest(transactionalID: "x", producerID: 1, producerEpoch: 2, groupID: "g"),
            .addOffsetsToTransaction)
        try Self.check(AddOffsetsResponse(error: .producerFenced), .addOffsetsToTransaction)
        try Self.check(
            EndTransactionRequest(transactionalID: "x", producerID: 1, producerEpoch: 2, commits: true), .endTransaction
        )
        try Self.check(EndTransactionResponse(error: .producerFenced), .endTransaction)
        try Self.check(
            TransactionOffsetCommitRequest(
                transactionalID: "x", groupID: "g", producerID: 1, producerEpoch: 2, generation: 3, memberID: "m",
                topics: [.init(name: "t", partitions: [.init(index: 1, offset: 2, leaderEpoch: 3, metadata: nil)])]),
            .transactionOffsetCommit)
        try Self.check(TransactionOffsetCommitResponse(topics: Self.errors), .transactionOffsetCommit)
    }

    @Test("A small frame cannot ask for a large value")
    func bounds() {
        // Two billion strings in six bytes; and a count that the bytes do hold but the bound does not.
        var coder = WireCoder(
            reading: ByteBuffer(bytes: [0x7F, 0xFF, 0xFF, 0xFF, 0, 0]), version: 1, isFlexible: false)
        var strings: [String] = []
        #expect(throws: WireError.truncated) { try coder.strings(&strings) }
        var body = ByteBuffer()
        body.writeInteger(Int32(1_000_000))
        body.writeRepeatingByte(0, count: 2_000_000)
        coder = WireCoder(reading: body, version: 1, isFlexible: false)
        #expect(throws: WireError.tooManyElements) { try coder.strings(&strings) }
    }
}
