// SealedTests: consumers that open their model through a key broker: refusals, and a lease that is lost while events flow.

import EventContracts
import Foundation
import Glibc
import LocalDeployment
import Oracle
import ProcessControl
import TestSupport
import Testing

extension IntegrationTests {
    @Suite("A sealed model in the consumer", .serialized) struct SealedTests {
        private func options() -> Stack.Options {
            var options = Stack.Options()
            options.notStarted = [.inference]
            return options
        }

        /// Waits until the consumer stays up, not ready, and says why.
        private func refusal(_ consumer: StageProcess, _ words: [String], _ stack: Stack) async throws {
            var last = ""
            do {
                _ = try await stack.wait(for: "refusal of \(consumer.instance)", seconds: 40) { () -> Bool? in
                    guard let page = consumer.page("/readyz"), page.status == 503 else { return nil }
                    last = page.body
                    return words.allSatisfy { page.body.contains($0) } ? true : nil
                }
            } catch {
                throw TestFailure("\(consumer.instance): \(words) are not in \(last)\n\(consumer.log.suffix(2_000))")
            }
            #expect(consumer.exitStatus == nil, "\(consumer.log)")
        }

        private func ready(_ consumer: StageProcess, _ stack: Stack) async throws {
            do {
                _ = try await stack.wait(for: "readiness of \(consumer.instance)", seconds: 40) {
                    consumer.isReady ? true : nil
                }
            } catch {
                throw TestFailure("\(consumer.page("/readyz")?.body ?? "no page")\n\(consumer.log.suffix(3_000))")
            }
        }

        @Test("Broker down, release refused, stranger's model, changed file: nothing is consumed; mended, all goes on")
        func refusals() async throws {
            try await Stack.run(options()) { stack in
                let world = try await SealedWorld(stack)
                let (good, late) = (world.file("good.smc"), world.file("late.smc"))
                let (foreign, changed) = (world.file("foreign.smc"), world.file("changed.smc"))
                try await world.seal(good, serial: 1)
                try await world.seal(late, serial: 2)
                try await world.penstock(["keygen", world.file("stranger.pem")])
                try await world.seal(foreign, serial: 1, key: world.file("stranger.pem"))
                var bytes = Array(try Data(contentsOf: URL(filePath: good)))
                bytes[bytes.count - 40] ^= 1
                try Data(bytes).write(to: URL(filePath: changed))
                let (broker, down) = (try world.broker("broker"), try world.broker("broker that is down"))
                defer {
                    broker.kill()
                    down.kill()
                }
                for process in [broker, down] {
                    try await process.start()
                    try await world.register(good, at: process)
                }
                down.kill()

                var consumers: [StageProcess] = []
                defer { for consumer in consumers { consumer.kill() } }
                let cases: [(name: String, container: String, broker: KeyBrokerProcess, words: [String])] = [
                    ("down", good, down, ["key broker", "\(down.port)"]),
                    ("refused", late, broker, ["not allowed"]),
                    ("stranger", foreign, broker, ["none of the trusted owners"]),
                    ("changed", changed, broker, ["was changed"]),
                ]
                for item in cases {
                    let artifacts = try world.artifacts(item.name, container: item.container)
                    consumers.append(world.consumer(item.name, artifacts: artifacts, broker: item.broker))
                }
                for consumer in consumers { try consumer.start() }
                let events = try EventWorld(stack.pipeline, count: 300, seed: 3)
                _ = try await events.publish(to: stack)
                for (item, consumer) in zip(cases, consumers) { try await refusal(consumer, item.words, stack) }
                let (features, predictions) = (try GroupWatch(stack, .inference), try GroupWatch(stack, .sink))
                _ = try await stack.wait(for: "features") {
                    try features.positions().contains { $0.end > 0 } ? true : nil
                }
                #expect(try features.positions().allSatisfy { $0.next <= 0 }, "nothing is consumed")
                #expect(try predictions.positions().allSatisfy { $0.end == 0 }, "nothing is predicted")

                // Each cause is mended where it is; no process is started again.
                try await down.start()
                try await world.register(late, at: broker)
                try world.replace(world.file("stranger/model.smc"), by: good)
                try world.replace(world.file("changed/model.smc"), by: good)
                for consumer in consumers { try await ready(consumer, stack) }
                try await stack.waitUntilSettled()
                let (report, exit) = try await stack.judge()
                #expect(report.isContent && exit == .exited(0), "\(report.text)")
                #expect(report.rows == 300)
                for consumer in consumers {
                    #expect(try await onThread { consumer.stop() } == .exited(0), "\(consumer.log.suffix(2_000))")
                }
                try await stack.stopAll()
            }
        }

