// FusedProcessorTests: two stages in one process do what they do in two.

import EventContracts
import StageRuntime
import Testing

/// Adds a letter; refuses values that hold a `!` of its own.
private struct Appender: StageProcessor {
    typealias Output = OutputBatch

    let letter: UInt8
    let refused: UInt8
    var duplicate: UInt8?

    mutating func process(_ batch: RecordBatch, context: ProcessingContext, into output: inout OutputBatch) {
        for (index, slice) in batch.values.enumerated() {
            let value = batch.bytes(slice) ?? []
            if value.contains(refused) {
                output.deadLetter(source: index, .outOfRange, "refused")
            } else if let duplicate, value.contains(duplicate) {
                output.duplicate(source: index, topicIndex: 1) { $0.append(duplicate) }
            } else {
                output.emit(source: index) { $0.append(contentsOf: value + [letter]) }
            }
        }
    }
}

@Suite("Fused stages")
struct FusedProcessorTests {
    @Test("Every input record has one outcome under its own index, whichever stage gave it")
    func outcomes() throws {
        var batch = RecordBatch()
        let values = ["x", "1", "y", "2", "d", "z"]
        for (index, value) in values.enumerated() {
            let (key, bytes) = (Array("k\(index)".utf8), Array(value.utf8))
            batch.append(
                origin: RecordBatch.Origin(topicIndex: 0, partition: 0, offset: Int64(index)),
                timestampMilliseconds: 7, key: key.span.bytes, value: bytes.span.bytes)
        }
        batch.seal()
        // The first stage refuses 1, the second one 2.
        var fused = FusedProcessor(
            Appender(letter: UInt8(ascii: "a"), refused: UInt8(ascii: "1"), duplicate: UInt8(ascii: "d")),
            Appender(letter: UInt8(ascii: "b"), refused: UInt8(ascii: "2"), duplicate: nil))
        let context = ProcessingContext(nowMicroseconds: 1, clusterID: "c")
        // Twice: what one batch leaves behind must not show in the next.
        for _ in 0..<2 {
            var output = OutputBatch()
            try fused.process(batch, context: context, into: &output)
            #expect(output.firstWithoutSingleOutcome(count: values.count) == nil)
            #expect(output.deadLetters.map(\.source).sorted() == [1, 3])
            #expect(output.duplicates.map(\.source) == [4])
            #expect(output.duplicates.map(\.topicIndex) == [1])
            #expect(output.emissions.map(\.source) == [0, 2, 5])
            let texts = output.emissions.map { emission in
                let range = emission.value.start..<emission.value.start + emission.value.length
                return String(decoding: output.arena[range], as: UTF8.self)
            }
            #expect(texts == ["xab", "yab", "zab"])
        }
    }
}
