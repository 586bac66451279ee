// SinkTests: the sink overtaken by another instance, and PostgreSQL stopped under load.

import Foundation
import Glibc
import Kafka
import LocalDeployment
import Oracle
import ProcessControl
import TestSupport
import Testing

@testable import PenstockCommand

extension IntegrationTests {
    @Suite("The sink in trouble", .serialized) struct SinkTests {
        @Test("Stopped between COPY and COMMIT and overtaken, its commit fails when it goes on")
        func stoppedBeforeCommit() async throws {
            try await Stack.run(Overtaking.options) { stack in
                try await Overtaking.freezeBeforeCommit(stack)
                let rows = try stack.rowCount()
                stack[.sink].send(SIGCONT)
                _ = try await stack.wait(for: "failed commit in the log of the overtaken sink") {
                    stack[.sink].log.contains("cannot store a batch") ? true : nil
                }
                try await stack.waitUntilSettled()
                #expect(try stack.rowCount() == rows)
                try await stack.stopAll()
                try await stack.expectContent(rows: Overtaking.eventCount)
            }
        }

        @Test("Stopped with a batch in hand and overtaken, the compare-and-set turns it away when it goes on")
        func stoppedBeforeTransaction() async throws {
            try await Stack.run(Overtaking.options) { stack in
                try await Overtaking.freezeBeforeTransaction(stack)
                stack[.sink].send(SIGCONT)
                _ = try await stack.wait(for: "refusal in the log of the overtaken sink") {
                    stack[.sink].log.contains("another instance moved the offsets on") ? true : nil
                }
                try await stack.waitUntilSettled()
                try await stack.stopAll()
                try await stack.expectContent(rows: Overtaking.eventCount)
            }
        }

        @Test("PostgreSQL stops with more than ten batches waiting: memory stays on a plateau, then everything arrives")
        func outage() async throws {
            let growthBytesMax: Int64 = 64 << 20
            let server = try TestPostgres.makeServer(isDurable: true)
            defer { TestPostgres.remove(server) }
            var options = Stack.Options()
            options.server = server
            options.batch = "{ records: 256, bytes: 4MiB, deadline: 5ms }"
            try await Stack.run(options) { stack in
                let world = try EventWorld(stack.pipeline, count: 7_000, seed: 31)
                _ = try await world.publish(0..<2_000, to: stack)
                try await stack.waitUntilSettled()
                let sink = stack[.sink]
                let before = sink.residentBytes
                try server.stop()
                _ = try await world.publish(2_000..<5_000, to: stack)
                let page = try await stack.wait(for: "readiness that names PostgreSQL") {
                    sink.page("/readyz").flatMap { $0.status == 503 && $0.body.contains("PostgreSQL") ? $0 : nil }
                }
                #expect(page.body.contains("delivery"), "\(page.body)")
                #expect(sink.page("/livez")?.status == 200)
                // 3,000 records are more than ten batches of 256; then thousands more.
                _ = try await world.publish(5_000..<world.count, to: stack)
                let watch = try GroupWatch(stack, .inference)
                var highest = sink.residentBytes
                _ = try await stack.wait(for: "end of the stages before the sink") {
                    highest = max(highest, sink.residentBytes)
                    return try watch.isAtEnd() ? true : nil
                }
                // Back-pressure: the partitions are paused while the consumer is polled on.
                #expect(sink.metrics.sum("penstock_paused_partitions") > 0)
                #expect(highest - before < growthBytesMax, "from \(before) to \(highest) bytes")
                try server.start()
                try await stack.waitUntilSettled()
                #expect(sink.isReady)
                #expect(sink.metrics.sum("penstock_paused_partitions") == 0)
                #expect(sink.residentBytes - before < growthBytesMax, "from \(before) to \(sink.residentBytes) bytes")
                try await stack.expectContent(rows: 7_000)
                try await stack.stopAll()
            }
        }
    }
}
