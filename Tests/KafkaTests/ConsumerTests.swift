// ConsumerTests: assignments, positions and commits.

import Kafka
import TestSupport
import Testing

@Suite("Consumer")
struct ConsumerTests {
    @Test("A commit's offset and metadata come back, also to another consumer of the group")
    func commitMetadata() throws {
        let broker = try TestBroker()
        let topic = try broker.makeTopic(partitions: 3)
        let group = TestBroker.uniqueName("group")
        let partitions = (0..<3).map { KafkaPartition(topic: topic, partition: $0) }
        let offsets = [
            partitions[0]: CommittedOffset(offset: 5, metadata: "{\"attempt\":1,\"ü\":\"✓\"}"),
            partitions[1]: CommittedOffset(offset: 0),
        ]
        let consumer = try broker.makeConsumer(group: group)
        #expect(try consumer.committed(partitions, timeoutMilliseconds: 5_000).isEmpty)
        try consumer.commit(offsets, timeoutMilliseconds: 5_000)
        #expect(try consumer.committed(partitions, timeoutMilliseconds: 5_000) == offsets)
        let other = try broker.makeConsumer(group: group)
        #expect(try other.committed(partitions, timeoutMilliseconds: 5_000) == offsets)
    }

    @Test("An asynchronous commit reports its outcome as an event")
    func asynchronousCommit() throws {
        let broker = try TestBroker()
        let partition = KafkaPartition(topic: try broker.makeTopic(), partition: 0)
        let consumer = try broker.makeConsumer()
        try consumer.commitAsynchronously([partition: CommittedOffset(offset: 3, metadata: "m")])
        var result: OffsetCommitResult?
        _ = try consumer.waitForEvent { event in
            if case .offsetCommit(let outcome) = event { result = outcome }
            return result != nil
        }
        #expect(result?.error == nil)
        #expect(result?.partitions.map(\.partition) == [partition])
        #expect(result?.partitions.map(\.offset) == [3])
        #expect(
            try consumer.committed([partition], timeoutMilliseconds: 5_000)[partition]
                == CommittedOffset(offset: 3, metadata: "m"))
    }

    @Test("A refused commit is an error that says so")
    func refusedCommit() throws {
        let broker = try TestBroker()
        let partition = KafkaPartition(topic: try broker.makeTopic(), partition: 0)
        let consumer = try broker.makeConsumer()
        broker.cluster.pushErrors([.illegalGeneration], for: .offsetCommit)
        let error = #expect(throws: KafkaError.self) {
            try consumer.commit([partition: CommittedOffset(offset: 3)], timeoutMilliseconds: 5_000)
        }
        #expect(error?.code == .illegalGeneration)
    }

    @Test("Nothing arrives from a paused partition, and nothing is missing after it is resumed")
    func pauseAndResume() throws {
        let broker = try TestBroker()
        let topic = try broker.makeTopic(partitions: 2)
        let quiet = KafkaPartition(topic: topic, partition: 0)
        let other = KafkaPartition(topic: topic, partition: 1)
        let consumer = try broker.makeConsumer()
        try consumer.assign([(quiet, 0), (other, 0)])
        try broker.produce((0..<10).map { (nil, "\($0)") }, to: topic, partition: 0)
        #expect(try consumer.collect(10).count == 10)

        try consumer.pause([quiet])
        try broker.produce((10..<20).map { (nil, "\($0)") }, to: topic, partition: 0)
        try broker.produce([(nil, "end")], to: topic, partition: 1)
        let during = try consumer.collect(1)
        #expect(during.map(\.text) == ["end"], "only the other partition speaks")
        #expect(try consumer.collect(1, timeoutMilliseconds: 300).isEmpty)

        #expect(consumer.pausedPartitions == [quiet])
        try consumer.resume([quiet, other])
        #expect(consumer.pausedPartitions.isEmpty)
        #expect(try consumer.collect(10).map(\.text) == (10..<20).map { "\($0)" })
    }

    @Test("A pause ends with the assignment: a partition that comes back speaks", arguments: [true, false])
    func pauseAndReassign(isReplaced: Bool) throws {
        let broker = try TestBroker()
        let topic = try broker.makeTopic(partitions: 2)
        let partition = KafkaPartition(topic: topic, partition: 0)
        let other = KafkaPartition(topic: topic, partition: 1)
        try broker.produce((0..<10).map { (nil, "\($0)") }, to: topic, partition: 0)
        let consumer = try broker.makeConsumer()
        try consumer.assign([(partition, 0)])
        #expect(try consumer.collect(10).count == 10)
        try consumer.pause([partition])
        if isReplaced { try consumer.assign([(other, 0)]) } else { try consumer.unassign() }
        #expect(consumer.pausedPartitions.isEmpty)
        try consumer.assign([(partition, 5), (other, 0)])
        #expect(try consumer.collect(5).map(\.text) == (5..<10).map { "\($0)" })
    }

    @Test("After a seek the next record is the one sought, though others were prefetched")
    func seek() throws {
        let broker = try TestBroker()
        let topic = try broker.makeTopic()
        let partition = KafkaPartition(topic: topic, partition: 0)
        try broker.produce((0..<1_000).map { ("k", "\($0)") }, to: topic)
        let consumer = try broker.makeConsumer()
        try consumer.assign([(partition, 0)])
        #expect(try consumer.collect(100).last?.offset == 99)
        #expect(try consumer.positions([partition]) == [partition: 100])
        for target in [900, 3, 500] as [Int64] {
            try consumer.seek([(partition, target)], timeoutMilliseconds: 5_000)
            #expect(try consumer.collect(5).map(\.offset) == Array(target..<(target + 5)))
        }
    }

    @Test("Watermarks, times, the cluster id and the partition count can be asked for")
    func lookups() throws {
        let broker = try TestBroker()
        let topic = try broker.makeTopic(partitions: 3)
        let partition = KafkaPartition(topic: topic, partition: 1)
        try broker.produce((0..<7).map { (nil, "\($0)") }, to: topic, partition: 1)
        let consumer = try broker.makeConsumer()
        #expect(try consumer.watermarks(partition, timeoutMilliseconds: 5_000) == Watermarks(low: 0, high: 7))
        #expect(consumer.clusterID(timeoutMilliseconds: 5_000)?.isEmpty == false)
        let described = try consumer.topics(named: [topic, "no-such"], timeoutMilliseconds: 5_000)
        #expect(described == [TopicDescription(name: topic, partitionCount: 3)])
        #expect(try consumer.topics(timeoutMilliseconds: 5_000).map(\.name).contains(topic))
        let missing = #expect(throws: KafkaError.self) {
            try consumer.watermarks(KafkaPartition(topic: topic, partition: 9), timeoutMilliseconds: 2_000)
        }
        #expect(missing?.code == .unknownTopicOrPartition)
    }

    @Test("A group's lag can be read without joining it")
    func lag() throws {
        let broker = try TestBroker()
        let topic = try broker.makeTopic(partitions: 2)
        let group = TestBroker.uniqueName("group")
        try broker.produce((0..<7).map { (nil, "\($0)") }, to: topic, partition: 1)
        let partitions = (0..<2).map { KafkaPartition(topic: topic, partition: $0) }
        let committed = CommittedOffset(offset: 3, metadata: "m")
        try broker.makeConsumer(group: group).commit([partitions[1]: committed], timeoutMilliseconds: 5_000)
        let observer = try broker.makeConsumer(group: group)
        let lag = try observer.lag(ofTopics: [topic], timeoutMilliseconds: 5_000)
        #expect(lag.map(\.partition) == partitions)
        #expect(lag.map(\.lag) == [0, 4])
        #expect(lag.map(\.committed) == [nil, committed])
        let error = #expect(throws: KafkaError.self) {
            try observer.lag(ofTopics: ["no-such-topic"], timeoutMilliseconds: 5_000)
        }
        #expect(error?.message.contains("no-such-topic") == true)
        let behind = PartitionLag(
            partition: partitions[0], committed: CommittedOffset(offset: 10), watermarks: Watermarks(low: 15, high: 20))
        #expect(behind.lag == 5)
        #expect(behind.lost == 5)
    }

    @Test("Making topics on a cluster without admin requests is an error, not a hang")
    func administration() throws {
        let broker = try TestBroker()
        let topic = try broker.makeTopic(partitions: 3)
        let administration = try TopicAdministration(
            configuration: KafkaConfiguration(settings: [.init("bootstrap.servers", broker.bootstrapServers)]))
        #expect(
            try administration.topics(named: [topic], timeoutMilliseconds: 5_000)
                == [TopicDescription(name: topic, partitionCount: 3)])
        #expect(try administration.createTopics([], timeoutMilliseconds: 1_000).isEmpty)
        let error = #expect(throws: KafkaError.self) {
            try administration.createTopics(
                [.init(name: "new", partitions: 1, settings: [("retention.ms", "1000")])], timeoutMilliseconds: 2_000)
        }
        #expect(error?.code == .unsupported || error?.code == .timedOut, "\(error?.description ?? "")")
    }

    @Test("Without a committed offset the error surfaces instead of a silent jump")
    func autoOffsetReset() throws {
        let broker = try TestBroker()
        let topic = try broker.makeTopic()
        let partition = KafkaPartition(topic: topic, partition: 0)
        try broker.produce([("k", "v")], to: topic)
        let consumer = try broker.makeConsumer()
        try consumer.assign([(partition, KafkaOffset.stored)])
        var met: (KafkaError, KafkaPartition?)?
        #expect(
            try consumer.waitForEvent { event in
                if case .error(let error, let place, _) = event { met = (error, place) }
                return met != nil
            })
        #expect(met?.0.code == .offsetOutOfRange)
        #expect(met?.0.name == "_AUTO_OFFSET_RESET")
        #expect(met?.1 == partition)
    }

    @Test("A position beyond the log's end surfaces as an error too")
    func outOfRange() throws {
        let broker = try TestBroker()
        let topic = try broker.makeTopic()
        let partition = KafkaPartition(topic: topic, partition: 0)
        try broker.produce([("k", "v")], to: topic)
        let consumer = try broker.makeConsumer()
        try consumer.assign([(partition, 500)])
        var met: KafkaError?
        #expect(
            try consumer.waitForEvent { event in
                if case .error(let error, partition, _) = event { met = error }
                return met != nil
            })
        #expect(met?.code == .offsetOutOfRange)
    }

    @Test("Statistics and log lines arrive as events")
    func statistics() throws {
        let broker = try TestBroker()
        let consumer = try broker.makeConsumer(group: "g", ["statistics.interval.ms": "50", "debug": "generic"])
        var json: String?
        var log: ClientLog?
        #expect(
            try consumer.waitForEvent { event in
                switch event {
                case .statistics(let text): json = text
                case .log(let line): log = line
                default: break
                }
                return json != nil && log != nil
            })
        #expect(json?.contains("\"type\": \"consumer\"") == true)
        #expect(log?.message.isEmpty == false)
    }

    @Test("Waking ends a long poll at once")
    func wake() async throws {
        let broker = try TestBroker()
        let consumer = try broker.makeConsumer()
        // Woken before: the next poll returns at once instead of waiting for ever.
        consumer.wake()
        let polled = consumer.pollMessages(maximum: 1, timeoutMilliseconds: -1) { _ in }
        #expect(polled.messageCount == 0)
    }
}
