// StoreTests: topics, restarts, damaged indexes, full disks, failing disks.

import Synchronization
import Testing

@testable import EmbeddedLog

@Suite("Store")
struct StoreTests {
    @Test("Topics, identities, settings and producer ids survive a restart")
    func restart() throws {
        let fileSystem = MemoryFileSystem()
        var identity: TopicID?
        var cluster = ""
        do {
            let store = try Harness(fileSystem).store
            let topic = try store.createTopic("a.b", partitions: 3, overrides: ["retention.ms": "5"])
            identity = topic.id
            cluster = store.clusterID
            _ = try store.createTopic("gone", partitions: 1)
            try store.deleteTopic("gone")
            try store.addPartitions(to: "a.b", total: 5)
            try store.setOverrides(of: "a.b", to: ["cleanup.policy": "compact"])
            #expect(try store.reserveProducerIDs(100) == 0..<100)
        }
        let store = try Harness(fileSystem).store
        #expect(store.clusterID == cluster && cluster.utf8.count == 22)
        #expect(Array(store.topics.keys) == ["a.b"])
        let topic = try #require(store.topics["a.b"])
        #expect(topic.id == identity && topic.partitions.count == 5 && topic.config.compacts)
        #expect(store.topic(id: topic.id) === topic)
        #expect(try store.reserveProducerIDs(1) == 100..<101)
    }

    @Test("Wrong topics are refused with Kafka's codes")
    func wrongTopics() throws {
        let store = try Harness { $0.partitionsMax = 10 }.store
        _ = try store.createTopic("a.b", partitions: 1)
        #expect(code { _ = try store.createTopic("a.b", partitions: 1) } == .topicAlreadyExists)
        #expect(code { _ = try store.createTopic("a_b", partitions: 1) } == .invalidTopic)
        for name in ["", ".", "..", "a/b", "ä", String(repeating: "x", count: 250)] {
            #expect(code { _ = try store.createTopic(name, partitions: 1) } == .invalidTopic)
        }
        #expect(code { _ = try store.createTopic("c", partitions: 0) } == .invalidPartitions)
        #expect(code { _ = try store.createTopic("c", partitions: 10) } == .invalidPartitions)
        #expect(code { _ = try store.createTopic("c", partitions: 1, overrides: ["x": "y"]) } == .invalidConfig)
        #expect(code { try store.addPartitions(to: "a.b", total: 1) } == .invalidPartitions)
        #expect(code { try store.deleteTopic("c") } == .unknownTopicOrPartition)
    }

    @Test("A directory belongs to one process at a time")
    func lock() throws {
        let fileSystem = MemoryFileSystem()
        let first = try Harness(fileSystem)
        #expect(code { _ = try Harness(fileSystem) } == .storage)
        try first.store.close()
        #expect(code { _ = try first.store.createTopic("t", partitions: 1) } == .storage)
    }

    @Test("A clean restart reads no log file", arguments: [true, false])
    func cleanRestart(clean: Bool) throws {
        let fileSystem = MemoryFileSystem()
        do {
            let harness = try Harness(fileSystem)
            let log = try harness.topic()
            for index in 0..<5 {
                try log.put("\(index)", producer: BatchProducer(id: 1, epoch: 0, baseSequence: Int32(index)))
            }
            if clean { try harness.store.close() }
        }
        let log = try #require(try Harness(fileSystem).store.partition("t", 0))
        #expect(log.checkpoint.cleanEndOffset == (clean ? 5 : nil))
        #expect(try log.put("4", producer: BatchProducer(id: 1, epoch: 0, baseSequence: 4)).isDuplicate)
        #expect(try log.values() == ["0", "1", "2", "3", "4"])
    }

