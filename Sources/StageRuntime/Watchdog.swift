// Watchdog: tells a process that is alive from one that gets on. A pure value.

/// Notes when each partition's durable position last moved.
struct Watchdog {
    struct Standstill: Equatable, Sendable {
        var partition: TopicPartition
        var lag: Int64
        var seconds: Int64
    }

    let stuckAfterMicroseconds: Int64
    private var seen: [TopicPartition: (position: Int64, since: Int64)] = [:]

    init(stuckAfterMilliseconds: Int) {
        stuckAfterMicroseconds = Int64(stuckAfterMilliseconds) * 1000
    }

    /// - Parameters:
    ///   - positions: durable position and lag (nil: unknown) of the partitions owned now.
    ///   - isExcused: there is a declared reason to stand still (back-pressure, no broker); the time does not count.
    /// - Returns: partitions that have records to read and did not move for the time.
    mutating func observe(
        _ positions: [TopicPartition: (position: Int64, lag: Int64?)], isExcused: Bool, now: Int64
    ) -> [Standstill] {
        seen = seen.filter { positions[$0.key] != nil }
        var stuck: [Standstill] = []
        for (partition, state) in positions {
            let lag = state.lag ?? 0
            guard let last = seen[partition], last.position == state.position, lag > 0, !isExcused else {
                seen[partition] = (state.position, now)
                continue
            }
            guard now - last.since >= stuckAfterMicroseconds else { continue }
            stuck.append(Standstill(partition: partition, lag: lag, seconds: (now - last.since) / 1_000_000))
        }
        return stuck.sorted { $0.partition < $1.partition }
    }
}
