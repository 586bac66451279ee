// SinkFenceTests: who may store, and what survives losses of PostgreSQL.

import EventContracts
import Glibc
import LocalDeployment
import Postgres
import StageRuntime
import Synchronization
import TestSupport
import Testing

@testable import SinkStage

extension PostgresTests {
    @Suite("Sink fence") struct SinkFenceTests {
        /// Runs `takeOver` once, in the middle of the first delivery's transaction.
        private func once(_ takeOver: @escaping @Sendable () throws -> Void) -> @Sendable () -> Void {
            let isDone = Mutex(false)
            return {
                let isFirst = isDone.withLock { done in
                    defer { done = true }
                    return !done
                }
                guard isFirst else { return }
                do { try takeOver() } catch { Issue.record("taking over failed: \(error)") }
            }
        }

        @Test("An instance overtaken between COPY and COMMIT stores nothing and starts again from the new offsets")
        func overtaken() throws {
            let fixture = try SinkFixture()
            let takeOver = once {
                var successor = try fixture.delivery()
                #expect(try fixture.start(&successor) == [0: 0])
                let batch = SinkFixture.batch((0..<5).map { TestEvent($0) }, from: 0)
                #expect(try SinkFixture.deliver(&successor, batch) == .accepted)
            }
            var stopped = try fixture.delivery { $0.hooks.afterCopy = takeOver }
            _ = try fixture.start(&stopped)
            let batch = SinkFixture.batch((0..<10).map { TestEvent($0) }, from: 0)
            #expect(try SinkFixture.deliver(&stopped, batch) == .restart(reason: Overtaken.reason))
            #expect(try fixture.count() == 5)
            #expect(try fixture.nextOffset() == 5)
            #expect(try fixture.start(&stopped) == [0: 5])
            let rest = SinkFixture.batch((5..<10).map { TestEvent($0) }, from: 5, sequence: 2)
            #expect(try SinkFixture.deliver(&stopped, rest) == .accepted)
            #expect(try fixture.count() == 10)
        }

        @Test("Without the comparison the overtaken instance sets the offsets back: the planted fault is one")
        func plantedFault() throws {
            let fixture = try SinkFixture()
            let takeOver = once {
                var successor = try fixture.delivery()
                _ = try fixture.start(&successor)
                for number: Int64 in 0..<3 {
                    let batch = SinkFixture.batch([TestEvent(number)], from: number, sequence: Int(number))
                    #expect(try SinkFixture.deliver(&successor, batch) == .accepted)
                }
            }
            var stopped = try fixture.delivery {
                $0.hooks.afterCopy = takeOver
                $0.faults.noCompareAndSet = true
            }
            _ = try fixture.start(&stopped)
            #expect(try SinkFixture.deliver(&stopped, SinkFixture.batch([TestEvent(0)], from: 0)) == .accepted)
            #expect(try fixture.nextOffset() == 1)
        }

        @Test("A holder stopped with its rows locked loses its session, and the successor goes on")
        func stoppedHolder() throws {
            let fixture = try SinkFixture()
            let answers = Mutex<[DeliveryAnswer]>([])
            let takeOver = once {
                var successor = try fixture.delivery()
                _ = try fixture.start(&successor)
                let batch = SinkFixture.batch((0..<10).map { TestEvent($0) }, from: 0)
                let first = try successor.deliver(batch.0, of: batch.1)
                let last = try SinkFixture.deliver(&successor, batch)
                answers.withLock { $0 = [first, last] }
            }
            var stopped = try fixture.delivery { $0.hooks.beforeCommit = takeOver }
            _ = try fixture.start(&stopped)
            let batch = SinkFixture.batch((0..<10).map { TestEvent($0) }, from: 0)
            // The first answer is the broken session; the next attempt finds out where the offsets are.
            _ = try stopped.deliver(batch.0, of: batch.1)
            guard case .later = answers.withLock({ $0[0] }) else {
                Issue.record("the successor should have had to wait")
                return
            }
            #expect(answers.withLock { $0[1] } == .accepted)
            #expect(try SinkFixture.deliver(&stopped, batch) != .later(reason: ""))
            #expect(try fixture.count() == 10)
            #expect(try fixture.nextOffset() == 10)
        }

        @Test("A batch over two partitions of which one was taken over is dropped whole")
        func partlyOvertaken() throws {
            let fixture = try SinkFixture()
            var delivery = try fixture.delivery()
            _ = try fixture.start(&delivery, partitions: [0, 1])
            let (rows, first) = SinkFixture.batch([TestEvent(0), TestEvent(1)], from: 0)
            var both = first
            both.ranges = [
                OffsetRange(partition: SinkFixture.partition(0), start: 0, end: 2),
                OffsetRange(partition: SinkFixture.partition(1), start: 0, end: 4),
            ]
            try SinkOffsets.reset(
                fixture.postgres.connect(), fixture.target, group: SinkFixture.group, topic: SinkFixture.topic,
                clusterID: "cluster-a", to: [1: 4])
            #expect(try SinkFixture.deliver(&delivery, (rows, both)) == .restart(reason: Overtaken.reason))
            #expect(try fixture.count() == 0)
            #expect(try fixture.nextOffset() == 0)
        }

