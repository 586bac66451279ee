// SupervisorStateTests: every edge of the supervisor's state machine, on an imagined clock.

import LocalDeployment
import Testing

@Suite("The supervisor's state machine")
struct SupervisorStateTests {
    typealias Action = SupervisorState.Action

    static let plans = [
        ChildPlan(name: "broker", restartsDependents: true, stopRank: 1, stopMilliseconds: 2_000),
        ChildPlan(name: "database", stopRank: 2, stopSignal: 2),
        ChildPlan(name: "ingest", after: ["broker"], stopRank: 0),
        ChildPlan(name: "sink", after: ["broker", "database"], stopRank: 0),
    ]

    /// A machine whose children all run; process ids are 100, 101, 102, 103.
    static func running() -> SupervisorState {
        var machine = SupervisorState(plans: plans)
        _ = machine.handle(.begin, now: 0)
        for (offset, plan) in plans.enumerated() {
            _ = machine.handle(.spawned(name: plan.name, pid: Int32(100 + offset)), now: 0)
            _ = machine.handle(.ready(name: plan.name), now: 0)
        }
        return machine
    }

    @Test("Children start only when those they depend on are ready")
    func order() {
        var machine = SupervisorState(plans: Self.plans)
        #expect(machine.handle(.begin, now: 0) == [.spawn(name: "broker"), .spawn(name: "database")])
        #expect(machine.handle(.spawned(name: "broker", pid: 1_000), now: 1) == [])
        #expect(machine.handle(.spawned(name: "database", pid: 1_001), now: 1) == [])
        #expect(machine.handle(.ready(name: "broker"), now: 2) == [.spawn(name: "ingest")])
        #expect(machine.handle(.ready(name: "database"), now: 3) == [.spawn(name: "sink")])
        #expect(!machine.isEveryChildReady)
        _ = machine.handle(.spawned(name: "ingest", pid: 1_002), now: 4)
        _ = machine.handle(.spawned(name: "sink", pid: 1_003), now: 4)
        _ = machine.handle(.ready(name: "ingest"), now: 5)
        _ = machine.handle(.ready(name: "sink"), now: 5)
        #expect(machine.isEveryChildReady)
        #expect(machine.nextDeadline == nil)
    }

