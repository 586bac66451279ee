// StageControl: how other threads ask a runner to stop.

import Synchronization

/// Thrown where a start-up gives up because a stop was requested; the process ends with 0.
public struct StopRequested: Error {
    public init() {}
}

/// Shared by the runner's thread and the signal thread.
public final class StageControl: Sendable {
    private struct State {
        var isStopRequested = false
        var wake: (@Sendable () -> Void)?
    }

    private let state = Mutex(State())

    public init() {}

    /// Asks the runner to finish the batch in hand, drain, commit and leave the group.
    public func requestStop() {
        let wake = state.withLock { state in
            state.isStopRequested = true
            return state.wake
        }
        // After the unlock: it calls into the client.
        wake?()
    }

    public var isStopRequested: Bool { state.withLock { $0.isStopRequested } }

    /// What ends the runner's wait early; nil when there is nothing to wake any more.
    public func setWake(_ wake: (@Sendable () -> Void)?) { state.withLock { $0.wake = wake } }
}

extension TopicPartition: CustomStringConvertible {
    public var description: String { "\(topic)[\(partition)]" }
}
