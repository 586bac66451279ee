// Overtaking: freezes a sink in the middle of its work and lets another instance take its partitions over.

import Foundation
import Glibc
import PipelineContract
import Postgres
import TestSupport
import Testing

@testable import PenstockCommand

enum Overtaking {
    static let eventCount = 600

    /// Two sinks, started by the test.
    static var options: Stack.Options {
        var options = Stack.Options()
        options.instances = [.sink: 2]
        options.notStarted = [.sink]
        // Small, so that the batch in hand is not all there is.
        options.batch = "{ records: 64, bytes: 4MiB, deadline: 5ms }"
        return options
    }

    /// Freezes the first sink with a batch in hand, right before its transaction begins, and lets the second one store
    /// everything. The first one waits in PostgreSQL for a lock (the one that guards the making of partitions) while it
    /// is stopped; the lock is given back at once, so that its way is free when it goes on.
    static func freezeBeforeTransaction(_ stack: Stack, further: [String] = []) async throws {
        let world = try EventWorld(stack.pipeline, count: eventCount, seed: 21)
        _ = try await world.publish(to: stack)
        for stage in [Stage.ingest, .transform, .inference] {
            let watch = try GroupWatch(stack, stage)
            _ = try await stack.wait(for: "end of \(stage)") { try watch.isAtEnd() ? true : nil }
        }
        let administrator = try stack.postgres.connect()
        defer { administrator.close() }
        let sink = stack.pipeline.sink
        try administrator.query(
            "SELECT pg_advisory_lock(hashtextextended($1, 0))",
            [.text("penstock.partitions.\(sink.schema).\(sink.table)")])
        try stack[.sink].start(further)
        try await waitForLock("advisory", stack)
        try await freeze(stack[.sink], stack)
        try administrator.query("SELECT pg_advisory_unlock_all()")
        try await takeOver(stack)
    }

    /// Freezes the first sink within its transaction, after COPY and INSERT and while it waits for the compare-and-set of
    /// its offsets, and lets the second one store everything.
    static func freezeBeforeCommit(_ stack: Stack) async throws {
        let first = try EventWorld(stack.pipeline, count: eventCount, seed: 22)
        _ = try await first.publish(0..<first.count / 2, to: stack)
        try stack[.sink].start()
        try await stack.waitUntilSettled()
        let blocker = try stack.postgres.connect()
        defer { blocker.close() }
        try blocker.execute("BEGIN")
        try blocker.query("SELECT 1 FROM \(stack.pipeline.sink.schema).consumer_offsets FOR UPDATE")
        _ = try await first.publish(first.count / 2..<first.count, to: stack)
        try await waitForLock("transactionid", stack)
        try await freeze(stack[.sink], stack)
        try blocker.execute("ROLLBACK")
        try await takeOver(stack)
    }

    /// Stops a process, and waits until each of its threads stands still: on a busy machine a thread may run on for a while
    /// after the signal was sent.
    private static func freeze(_ process: StageProcess, _ stack: Stack) async throws {
        process.send(SIGSTOP)
        let tasks = "/proc/\(try #require(process.processID))/task"
        _ = try await stack.wait(for: "all threads to stop") {
            let states = try FileManager.default.contentsOfDirectory(atPath: tasks).map { task in
                // `pid (name) state …`; the name may hold anything.
                (TestProgram.contents(of: "\(tasks)/\(task)/stat") ?? "").split(separator: ")").last?.dropFirst().first
            }
            return states.allSatisfy { $0 == "T" } ? true : nil
        }
    }

    private static func takeOver(_ stack: Stack) async throws {
        try stack.instances(of: .sink)[1].start()
        try await stack.waitUntilSettled()
    }

    /// Waits until a sink waits for a lock of that kind.
    private static func waitForLock(_ event: String, _ stack: Stack) async throws {
        let server = try stack.postgres.administrator()
        defer { server.close() }
        _ = try await stack.wait(for: "a sink that waits for a lock (\(event))") {
            let waiting = try server.query(
                """
                SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                    AND wait_event = $1 AND application_name = 'prediction-sink'
                """, [.text(event)])
            return waiting.rowCount > 0 ? true : nil
        }
    }
}
