// LastSnapshot: finds the newest snapshot of a program in the compacted topic, reading from its end.

import EventContracts
import Kafka
import StageRuntime

extension MonitorRunner {
    /// The newest committed snapshot of this program, or nil when there is none.
    ///
    /// Reads the last records first and goes further back only when they hold none: the topic is compacted now and then
    /// only, and every monitor writes to it.
    func lastSnapshotBytes() throws(KafkaError) -> [UInt8]? {
        let partition = KafkaPartition(topic: settings.stateTopic, partition: 0)
        let ends = try consumer.watermarks(partition, timeoutMilliseconds: Self.requestMilliseconds)
        var span: Int64 = 64
        while true {
            let start = max(ends.low, ends.high - span)
            if let found = try newest(of: partition, from: start, to: ends.high) { return found }
            guard start > ends.low else { return nil }
            span *= 8
        }
    }

    private func newest(of partition: KafkaPartition, from start: Int64, to end: Int64) throws(KafkaError) -> [UInt8]? {
        guard start < end else { return nil }
        let key = Array(settings.program.utf8)
        var found: [UInt8]?
        try consumer.assign([(partition, start)])
        defer { try? consumer.unassign() }
        let deadline = ContinuousClock.now + .milliseconds(Int64(Self.requestMilliseconds))
        while true {
            let polled = consumer.pollMessages(maximum: 1_000, timeoutMilliseconds: 100) { message in
                if message.key == key { found = message.value }
            }
            if case .error(let error, _, _) = polled.event, error.isFatal || error.code == .offsetOutOfRange {
                throw error
            }
            // The last offsets may be transaction markers, which no record shows: the event tells the end.
            if case .error(let error, _, _) = polled.event, error.code == .partitionEnd { return found }
            guard ContinuousClock.now < deadline else {
                throw KafkaError(
                    code: .timedOut, message: "the snapshots in \(partition) could not be read in time",
                    isRetriable: true)
            }
        }
    }
}
