// AppendTests: what is accepted, what is refused, and what of a batch is rewritten.

import Testing

@testable import EmbeddedLog

@Suite("Appending")
struct AppendTests {
    private func batch(_ change: (inout [UInt8]) -> Void, seal: Bool = true) -> [UInt8] {
        var bytes = RecordBatchBuilder.batch([.text("a"), .text("b")])
        change(&bytes)
        if seal { RecordBatchBuilder.seal(&bytes) }
        return bytes
    }

    @Test("The hardware's checksum is the tables' and the published one")
    func checksum() {
        let check = Array("123456789".utf8)
        #expect(Checksum.crc32c(check.span.bytes) == 0xE306_9283)
        var random = SeededRandom(1)
        for length in 0..<200 {
            let bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
            #expect(Checksum.crc32c(bytes.span.bytes) == Checksum.crc32cByTables(bytes.span.bytes))
        }
    }

    @Test("Only base offset and leader epoch of a batch are rewritten")
    func bytesStay() throws {
        let log = try Harness().topic()
        try log.put("first")
        var bytes = RecordBatchBuilder.batch([.text("x"), .text("y")])
        let result = try log.append(bytes.span.bytes, leaderEpoch: 7)
        #expect(result.baseOffset == 1 && result.lastOffset == 2 && result.logAppendTime == -1)
        bytes.setInteger(Int64(1), at: 0)
        bytes.setInteger(Int32(7), at: 12)
        #expect(try log.bytes(of: log.locate(from: 1, maxBytes: 10_000)) == bytes)
    }

    @Test("Under append time the batch carries the broker's time and a right checksum")
    func appendTime() throws {
        let harness = try Harness()
        let log = try harness.topic(["message.timestamp.type": "LogAppendTime"])
        let result = try log.put("x", at: 5)
        #expect(result.logAppendTime == harness.clock.now)
        let bytes = try log.bytes(of: log.locate(from: 0, maxBytes: 1_000))
        let header = BatchHeader(bytes.span.bytes)
        #expect(header.usesAppendTime && header.maxTimestamp == harness.clock.now)
        #expect(header.checksum == Checksum.crc32c(bytes, 21..<bytes.count))
        #expect(try log.offset(forTimestamp: 6)?.timestamp == harness.clock.now)
    }

