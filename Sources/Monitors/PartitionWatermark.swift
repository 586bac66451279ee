// PartitionWatermark: the event time up to which a topic has been read.

/// The watermark of a topic: the smallest, over its partitions, of the latest event time seen. It never falls. A partition
/// that brought nothing among the latest records does not hold it back.
struct PartitionWatermark: Codable, Equatable {
    /// Records of the topic after which a silent partition counts no longer.
    static let idleRecords = 2_000

    private struct Partition: Codable, Equatable {
        var latest: Int64
        var lastRecord: Int
    }

    private var partitions: [Int32: Partition] = [:]
    private var records = 0
    /// Microseconds since the Unix epoch; nil before the first record.
    private(set) var time: Int64?

    mutating func advance(partition: Int32, eventTime: Int64) {
        records += 1
        let latest = max(partitions[partition]?.latest ?? .min, eventTime)
        partitions[partition] = Partition(latest: latest, lastRecord: records)
        // Looking at every partition is worth it now and then only; one that leads alone moves nothing.
        guard records.isMultiple(of: 16) || time == nil || partitions.count == 1 else { return }
        let active = partitions.values.filter { $0.lastRecord > records - Self.idleRecords }
        guard let smallest = active.map(\.latest).min() else { return }
        time = max(time ?? .min, smallest)
    }
}

/// Event times by record number, every 32nd record of the latest 32,768.
struct TimeMarks: Codable, Equatable {
    private static let step = 32
    private static let capacity = 1_024
    private var first = 0
    private var times: [Int64] = []

    mutating func note(record: Int, time: Int64) {
        guard record.isMultiple(of: Self.step) else { return }
        if times.isEmpty { first = record / Self.step }
        times.append(time)
        if times.count > 2 * Self.capacity {
            first += Self.capacity
            times.removeFirst(Self.capacity)
        }
    }

    /// The time of the last mark at or before the record; of the first one for an earlier record.
    func time(of record: Int) -> Int64? {
        guard !times.isEmpty else { return nil }
        return times[min(max(0, record / Self.step - first), times.count - 1)]
    }
}
