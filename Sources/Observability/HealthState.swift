// HealthState: whether the process lives, advances and is ready, and why not.

import Synchronization

/// What the health end points report. The stage's loop feeds it once per turn; any thread may read it.
///
/// - **Live** (`/livez`): the loop came round within the heartbeat time-out, and it is not stuck: with backlog but no
///   progress for the stall time-out *and no known reason for it*, a restart is the best hope.
/// - **Ready** (`/readyz`): live, no failing condition (for instance "postgres"), and no stall.
public final class HealthState: Sendable {
    /// One thing that is wrong.
    public struct Reason: Hashable, Sendable {
        /// Short stable name: `starting`, `heartbeat`, `stalled`, or a condition's.
        public var check: String
        /// One sentence for a person.
        public var message: String

        public init(check: String, message: String) {
            self.check = check
            self.message = message
        }
    }

    public struct Limits: Sendable {
        /// A loop that did not come round for so long is dead.
        public var heartbeatTimeout: Duration
        /// With backlog and no progress for so long the loop is stuck.
        public var stallTimeout: Duration

        public init(heartbeatTimeout: Duration = .seconds(60), stallTimeout: Duration = .seconds(120)) {
            self.heartbeatTimeout = heartbeatTimeout
            self.stallTimeout = stallTimeout
        }
    }

    private struct State {
        var conditions: [String: String] = [:]
        var notes: [String: String] = [:]
        /// Nil until the loop starts: a process that starts up is live without a heartbeat.
        var lastHeartbeat: ContinuousClock.Instant?
        /// When progress was made, or when there was last nothing to do.
        var lastProgress: ContinuousClock.Instant?
        var backlog: Int64 = 0
        var standstills: [String] = []
    }

    private static let startingCheck = "starting"
    public let limits: Limits
    private let now: @Sendable () -> ContinuousClock.Instant
    private let state: Mutex<State>

    /// A state that is live but not ready until `markReady`.
    ///
    /// - Parameter now: the clock; tests bring their own.
    public init(
        limits: Limits = Limits(), now: @escaping @Sendable () -> ContinuousClock.Instant = { ContinuousClock.now }
    ) {
        self.limits = limits
        self.now = now
        state = Mutex(State(conditions: [Self.startingCheck: "The process is starting."]))
    }

    /// Start-up is over.
    public func markReady() { clear(Self.startingCheck) }

    /// Reports a condition that keeps the process from working, in a sentence; replaces an earlier text of the same check.
    public func fail(_ check: String, _ message: String) {
        state.withLock { $0.conditions[check] = message }
    }

    /// Says something about the process that readiness shows and that does not decide it; replaces an earlier text.
    public func note(_ subject: String, _ text: String) { state.withLock { $0.notes[subject] = text } }

    /// By subject.
    public var notes: [(subject: String, text: String)] {
        state.withLock { $0.notes.sorted { $0.key < $1.key }.map { (subject: $0.key, text: $0.value) } }
    }

    /// The condition holds no longer.
    public func clear(_ check: String) {
        state.withLock { state in
            guard state.conditions.removeValue(forKey: check) != nil else { return }
            // The time spent waiting for the condition was no stall.
            state.lastProgress = state.lastProgress.map { _ in now() }
        }
    }

    /// The loop came round.
    ///
    /// - Parameters:
    ///   - backlog: records it knows of and has not completed.
    ///   - advanced: whether anything was completed since the last turn.
    public func heartbeat(backlog: Int64, advanced: Bool) {
        let time = now()
        state.withLock { state in
            state.lastHeartbeat = time
            if advanced || backlog <= 0 || state.lastProgress == nil { state.lastProgress = time }
            state.backlog = backlog
        }
    }

    /// What a watchdog found standing still without a known reason, one sentence each; empty when all is well. Unlike the
    /// stall of the whole loop it names the place, and other work that goes on does not hide it.
    public func setStandstills(_ messages: [String]) {
        state.withLock { $0.standstills = messages }
    }

    /// Time since the loop last came round; nil before it started.
    public var heartbeatAge: Duration? {
        let last = state.withLock { $0.lastHeartbeat }
        return last.map { $0.duration(to: now()) }
    }

    /// Why the process should be restarted; empty when it is live.
    public var livenessFailures: [Reason] {
        let time = now()
        return state.withLock { state in
            var reasons = heartbeatFailure(state, at: time)
            // A stall with a known reason, for instance an unreachable database, is not mended by a restart.
            if state.conditions.isEmpty { reasons += stallFailure(state, at: time) }
            return reasons + Self.standstillFailures(state)
        }
    }

    /// Why the process does no work; empty when it is ready.
    public var readinessFailures: [Reason] {
        let time = now()
        return state.withLock { state in
            let conditions = state.conditions.sorted { $0.key < $1.key }
            return conditions.map { Reason(check: $0.key, message: $0.value) } + heartbeatFailure(state, at: time)
                + stallFailure(state, at: time) + Self.standstillFailures(state)
        }
    }

    private static func standstillFailures(_ state: State) -> [Reason] {
        state.standstills.map { Reason(check: "standstill", message: $0) }
    }

    private func heartbeatFailure(_ state: State, at time: ContinuousClock.Instant) -> [Reason] {
        guard let last = state.lastHeartbeat, last.duration(to: time) > limits.heartbeatTimeout else { return [] }
        return [
            Reason(
                check: "heartbeat",
                message: "The loop did not come round for \(Self.seconds(last.duration(to: time))) s.")
        ]
    }

    private func stallFailure(_ state: State, at time: ContinuousClock.Instant) -> [Reason] {
        guard let last = state.lastProgress, state.backlog > 0, last.duration(to: time) > limits.stallTimeout else {
            return []
        }
        return [
            Reason(
                check: "stalled",
                message: "\(state.backlog) records wait, but nothing was completed for "
                    + "\(Self.seconds(last.duration(to: time))) s.")
        ]
    }

    private static func seconds(_ duration: Duration) -> Int64 { duration.components.seconds }
}
