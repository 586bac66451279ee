// ChaosTests: deaths at chosen moments, processes that stand still, a broker that dies, a record that kills.

import EventContracts
import Foundation
import Glibc
import Oracle
import PipelineContract
import ProcessControl
import TestSupport
import Testing

@testable import PenstockCommand

extension IntegrationTests {
    @Suite("Chaos", .serialized) struct ChaosTests {
        /// A minute and more each: left to those who ask for them.
        static let isLong = getenv("PENSTOCK_TEST_LONG") != nil

        @Test("Each consumer dies after poll, after process, before and after commit: nothing lost, nothing twice")
        func killPoints() async throws {
            try await Stack.run { stack in
                try await stack.waitUntilReady()
                let world = try EventWorld(stack.pipeline, count: 1_600, seed: 51)
                let points = ["after-poll", "after-process", "before-commit", "after-commit"]
                let parts = points.count * Stage.allCases.count
                var part = 0
                for point in points {
                    for stage in Stage.allCases {
                        let process = stack[stage]
                        _ = try await onThread { process.stop() }
                        try process.start(["--plant-kill", "\(point):1"])
                        let range = world.count * part / parts..<world.count * (part + 1) / parts
                        part += 1
                        _ = try await world.publish(range, to: stack, rate: 400)
                        let status = try await onThread { process.wait(seconds: 30) }
                        #expect(status == .signalled(SIGKILL), "\(stage) \(point): \(String(describing: status))")
                        try process.start()
                    }
                }
                try await stack.waitUntilSettled(seconds: 120)
                try await stack.expectContent(rows: 1_600, "kill points")
                try await stack.stopAll()
            }
        }

        @Test(
            "Each consumer stands still for longer than its session and its transaction may last, and is overtaken",
            .enabled(if: isLong, "set PENSTOCK_TEST_LONG"))
        func standStill() async throws {
            var options = Stack.Options()
            options.instances = [.ingest: 2, .transform: 2, .inference: 2, .sink: 2]
            try await Stack.run(options) { stack in
                try await stack.waitUntilReady()
                let world = try EventWorld(stack.pipeline, count: 3_000, seed: 52)
                let sent = Counter()
                async let positions = world.publish(to: stack, rate: 200) { sent.set($0) }
                _ = try await stack.wait(for: "first events") { sent.value >= 300 ? true : nil }
                for stage in Stage.allCases { stack[stage].send(SIGSTOP) }
                // The coordinator aborts an open transaction after 10 s; sessions last 3 s here.
                _ = try await stack.wait(for: "2,700 events") { sent.value >= 2_700 ? true : nil }
                for stage in Stage.allCases { stack[stage].send(SIGCONT) }
                _ = try await positions
                // A process that was fenced meanwhile ends with a message; its supervisor starts it again.
                for stage in Stage.allCases {
                    let process = stack[stage]
                    guard let status = try await onThread({ process.wait(seconds: 3) }) else { continue }
                    #expect(status == .exited(1), "\(stage): \(status)")
                    try process.start()
                }
                try await stack.waitUntilSettled(seconds: 120)
                try await stack.expectContent(rows: 3_000, "stand still")
                try await stack.stopAll()
            }
        }

        @Test(
            "The broker is killed under load and comes back, also with requests going wrong: nothing lost, nothing twice",
            .enabled(if: isLong, "set PENSTOCK_TEST_LONG"))
        func broker() async throws {
            try await Stack.run { stack in
                try await stack.waitUntilReady()
                let world = try EventWorld(stack.pipeline, count: 2_000, seed: 53)
                let sent = Counter()
                async let positions = world.publish(to: stack, rate: 150) { sent.set($0) }
                let faults = [
                    [],
                    [
                        "endTransaction stall", "endTransaction disconnectAfter",
                        "transactionOffsetCommit disconnectAfter",
                        "addPartitionsToTransaction error:51 2", "produce disconnectAfter 2", "fetch delay:200 5",
                    ],
                    [
                        "initProducerID error:14 2", "transactionOffsetCommit error:22 2",
                        "heartbeat disconnectBefore 3",
                    ],
                ]
                for (number, lines) in faults.enumerated() {
                    let mark = world.count * (number + 1) / 4
                    _ = try await stack.wait(for: "event \(mark)", seconds: 120) { sent.value >= mark ? true : nil }
                    stack.killBroker()
                    try stack.startBroker(faults: lines)
                }
                _ = try await positions
                try await stack.waitUntilSettled(seconds: 120, isSupervised: true)
                try stack.reviveFenced()
                for process in stack.processes { #expect(process.exitStatus == nil, "\(stack.logTails)") }
                try await stack.waitUntilReady()
                try await stack.expectContent(rows: 2_000, "broker")
                try await stack.stopAll()
            }
        }

        @Test("A record that kills its process: exactly that one becomes a dead letter, after real deaths")
        func poison() async throws {
            var options = Stack.Options()
            options.notStarted = [.transform]
            options.batch = "{ records: 16, bytes: 4MiB, deadline: 5ms }"
            try await Stack.run(options) { stack in
                let world = try EventWorld(stack.pipeline, count: 200, seed: 54)
                let ids = world.plan.items.compactMap { if case .row(let id) = $0.expectation { id } else { nil } }
                // Found in no other event.
                guard let poison = ids[50...].first(where: { id in ids.count { $0.contains(id) } == 1 }) else {
                    throw TestFailure("every id of this seed is a part of another one")
                }
                _ = try await world.publish(to: stack)
                let ingest = try GroupWatch(stack, .ingest)
                _ = try await stack.wait(for: "end of ingest's work") {
                    try ingest.isAtEnd() && stack.rowCount() == 0 ? true : nil
                }
                let process = stack[.transform]
                let arguments = ["--plant-poison", poison]
                let watch = try GroupWatch(stack, .transform)
                var deaths = 0
                try process.start(arguments)
                while deaths < 40, !(try watch.isAtEnd()) {
                    let status = try await onThread { process.wait(seconds: 1) }
                    guard let status else { continue }
                    #expect(status == .signalled(SIGABRT), "\(status)")
                    deaths += 1
                    try process.start(arguments)
                }
                #expect(deaths >= 3, "\(deaths) deaths")
                try await stack.waitUntilSettled()
                let letters = try await Kcat.read(
                    "\(stack.pipeline.topics.events).dlq", servers: stack.servers, directory: stack.directory)
                #expect(letters.count == 1)
                #expect(letters.first?.header("x-error-code") == "poison_record")
                let holdsPoison = letters.first?.value?.firstRange(of: Array(poison.utf8)) != nil
                #expect(holdsPoison)
                // Everything else has the outcome it must have.
                let (report, _) = try await stack.judge()
                #expect(report.violationsByKind == ["valid-event-dead-lettered": 1], "\(report.text)")
                #expect(report.rows == 199)
            }
        }
    }
}
