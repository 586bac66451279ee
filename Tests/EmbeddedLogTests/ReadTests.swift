// ReadTests: offsets, sizes and times, compared with the plain list of what was written.

import Testing

@testable import EmbeddedLog

@Suite("Reading")
struct ReadTests {
    @Test("Any offset, size and time finds what a search of all records finds", arguments: 0..<8)
    func model(seed: Int) throws {
        var random = SeededRandom(UInt64(seed))
        let harness = try Harness { $0.openSegmentsMax = 2 }
        let log = try harness.topic(["segment.bytes": "60000"])
        var written: [LogRecord] = []
        for _ in 0..<200 {
            let batch = (0..<Int.random(in: 1...6, using: &random)).map { _ in
                LogRecord.text(
                    String(repeating: "v", count: Int.random(in: 0...800, using: &random)),
                    Int64.random(in: 1...5_000, using: &random))
            }
            let base = try log.append(RecordBatchBuilder.batch(batch)).baseOffset
            for (index, record) in batch.enumerated() {
                var record = record
                record.offset = base + Int64(index)
                written.append(record)
            }
        }
        #expect(log.segments.count > 3)
        #expect(try log.records(maxBytes: 3_000) == written)
        for _ in 0..<100 {
            let offset = Int64.random(in: 0..<log.logEndOffset, using: &random)
            let maxBytes = Int.random(in: 1...50_000, using: &random)
            let slice = try log.locate(from: offset, maxBytes: maxBytes)
            let batches = RecordBatchReader.batches(in: try log.bytes(of: slice))
            let first = try #require(batches.first)
            #expect(first.header.baseOffset <= offset && first.header.lastOffset >= offset)
            #expect(slice.byteCount <= maxBytes || batches.count == 1)
            #expect(batches.last?.range.upperBound == slice.byteCount, "whole batches only")
            if first.header.byteCount > maxBytes {
                #expect(try log.locate(from: offset, maxBytes: maxBytes, atLeastOneBatch: false).byteCount == 0)
            }
            let time = Int64.random(in: -1...5_100, using: &random)
            #expect(try log.offset(forTimestamp: time)?.offset == written.first { $0.timestamp >= time }?.offset)
        }
        let largest = written.map(\.timestamp).max()
        #expect(try log.offsetOfMaxTimestamp()?.offset == written.first { $0.timestamp == largest }?.offset)
    }

    @Test("Offsets outside the log are out of range, its end is not")
    func range() throws {
        let log = try Harness().topic()
        #expect(try log.offset(forTimestamp: 0) == nil)
        #expect(try log.offsetOfMaxTimestamp() == nil)
        try log.put("a", "b", "c")
        #expect(try log.locate(from: 3, maxBytes: 100).byteCount == 0)
        #expect(code { _ = try log.locate(from: 4, maxBytes: 100) } == .offsetOutOfRange)
        #expect(try log.deleteRecords(before: 2) == 2)
        #expect(code { _ = try log.locate(from: 1, maxBytes: 100) } == .offsetOutOfRange)
        #expect(code { _ = try log.deleteRecords(before: 4) } == .offsetOutOfRange)
        #expect(try log.records().map(\.offset) == [2])
        #expect(try log.offset(forTimestamp: 0)?.offset == 2)
        #expect(try log.deleteRecords(before: -1) == 3)
    }

    @Test("In a compressed batch the first record stands for all of it")
    func compressed() throws {
        let log = try Harness().topic()
        var bytes = RecordBatchBuilder.batch([.text("a", 10), .text("b", 20)])
        bytes.setInteger(Int16(4), at: 21)
        RecordBatchBuilder.seal(&bytes)
        try log.append(bytes)
        #expect(try log.offset(forTimestamp: 15) == TimestampedOffset(offset: 0, timestamp: 10))
        #expect(try log.offsetOfMaxTimestamp() == TimestampedOffset(offset: 1, timestamp: 20))
        #expect(try log.bytes(of: log.locate(from: 1, maxBytes: 1_000)).count == bytes.count)
    }

    @Test("Records with headers, null keys and null values read back as they were built")
    func recordForms() throws {
        let records = [
            LogRecord(key: nil, value: [1], timestamp: 5, headers: [.init("h", [2]), .init("n", nil)]),
            LogRecord(key: [], value: nil, timestamp: 4, offset: 1),
        ]
        #expect(try RecordBatchReader.records(in: RecordBatchBuilder.batch(records)) == records)
    }
}
