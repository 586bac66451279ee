// GroupFaultTests: members that come and go, requests that go wrong, retention that overtakes, clocks that jump.

import EventContracts
import Foundation
import Glibc
import Kafka
import LocalDeployment
import Oracle
import PipelineContract
import ProcessControl
import TestSupport
import Testing

@testable import PenstockCommand

extension IntegrationTests {
    @Suite("Groups, brokers and clocks in trouble", .serialized) struct GroupFaultTests {
        @Test("A storm of rebalances: members join under load and leave by SIGTERM and SIGKILL, again and again")
        func storm() async throws {
            var options = Stack.Options()
            options.instances = [.transform: 2]
            try await Stack.run(options) { stack in
                try await stack.waitUntilReady()
                let world = try EventWorld(stack.pipeline, count: 800, seed: 71)
                let sent = Counter()
                async let positions = world.publish(to: stack, rate: 150) { sent.set($0) }
                var guests: [StageProcess] = []
                defer { for guest in guests { guest.kill() } }
                let visits = 6
                for number in 1...visits {
                    let mark = world.count * number / (visits + 1)
                    _ = try await stack.wait(for: "event \(mark)") { sent.value >= mark ? true : nil }
                    // The one before leaves while this one joins.
                    if let last = guests.last { number.isMultiple(of: 2) ? last.kill() : last.send(SIGTERM) }
                    let guest = stack[number.isMultiple(of: 3) ? .ingest : .transform].sibling("guest-\(number)")
                    guests.append(guest)
                    try guest.start()
                }
                _ = try await positions
                for guest in guests { guest.kill() }
                try await stack.waitUntilSettled(seconds: 180)
                try await stack.expectContent(rows: 800, "storm")
                try await stack.stopAll()
            }
        }

        /// Errors that a real broker answers with when it is moved, restarted or slow; none of them means that a client is at
        /// fault.
        private static let errors: [String: [Int]] = [
            "produce": [6, 7, 19], "fetch": [6], "listOffsets": [6], "findCoordinator": [15], "offsetFetch": [14, 16],
            "joinGroup": [14, 15, 16], "syncGroup": [14, 16, 27], "heartbeat": [16, 27],
            "initProducerID": [14, 16, 51], "addPartitionsToTransaction": [14, 16, 51],
            "transactionOffsetCommit": [14, 16], "endTransaction": [14, 16, 51],
        ]

        private static func faults(_ generator: inout SeededGenerator) -> [String] {
            var lines = ["endTransaction stall"]
            for (request, errors) in errors.sorted(by: { $0.key < $1.key }) {
                for _ in 0..<Int.random(in: 1...2, using: &generator) {
                    let delay = "delay:\(Int.random(in: 20...700, using: &generator))"
                    let kinds = ["disconnectBefore", "disconnectAfter", delay] + errors.map { "error:\($0)" }
                    let kind = kinds[Int.random(in: 0..<kinds.count, using: &generator)]
                    lines.append("\(request) \(kind) \(Int.random(in: 1...3, using: &generator))")
                }
            }
            return lines
        }

        @Test("The broker dies twice, then errs, delays, disconnects and stalls: nothing lost, nothing twice")
        func broker() async throws {
            print("Broker faults: replay them with PENSTOCK_TEST_SEED=\(KillTests.seed)")
            try await Stack.run { stack in
                var generator = SeededGenerator(seed: KillTests.seed)
                try await stack.waitUntilReady()
                let world = try EventWorld(stack.pipeline, count: 700, seed: 72)
                let sent = Counter()
                async let positions = world.publish(to: stack, rate: 120) { sent.set($0) }
                for third in 1...2 {
                    let mark = world.count * third / 3
                    _ = try await stack.wait(for: "event \(mark)", seconds: 180) { sent.value >= mark ? true : nil }
                    let lines = Self.faults(&generator)
                    stack.killBroker()
                    try stack.startBroker(faults: lines)
                }
                _ = try await positions
                try await stack.waitUntilSettled(seconds: 180, isSupervised: true)
                try stack.reviveFenced()
                for process in stack.processes { #expect(process.exitStatus == nil, "\(stack.logTails)") }
                // The oracle shall not meet the faults that are left.
                stack.killBroker()
                try stack.startBroker()
                try await stack.waitUntilSettled(seconds: 180, isSupervised: true)
                try await stack.expectContent(rows: 700, "seed \(KillTests.seed)")
                try stack.reviveFenced()
                try await stack.waitUntilReady()
                try await stack.stopAll()
            }
        }

        @Test("Retention overtakes a stage: it says which offsets of which partition are lost, or stops, as told")
        func retention() async throws {
            var options = Stack.Options()
            options.topicSettings = ["events": "retention.ms=3000"]
            try await Stack.run(options) { stack in
                let world = try EventWorld(stack.pipeline, count: 400, seed: 73)
                _ = try await world.publish(0..<120, to: stack)
                try await stack.waitUntilSettled()
                let transform = stack[.transform]
                let watch = try GroupWatch(stack, .transform)
                transform.kill()
                let before = try watch.positions()
                _ = try await world.publish(120..<360, to: stack)
                let ingest = try GroupWatch(stack, .ingest)
                _ = try await stack.wait(for: "end of ingest's work") { try ingest.isAtEnd() ? true : nil }
                _ = try await stack.wait(for: "retention to remove everything") {
                    try watch.starts().elementsEqual(watch.positions().map { $0.end }) ? true : nil
                }
                try transform.start(["--on-lost-range", "stop"])
                let status = try await onThread { transform.wait(seconds: 60) }
                #expect(status == .exited(1))
                let topic = stack.pipeline.topics.events
                let lost = try zip(before, watch.positions()).enumerated().filter { $1.0.next < $1.1.end }
                #expect(!lost.isEmpty)
                #expect(
                    lost.contains { number, range in
                        transform.log.contains("\(topic)[\(number)] lost offsets \(range.0.next) to \(range.1.end - 1)")
                    }, "\(transform.log.suffix(2_000))")
                // Told to go on (the default), it counts what is lost and works on.
                try transform.start()
                let count = lost.reduce(0) { $0 + Int($1.1.1.end - $1.1.0.next) }
                _ = try await stack.wait(for: "alarm about \(count) records") {
                    Int(transform.metrics.sum("penstock_lost_range_records_total")) == count ? true : nil
                }
                let rows = try stack.rowCount()
                _ = try await world.publish(360..<world.count, to: stack)
                try await stack.waitUntilSettled()
                #expect(try stack.rowCount() > rows)
            }
        }

        @Test("Publishers' clocks jump by hours, and ingest dies in between: repeats are known, order is kept")
        func clocks() async throws {
            try await Stack.run { stack in
                try await stack.waitUntilReady()
                let world = try EventWorld(stack.pipeline, count: 900, seed: 74)
                let jumps: [Int64] = [0, -3, 0, -20, -1, -11, 0, -7]
                let slice = world.count / jumps.count + 1
                for (number, hours) in jumps.enumerated() {
                    let range = slice * number..<min(slice * (number + 1), world.count)
                    let shift = hours * 3_600_000
                    _ = try await world.publish(range, to: stack, clockShiftMilliseconds: shift)
                    stack[.ingest].kill()
                    try stack[.ingest].start()
                }
                try await stack.waitUntilSettled(seconds: 120)
                try await stack.expectContent(rows: 900, "clocks")
                try await stack.stopAll()
            }
        }
    }
}