    @Test("Missing or damaged indexes, snapshots and checkpoints are rebuilt", arguments: 0..<6)
    func damage(seed: Int) throws {
        var random = SeededRandom(UInt64(seed))
        let fileSystem = MemoryFileSystem()
        var expected: [String] = []
        do {
            let harness = try Harness(fileSystem)
            let log = try harness.topic(["segment.bytes": "1024"])
            for index in 0..<80 {
                let producer = Int64(index % 2)
                try log.put(
                    "v\(index)",
                    producer: BatchProducer(
                        id: producer, epoch: 0, baseSequence: Int32(index / 2), isTransactional: true))
                if index % 5 > 2 {
                    try log.appendMarker(
                        producerID: producer, producerEpoch: 0, coordinatorEpoch: 0, commit: index % 3 > 0)
                }
            }
            harness.mailbox.drain()
            expected = try log.values(.readCommitted)
            #expect(log.segments.count > 5 && log.recoveryPoint > 0)
            if seed % 2 == 0 { try harness.store.close() }
            for name in try #require(try fileSystem.list(log.directory)) where !name.hasSuffix(".log") {
                guard Bool.random(using: &random) || seed > 3 else { continue }
                let path = log.directory + "/" + name
                if Bool.random(using: &random) {
                    try fileSystem.remove(path)
                } else {
                    var bytes = try #require(try fileSystem.contents(of: path))
                    bytes[Int.random(in: 0..<bytes.count, using: &random)] ^= 4
                    try fileSystem.write(bytes, to: path)
                }
            }
        }
        let log = try #require(try Harness(fileSystem).store.partition("t", 0))
        #expect(try log.values(.readCommitted, maxBytes: 300) == expected)
        #expect(log.producer(1)?.lastSequence == 39)
    }

    @Test("A full disk refuses appends and not reads, and appends go on when there is space")
    func fullDisk() throws {
        let harness = try Harness()
        let log = try harness.topic(["segment.bytes": "1024"])
        try log.put("a")
        for free in [0, 1, 40] {
            harness.fileSystem.state.withLock { $0.free = free }
            #expect(code { try log.put("refused") } == .storage)
            #expect(code { try log.put(String(repeating: "y", count: 900)) } == .storage)
            #expect(code { _ = try harness.store.createTopic("u\(free)", partitions: 1) } == .storage)
            #expect(try log.values() == ["a"])
        }
        harness.fileSystem.state.withLock { $0.free = 1 << 50 }
        try log.put("b")
        try log.put(String(repeating: "z", count: 900))
        #expect(try log.records().count == 3 && log.segments.count == 2)
        harness.fileSystem.state.withLock { $0.locks.removeAll() }
        #expect(try #require(try Harness(harness.fileSystem).store.partition("t", 0)).records().count == 3)
    }

    @Test("One sync covers many appends; callbacks and the high watermark wait for it")
    func groupCommit() throws {
        let harness = try Harness(policy: .groupCommit)
        let log = try harness.topic()
        var visible = 0
        log.onVisible = { _ in visible += 1 }
        let before = harness.fileSystem.state.withLock { $0.syncs }
        var acknowledged: [Int64] = []
        for _ in 0..<50 {
            let result = try log.put("x")
            harness.store.whenDurable(result.position) { outcome in
                if case .success = outcome { acknowledged.append(result.baseOffset) }
            }
        }
        #expect(acknowledged.isEmpty && log.highWatermark == 0 && log.logEndOffset == 50)
        harness.mailbox.drain()
        #expect(acknowledged == Array(0..<50) && log.highWatermark == 50 && visible == 2)
        #expect(harness.fileSystem.state.withLock { $0.syncs } - before == 2)
    }

    @Test("A failed sync fails who waits for it and every later append")
    func failedSync() throws {
        let harness = try Harness(policy: .groupCommit)
        let log = try harness.topic()
        try log.put("durable")
        harness.mailbox.drain()
        harness.fileSystem.state.withLock { $0.syncFails = true }
        var failures = 0
        harness.store.whenDurable(try log.put("x").position) { if case .failure = $0 { failures += 1 } }
        harness.mailbox.drain()
        #expect(failures == 1)
        #expect(code { try log.put("y") } == .storage)
        #expect(try log.values() == ["durable"])
        #expect(code { try harness.store.close() } == .storage)
    }
}
