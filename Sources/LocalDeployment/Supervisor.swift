// Supervisor: runs the children of a deployment from the main thread until it is told to stop.

import FoundationEssentials
import Glibc

/// One process under supervision.
public struct ManagedChild {
    public var plan: ChildPlan
    /// What to run; called at each start, because addresses change with the children it depends on.
    public var launch: () throws -> Launch
    /// Whether it serves; called between the start and the first success.
    public var isReady: () -> Bool
    public var healthPort: () -> Int?

    public init(
        plan: ChildPlan, launch: @escaping () throws -> Launch, isReady: @escaping () -> Bool,
        healthPort: @escaping () -> Int? = { nil }
    ) {
        self.plan = plan
        self.launch = launch
        self.isReady = isReady
        self.healthPort = healthPort
    }
}

/// Owns the signals and the children of this process. `run` must be called on the main thread before any other thread
/// exists: it blocks the signals it waits for, and threads inherit that; children's parent-death signals are bound to
/// the thread that spawns them.
public final class Supervisor {
    /// Pause between two looks at a child that is not ready yet.
    static let probeMilliseconds: Int64 = 50
    /// Pause between two looks at the sizes of logs.
    static let logCheckMilliseconds: Int64 = 5_000

    private let data: DataDirectory
    private let children: [ManagedChild]
    private var machine: SupervisorState
    private var state: DeploymentState
    /// Fills in what is known only once children run.
    private let describe: (inout DeploymentState) -> Void
    private var startedAt: [String: String] = [:]
    private var nextLogCheck: Int64 = 0
    private var lastWritten: DeploymentState?
    private let report: (String) -> Void
    /// Every child's standard input: it ends with this process, however this process ends.
    private let lifeline: (reading: Int32, writing: Int32)

    public init(
        data: DataDirectory, children: [ManagedChild], initial: DeploymentState,
        describe: @escaping (inout DeploymentState) -> Void, report: @escaping (String) -> Void
    ) throws(DeploymentError) {
        lifeline = try Lifeline.pipe()
        self.data = data
        self.children = children
        self.describe = describe
        self.report = report
        state = initial
        machine = SupervisorState(plans: children.map(\.plan))
    }

    deinit {
        close(lifeline.reading)
        close(lifeline.writing)
    }

    /// Blocks the signals that `run` waits for. Call it first thing, before any thread is made.
    public static func blockSignals() {
        var signals = watchedSignals()
        pthread_sigmask(SIG_BLOCK, &signals, nil)
        signal(SIGPIPE, SIG_IGN)
    }

    private static func watchedSignals() -> sigset_t {
        var signals = sigset_t()
        sigemptyset(&signals)
        for number in [SIGCHLD, SIGTERM, SIGINT, SIGHUP] { sigaddset(&signals, number) }
        return signals
    }

    /// Runs until everything has stopped, by a signal or because a child refused its configuration.
    public func run() throws(DeploymentError) {
        perform(machine.handle(.begin, now: Self.now))
        var hasAnnounced = false
        while !machine.isFinished {
            try publishState()
            if !hasAnnounced, machine.isEveryChildReady {
                hasAnnounced = true
                report("all \(children.count) processes are ready")
            }
            waitForSignal()
            reapAll()
            probe()
            rotateLogs()
            perform(machine.handle(.tick, now: Self.now))
        }
        state.phase = state.failure == nil ? .stopped : .failed
        try publishState()
        if let failure = state.failure { throw DeploymentError(.childRefused, failure) }
    }

    private static var now: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000
    }

    private func waitForSignal() {
        let now = Self.now
        let isProbing = machine.children.contains { $0.phase == .starting }
        let due = min(
            machine.nextDeadline ?? .max, isProbing ? now + Self.probeMilliseconds : .max,
            max(nextLogCheck, now + 1))
        let milliseconds = max(0, due - now)
        var timeout = timespec(
            tv_sec: Int(milliseconds / 1_000), tv_nsec: Int(milliseconds % 1_000) * 1_000_000)
        var signals = Self.watchedSignals()
        switch sigtimedwait(&signals, nil, &timeout) {
        case SIGTERM, SIGINT, SIGHUP:
            if !machine.isStopping { report("stopping") }
            perform(machine.handle(.stop, now: Self.now))
        default: break
        }
    }

    private func reapAll() {
        for child in machine.children {
            guard let pid = child.pid, let status = SpawnedProcess.reap(pid) else { continue }
            if !machine.isStopping { report("\(child.plan.name) (pid \(pid)) ended with \(status)") }
            perform(machine.handle(.exited(pid: pid, status: status), now: Self.now))
        }
    }

    private func probe() {
        for child in machine.children where child.phase == .starting {
            guard let managed = children.first(where: { $0.plan.name == child.plan.name }), managed.isReady() else {
                continue
            }
            perform(machine.handle(.ready(name: child.plan.name), now: Self.now))
        }
    }

    private func rotateLogs() {
        let now = Self.now
        guard now >= nextLogCheck else { return }
        nextLogCheck = now + Self.logCheckMilliseconds
        for child in children { LogFile.rotate(data.log(of: child.plan.name)) }
        LogFile.rotate(data.log(of: "supervisor"))
    }

    private func perform(_ actions: [SupervisorState.Action]) {
        for action in actions {
            switch action {
            case .spawn(let name): spawn(name)
            case .signal(let name, let pid, let number):
                if number == SIGKILL { report("\(name) (pid \(pid)) did not stop in time: killed") }
                SpawnedProcess.signal(pid, number)
            case .giveUp(let name, let status):
                let log = data.log(of: name)
                let last = LogFile.tail(log, lines: 1).first.map(LogFile.message) ?? "no message"
                state.failure = "\(name) refused to start (\(status)): \(last) (log \(log))"
            case .finished: break
            }
        }
    }

    private func spawn(_ name: String) {
        guard let child = children.first(where: { $0.plan.name == name }) else { return }
        do {
            let pid = try SpawnedProcess.spawn(
                try child.launch(), log: data.log(of: name), input: .descriptor(lifeline.reading))
            startedAt[name] = Timestamp.now()
            perform(machine.handle(.spawned(name: name, pid: pid), now: Self.now))
        } catch {
            report("\(name): \(error)")
            perform(machine.handle(.spawnFailed(name: name, problem: "\(error)"), now: Self.now))
        }
    }

    private func publishState() throws(DeploymentError) {
        if state.phase != .stopped, state.phase != .failed {
            state.phase = machine.isStopping ? .stopping : machine.isEveryChildReady ? .running : .starting
        }
        describe(&state)
        state.processes = machine.children.map(describe)
        guard state != lastWritten else { return }
        try state.write(data)
        lastWritten = state
    }

    private func describe(_ child: SupervisorState.Child) -> DeploymentState.Process {
        let name = child.plan.name
        let word =
            switch child.phase {
            case .waiting: "waiting"
            case .spawning, .starting: "starting"
            case .ready: "ready"
            case .backingOff: "restarting"
            case .stopping: "stopping"
            case .stopped: "stopped"
            }
        return DeploymentState.Process(
            name: name, state: word, pid: child.pid,
            startTicks: child.pid.flatMap { ProcessFigures(pid: $0)?.startTicks },
            startedAt: child.pid == nil ? nil : startedAt[name], restarts: child.restarts,
            lastExit: child.lastExit?.description, problem: child.lastProblem,
            healthPort: child.pid == nil ? nil : children.first { $0.plan.name == name }?.healthPort(),
            log: data.log(of: name))
    }
}
