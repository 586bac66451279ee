// Places: short names of partitions and offset ranges for tests of pure values.

@testable import StageRuntime

func place(_ partition: Int32, _ topic: String = "t") -> TopicPartition {
    TopicPartition(topic: topic, partition: partition)
}

func range(_ partition: Int32, _ start: Int64, _ end: Int64) -> OffsetRange {
    OffsetRange(partition: place(partition), start: start, end: end)
}
