// CleanupTests: retention by size and time, and compaction.

import Testing

@testable import EmbeddedLog

@Suite("Cleanup")
struct CleanupTests {
    @Test("Retention by size keeps at least that many bytes, and removes the files")
    func bySize() throws {
        let harness = try Harness()
        let log = try harness.topic(["segment.bytes": "1024", "retention.bytes": "3000"])
        for index in 0..<50 { try log.put("\(index)" + String(repeating: "x", count: 300)) }
        harness.mailbox.drain()
        harness.store.maintain()
        harness.mailbox.drain()
        #expect(log.sizeBytes >= 3000 && log.sizeBytes < 4100)
        #expect(log.logStartOffset == log.segments[0].baseOffset && log.logStartOffset > 0)
        let files = try #require(try harness.fileSystem.list(log.directory))
        #expect(files.filter { $0.hasSuffix(".log") }.count == log.segments.count)
        #expect(files.filter { $0.hasSuffix(".index") }.count == log.segments.count - 1)
    }

    @Test("Retention by time goes by the records' time and rolls an active segment that is wholly too old")
    func byTime() throws {
        let harness = try Harness()
        let log = try harness.topic(["retention.ms": "1000"])
        try log.put("a", at: harness.clock.now)
        harness.clock.advance(900)
        try log.put("b", at: harness.clock.now)
        harness.clock.advance(900)
        harness.store.maintain()
        harness.mailbox.drain()
        #expect(try log.values() == ["a", "b"])
        harness.clock.advance(200)
        for _ in 0..<2 {
            harness.store.maintain()
            harness.mailbox.drain()
        }
        #expect(log.logStartOffset == 2 && log.sizeBytes == 0)
        try log.put("c", at: harness.clock.now)
        #expect(try log.records().map(\.offset) == [2])
    }

    @Test("Segments are rolled by time")
    func rollByTime() throws {
        let harness = try Harness()
        let log = try harness.topic(["segment.ms": "100"])
        try log.put("a")
        harness.clock.advance(100)
        try log.put("b")
        #expect(log.segments.map(\.baseOffset) == [0, 1])
    }

    @Test("Compaction keeps the last value of each key at its offset, through restarts", arguments: 0..<10)
    func compaction(seed: Int) throws {
        var random = SeededRandom(UInt64(seed))
        let fileSystem = MemoryFileSystem()
        let clock = TestClock()
        var expected: [String: (Int64, [UInt8]?)] = [:]
        do {
            let harness = try Harness(fileSystem, clock: clock) { $0.compactionKeysMax = seed % 2 == 0 ? 1_000 : 7 }
            let log = try harness.topic([
                "cleanup.policy": "compact", "segment.bytes": "1024", "min.cleanable.dirty.ratio": "0",
                "delete.retention.ms": "1000",
            ])
            for round in 0..<300 {
                let aborts = round % 10 == 0
                let key = "k\(Int.random(in: 0..<12, using: &random))"
                let value: [UInt8]? = Int.random(in: 0..<6, using: &random) == 0 ? nil : Array("\(round)".utf8)
                let records = [
                    LogRecord(key: Array(key.utf8), value: value, timestamp: 1),
                    LogRecord(key: Array("x\(key)".utf8), value: [7], timestamp: 2),
                ]
                let sequence = Int32((log.producer(5)?.lastSequence ?? -1) + 1)
                let base = try log.append(
                    RecordBatchBuilder.batch(
                        records,
                        producer: round % 5 == 0
                            ? BatchProducer(id: 5, epoch: 0, baseSequence: sequence, isTransactional: true) : nil)
                ).baseOffset
                if round % 5 == 0 {
                    try log.appendMarker(producerID: 5, producerEpoch: 0, coordinatorEpoch: 0, commit: !aborts)
                }
                if !aborts || round % 5 != 0 {
                    expected[key] = (base, value)
                    expected["x" + key] = (base + 1, [7])
                }
                harness.mailbox.drain()
                if round % 20 == 19 {
                    clock.advance(400)
                    harness.store.maintain()
                    harness.mailbox.drain()
                }
            }
            try check(log, expected)
            let before = log.sizeBytes
            for _ in 0..<4 {
                clock.advance(2_000)
                try log.put("roll", at: 1)
                try log.roll()
                harness.mailbox.drain()
                harness.store.maintain()
                harness.mailbox.drain()
            }
            expected["k"] = (log.logEndOffset - 1, Array("roll".utf8))
            try check(log, expected)
            #expect(log.sizeBytes < before)
            #expect(log.sizeBytes < 6_000, "300 rounds wrote over 40,000 bytes")
        }
        let log = try #require(try Harness(fileSystem, clock: clock).store.partition("t", 0))
        try check(log, expected)
        #expect(log.lastStableOffset == log.logEndOffset)
    }

    /// What a reader of committed records would hold as its table.
    private func check(_ log: PartitionLog, _ expected: [String: (Int64, [UInt8]?)]) throws {
        var table: [String: (Int64, [UInt8]?)] = [:]
        for record in try log.records(.readCommitted) {
            table[String(decoding: record.key ?? [], as: UTF8.self)] = (record.offset, record.value)
        }
        for (key, (offset, value)) in expected {
            if let found = table[key] {
                #expect(found.0 == offset && found.1 == value, "key \(key)")
            } else {
                #expect(value == nil, "key \(key) is lost")
            }
        }
        #expect(Set(table.keys).isSubset(of: expected.keys))
    }

    @Test("A tombstone outlives delete.retention.ms while an older value may hide in a compressed batch")
    func compressedHidesValues() throws {
        let harness = try Harness()
        let log = try harness.topic([
            "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0", "delete.retention.ms": "0",
        ])
        var hidden = RecordBatchBuilder.batch([.text("old", key: "h")])
        hidden.setInteger(Int16(1), at: 21)
        RecordBatchBuilder.seal(&hidden)
        try log.append(hidden)
        try log.append(RecordBatchBuilder.batch([LogRecord(key: Array("h".utf8), value: nil, timestamp: 1)]))
        for _ in 0..<3 {
            try log.roll()
            try log.put("roll")
            harness.mailbox.drain()
            harness.clock.advance(10)
            harness.store.maintain()
            harness.mailbox.drain()
        }
        let bytes = try log.bytes(of: log.locate(from: 0, maxBytes: 10_000))
        #expect(RecordBatchReader.batches(bytes.span.bytes).map(\.header.baseOffset) == [0, 1])
    }
}
