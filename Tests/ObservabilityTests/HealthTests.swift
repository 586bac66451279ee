// HealthTests: the end points say whether the process lives, advances and is ready.

import Foundation
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import Observability

@Suite("Health")
struct HealthTests {
    /// A clock the test moves.
    private final class TestClock: Sendable {
        private let start = ContinuousClock.now
        private let passed = Mutex(Duration.zero)
        var now: ContinuousClock.Instant { start.advanced(by: passed.withLock { $0 }) }
        func advance(_ duration: Duration) { passed.withLock { $0 += duration } }
    }

    private func state(_ clock: TestClock) -> HealthState {
        HealthState(limits: .init(heartbeatTimeout: .seconds(10), stallTimeout: .seconds(30))) { clock.now }
    }

    @Test("A starting process is live, and ready once it says so")
    func starting() {
        let state = state(TestClock())
        #expect(state.livenessFailures.isEmpty)
        #expect(state.readinessFailures.map(\.check) == ["starting"])
        state.markReady()
        #expect(state.readinessFailures.isEmpty)
    }

    @Test("A loop that does not come round is dead")
    func heartbeat() {
        let clock = TestClock()
        let state = state(clock)
        state.markReady()
        clock.advance(.seconds(100))
        #expect(state.livenessFailures.isEmpty, "the loop has not started yet")
        state.heartbeat(backlog: 0, advanced: false)
        clock.advance(.seconds(10))
        #expect(state.livenessFailures.isEmpty)
        clock.advance(.seconds(1))
        #expect(state.livenessFailures.map(\.check) == ["heartbeat"])
        #expect(state.readinessFailures.map(\.check) == ["heartbeat"])
        state.heartbeat(backlog: 0, advanced: false)
        #expect(state.livenessFailures.isEmpty)
    }

    @Test("Backlog without progress is a stall; progress or an empty backlog ends it")
    func stall() {
        let clock = TestClock()
        let state = state(clock)
        state.markReady()
        func turn(seconds: Int, backlog: Int64, advanced: Bool) {
            for _ in 0..<seconds {
                clock.advance(.seconds(1))
                state.heartbeat(backlog: backlog, advanced: advanced)
            }
        }
        turn(seconds: 100, backlog: 0, advanced: false)
        #expect(state.readinessFailures.isEmpty, "idle is no stall")
        turn(seconds: 100, backlog: 5, advanced: true)
        #expect(state.readinessFailures.isEmpty)
        turn(seconds: 31, backlog: 5, advanced: false)
        #expect(state.livenessFailures.map(\.check) == ["stalled"])
        #expect(state.readinessFailures.map(\.check) == ["stalled"])
        turn(seconds: 1, backlog: 5, advanced: true)
        #expect(state.readinessFailures.isEmpty)
    }

    @Test("A stall with a known reason makes the process unready, not dead, and the wait does not count afterwards")
    func explainedStall() {
        let clock = TestClock()
        let state = state(clock)
        state.markReady()
        state.heartbeat(backlog: 5, advanced: true)
        state.fail("postgres", "The database does not answer.")
        clock.advance(.seconds(40))
        state.heartbeat(backlog: 5, advanced: false)
        #expect(state.livenessFailures.isEmpty)
        #expect(state.readinessFailures.map(\.check) == ["postgres", "stalled"])
        state.clear("postgres")
        #expect(state.livenessFailures.isEmpty)
        #expect(state.readinessFailures.isEmpty)
    }

    @Test("The server answers probes, metrics and mistakes on a free port, and stops")
    func server() async throws {
        let state = HealthState()
        let metrics = MetricsRegistry()
        metrics.counter(MetricNames.batches, "s").add(2)
        let server = try await HealthServer.start(port: 0, health: state, metrics: metrics)
        #expect(server.port > 0)

        let live = try await get(server.port, "/livez")
        #expect(live.hasPrefix("HTTP/1.1 200"))
        #expect(live.hasSuffix("{\"status\":\"ok\"}\n"))
        let notReady = try await get(server.port, "/readyz?verbose")
        #expect(notReady.hasPrefix("HTTP/1.1 503"))
        #expect(
            notReady.hasSuffix(
                "{\"status\":\"failing\",\"reasons\":[{\"check\":\"starting\","
                    + "\"message\":\"The process is starting.\"}]}\n"))
        state.markReady()
        state.note("memory", "locked")
        let ready = try await get(server.port, "/readyz")
        #expect(ready.hasPrefix("HTTP/1.1 200"))
        #expect(ready.hasSuffix("{\"status\":\"ok\",\"notes\":{\"memory\":\"locked\"}}\n"))
        let figures = try await get(server.port, "/metrics")
        #expect(figures.contains("text/plain; version=0.0.4"))
        #expect(figures.contains("penstock_batches_total{stage=\"s\"} 2\n"))
        #expect(try await get(server.port, "/nothing").hasPrefix("HTTP/1.1 404"))
        #expect(try await get(server.port, "/livez", method: "POST").hasPrefix("HTTP/1.1 405"))
        let head = try await get(server.port, "/livez", method: "HEAD")
        #expect(head.hasPrefix("HTTP/1.1 200"))
        #expect(head.hasSuffix("\r\n\r\n"))

        // A second server on the same port is a clear error.
        await #expect(throws: HealthServerError.self) {
            _ = try await HealthServer.start(port: server.port, health: state, metrics: metrics)
        }
        await server.shutdown()
        await #expect(throws: (any Error).self) { _ = try await get(server.port, "/livez") }
    }

    /// One request on a connection of its own; the whole answer as text.
    private func get(_ port: Int, _ path: String, method: String = "GET") async throws -> String {
        let group = MultiThreadedEventLoopGroup.singleton
        let channel = try await ClientBootstrap(group: group)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            let request = "\(method) \(path) HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
            try await outbound.write(ByteBuffer(string: request))
            var answer = ""
            for try await part in inbound { answer += String(buffer: part) }
            return answer
        }
    }
}
