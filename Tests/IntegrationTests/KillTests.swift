// KillTests: consumers are killed at random while events flow; nothing is lost and nothing is counted twice.

import Glibc
import Oracle
import ProcessControl
import Synchronization
import TestSupport
import Testing

@testable import PenstockCommand

extension IntegrationTests {
    @Suite("Kill -9", .serialized) struct KillTests {
        static let killCount = 20
        static let eventCount = 3_000
        static let eventsPerSecond = 80.0

        /// Random unless PENSTOCK_TEST_SEED replays a run.
        static let seed: UInt64 =
            getenv("PENSTOCK_TEST_SEED").flatMap { UInt64(String(cString: $0)) } ?? UInt64.random(in: 0...UInt64.max)

        @Test("20 random kills over all consumers and the broker under load: the oracle is content")
        func randomKills() async throws {
            print("Kill test: replay it with PENSTOCK_TEST_SEED=\(Self.seed)")
            var options = Stack.Options()
            options.instances = [.transform: 2, .sink: 2]
            try await Stack.run(options) { stack in
                try await stack.waitUntilReady()
                let world = try EventWorld(stack.pipeline, count: Self.eventCount, seed: Self.seed)
                let sent = Counter()
                async let positions = world.publish(to: stack, rate: Self.eventsPerSecond) { sent.set($0) }
                var generator = SeededGenerator(seed: Self.seed)
                var victims: [String] = []
                for number in 1...Self.killCount {
                    // The publisher's progress is the clock, with a random part, so that a replay kills at the same events.
                    let step = world.count / (Self.killCount + 1)
                    let moment = step * number + Int.random(in: 0..<step, using: &generator)
                    _ = try await stack.wait(for: "publication of event \(moment)", seconds: 120) {
                        sent.value >= min(moment, world.count - 1) ? true : nil
                    }
                    // Each stage dies at least once, the broker three times; the rest is chance.
                    if number.isMultiple(of: 6) {
                        stack.killBroker()
                        try stack.startBroker()
                        victims.append("broker")
                        continue
                    }
                    let victim =
                        number <= Stage.allCases.count
                        ? stack[Stage.allCases[number - 1]] : stack.processes.randomElement(using: &generator)
                    guard let victim else { continue }
                    victim.kill()
                    try victim.start()
                    victims.append("\(victim.stage.rawValue)-\(victim.instance)")
                }
                #expect(try await positions.count == world.count)
                try await stack.waitUntilSettled(seconds: 120, isSupervised: true)
                let (report, exit) = try await stack.judge()
                #expect(report.isContent && exit == .exited(0), "seed \(Self.seed), killed \(victims)\n\(report.text)")
                #expect(report.rows == Self.eventCount)
                #expect(report.violationsByKind["valid-event-dead-lettered"] == nil)
                try stack.reviveFenced()
                for process in stack.processes { #expect(process.exitStatus == nil, "\(stack.logTails)") }
                try await stack.waitUntilReady()
                try await stack.stopAll()
            }
        }
    }
}
