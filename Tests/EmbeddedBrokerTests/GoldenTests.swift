// GoldenTests: our encoding of every message in every version against another implementation's bytes.

import EmbeddedLog
import Foundation
import NIOCore
import Testing

@testable import EmbeddedBroker

/// `Fixtures/messages.txt`, made by scripts/golden-messages.py with kafka-python.
@Suite("Messages as kafka-python encodes them")
struct GoldenTests {
    struct Golden: CustomTestStringConvertible {
        var isRequest: Bool
        var key: APIKey
        var version: Int16
        var isFull: Bool
        var bytes: [UInt8]

        var testDescription: String { "\(key) \(isRequest ? "request" : "response") \(version)" }
    }

    static let messages: [Golden] = {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
            "Fixtures/messages.txt")
        let text = (try? String(contentsOf: path, encoding: .utf8)) ?? ""
        return text.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ", omittingEmptySubsequences: false)
            guard words.count == 5, let key = Int16(words[1]).flatMap(APIKey.init(rawValue:)),
                let version = Int16(words[2])
            else { return nil }
            return Golden(
                isRequest: words[0] == "request", key: key, version: version, isFull: words[3] == "full",
                bytes: bytes(words[4]))
        }
    }()

    private static func bytes(_ hexadecimal: Substring) -> [UInt8] {
        let digits = Array(hexadecimal.utf8)
        return stride(from: 0, to: digits.count - 1, by: 2).map { place in
            UInt8(String(decoding: digits[place..<(place + 2)], as: UTF8.self), radix: 16) ?? 0
        }
    }

    @Test("Every request and response is there, in every version that is announced")
    func coverage() {
        for key in APIKey.allCases {
            for version in key.versions {
                for isRequest in [true, false] {
                    let found = Self.messages.filter {
                        $0.key == key && $0.version == version && $0.isRequest == isRequest
                    }
                    #expect(found.count == 2, "\(key) \(version)")
                }
            }
        }
    }

    @Test("Each is read to its last byte and written again as the same bytes")
    func roundTrips() throws {
        for golden in Self.messages {
            do {
                let (rest, written) = try Self.roundTrip(golden)
                #expect(rest == 0, "\(golden.testDescription) leaves \(rest) bytes over")
                #expect(written == golden.bytes, "\(golden.testDescription)")
            } catch {
                Issue.record("\(golden.testDescription): \(error)")
            }
        }
    }

    @Test("Every message cut short is an error or another message, never a crash")
    func cutShort() {
        for golden in Self.messages where golden.isFull {
            for count in stride(from: 0, to: golden.bytes.count, by: 5) {
                var cut = golden
                cut.bytes = Array(golden.bytes.prefix(count))
                _ = try? Self.roundTrip(cut)
            }
        }
    }

    private static func roundTrip(_ golden: Golden) throws -> (rest: Int, written: [UInt8]) {
        func check<R: BrokerRequest>(_ type: R.Type) throws -> (rest: Int, written: [UInt8]) {
            golden.isRequest ? try roundTrip(golden, R.self) : try roundTrip(golden, R.Response.self)
        }
        switch golden.key {
        case .produce: return try check(ProduceRequest.self)
        case .fetch: return try check(FetchRequest.self)
        case .listOffsets: return try check(ListOffsetsRequest.self)
        case .metadata: return try check(MetadataRequest.self)
        case .offsetCommit: return try check(OffsetCommitRequest.self)
        case .offsetFetch: return try check(OffsetFetchRequest.self)
        case .findCoordinator: return try check(FindCoordinatorRequest.self)
        case .joinGroup: return try check(JoinGroupRequest.self)
        case .heartbeat: return try check(HeartbeatRequest.self)
        case .leaveGroup: return try check(LeaveGroupRequest.self)
        case .syncGroup: return try check(SyncGroupRequest.self)
        case .describeGroups: return try check(DescribeGroupsRequest.self)
        case .listGroups: return try check(ListGroupsRequest.self)
        case .apiVersions: return try check(ApiVersionsRequest.self)
        case .createTopics: return try check(CreateTopicsRequest.self)
        case .deleteTopics: return try check(DeleteTopicsRequest.self)
        case .deleteRecords: return try check(DeleteRecordsRequest.self)
        case .initProducerID: return try check(InitProducerIDRequest.self)
        case .offsetForLeaderEpoch: return try check(OffsetForLeaderEpochRequest.self)
        case .addPartitionsToTransaction: return try check(AddPartitionsRequest.self)
        case .addOffsetsToTransaction: return try check(AddOffsetsRequest.self)
        case .endTransaction: return try check(EndTransactionRequest.self)
        case .transactionOffsetCommit: return try check(TransactionOffsetCommitRequest.self)
        case .describeConfigs: return try check(DescribeConfigsRequest.self)
        case .alterConfigs: return try check(AlterConfigsRequest.self)
        case .createPartitions: return try check(CreatePartitionsRequest.self)
        case .deleteGroups: return try check(DeleteGroupsRequest.self)
        case .incrementalAlterConfigs: return try check(IncrementalAlterConfigsRequest.self)
        case .offsetDelete: return try check(OffsetDeleteRequest.self)
        case .describeCluster: return try check(DescribeClusterRequest.self)
        }
    }

    private static func roundTrip<M: WireStruct>(_ golden: Golden, _ type: M.Type) throws -> (Int, [UInt8]) {
        let (message, rest) = try decoded(golden, type)
        var writer = WireCoder(
            writingInto: ByteBuffer(), version: golden.version, isFlexible: golden.key.isFlexible(golden.version))
        try writer.writeMessage(message)
        return (rest, writer.pieces().flatMap { Array($0.readableBytesView) })
    }

    private static func decoded<M: WireStruct>(_ golden: Golden, _ type: M.Type) throws -> (M, Int) {
        var reader = WireCoder(
            reading: ByteBuffer(bytes: golden.bytes), version: golden.version,
            isFlexible: golden.key.isFlexible(golden.version))
        let message: M = try reader.readMessage()
        return (message, reader.readableBytes)
    }

    // MARK: Values

    /// What the generator puts into a field, by Apache Kafka's names along its path.
    private static func number(_ path: String) -> UInt64 {
        UInt64(path.utf8.reduce(UInt32(0x811C_9DC5)) { ($0 ^ UInt32($1)) &* 0x0100_0193 })
    }

    private static func int16(_ path: String) -> Int16 { Int16(number(path) & 0x7FFF) }
    private static func int32(_ path: String) -> Int32 { Int32(number(path) & 0x7FFF_FFFF) }
    private static func int64(_ path: String) -> Int64 { Int64(bitPattern: number(path) << 20 | number(path) >> 12) }

    private static func newest<M: WireStruct>(_ type: M.Type, _ key: APIKey, isRequest: Bool) throws -> M {
        let found = messages.filter { $0.key == key && $0.isRequest == isRequest && $0.isFull }
        return try decoded(try #require(found.max { $0.version < $1.version }), type).0
    }

    @Test("The fields that move records mean what Kafka means by them")
    func recordFields() throws {
        let produce = try Self.newest(ProduceRequest.self, .produce, isRequest: true)
        #expect(produce.transactionalID == "TransactionalId")
        #expect(produce.acks == Self.int16("Acks"))
        #expect(produce.timeoutMilliseconds == Self.int32("TimeoutMs"))
        #expect(produce.topics[1].partitions[0].index == Self.int32("TopicData.1.PartitionData.0.Index"))
        let produced = try Self.newest(ProduceResponse.self, .produce, isRequest: false).topics[0].partitions[1]
        #expect(produced.baseOffset == Self.int64("Responses.0.PartitionResponses.1.BaseOffset"))
        #expect(produced.appendTimeMilliseconds == Self.int64("Responses.0.PartitionResponses.1.LogAppendTimeMs"))
        #expect(produced.startOffset == Self.int64("Responses.0.PartitionResponses.1.LogStartOffset"))

        let fetch = try Self.newest(FetchRequest.self, .fetch, isRequest: true)
        #expect(fetch.waitMillisecondsMax == Self.int32("MaxWaitMs"))
        #expect(fetch.bytesMin == Self.int32("MinBytes"))
        #expect(fetch.bytesMax == Self.int32("MaxBytes"))
        #expect(fetch.sessionID == Self.int32("SessionId"))
        let wanted = fetch.topics[1].partitions[1]
        #expect(wanted.leaderEpoch == Self.int32("Topics.1.Partitions.1.CurrentLeaderEpoch"))
        #expect(wanted.offset == Self.int64("Topics.1.Partitions.1.FetchOffset"))
        #expect(wanted.bytesMax == Self.int32("Topics.1.Partitions.1.PartitionMaxBytes"))
        let answer = try Self.newest(FetchResponse.self, .fetch, isRequest: false).topics[0].partitions[0]
        #expect(answer.error.code == Self.int16("Responses.0.Partitions.0.ErrorCode"))
        #expect(answer.highWatermark == Self.int64("Responses.0.Partitions.0.HighWatermark"))
        #expect(answer.lastStableOffset == Self.int64("Responses.0.Partitions.0.LastStableOffset"))
        #expect(answer.startOffset == Self.int64("Responses.0.Partitions.0.LogStartOffset"))
        #expect(
            answer.aborted?[1].firstOffset
                == Self.int64("Responses.0.Partitions.0.AbortedTransactions.1.FirstOffset"))
    }

    @Test("The fields of groups and transactions mean what Kafka means by them")
    func coordinatorFields() throws {
        let join = try Self.newest(JoinGroupRequest.self, .joinGroup, isRequest: true)
        #expect(join.groupID == "GroupId")
        #expect(join.sessionTimeoutMilliseconds == Self.int32("SessionTimeoutMs"))
        #expect(join.rebalanceTimeoutMilliseconds == Self.int32("RebalanceTimeoutMs"))
        #expect(join.memberID == "MemberId")
        #expect(join.groupInstanceID == "GroupInstanceId")
        let joined = try Self.newest(JoinGroupResponse.self, .joinGroup, isRequest: false)
        #expect(joined.generation == Self.int32("GenerationId"))
        #expect(joined.leader == "Leader")
        #expect(joined.memberID == "MemberId")
        let commit = try Self.newest(OffsetCommitRequest.self, .offsetCommit, isRequest: true)
        #expect(commit.generation == Self.int32("GenerationIdOrMemberEpoch"))
        #expect(commit.topics[0].partitions[1].offset == Self.int64("Topics.0.Partitions.1.CommittedOffset"))
        #expect(commit.topics[0].partitions[1].metadata == "Topics.0.Partitions.1.CommittedMetadata")
        let identity = try Self.newest(InitProducerIDResponse.self, .initProducerID, isRequest: false)
        #expect(identity.producerID == Self.int64("ProducerId"))
        #expect(identity.producerEpoch == Self.int16("ProducerEpoch"))
        let end = try Self.newest(EndTransactionRequest.self, .endTransaction, isRequest: true)
        #expect(end.commits == (Self.number("Committed") & 1 == 1))
        #expect(end.transactionalID == "TransactionalId")
    }

    @Test("A record batch that kafka-python built is a valid one, and its records can be read")
    func recordBatch() async throws {
        let produce = try Self.newest(ProduceRequest.self, .produce, isRequest: true)
        let records = try #require(produce.topics[0].partitions[0].records)
        try await withBroker { broker in
            try await broker.createTopic("t", partitions: 1)
            let client = try RawClient(port: broker.port)
            let request = ProduceRequest(
                acks: -1, timeoutMilliseconds: 1_000,
                topics: [.init(name: "t", partitions: [.init(index: 0, records: records)])])
            var writer = WireCoder(writingInto: ByteBuffer(), version: 9, isFlexible: true)
            try writer.writeMessage(request)
            let body = writer.pieces().flatMap { Array($0.readableBytesView) }
            client.send(FrameTests.frame(key: 0, version: 9, isFlexible: true, body: body))
            let answer = ByteBuffer(bytes: client.receive())
            #expect(answer.getInteger(at: 4, as: Int32.self) == 7)
            #expect(try broker.read(2, from: "t") == ["TopicData.0.PartitionData.0.Records", ""])
        }
    }
}
