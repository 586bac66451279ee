// MicroBatchTests: when a micro-batch closes, and which records it lets in.

import EventContracts
import Testing

@testable import StageRuntime

@Suite("Micro-batch")
struct MicroBatchTests {
    private func add(_ batch: inout MicroBatch, _ partition: Int32, _ offset: Int64, bytes: Int = 10, now: Int64 = 0) {
        let start = batch.stretches.first { $0.range.partition == place(partition) }?.range.end ?? offset
        let value = [UInt8](repeating: 1, count: bytes)
        func write(_ records: inout RecordBatch) {
            records.append(
                origin: .init(topicIndex: 0, partition: partition, offset: offset), timestampMilliseconds: 0, key: nil,
                value: value.span.bytes)
        }
        let numbers = MicroBatch.Place(topicIndex: 0, partition: partition)
        guard let isFull = batch.extend(with: numbers, offset: offset, bytes: bytes, write) else {
            return batch.add(partition: place(partition), place: numbers, offset: offset, start: start, now: now, write)
        }
        #expect(isFull == batch.isFull)
    }

    private let limits = BatchLimits(recordsMax: 3, bytesMax: 100, deadlineMicroseconds: 5_000)

    @Test("It closes by count without waiting")
    func count() {
        var batch = MicroBatch(limits: limits, chunk: nil)
        for offset in 0..<3 { add(&batch, 0, Int64(offset)) }
        #expect(batch.isFull && batch.isDue(now: 0))
        #expect(!batch.admits(partition: place(0), offset: 3, bytes: 1, partitionChunk: nil))
    }

    @Test("It closes by bytes, and a larger record travels alone")
    func bytes() {
        var batch = MicroBatch(limits: limits, chunk: nil)
        #expect(batch.admits(partition: place(0), offset: 0, bytes: 1_000, partitionChunk: nil))
        add(&batch, 0, 0, bytes: 60)
        #expect(batch.admits(partition: place(0), offset: 1, bytes: 40, partitionChunk: nil))
        #expect(!batch.admits(partition: place(0), offset: 1, bytes: 41, partitionChunk: nil))
        add(&batch, 0, 1, bytes: 40)
        #expect(batch.isFull)
    }

    @Test("The deadline runs from the first record")
    func deadline() {
        var batch = MicroBatch(limits: limits, chunk: nil)
        #expect(batch.wait(now: 1_000) == nil && !batch.isDue(now: 1_000_000))
        add(&batch, 0, 0, now: 1_000)
        add(&batch, 0, 1, now: 3_000)
        #expect(batch.wait(now: 4_000) == 2_000)
        #expect(!batch.isDue(now: 5_999))
        #expect(batch.isDue(now: 6_000))
        batch.close(now: 6_500)
        #expect(batch.queueMicroseconds == 5_500)
        #expect(!batch.admits(partition: place(0), offset: 2, bytes: 1, partitionChunk: nil))
    }

    @Test("Stretches are kept per partition, gaps included")
    func stretches() {
        var batch = MicroBatch(limits: limits, chunk: nil)
        add(&batch, 0, 5)
        add(&batch, 1, 7)
        add(&batch, 0, 9)
        #expect(batch.ranges == [range(0, 5, 10), range(1, 7, 8)])
        #expect(batch.stretches.map(\.records) == [2, 1])
        #expect(batch.stretches.map(\.firstOffset) == [5, 7])
    }

    @Test("A record follows one of its partition where there is room, and in normal mode only")
    func continuation() {
        let here = MicroBatch.Place(topicIndex: 0, partition: 0)
        /// Whether a copy of the batch takes the record.
        func takes(_ batch: MicroBatch, _ place: MicroBatch.Place, bytes: Int) -> Bool {
            var copy = batch
            var written = 0
            let isFull = copy.extend(with: place, offset: 100, bytes: bytes) { _ in written += 1 }
            #expect(written == (isFull == nil ? 0 : 1))
            return isFull != nil
        }
        var batch = MicroBatch(limits: limits, chunk: nil)
        #expect(!takes(batch, here, bytes: 1))
        add(&batch, 0, 5)
        #expect(takes(batch, here, bytes: 90) && !takes(batch, here, bytes: 91))
        #expect(!takes(batch, .init(topicIndex: 1, partition: 0), bytes: 1))
        add(&batch, 1, 5)
        #expect(!takes(batch, here, bytes: 1), "the stretch in hand is another partition's")
        #expect(takes(batch, .init(topicIndex: 0, partition: 1), bytes: 1))
        add(&batch, 1, 6)
        #expect(!takes(batch, .init(topicIndex: 0, partition: 1), bytes: 1), "three records are enough")
        #expect(batch.ranges == [range(0, 5, 6), range(1, 5, 7)])
        var closed = MicroBatch(limits: limits, chunk: nil)
        add(&closed, 0, 1)
        closed.close(now: 1)
        #expect(!takes(closed, here, bytes: 1))
        var alone = MicroBatch(limits: limits, chunk: .init(partition: place(0), recordsMax: 3, endMax: 10))
        add(&alone, 0, 1)
        #expect(!takes(alone, here, bytes: 1), "a chunk asks for each record whether it may join")
    }

    @Test("A chunk holds one partition, so many records, and ends before its limit")
    func chunk() {
        let chunk = MicroBatch.Chunk(partition: place(0), recordsMax: 2, endMax: 10)
        var batch = MicroBatch(limits: limits, chunk: chunk)
        #expect(batch.admits(partition: place(0), offset: 9, bytes: 1, partitionChunk: chunk))
        #expect(!batch.admits(partition: place(0), offset: 10, bytes: 1, partitionChunk: nil))
        #expect(!batch.admits(partition: place(1), offset: 0, bytes: 1, partitionChunk: nil))
        add(&batch, 0, 8)
        #expect(!batch.isFull)
        add(&batch, 0, 9)
        #expect(batch.isFull)
        let normal = MicroBatch(limits: limits, chunk: nil)
        #expect(!normal.admits(partition: place(0), offset: 8, bytes: 1, partitionChunk: chunk))
    }
}
