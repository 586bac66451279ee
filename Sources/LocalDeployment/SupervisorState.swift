// SupervisorState: the pure state machine of the supervisor. Events go in, actions come out; it starts nothing itself.

/// What the state machine knows of a child before it runs.
public struct ChildPlan: Sendable, Equatable {
    public var name: String
    /// Children that must be ready before this one is spawned.
    public var after: [String]
    /// Those that depend on this one cannot outlive it: they are restarted with it.
    public var restartsDependents: Bool
    /// Children with a lower rank are stopped, and gone, before the next rank is asked to stop.
    public var stopRank: Int
    public var stopSignal: Int32
    /// Time from the stop signal to SIGKILL.
    public var stopMilliseconds: Int64

    public init(
        name: String, after: [String] = [], restartsDependents: Bool = false, stopRank: Int = 0, stopSignal: Int32 = 15,
        stopMilliseconds: Int64 = 10_000
    ) {
        self.name = name
        self.after = after
        self.restartsDependents = restartsDependents
        self.stopRank = stopRank
        self.stopSignal = stopSignal
        self.stopMilliseconds = stopMilliseconds
    }
}

/// How a process ended.
public enum ChildExit: Sendable, Equatable, CustomStringConvertible {
    case code(Int32)
    case signal(Int32)

    public var description: String {
        switch self {
        case .code(let code): "exit code \(code)"
        case .signal(let signal): "signal \(signal)"
        }
    }
}

/// Restart policy: fast at first, then with growing pauses, never giving up.
public struct Backoff: Sendable {
    public static let firstMilliseconds: Int64 = 100
    public static let lastMilliseconds: Int64 = 5_000
    /// A life at least this long wipes out the failures before it.
    public static let resetMilliseconds: Int64 = 30_000

    /// Pause after the n-th failure in a row, n >= 1.
    public static func milliseconds(afterFailures failures: Int) -> Int64 {
        guard failures < 7 else { return lastMilliseconds }
        return min(lastMilliseconds, firstMilliseconds << Int64(max(failures, 1) - 1))
    }
}

/// All children of one supervisor. Times are milliseconds of any steady clock.
public struct SupervisorState: Sendable {
    public enum Phase: Sendable, Equatable {
        /// Its dependencies are not ready.
        case waiting
        /// The action to spawn it is out.
        case spawning
        /// Alive, not ready for the first time of this life.
        case starting
        case ready
        case backingOff(until: Int64)
        /// Asked to stop, either for good or to be started anew with its dependency.
        case stopping(deadline: Int64, isKilled: Bool)
        case stopped
    }

    public struct Child: Sendable, Equatable {
        public let plan: ChildPlan
        public internal(set) var phase = Phase.waiting
        public internal(set) var pid: Int32?
        public internal(set) var spawnedAt: Int64 = 0
        public internal(set) var restarts = 0
        /// Failures since the last long life.
        public internal(set) var failures = 0
        public internal(set) var wasEverReady = false
        public internal(set) var lastExit: ChildExit?
        public internal(set) var lastProblem: String?

        var hasProcess: Bool { pid != nil || phase == .spawning }
    }

    public enum Event: Sendable, Equatable {
        case begin
        case spawned(name: String, pid: Int32)
        case spawnFailed(name: String, problem: String)
        case ready(name: String)
        case exited(pid: Int32, status: ChildExit)
        case stop
        /// Time has passed.
        case tick
    }

    public enum Action: Sendable, Equatable {
        case spawn(name: String)
        case signal(name: String, pid: Int32, signal: Int32)
        /// A child refused its configuration before it was ever ready: everything stops.
        case giveUp(name: String, status: ChildExit)
        /// Nothing runs any more.
        case finished
    }

    /// A consumer's exit code for a wrong option or configuration: a restart cannot mend it.
    public static let configurationExitCode: Int32 = 2

    /// Time from the stop signal to SIGKILL when what a child depends on is gone: it can finish nothing any more, and
    /// every child is safe to kill.
    public static let recycleMilliseconds: Int64 = 1_000

    public private(set) var children: [Child]
    public private(set) var isStopping = false
    public private(set) var isFinished = false
    private var hasBegun = false

    public init(plans: [ChildPlan]) {
        children = plans.map { Child(plan: $0) }
    }

    public subscript(name: String) -> Child? { children.first { $0.plan.name == name } }

    public var isEveryChildReady: Bool { children.allSatisfy { $0.phase == .ready } }

    /// When `tick` is due next, or nil when only an event can change anything.
    public var nextDeadline: Int64? {
        children.compactMap { child in
            switch child.phase {
            case .backingOff(let until): isStopping ? nil : until
            case .stopping(let deadline, isKilled: false): deadline
            default: nil
            }
        }.min()
    }