        @Test("Revoked and cut off while events flow: pause, wipe, no commit; released again, nothing lost or twice")
        func leaseLost() async throws {
            try await Stack.run(options()) { stack in
                let world = try await SealedWorld(stack)
                let container = world.file("model.smc")
                try await world.seal(container, serial: 1)
                let broker = try world.broker("broker")
                defer { broker.kill() }
                try await broker.start()
                try await world.register(container, at: broker)
                let consumer = world.consumer(
                    "one", artifacts: try world.artifacts("artifacts", container: container), broker: broker)
                defer { consumer.kill() }
                try consumer.start()
                try await ready(consumer, stack)
                let page = consumer.page("/readyz")?.body ?? ""
                #expect(page.contains("core dumps off") && page.contains("lock mode bestEffort"), "\(page)")

                let events = try EventWorld(stack.pipeline, count: 1_600, seed: 4)
                async let flowing = events.publish(0..<1_000, to: stack, rate: 150)
                _ = try await stack.wait(for: "rows") { try stack.rowCount() > 100 ? true : nil }
                let weights = try Self.weights()
                #expect(try Self.seen(weights, consumer) ?? 1 > 0, "the search finds weights where there are some")

                try await world.revoke(container, at: broker)
                try await refusal(consumer, ["lease is lost", "revoked"], stack)
                #expect(try await flowing.count == 1_000)
                try await expectNoCommit(stack, events, 1_000..<1_200)
                #expect(try Self.seen(weights, consumer) ?? 0 == 0, "the weights are wiped")
                try await world.register(container, at: broker)
                try await ready(consumer, stack)

                broker.kill()
                try await refusal(consumer, ["lease is lost"], stack)
                try await expectNoCommit(stack, events, 1_200..<1_400)
                #expect(try Self.seen(weights, consumer) ?? 0 == 0, "the weights are wiped")
                try await broker.start()
                try await ready(consumer, stack)

                _ = try await events.publish(1_400..<events.count, to: stack)
                try await stack.waitUntilSettled()
                let (report, exit) = try await stack.judge()
                #expect(report.isContent && exit == .exited(0), "\(report.text)")
                #expect(report.rows == 1_600)
                #expect(consumer.log.components(separatedBy: "The model is released again").count == 3)
                #expect(try await onThread { consumer.stop() } == .exited(0), "\(consumer.log.suffix(2_000))")
                try await stack.stopAll()
            }
        }

        /// Features keep coming, and the group's offsets stand still.
        private func expectNoCommit(_ stack: Stack, _ events: EventWorld, _ range: Range<Int>) async throws {
            let watch = try GroupWatch(stack, .inference)
            func publish(_ range: Range<Int>) async throws -> [Int64] {
                let start = try watch.positions().reduce(0) { $0 + $1.end }
                _ = try await events.publish(range, to: stack)
                return try await stack.wait(for: "further features") { () -> [Int64]? in
                    let now = try watch.positions()
                    // Some of the items are damaged or repeated ones, which give no feature.
                    return now.reduce(0) { $0 + $1.end } - start >= range.count / 2 ? now.map(\.next) : nil
                }
            }
            let middle = range.lowerBound + range.count / 2
            // What was in hand when the lease was lost is finished by now.
            let before = try await publish(range.lowerBound..<middle)
            #expect(try await publish(middle..<range.upperBound) == before)
        }

        /// Pieces of the model's weights, as the ONNX file has them.
        private static func weights() throws -> [Data] {
            let onnx = try Data(contentsOf: URL(filePath: "\(try Artifacts.folder())/model.onnx"))
            return stride(from: 0, to: onnx.count - 32, by: 8).map { Data(onnx[$0..<$0 + 32]) }
                .filter { Set($0).count > 24 && !$0.allSatisfy { (0x20..<0x7f).contains($0) } }.prefix(16).map { $0 }
        }

        /// How many pieces are in the consumer's memory; nil for a test that may not look.
        private static func seen(_ pieces: [Data], _ consumer: StageProcess) throws -> Int? {
            guard getuid() == 0, let pid = consumer.processID else { return nil }
            return try ProcessMemory.found(pieces, in: pid)
        }
    }
}