    @Test("A crashed child starts again after a pause that doubles up to its limit")
    func backoff() {
        var machine = Self.running()
        var now: Int64 = 1_000
        var pid: Int32 = 102
        for pause in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000] as [Int64] {
            #expect(machine.handle(.exited(pid: pid, status: .signal(11)), now: now) == [])
            #expect(machine["ingest"]?.phase == .backingOff(until: now + pause))
            #expect(machine.nextDeadline == now + pause)
            #expect(machine.handle(.tick, now: now + pause - 1) == [])
            #expect(machine.handle(.tick, now: now + pause) == [.spawn(name: "ingest")])
            now += pause
            pid += 100
            #expect(machine.handle(.spawned(name: "ingest", pid: pid), now: now) == [])
        }
        #expect(machine["ingest"]?.restarts == 9)
        #expect(machine["ingest"]?.lastExit == .signal(11))
    }

    @Test("A life of thirty seconds wipes out earlier failures")
    func reset() {
        var machine = Self.running()
        _ = machine.handle(.exited(pid: 102, status: .code(1)), now: 1_000)
        _ = machine.handle(.tick, now: 1_100)
        _ = machine.handle(.spawned(name: "ingest", pid: 200), now: 1_100)
        _ = machine.handle(.exited(pid: 200, status: .code(1)), now: 31_099)
        #expect(machine["ingest"]?.phase == .backingOff(until: 31_099 + 200))
        _ = machine.handle(.tick, now: 31_299)
        _ = machine.handle(.spawned(name: "ingest", pid: 201), now: 31_299)
        _ = machine.handle(.exited(pid: 201, status: .code(1)), now: 61_299)
        #expect(machine["ingest"]?.phase == .backingOff(until: 61_299 + 100))
        #expect(machine["ingest"]?.restarts == 3)
    }

    @Test("A program that cannot be started is tried again like one that crashed")
    func spawnFailure() {
        var machine = SupervisorState(plans: [ChildPlan(name: "only")])
        #expect(machine.handle(.begin, now: 0) == [.spawn(name: "only")])
        #expect(machine.handle(.spawnFailed(name: "only", problem: "missing"), now: 0) == [])
        #expect(machine["only"]?.phase == .backingOff(until: 100))
        #expect(machine["only"]?.lastProblem == "missing")
        #expect(machine.handle(.tick, now: 100) == [.spawn(name: "only")])
    }

    @Test("Losing a broker that forgets restarts all that depend on it, once it is back")
    func recycling() {
        var machine = Self.running()
        let actions = machine.handle(.exited(pid: 100, status: .signal(9)), now: 1_000)
        #expect(
            actions == [
                .signal(name: "ingest", pid: 102, signal: 15), .signal(name: "sink", pid: 103, signal: 15),
            ])
        #expect(machine["database"]?.phase == .ready)
        #expect(machine.handle(.exited(pid: 102, status: .code(0)), now: 1_010) == [])
        #expect(machine["ingest"]?.phase == .waiting)
        #expect(machine.handle(.tick, now: 1_100) == [.spawn(name: "broker")])
        _ = machine.handle(.spawned(name: "broker", pid: 200), now: 1_100)
        #expect(machine.handle(.ready(name: "broker"), now: 1_200) == [.spawn(name: "ingest")])
        // The sink hangs: it is killed when its time is over, then starts with the new broker.
        #expect(machine.nextDeadline == 2_000)
        #expect(machine.handle(.tick, now: 2_000) == [.signal(name: "sink", pid: 103, signal: 9)])
        #expect(machine.handle(.exited(pid: 103, status: .signal(9)), now: 2_010) == [.spawn(name: "sink")])
    }

    @Test("Losing a database restarts nothing else")
    func databaseLost() {
        var machine = Self.running()
        #expect(machine.handle(.exited(pid: 101, status: .code(1)), now: 1_000) == [])
        #expect(machine["sink"]?.phase == .ready)
        #expect(machine.handle(.tick, now: 1_100) == [.spawn(name: "database")])
    }

    @Test("A stop takes consumers first, then the broker, the database last")
    func stopOrder() {
        var machine = Self.running()
        #expect(
            machine.handle(.stop, now: 1_000) == [
                .signal(name: "ingest", pid: 102, signal: 15), .signal(name: "sink", pid: 103, signal: 15),
            ])
        #expect(machine.handle(.stop, now: 1_001) == [], "a second signal changes nothing")
        #expect(machine.handle(.exited(pid: 102, status: .code(0)), now: 1_100) == [])
        #expect(
            machine.handle(.exited(pid: 103, status: .code(0)), now: 1_200) == [
                .signal(name: "broker", pid: 100, signal: 15)
            ])
        #expect(
            machine.handle(.exited(pid: 100, status: .code(0)), now: 1_300) == [
                .signal(name: "database", pid: 101, signal: 2)
            ])
        #expect(machine.handle(.exited(pid: 101, status: .code(0)), now: 1_400) == [.finished])
        #expect(machine.isFinished)
        #expect(machine.handle(.tick, now: 2_000) == [])
    }

    @Test("A child that ignores the stop is killed when its time is over, and only once")
    func stopDeadline() {
        var machine = SupervisorState(plans: [ChildPlan(name: "only", stopMilliseconds: 500)])
        _ = machine.handle(.begin, now: 0)
        _ = machine.handle(.spawned(name: "only", pid: 7), now: 0)
        #expect(machine.handle(.stop, now: 100) == [.signal(name: "only", pid: 7, signal: 15)])
        #expect(machine.nextDeadline == 600)
        #expect(machine.handle(.tick, now: 599) == [])
        #expect(machine.handle(.tick, now: 600) == [.signal(name: "only", pid: 7, signal: 9)])
        #expect(machine.handle(.tick, now: 700) == [])
        #expect(machine.nextDeadline == nil)
        #expect(machine.handle(.exited(pid: 7, status: .signal(9)), now: 800) == [.finished])
    }

    @Test("A stop during a pause or before the start ends at once")
    func stopWithoutProcess() {
        var machine = SupervisorState(plans: [ChildPlan(name: "only"), ChildPlan(name: "later", after: ["only"])])
        _ = machine.handle(.begin, now: 0)
        _ = machine.handle(.spawned(name: "only", pid: 7), now: 0)
        _ = machine.handle(.exited(pid: 7, status: .code(1)), now: 10)
        #expect(machine.handle(.stop, now: 20) == [.finished])
    }

    @Test("A child spawned while the stop arrives is stopped as well")
    func stopDuringSpawn() {
        var machine = SupervisorState(plans: [ChildPlan(name: "only")])
        #expect(machine.handle(.begin, now: 0) == [.spawn(name: "only")])
        #expect(machine.handle(.stop, now: 1) == [])
        #expect(
            machine.handle(.spawned(name: "only", pid: 7), now: 2) == [.signal(name: "only", pid: 7, signal: 15)])
        #expect(machine.handle(.exited(pid: 7, status: .code(0)), now: 3) == [.finished])
    }

    @Test("A refused configuration stops everything and says who refused")
    func giveUp() {
        var machine = SupervisorState(plans: Self.plans)
        _ = machine.handle(.begin, now: 0)
        _ = machine.handle(.spawned(name: "broker", pid: 1), now: 0)
        _ = machine.handle(.spawned(name: "database", pid: 2), now: 0)
        _ = machine.handle(.ready(name: "broker"), now: 0)
        _ = machine.handle(.spawned(name: "ingest", pid: 3), now: 0)
        #expect(
            machine.handle(.exited(pid: 3, status: .code(2)), now: 5) == [
                .giveUp(name: "ingest", status: .code(2)), .signal(name: "broker", pid: 1, signal: 15),
            ])
        #expect(machine.isStopping)
    }

    @Test("The same exit code from a child that was ready before is an ordinary crash")
    func noGiveUpLater() {
        var machine = Self.running()
        #expect(machine.handle(.exited(pid: 102, status: .code(2)), now: 1_000) == [])
        #expect(machine["ingest"]?.phase == .backingOff(until: 1_100))
    }

    @Test("Events about strangers change nothing")
    func strangers() {
        var machine = Self.running()
        #expect(machine.handle(.exited(pid: 9_999, status: .code(1)), now: 1) == [])
        #expect(machine.handle(.ready(name: "nobody"), now: 1) == [])
        #expect(machine.handle(.spawned(name: "ingest", pid: 5), now: 1) == [])
        #expect(machine["ingest"]?.pid == 102)
        #expect(machine.isEveryChildReady)
    }
}
