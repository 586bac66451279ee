// TopicDataset: the labelled rows of a pipeline, read from its topics.

import EventContracts
import Kafka
import RegistryRuntime
import Retraining

/// Reads `<p>.labels`, then `<p>.features`, each up to where they end now.
struct TopicDataset {
    private static let batchRecords = 4_096

    let configuration: KafkaConfiguration
    let topics: PipelineTopics
    /// Newest records of each partition that are looked at.
    let recordsMax: Int64

    /// - Returns: nil when a stop was requested meanwhile.
    func read(_ join: TrainingJoin, isStopRequested: () -> Bool) throws -> (rows: JoinedRows, TrainingJoin.Skipped)? {
        var join = join
        let labels = try BroadcastReader(
            configuration: configuration, topics: [topics.labels], recordsMax: recordsMax)
        try labels.catchUp(isStopRequested: isStopRequested) { record in
            if let value = record.value { join.takeLabel(value) }
        }
        let features = try BroadcastReader(
            configuration: configuration, topics: [topics.features], recordsMax: recordsMax)
        var batch = RecordBatch()
        func take() {
            batch.seal()
            join.takeFeatures(batch)
            batch.removeAll()
        }
        try features.catchUp(isStopRequested: isStopRequested) { record in
            guard let value = record.value else { return }
            batch.append(
                origin: .init(topicIndex: 0, partition: record.partition, offset: record.offset),
                timestampMilliseconds: record.timestampMilliseconds, key: nil, value: value.span.bytes)
            if batch.count == Self.batchRecords { take() }
        }
        guard !isStopRequested() else { return nil }
        if !batch.isEmpty { take() }
        return (join.finish(), join.skipped)
    }
}