    /// Takes one event and says what to do. Events about unknown names or processes change nothing.
    public mutating func handle(_ event: Event, now: Int64) -> [Action] {
        guard !isFinished else { return [] }
        var actions: [Action] = []
        switch event {
        case .begin: hasBegun = true
        case .stop: isStopping = true
        case .tick: break
        case .spawned(let name, let pid):
            guard let index = index(of: name), children[index].phase == .spawning else { break }
            children[index].pid = pid
            children[index].spawnedAt = now
            children[index].phase = .starting
        case .spawnFailed(let name, let problem):
            guard let index = index(of: name), children[index].phase == .spawning else { break }
            children[index].lastProblem = problem
            backOff(index, now: now)
        case .ready(let name):
            guard let index = index(of: name), children[index].phase == .starting else { break }
            children[index].phase = .ready
            children[index].wasEverReady = true
            children[index].lastProblem = nil
        case .exited(let pid, let status):
            exited(pid: pid, status: status, now: now, actions: &actions)
        }
        advance(now: now, actions: &actions)
        return actions
    }

    private func index(of name: String) -> Int? { children.firstIndex { $0.plan.name == name } }

    private mutating func exited(pid: Int32, status: ChildExit, now: Int64, actions: inout [Action]) {
        guard let index = children.firstIndex(where: { $0.pid == pid }) else { return }
        let wasAskedToStop = if case .stopping = children[index].phase { true } else { false }
        children[index].pid = nil
        children[index].lastExit = status
        if isStopping {
            children[index].phase = .stopped
            return
        }
        if wasAskedToStop {
            // Recycled together with its dependency: no failure of its own.
            children[index].restarts += 1
            children[index].phase = .waiting
            return
        }
        if status == .code(Self.configurationExitCode), !children[index].wasEverReady {
            actions.append(.giveUp(name: children[index].plan.name, status: status))
            children[index].phase = .stopped
            isStopping = true
            return
        }
        if now - children[index].spawnedAt >= Backoff.resetMilliseconds { children[index].failures = 0 }
        children[index].lastProblem = "ended with \(status)"
        backOff(index, now: now)
        if children[index].plan.restartsDependents { recycleDependents(of: index, now: now, actions: &actions) }
    }

    private mutating func backOff(_ index: Int, now: Int64) {
        children[index].failures += 1
        children[index].restarts += 1
        children[index].phase = .backingOff(
            until: now + Backoff.milliseconds(afterFailures: children[index].failures))
    }

    private mutating func recycleDependents(of index: Int, now: Int64, actions: inout [Action]) {
        let name = children[index].plan.name
        for dependent in children.indices where children[dependent].plan.after.contains(name) {
            switch children[dependent].phase {
            case .starting, .ready:
                requestStop(
                    dependent, now: now,
                    milliseconds: min(Self.recycleMilliseconds, children[dependent].plan.stopMilliseconds),
                    actions: &actions)
                recycleDependents(of: dependent, now: now, actions: &actions)
            default: break
            }
        }
    }

    private mutating func requestStop(
        _ index: Int, now: Int64, milliseconds: Int64? = nil, actions: inout [Action]
    ) {
        guard let pid = children[index].pid else { return }
        let plan = children[index].plan
        children[index].phase = .stopping(deadline: now + (milliseconds ?? plan.stopMilliseconds), isKilled: false)
        actions.append(.signal(name: plan.name, pid: pid, signal: plan.stopSignal))
    }

    private mutating func advance(now: Int64, actions: inout [Action]) {
        killOverdue(now: now, actions: &actions)
        if isStopping {
            stopLowestRank(now: now, actions: &actions)
        } else if hasBegun {
            spawnDue(now: now, actions: &actions)
        }
    }

    private mutating func killOverdue(now: Int64, actions: inout [Action]) {
        for index in children.indices {
            guard case .stopping(let deadline, isKilled: false) = children[index].phase, deadline <= now,
                let pid = children[index].pid
            else { continue }
            children[index].phase = .stopping(deadline: deadline, isKilled: true)
            actions.append(.signal(name: children[index].plan.name, pid: pid, signal: 9))
        }
    }

    private mutating func stopLowestRank(now: Int64, actions: inout [Action]) {
        for index in children.indices where !children[index].hasProcess { children[index].phase = .stopped }
        let alive = children.filter { $0.phase != .stopped }
        guard let rank = alive.map(\.plan.stopRank).min() else {
            isFinished = true
            actions.append(.finished)
            return
        }
        for index in children.indices where children[index].plan.stopRank == rank {
            switch children[index].phase {
            case .starting, .ready: requestStop(index, now: now, actions: &actions)
            default: break
            }
        }
    }

    private mutating func spawnDue(now: Int64, actions: inout [Action]) {
        for index in children.indices {
            let isDue =
                switch children[index].phase {
                case .waiting: true
                case .backingOff(let until): until <= now
                default: false
                }
            guard isDue, children[index].plan.after.allSatisfy({ self[$0]?.phase == .ready }) else { continue }
            children[index].phase = .spawning
            actions.append(.spawn(name: children[index].plan.name))
        }
    }
}
