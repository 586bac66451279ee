// PartitionOpenersTests: which records of a transaction go ahead.

import EventContracts
import Testing

@testable import StageRuntime

@Suite("Openers of partitions")
struct PartitionOpenersTests {
    /// A batch of records of these partitions, each of which emits to the output topic beside it.
    private func batch(_ places: [(partition: Int32, output: Int)]) -> (OutputBatch, RecordBatch) {
        var (output, records) = (OutputBatch(), RecordBatch())
        for (index, place) in places.enumerated() {
            records.append(
                origin: .init(topicIndex: 0, partition: place.partition, offset: Int64(index)),
                timestampMilliseconds: 0, key: nil, value: nil)
            output.emit(source: index, topicIndex: place.output) { $0.append(1) }
        }
        return (output, records)
    }

    @Test("The first record of each partition goes ahead, once in a transaction")
    func first() {
        var openers = PartitionOpeners()
        let (output, records) = batch([(3, 0), (3, 0), (1, 0), (3, 0), (1, 0)])
        #expect(openers.next(in: output, of: records) == [0, 2])
        let (later, laterRecords) = batch([(1, 0), (2, 0), (3, 0), (2, 0)])
        #expect(openers.next(in: later, of: laterRecords) == [1])
    }

    @Test("The partitions of two output topics are different ones")
    func topics() {
        var openers = PartitionOpeners()
        let (output, records) = batch([(0, 0), (0, 1), (0, 0), (0, 1)])
        #expect(openers.next(in: output, of: records) == [0, 1])
    }

    @Test("A record that emitted nothing opens nothing")
    func silent() {
        var openers = PartitionOpeners()
        var (output, records) = (OutputBatch(), RecordBatch())
        for offset in 0..<3 {
            records.append(
                origin: .init(topicIndex: 0, partition: 5, offset: Int64(offset)), timestampMilliseconds: 0, key: nil,
                value: nil)
        }
        output.deadLetter(source: 0, .malformedJSON, "no")
        output.emit(source: 1) { $0.append(1) }
        output.emit(source: 2) { $0.append(1) }
        #expect(openers.next(in: output, of: records) == [0], "index of the emission, not of the record")
    }
}
