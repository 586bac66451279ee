// KillPlan: where a process ends itself by SIGKILL, for tests of what a death at that moment leaves behind.

import Glibc
import Synchronization

/// A moment in the life of a micro-batch.
public enum KillPoint: String, Sendable, CaseIterable {
    /// Records were polled and the micro-batch is closed.
    case afterPoll = "after-poll"
    /// The outcome is there, nothing of it was handed to the delivery.
    case afterProcess = "after-process"
    /// Everything is written, the commit was not asked for.
    case beforeCommit = "before-commit"
    /// The commit was confirmed, the process does not know it yet.
    case afterCommit = "after-commit"
}

/// Kills the process when it passes a point for the n-th time. Taken from a hidden option only; without one nothing is there
/// to pass.
public final class KillPlan: Sendable {
    public let point: KillPoint
    private let remaining: Atomic<Int>

    public init(point: KillPoint, passes: Int) {
        self.point = point
        remaining = Atomic(passes)
    }

    /// Reads `POINT:N`; nil when it is neither.
    public convenience init?(_ text: String) {
        let parts = text.split(separator: ":")
        guard parts.count == 2, let point = KillPoint(rawValue: String(parts[0])), let passes = Int(parts[1]),
            passes > 0
        else { return nil }
        self.init(point: point, passes: passes)
    }

    public func pass(_ point: KillPoint) {
        guard point == self.point, remaining.subtract(1, ordering: .relaxed).newValue == 0 else { return }
        kill(getpid(), SIGKILL)
    }
}
