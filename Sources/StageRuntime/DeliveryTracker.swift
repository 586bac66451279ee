// DeliveryTracker: which batches are acknowledged, and how far each partition may therefore be committed. A pure value.

/// Follows batches from being produced to being acknowledged. Progress moves only over the contiguous acknowledged batches
/// at the front, so a later batch never carries an earlier one's offsets.
struct DeliveryTracker {
    struct Flight {
        let sequence: Int
        var ranges: [OffsetRange]
        /// Records handed to the producer and not yet acknowledged.
        var outstanding = 0
        /// Every record of the batch was handed to the producer.
        var isComplete = false
    }

    private(set) var flights: [Flight] = []
    private(set) var progress: [TopicPartition: Int64] = [:]

    /// Flights in the air, the one still being handed over included.
    var count: Int { flights.count }

    mutating func begin(_ partition: TopicPartition, at position: Int64) {
        forget([partition])
        progress[partition] = position
    }

    /// Opens a flight. Only the newest flight may be incomplete.
    mutating func open(sequence: Int, ranges: [OffsetRange]) {
        precondition(flights.last.map { $0.isComplete && $0.sequence < sequence } ?? true, "flights out of order")
        flights.append(Flight(sequence: sequence, ranges: ranges))
    }

    /// Records of the newest flight were handed to the producer.
    mutating func produced(sequence: Int, count: Int = 1) {
        guard let index = index(of: sequence) else { return }
        flights[index].outstanding += count
    }

    /// The newest flight holds all its records.
    /// - Returns: the sequences that became durable by it (a batch whose records were all acknowledged already).
    mutating func complete(sequence: Int) -> [Int] {
        guard let index = index(of: sequence) else { return [] }
        flights[index].isComplete = true
        return land()
    }

    /// Records were acknowledged (or their failure was turned into a dead letter that is acknowledged).
    /// - Returns: the sequences that became durable by it.
    mutating func acknowledged(sequence: Int, count: Int = 1) -> [Int] {
        guard count > 0, let index = index(of: sequence) else { return [] }
        precondition(flights[index].outstanding >= count, "more acknowledgements than records")
        flights[index].outstanding -= count
        return flights[index].outstanding == 0 ? land() : []
    }

    /// The partitions are someone else's: their ranges leave every flight, so that late acknowledgements move nothing.
    mutating func forget(_ partitions: [TopicPartition]) {
        for partition in partitions { progress[partition] = nil }
        let gone = Set(partitions)
        for index in flights.indices { flights[index].ranges.removeAll { gone.contains($0.partition) } }
    }

    /// Gives up a flight that is not complete. Acknowledgements that still come for it count for nothing.
    mutating func abandon(sequence: Int) {
        guard let index = index(of: sequence), !flights[index].isComplete else { return }
        flights.remove(at: index)
    }

    /// Whether a flight with a range of one of these partitions is in the air (of any partition when nil).
    func isInFlight(_ partitions: [TopicPartition]?) -> Bool {
        guard let partitions else { return !flights.isEmpty }
        return flights.contains { flight in flight.ranges.contains { partitions.contains($0.partition) } }
    }

    private func index(of sequence: Int) -> Int? { flights.firstIndex { $0.sequence == sequence } }

    private mutating func land() -> [Int] {
        var landed: [Int] = []
        while let first = flights.first, first.isComplete, first.outstanding == 0 {
            for range in first.ranges { progress[range.partition] = range.end }
            landed.append(first.sequence)
            flights.removeFirst()
        }
        return landed
    }
}
