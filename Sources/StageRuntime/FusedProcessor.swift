// FusedProcessor: two neighbouring stages in one process, the topic between them left out.

public import EventContracts

/// Runs `First` on a micro-batch and `Second` on what it emitted, with the same code as in processes of their own. What the
/// second stage reads has the key, place and timestamp of the input record it stems from, so order, crash search and dead
/// letters refer to the input: a record that the second stage refuses becomes a dead letter of the input topic, byte for byte.
///
/// Output topics: those of the second stage take the place of the first stage's output 0; its others (duplicate notices) keep
/// their index.
public struct FusedProcessor<First: StageProcessor, Second: StageProcessor>: StageProcessor
where First.Output == OutputBatch, Second.Output == OutputBatch {
    public typealias Output = OutputBatch

    private var first: First
    private var second: Second
    private var between = OutputBatch()
    private var outcome = OutputBatch()
    /// Of each record that the second stage reads: its index in the input.
    private var sources: [Int] = []
    private var lastBytes = 0

    public init(_ first: First, _ second: Second) {
        self.first = first
        self.second = second
    }

    public var rewind: Rewind? { first.rewind }
    public var obstacle: String? { first.obstacle ?? second.obstacle }

    public mutating func rebuild(_ batch: RecordBatch, context: ProcessingContext) throws {
        try first.rebuild(batch, context: context)
    }

    public mutating func forget(_ partitions: [TopicPartition]) {
        first.forget(partitions)
        second.forget(partitions)
    }

    public mutating func process(
        _ batch: RecordBatch, context: ProcessingContext, into output: inout OutputBatch
    ) throws {
        between.removeAll()
        try first.process(batch, context: context, into: &between)
        for letter in between.deadLetters { output.deadLetter(source: letter.source, letter.code, letter.message) }
        let arena = between.arena
        for notice in between.duplicates {
            let range = notice.value.start..<notice.value.start + notice.value.length
            output.duplicate(source: notice.source, topicIndex: notice.topicIndex) {
                $0.append(contentsOf: arena[range])
            }
        }
        guard !between.emissions.isEmpty else { return }
        outcome.removeAll()
        let records = Self.handOver(between, of: batch, expectedBytes: lastBytes, sources: &sources)
        lastBytes = records.byteCount
        try second.process(records, context: context, into: &outcome)
        pass(outcome, to: &output)
    }

    /// What the first stage emitted, as the second one would find it in the topic.
    private static func handOver(
        _ between: OutputBatch, of batch: RecordBatch, expectedBytes: Int, sources: inout [Int]
    ) -> RecordBatch {
        var records = RecordBatch()
        records.reserve(records: between.emissions.count, bytes: expectedBytes)
        sources.removeAll(keepingCapacity: true)
        let bytes = between.arena.span.bytes
        for emission in between.emissions {
            let source = emission.source
            let value = bytes.extracting(emission.value.start..<emission.value.start + emission.value.length)
            batch.withBytes(batch.keys[source]) { key in
                records.append(
                    origin: batch.origins[source], timestampMilliseconds: batch.timestampsMilliseconds[source],
                    key: key,
                    value: value)
            }
            sources.append(source)
        }
        records.seal()
        return records
    }

    private func pass(_ outcome: OutputBatch, to output: inout OutputBatch) {
        for letter in outcome.deadLetters {
            output.deadLetter(source: sources[letter.source], letter.code, letter.message)
        }
        for emission in outcome.emissions {
            let range = emission.value.start..<emission.value.start + emission.value.length
            output.emit(source: sources[emission.source], topicIndex: emission.topicIndex) {
                $0.append(contentsOf: outcome.arena[range])
            }
        }
    }
}
