// FaultTests: consumers that are wrong on purpose; the oracle must notice each fault.

import Glibc
import LocalDeployment
import Oracle
import ProcessControl
import Synchronization
import TestSupport
import Testing

@testable import PenstockCommand

extension IntegrationTests {
    @Suite("Planted faults", .serialized) struct FaultTests {
        static let eventCount = 2_400

        /// The oracle must end with 1 and name one of those violations.
        private func expectViolation(_ kinds: [Violation.Kind], _ stack: Stack, _ fault: String) async throws {
            let (report, exit) = try await stack.judge()
            #expect(exit == .exited(1), "\(fault): \(report.text)")
            #expect(!report.isContent)
            let found = kinds.filter { report.violationsByKind[$0.rawValue, default: 0] > 0 }
            #expect(!found.isEmpty, "\(fault): \(report.text)")
            if fault == "swallow-dead-letter" { #expect(report.violationsByKind["missing-dead-letter"] == 60) }
            #expect(stack.processes.contains { $0.log.contains("A FAULT IS PLANTED") }, "the log says it loudly")
        }

        /// Lets the transform stage work on a backlog with the fault planted and ends it several times in between, each
        /// time when it has got on but is not at the end; then lets it finish without the fault.
        private func interruptTransform(
            _ stack: Stack, fault: String, times: Int, _ end: (StageProcess) async throws -> Void
        ) async throws {
            let world = try EventWorld(stack.pipeline, count: Self.eventCount, seed: 11)
            let process = stack[.transform]
            let watch = try GroupWatch(stack, .transform)
            let sent = Counter()
            try process.start(["--plant-fault", fault])
            async let positions = world.publish(to: stack, rate: 100) { sent.set($0) }
            for number in 1...times {
                let mark = world.count * number / (times + 1)
                _ = try await stack.wait(for: "event \(mark)") { sent.value >= mark ? true : nil }
                let before = try watch.positions().reduce(0) { $0 + $1.next }
                _ = try await stack.wait(for: "progress of transform") {
                    try watch.positions().reduce(0) { $0 + $1.next } > before ? true : nil
                }
                try await end(process)
                try process.start(number == times ? [] : ["--plant-fault", fault])
            }
            _ = try await positions
            try await stack.waitUntilSettled()
        }

        /// Lets the transform stage die by itself at a moment at which the fault has promised what has no effect yet, several
        /// times; then lets it finish without the fault.
        private func killTransform(_ stack: Stack, fault: String, at point: String, times: Int) async throws {
            let world = try EventWorld(stack.pipeline, count: Self.eventCount, seed: 11)
            let process = stack[.transform]
            let planted = ["--plant-fault", fault, "--plant-kill", "\(point):3"]
            try process.start(planted)
            async let positions = world.publish(to: stack, rate: 200)
            for number in 1...times {
                let status = try await onThread { process.wait(seconds: 60) }
                #expect(status == .signalled(SIGKILL), "\(fault) \(number): \(String(describing: status))")
                try process.start(number == times ? [] : planted)
            }
            _ = try await positions
            try await stack.waitUntilSettled()
        }

        private static var withoutTransform: Stack.Options {
            var options = Stack.Options()
            options.notStarted = [.transform]
            // The moment between promise and effect is longer there.
            options.profile = "latency"
            // Broad batches, so that there always is something in hand to lose.
            options.batch = "{ records: 512, bytes: 4MiB, deadline: 200ms }"
            return options
        }

        @Test("Offsets committed too early or too far, a batch lost at shutdown, dead letters swallowed: all noticed")
        func kafkaStages() async throws {
            // Side by side: most of the time is the group's waiting for dead members.
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await commitBeforeEffect() }
                group.addTask { try await offsetOffByOne() }
                group.addTask { try await loseBatchAtShutdown() }
                group.addTask { try await swallowDeadLetter() }
                try await group.waitForAll()
            }
        }

        private func commitBeforeEffect() async throws {
            try await Stack.run(Self.withoutTransform) { stack in
                try await killTransform(stack, fault: "commit-before-effect", at: "after-process", times: 3)
                try await expectViolation([.missingRow], stack, "commit-before-effect")
            }
        }

        private func offsetOffByOne() async throws {
            try await Stack.run(Self.withoutTransform) { stack in
                try await killTransform(stack, fault: "offset-off-by-one", at: "after-commit", times: 3)
                try await expectViolation([.missingRow], stack, "offset-off-by-one")
            }
        }

        private func loseBatchAtShutdown() async throws {
            try await Stack.run(Self.withoutTransform) { stack in
                try await interruptTransform(stack, fault: "lose-batch-at-shutdown", times: 3) { process in
                    _ = try await onThread { process.stop() }
                }
                try await expectViolation([.missingRow], stack, "lose-batch-at-shutdown")
            }
        }

        private func swallowDeadLetter() async throws {
            var options = Stack.Options()
            options.notStarted = [.ingest]
            try await Stack.run(options) { stack in
                try stack[.ingest].start(["--plant-fault", "swallow-dead-letter"])
                let world = try EventWorld(stack.pipeline, count: 300, seed: 12)
                _ = try await world.publish(to: stack)
                try await stack.waitUntilSettled()
                try await expectViolation([.missingDeadLetter], stack, "swallow-dead-letter")
            }
        }

        /// Mistakes that show without anybody dying: what the transform stage writes, or its dead letters.
        @Test(
            "Records left out, repeated, swapped, refused or under a wrong key, and altered dead letters: all noticed",
            arguments: [
                ("drop-emission", [Violation.Kind.missingRow]), ("repeat-emission", [.repeatedRecord]),
                ("reverse-order", [.swappedOrder]), ("refuse-valid-record", [.validEventDeadLettered]),
                ("wrong-key", [.wrongContent]),
            ])
        func altered(fault: String, kinds: [Violation.Kind]) async throws {
            var options = Stack.Options()
            options.notStarted = [.transform]
            try await Stack.run(options) { stack in
                let world = try EventWorld(stack.pipeline, count: 300, seed: 13)
                _ = try await world.publish(to: stack)
                try stack[.transform].start(["--plant-fault", fault])
                try await stack.waitUntilSettled()
                try await expectViolation(kinds, stack, fault)
            }
        }

        @Test("Dead letters with a byte too many are noticed")
        func alteredDeadLetters() async throws {
            var options = Stack.Options()
            options.notStarted = [.ingest]
            try await Stack.run(options) { stack in
                try stack[.ingest].start(["--plant-fault", "alter-dead-letter"])
                let world = try EventWorld(stack.pipeline, count: 300, seed: 14)
                _ = try await world.publish(to: stack)
                try await stack.waitUntilSettled()
                try await expectViolation([.alteredDeadLetter], stack, "alter-dead-letter")
            }
        }

        @Test("No compare-and-set: an overtaken sink sets the offsets back")
        func noCompareAndSet() async throws {
            try await Stack.run(Overtaking.options) { stack in
                try await Overtaking.freezeBeforeTransaction(stack, further: ["--plant-fault", "no-compare-and-set"])
                let ends = try GroupWatch(stack, .sink)
                stack[.sink].send(SIGCONT)
                _ = try await stack.wait(for: "setting back of the offsets") { try ends.isAtEnd() ? nil : true }
                // Before the instances settle among themselves and so mend it.
                for process in stack.instances(of: .sink) { process.kill() }
                try await expectViolation([.wrongOffset], stack, "no-compare-and-set")
            }
        }
    }
}