    @Test("A damaged or foreign batch is refused with Kafka's code and leaves no trace")
    func refused() throws {
        let log = try Harness().topic(["max.message.bytes": "500"])
        let control = RecordBatchBuilder.marker(
            producerID: 1, producerEpoch: 0, coordinatorEpoch: 0, commit: true, timestamp: 0)
        let cases: [([UInt8], LogError.Code)] = [
            ([], .invalidRecord),
            ([1, 2, 3], .corruptMessage),
            (batch { $0[16] = 1 }, .unsupportedForMessageFormat),
            (batch { $0[16] = 9 }, .corruptMessage),
            (batch({ $0[$0.count - 1] ^= 1 }, seal: false), .corruptMessage),
            (batch({ $0[17] ^= 1 }, seal: false), .corruptMessage),
            (batch({ $0.setInteger(Int32(10_000), at: 8) }, seal: false), .corruptMessage),
            (batch({ $0.setInteger(Int32(-1), at: 8) }, seal: false), .corruptMessage),
            (Array(batch { _ in }.dropLast()), .corruptMessage),
            (batch { $0.setInteger(Int32(3), at: 57) }, .invalidRecord),
            (batch { $0.setInteger(Int32(-1), at: 23) }, .invalidRecord),
            (batch { $0.setInteger(Int16(7), at: 21) }, .invalidRecord),
            (batch { $0.setInteger(Int16(0x10), at: 21) }, .invalidRecord),
            (
                batch {
                    $0.setInteger(Int32(2), at: 23)
                    $0.setInteger(Int32(3), at: 57)
                }, .invalidRecord
            ),
            (
                batch {
                    $0.setInteger(Int32(0), at: 23)
                    $0.setInteger(Int32(1), at: 57)
                }, .invalidRecord
            ),
            // The first record's length and offset delta.
            (batch { $0[BatchHeader.size] += 2 }, .invalidRecord),
            (batch { $0[BatchHeader.size + 3] = 4 }, .invalidRecord),
            (control, .invalidRecord),
            (batch { _ in } + batch { _ in }, .invalidRecord),
            (RecordBatchBuilder.batch([.text(String(repeating: "x", count: 500))]), .messageTooLarge),
        ]
        for (bytes, expected) in cases { #expect(code { try log.append(bytes) } == expected) }
        #expect(log.logEndOffset == 0 && log.sizeBytes == 0)
    }

    @Test("A compacted topic refuses a record without a key")
    func keyless() throws {
        let log = try Harness().topic(["cleanup.policy": "compact"])
        let bytes = RecordBatchBuilder.batch([LogRecord(key: nil, value: [1], timestamp: 0)])
        #expect(code { try log.append(bytes) } == .invalidRecord)
    }

    @Test("Limits on a record's time are kept")
    func timestampLimits() throws {
        let log = try Harness().topic([
            "message.timestamp.after.max.ms": "10", "message.timestamp.before.max.ms": "20",
        ])
        #expect(code { try log.put("x", at: 1_000_011) } == .invalidTimestamp)
        #expect(code { try log.put("x", at: 999_979) } == .invalidTimestamp)
        try log.put("x", at: 1_000_010)
    }

    @Test("A retried batch is acknowledged with its old offset, up to five batches back")
    func duplicates() throws {
        let log = try Harness().topic()
        for sequence in 0..<7 {
            try log.put("\(sequence)", producer: BatchProducer(id: 9, epoch: 0, baseSequence: Int32(sequence)))
        }
        for sequence in 2..<7 {
            let again = try log.put("x", producer: BatchProducer(id: 9, epoch: 0, baseSequence: Int32(sequence)))
            #expect(again.isDuplicate && again.baseOffset == Int64(sequence))
        }
        #expect(
            code { try log.put("x", producer: BatchProducer(id: 9, epoch: 0, baseSequence: 1)) }
                == .outOfOrderSequenceNumber)
        #expect(
            code { try log.put("x", producer: BatchProducer(id: 9, epoch: 0, baseSequence: 8)) }
                == .outOfOrderSequenceNumber)
        #expect(try log.values() == ["0", "1", "2", "3", "4", "5", "6"])
    }

    @Test(
        "Sequences wrap around; an unknown producer may start anywhere; a new epoch starts at 0 and fences the old one")
    func sequences() throws {
        let log = try Harness().topic()
        let last = Int32.max
        try log.put("a", "b", producer: BatchProducer(id: 1, epoch: 0, baseSequence: last))
        #expect(log.producer(1)?.lastSequence == 0)
        #expect(try log.put("a", "b", producer: BatchProducer(id: 1, epoch: 0, baseSequence: last)).isDuplicate)
        try log.put("c", producer: BatchProducer(id: 1, epoch: 0, baseSequence: 1))
        #expect(
            code { try log.put("x", producer: BatchProducer(id: 1, epoch: 1, baseSequence: 5)) }
                == .outOfOrderSequenceNumber)
        try log.put("d", producer: BatchProducer(id: 1, epoch: 1, baseSequence: 0))
        #expect(
            code { try log.put("x", producer: BatchProducer(id: 1, epoch: 0, baseSequence: 2)) }
                == .invalidProducerEpoch)
        try log.put("e", producer: BatchProducer(id: 2, epoch: 3, baseSequence: 77))
    }

    @Test("An idle producer is forgotten, one with an open transaction is not")
    func expiry() throws {
        let harness = try Harness { $0.producerExpiryMilliseconds = 100 }
        let log = try harness.topic()
        try log.put("a", producer: BatchProducer(id: 1, epoch: 0, baseSequence: 0))
        try log.put("b", producer: BatchProducer(id: 2, epoch: 0, baseSequence: 0, isTransactional: true))
        harness.clock.advance(101)
        harness.store.maintain()
        #expect(log.producers.map(\.producerID) == [2])
    }
}
