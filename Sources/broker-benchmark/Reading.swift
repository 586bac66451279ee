// Reading: threads that take records from consumers until all have come.

import Dispatch
import Glibc
import Kafka
import Synchronization

/// Counts what several consumers read together.
final class Reading: Sendable {
    private static let stepMilliseconds: Int32 = 100

    private struct State {
        var count = 0
        var bytes = 0
        var failure: KafkaError?
    }

    private let expected: Int
    private let state = Mutex(State())
    private let progress = DispatchSemaphore(value: 0)

    init(expected: Int) { self.expected = expected }

    /// Reads until all consumers together have everything.
    func read(_ consumer: Consumer) {
        var isOver = false
        while !isOver {
            var bytes = 0
            let polled = consumer.pollMessages(maximum: 50_000, timeoutMilliseconds: Self.stepMilliseconds) {
                bytes += $0.withValue { $0?.byteCount ?? 0 }
            }
            isOver = state.withLock { state in
                state.count += polled.messageCount
                state.bytes += bytes
                if case .error(let error, _, _) = polled.event { state.failure = error }
                return state.count >= expected || state.failure != nil
            }
            if polled.messageCount > 0 || isOver { progress.signal() }
        }
    }

    /// Waits for the last record and gives the bytes of all values.
    ///
    /// - Throws: a consumer's error, or when nothing comes for that long.
    func wait(milliseconds: Int) throws -> Int {
        while true {
            let moves = progress.wait(timeout: .now() + .milliseconds(milliseconds)) == .success
            let (count, bytes, failure) = state.withLock { ($0.count, $0.bytes, $0.failure) }
            if let failure { throw failure }
            if count >= expected { return bytes }
            guard moves else { throw BenchmarkError("\(count) of \(expected) records came within \(milliseconds) ms") }
        }
    }
}
