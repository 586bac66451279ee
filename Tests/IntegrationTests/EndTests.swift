// EndTests: graceful stops under load, and a broker that goes away.

import Glibc
import LocalDeployment
import Oracle
import ProcessControl
import TestSupport
import Testing

@testable import PenstockCommand

extension IntegrationTests {
    @Suite("The end of processes", .serialized) struct EndTests {
        @Test("SIGTERM under load to each consumer: each ends with 0, and nothing is lost")
        func stopUnderLoad() async throws {
            try await Stack.run { stack in
                try await stack.waitUntilReady()
                let world = try EventWorld(stack.pipeline, count: 3_000, seed: 41)
                let sent = Counter()
                async let positions = world.publish(to: stack, rate: 400) { sent.set($0) }
                for (number, stage) in Stage.allCases.enumerated() {
                    let mark = world.count * (number + 1) / 6
                    _ = try await stack.wait(for: "event \(mark)") { sent.value >= mark ? true : nil }
                    let process = stack[stage]
                    let status = try await onThread { process.stop(seconds: 25) }
                    #expect(status == .exited(0), "\(stage): \(stack.logTails)")
                    try process.start()
                }
                _ = try await positions
                try await stack.waitUntilSettled()
                let (report, exit) = try await stack.judge()
                #expect(report.isContent && exit == .exited(0), "\(report.text)")
                #expect(report.rows == 3_000)
                try await stack.stopAll()
            }
        }

        @Test("The broker dies: every consumer says so and still ends when asked")
        func brokerDies() async throws {
            try await Stack.run { stack in
                try await stack.waitUntilReady()
                let world = try EventWorld(stack.pipeline, count: 200, seed: 42)
                _ = try await world.publish(to: stack)
                try await stack.waitUntilSettled()
                stack.killBroker()
                for process in stack.processes {
                    _ = try await stack.wait(for: "readiness of \(process.stage) that names the broker") {
                        process.page("/readyz").flatMap { page in
                            page.status == 503 && page.body.contains("roker") ? true : nil
                        }
                    }
                }
                for process in stack.processes { process.send(SIGTERM) }
                for process in stack.processes {
                    let status = try await onThread { process.wait(seconds: 60) }
                    #expect(status != nil, "\(process.stage) does not end: \(process.log.suffix(2_000))")
                    #expect(status == .exited(0) || status == .exited(1))
                }
            }
        }
    }
}
