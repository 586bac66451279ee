// PartitionOpeners: which records of a transaction name its partitions first. A pure value.

import EventContracts

/// Finds the first emission of each input partition in the batches of a transaction.
///
/// librdkafka 2.0.2 registers a partition with the transaction's coordinator a millisecond after its first record was
/// queued, and its main thread spins through that millisecond. Records come in runs of one partition, so that a large
/// transaction named its partitions one after the other and paid for several rounds. With these records handed over ahead of
/// all others it pays once. Keys decide the partition of input and output alike, so an input partition stands for the output
/// partition of its records; where the two are not alike, the others register as they come.
///
/// The order of each key holds: its records have one input partition, whose first record is the one that goes ahead.
struct PartitionOpeners {
    private struct Place: Hashable {
        var output: Int
        var input: Int
        var partition: Int32
    }

    private var seen: Set<Place> = []

    /// Indices of the emissions of `output` that are the first ones of their partition so far, rising.
    mutating func next(in output: OutputBatch, of records: RecordBatch) -> [Int] {
        var found: [Int] = []
        var last: Place?
        for (index, emission) in output.emissions.enumerated() {
            let origin = records.origins[emission.source]
            let place = Place(output: emission.topicIndex, input: origin.topicIndex, partition: origin.partition)
            guard place != last else { continue }
            last = place
            if seen.insert(place).inserted { found.append(index) }
        }
        return found
    }
}
