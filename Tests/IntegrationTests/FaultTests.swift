// FaultTests: consumers that are wrong on purpose; the oracle must notice each fault.

import EventContracts
import Glibc
import LocalDeployment
import Oracle
import PipelineContract
import ProcessControl
import Synchronization
import TestSupport
import Testing

@testable import PenstockCommand

extension IntegrationTests {
    @Suite("Planted faults", .serialized) struct FaultTests {
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

        /// Records that the transform stage calls done and that are in none of its outputs: what the fault has lost so far. Counts
        /// offsets, so it holds where no transaction leaves markers.
        private func lost(_ stack: Stack, _ watch: GroupWatch) throws -> Int64 {
            let done = try watch.positions().reduce(0) { $0 + $1.next }
            let topics = stack.pipeline.topics
            return try done - stack.recordCount(topics.features) - stack.recordCount("\(topics.events).dlq")
        }

        /// Ends the transform stage, with the fault planted and events flowing, again and again until records are lost; then lets it
        /// finish without the fault. Nothing here counts on time: the next events come when the stage is ready for them.
        ///
        /// - Parameters:
        ///   - end: makes the process end, or waits until it has, while events flow.
        ///   - isEnough: of how many rounds, when what is lost cannot be counted.
        private func untilLost(
            _ stack: Stack, planted: [String], isEnough: ((Int) -> Bool)? = nil,
            end: @escaping @Sendable (StageProcess) async throws -> Void
        ) async throws {
            let (backlog, flow, roundsMax) = (60, 240, 30)
            let world = try EventWorld(stack.pipeline, count: (backlog + flow) * (roundsMax + 1), seed: 11)
            let process = stack[.transform]
            let watch = try GroupWatch(stack, .transform)
            var next = 0
            func publish(_ count: Int, rate: Double = 0) async throws {
                let range = next..<next + count
                next += count
                _ = try await world.publish(range, to: stack, rate: rate)
            }
            func position() throws -> Int64 { try watch.positions().reduce(0) { $0 + $1.next } }
            func waitForProgress(from before: Int64) async throws {
                _ = try await stack.wait(for: "progress of transform", seconds: 180) {
                    let isDead = process.exitStatus != nil
                    return try isDead || position() > before ? true : nil
                }
            }
            for round in 1...roundsMax {
                // A position beyond the end of the log would be another fault: there must be records behind it.
                let start = try position()
                try await publish(backlog)
                try process.start(planted)
                try await waitForProgress(from: start)
                let middle = try position()
                let range = next..<next + flow
                next += flow
                async let positions = world.publish(range, to: stack, rate: 120)
                try await waitForProgress(from: middle)
                try await end(process)
                _ = try await positions
                guard try isEnough?(round) ?? (lost(stack, watch) > 0) else { continue }
                try await publish(backlog)
                try process.start()
                return try await stack.waitUntilSettled(seconds: 240)
            }
            Issue.record("\(planted): nothing is lost in \(roundsMax) rounds\n\(stack.logTails)")
        }

        /// The planted kill, or another one where the batches were too few for it.
        private static func waitForDeath(_ process: StageProcess) async throws {
            let status = try await onThread { process.wait(seconds: 20) }
            if status == nil { process.kill() }
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
                let planted = ["--plant-fault", "commit-before-effect", "--plant-kill", "after-process:3"]
                try await untilLost(stack, planted: planted, end: Self.waitForDeath)
                try await expectViolation([.missingRow], stack, "commit-before-effect")
            }
        }

        private func offsetOffByOne() async throws {
            try await Stack.run(Self.withoutTransform) { stack in
                let planted = ["--plant-fault", "offset-off-by-one", "--plant-kill", "after-commit:3"]
                // What was in flight at the death comes twice, so that counting does not tell.
                try await untilLost(stack, planted: planted, isEnough: { $0 >= 4 }, end: Self.waitForDeath)
                try await expectViolation([.missingRow], stack, "offset-off-by-one")
            }
        }

        private func loseBatchAtShutdown() async throws {
            try await Stack.run(Self.withoutTransform) { stack in
                try await untilLost(stack, planted: ["--plant-fault", "lose-batch-at-shutdown"]) { process in
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