        @Test("A commit without an answer is found out: once committed, once not")
        func unknownCommit() throws {
            for hasCommitted in [true, false] {
                let fixture = try SinkFixture()
                let batch = SinkFixture.batch((0..<10).map { TestEvent($0) }, from: 0)
                let administrator = try fixture.postgres.administrator()
                let name = "penstock-unknown"
                let cut = once {
                    if hasCommitted {
                        // What the server had done when the network failed: another session stands in for the lost answer.
                        var other = try fixture.delivery()
                        _ = try fixture.start(&other)
                        #expect(try SinkFixture.deliver(&other, batch) == .accepted)
                    }
                    try PostgresConnection(PostgresOptions(url: fixture.postgres.server.url())).query(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
                        [.text(name)])
                }
                var delivery = try fixture.delivery {
                    $0.connection.applicationName = name
                    if hasCommitted { $0.hooks.afterCopy = nil }
                    $0.hooks.beforeCommit = hasCommitted ? nil : cut
                    $0.hooks.afterCopy = hasCommitted ? cut : nil
                }
                _ = try fixture.start(&delivery)
                guard case .later = try delivery.deliver(batch.0, of: batch.1) else {
                    Issue.record("the lost connection should have been noticed")
                    return
                }
                // A lost answer to COMMIT is the same to the delivery as this.
                delivery.unknownCommit = batch.1.sequence
                #expect(try SinkFixture.deliver(&delivery, batch) == .accepted)
                #expect(try fixture.count() == 10)
                #expect(try fixture.nextOffset() == 10)
                #expect(delivery.progress == [SinkFixture.partition(): 10])
                #expect(try administrator.query("SELECT 1").rowCount == 1)
            }
        }

        @Test("PostgreSQL crashes and comes back in mid-stream: every row once")
        func restartMidStream() throws {
            let server = try TestPostgres.makeServer(isDurable: true)
            defer { TestPostgres.remove(server) }
            let fixture = try SinkFixture(server: TestPostgres(on: server))
            var delivery = try fixture.delivery()
            _ = try fixture.start(&delivery)
            for number: Int64 in 0..<20 {
                let events = (0..<10).map { TestEvent(number * 10 + $0) }
                let batch = SinkFixture.batch(events, from: number * 10, sequence: Int(number))
                if number == 5 { server.kill() }
                if number == 12 { try server.stop() }
                if number == 12 {
                    guard case .later = try delivery.deliver(batch.0, of: batch.1) else {
                        Issue.record("an absent server should be noticed")
                        return
                    }
                    #expect(delivery.obstacle != nil)
                }
                // After a crash of the postmaster an orphaned backend may still take a batch, or not.
                if number == 5 { _ = try delivery.deliver(batch.0, of: batch.1) }
                if number == 5 || number == 12 { try server.start() }
                if delivery.progress[SinkFixture.partition()] == number * 10 {
                    #expect(try SinkFixture.deliver(&delivery, batch) == .accepted)
                    #expect(delivery.obstacle == nil)
                }
            }
            #expect(try fixture.count() == 200)
            #expect(try fixture.nextOffset() == 200)
        }

        @Test("Offsets of another cluster, and a topic made anew, refuse to start and say how to mend it")
        func mismatch() throws {
            let fixture = try SinkFixture()
            var delivery = try fixture.delivery()
            _ = try fixture.start(&delivery)
            let batch = SinkFixture.batch([TestEvent(0), TestEvent(1)], from: 0)
            _ = try SinkFixture.deliver(&delivery, batch)
            delivery.close()

            var foreign = try fixture.delivery(cluster: "cluster-b")
            let other = #expect(throws: DeliveryFailure.self) { try fixture.start(&foreign) }
            #expect(other?.code == .mismatch)
            #expect(other?.message.contains("penstock offsets reset") == true)
            let same = Fingerprint(of: 1, in: batch.1.records)
            for answer in [
                ProbedRecord.beyondEnd, .found(Fingerprint(offset: 1, timestampMilliseconds: 1, hash: same.hash)),
                .found(Fingerprint(offset: 1, timestampMilliseconds: same.timestampMilliseconds, hash: 0)),
            ] {
                var anew = try fixture.delivery(probe: answer)
                let error = #expect(throws: DeliveryFailure.self) { try fixture.start(&anew) }
                #expect(error?.code == .mismatch)
                #expect(error?.message.contains("made anew") == true)
            }
            var right = try fixture.delivery(probe: .found(same))
            #expect(try fixture.start(&right) == [0: 2])

            let owner = try fixture.postgres.connect()
            let adopted = try SinkOffsets.adopt(
                owner, fixture.target, group: SinkFixture.group, topic: SinkFixture.topic, clusterID: "cluster-b")
            #expect(adopted == 1)
            var moved = try fixture.delivery(cluster: "cluster-b")
            #expect(try fixture.start(&moved) == [0: 2])
            try SinkOffsets.reset(
                owner, fixture.target, group: SinkFixture.group, topic: SinkFixture.topic, clusterID: "cluster-c",
                to: [0: 0])
            var reset = try fixture.delivery(cluster: "cluster-c", probe: .beyondEnd)
            #expect(try fixture.start(&reset) == [0: 0])
        }

        @Test("A wrong password, an absent database, an absent server and an unmigrated schema: one message each")
        func refusedStarts() throws {
            let fixture = try SinkFixture()
            let right = fixture.postgres.url(role: TestPostgres.runtime)
            let empty = try TestPostgres()
            let cases = [
                (right.replacing(TestPostgres.runtime + ":", with: TestPostgres.runtime + ":wrong"), "password"),
                (right.replacing(fixture.postgres.database, with: "nowhere"), "does not exist"),
                ("postgresql://u:p@127.0.0.1:1/d", "refused"), ("postgresql://[", "cannot be read"),
                (empty.url(role: TestPostgres.runtime), "--migrate"),
            ]
            for (url, part) in cases {
                let error = #expect(throws: DeliveryFailure.self) {
                    try fixture.delivery {
                        $0.connection.url = url
                        $0.startMillisecondsMax = 20
                    }
                }
                #expect(error?.message.contains(part) == true, "\(error?.message ?? "")")
            }
        }
    }
}
