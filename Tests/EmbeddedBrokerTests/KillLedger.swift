// KillLedger: what the clients were told while the broker was being killed.

import Kafka
import Synchronization

/// Notes of all clients of a kill test, and the moment of the next kill.
final class KillLedger: Sendable {
    /// How a transaction ended, as far as its producer knows.
    enum Outcome { case open, committed, aborted, unknown }

    struct State {
        /// Numbers of acknowledged records, by partition and offset.
        var acknowledged: [[Int64: UInt64]] = []
        var acknowledgedCount = 0
        /// By number; each has `KillLoad.recordsPerTransaction` records.
        var transactions: [Outcome] = []
        /// The group's next offset by partition as confirmed, and what was asked for since.
        var confirmed: [Int32: Int64] = [:]
        var attempted: [Int32: Set<Int64>] = [:]
        var commitCount = 0
        /// What a client saw that must not be.
        var violations: [String] = []
        fileprivate var strike: Strike?
    }

    /// When the broker is killed next: at so many more of these, counted from the moment it is armed.
    enum Trigger { case acknowledgement, transactionEnd, groupCommit }

    fileprivate struct Strike {
        var trigger: Trigger
        var remaining: Int
        var kill: @Sendable () -> Void
    }

    private let state: Mutex<State>
    private let isStopping = Atomic<Bool>(false)

    init(partitions: Int) {
        var state = State()
        state.acknowledged = Array(repeating: [:], count: partitions)
        self.state = Mutex(state)
    }

    func withState<R>(_ body: (inout sending State) -> sending R) -> sending R { state.withLock(body) }

    var shouldStop: Bool { isStopping.load(ordering: .acquiring) }

    func stop() { isStopping.store(true, ordering: .releasing) }

    func report(_ violation: String) { state.withLock { $0.violations.append(violation) } }

    /// Calls `kill` on the client's thread when `count` more events of that kind have come.
    func arm(_ trigger: Trigger, after count: Int, kill: @escaping @Sendable () -> Void) {
        state.withLock { $0.strike = Strike(trigger: trigger, remaining: count, kill: kill) }
    }

    /// Whether the last armed kill has been called.
    var hasStruck: Bool { state.withLock { $0.strike == nil } }

    /// A client is at this point.
    func passed(_ trigger: Trigger) {
        let kill: (@Sendable () -> Void)? = state.withLock { state in
            guard var strike = state.strike, strike.trigger == trigger else { return nil }
            strike.remaining -= 1
            state.strike = strike.remaining > 0 ? strike : nil
            return strike.remaining > 0 ? nil : strike.kill
        }
        kill?()
    }

    /// Whether a group may find itself at this offset.
    func allows(_ offset: Int64?, of partition: Int32) -> Bool {
        state.withLock { state in
            offset == state.confirmed[partition]
                || offset.map { state.attempted[partition]?.contains($0) == true } == true
        }
    }

    func acknowledged(_ report: Producer.DeliveryReport) {
        state.withLock { state in
            state.acknowledged[Int(report.partition)][report.offset] = report.tag
            state.acknowledgedCount += 1
        }
        passed(.acknowledgement)
    }
}
