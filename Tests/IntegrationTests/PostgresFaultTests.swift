// PostgresFaultTests: PostgreSQL cut off, slow, full and killed under load, and the sink's dead letters after a death.

import EventContracts
import Foundation
import Glibc
import Kafka
import LocalDeployment
import Oracle
import PipelineContract
import Postgres
import ProcessControl
import TestSupport
import Testing

@testable import PenstockCommand

extension IntegrationTests {
    @Suite("PostgreSQL in trouble", .serialized) struct PostgresFaultTests {
        private func predictions(_ stack: Stack) -> String {
            "\(stack.pipeline.sink.schema).\(stack.pipeline.sink.table)"
        }

        private func waitForReadiness(naming words: String, _ stack: Stack) async throws {
            _ = try await stack.wait(for: "sink that names: \(words)") {
                stack.instances(of: .sink).contains { sink in
                    sink.page("/readyz").map { $0.status == 503 && $0.body.contains(words) } ?? false
                } ? true : nil
            }
        }

        @Test("Connections cut, a lock held, a full quota, a crash of the server: nothing lost, nothing twice")
        func underLoad() async throws {
            let server = try TestPostgres.makeServer(isDurable: true)
            defer { TestPostgres.remove(server) }
            var options = Stack.Options()
            options.server = server
            options.instances = [.sink: 2]
            try await Stack.run(options) { stack in
                try await stack.waitUntilReady()
                let world = try EventWorld(stack.pipeline, count: 1_800, seed: 61)
                let sent = Counter()
                async let positions = world.publish(to: stack, rate: 200) { sent.set($0) }
                func reach(_ percent: Int) async throws {
                    let mark = world.count * percent / 100
                    _ = try await stack.wait(for: "event \(mark)") { sent.value >= mark ? true : nil }
                }
                for number in 1...6 {
                    try await reach(5 * number)
                    try cutConnections(stack)
                }
                try await reach(40)
                try await holdLock(stack)
                try await reach(60)
                try await exhaustQuota(stack)
                try await reach(80)
                try server.stop(.immediate)
                try server.start()
                _ = try await positions
                try await stack.waitUntilSettled(seconds: 180)
                for process in stack.processes { #expect(process.exitStatus == nil, "\(stack.logTails)") }
                try await stack.expectContent(rows: 1_800)
                try await stack.stopAll()
            }
        }

        /// Whatever the sinks are doing, also in the middle of COPY or before the answer to COMMIT.
        private func cutConnections(_ stack: Stack) throws {
            let administrator = try stack.postgres.administrator()
            defer { administrator.close() }
            try administrator.query(
                """
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name = 'prediction-sink' AND datname = current_database()
                """)
        }

        /// Longer than the sinks wait for a lock.
        private func holdLock(_ stack: Stack) async throws {
            let blocker = try stack.postgres.connect()
            defer { blocker.close() }
            try blocker.execute("BEGIN")
            try blocker.execute("LOCK TABLE \(stack.pipeline.sink.schema).consumer_offsets IN ACCESS EXCLUSIVE MODE")
            try await waitForReadiness(naming: "lock timeout", stack)
            try blocker.execute("ROLLBACK")
        }

        /// What a server says that has no room left, from the database itself.
        private func exhaustQuota(_ stack: Stack) async throws {
            let owner = try stack.postgres.connect()
            defer { owner.close() }
            let table = predictions(stack)
            try owner.execute(
                """
                CREATE FUNCTION \(stack.pipeline.sink.schema).refuse() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'the quota is used up' USING ERRCODE = 'disk_full'; END $$
                """)
            try owner.execute(
                """
                CREATE TRIGGER quota BEFORE INSERT ON \(table)
                FOR EACH STATEMENT EXECUTE FUNCTION \(stack.pipeline.sink.schema).refuse()
                """)
            try await waitForReadiness(naming: "the quota is used up", stack)
            try owner.execute("DROP TRIGGER quota ON \(table)")
        }

        @Test(
            "A disk that is full to the last page: the sink waits and says so; with room again everything arrives",
            .enabled(if: SmallDisk.isPossible, "needs the right to mount a file system"))
        func fullDisk() async throws {
            let server = try TestPostgres.makeServer(isDurable: true)
            defer { TestPostgres.remove(server) }
            let disk = try #require(SmallDisk(megabytes: 32, ownerOf: "\(server.directory)/cluster"))
            defer { disk.remove() }
            var options = Stack.Options()
            options.server = server
            options.notStarted = [.sink]
            try await Stack.run(options) { stack in
                let administrator = try server.connect()
                defer { administrator.close() }
                try administrator.execute("CREATE TABLESPACE small LOCATION '\(disk.path)'")
                try administrator.execute("ALTER DATABASE \"\(stack.postgres.database)\" SET TABLESPACE small")
                try stack[.sink].start()
                let world = try EventWorld(stack.pipeline, count: 1_200, seed: 62)
                _ = try await world.publish(0..<300, to: stack)
                try await stack.waitUntilSettled()
                let filler = try stack.postgres.administrator()
                defer { filler.close() }
                try fill(filler)
                _ = try await world.publish(300..<world.count, to: stack)
                try await waitForReadiness(naming: "No space left", stack)
                try filler.execute("DROP TABLE filler")
                try filler.execute("CHECKPOINT")
                try await stack.waitUntilSettled()
                try await stack.expectContent(rows: 1_200)
                try await stack.stopAll()
            }
        }

        /// Until not even one row more finds room. What was written of a failed statement stays written.
        private func fill(_ connection: PostgresConnection) throws {
            try connection.execute("CREATE TABLE filler (bytes text)")
            for rows in [1_000, 10, 1] {
                do throws(PostgresError) {
                    while true {
                        try connection.execute(
                            "INSERT INTO filler SELECT repeat('x', 1500) FROM generate_series(1, \(rows))")
                    }
                } catch {
                    #expect(error.sqlState == "53100", "\(error)")
                }
            }
        }

        @Test("The sink dies after its dead letters are published and before it knows: each is in the topic once")
        func outbox() async throws {
            try await Stack.run { stack in
                try await stack.waitUntilReady()
                let owner = try stack.postgres.connect()
                defer { owner.close() }
                let schema = stack.pipeline.sink.schema
                let outbox = "\(schema).dead_letter_outbox"
                // Published letters cannot be deleted: at the next start they look as if they were not published.
                try owner.execute(
                    """
                    CREATE FUNCTION \(schema).keep() RETURNS trigger LANGUAGE plpgsql AS
                    $$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '40001'; END $$
                    """)
                try owner.execute(
                    """
                    CREATE TRIGGER keep BEFORE DELETE ON \(outbox)
                    FOR EACH STATEMENT EXECUTE FUNCTION \(schema).keep()
                    """)
                let pairs = 40
                try publishConflicts(pairs, to: stack)
                for _ in 1...3 {
                    _ = try await stack.wait(for: "refused deletion") {
                        stack[.sink].log.contains("publish the dead-letter outbox") ? true : nil
                    }
                    stack[.sink].kill()
                    try stack[.sink].start()
                }
                try owner.execute("DROP TRIGGER keep ON \(outbox)")
                try await stack.waitUntilSettled()
                let (report, exit) = try await stack.judge()
                #expect(report.isContent && exit == .exited(0), "\(report.text)\n\(stack.logTails)")
                #expect(report.deadLettersByCode == ["conflicting_duplicate": pairs])
                // Pairs that met in one partition are ingest's matter; those of the sink are most.
                let topics = stack.pipeline.topics
                let byIngest = try await letterCount(topics.inputs, stack)
                let bySink = try await letterCount(topics.predictions, stack)
                #expect(byIngest + bySink == pairs && bySink > pairs / 2, "\(byIngest) and \(bySink)")
                try await stack.stopAll()
            }
        }

        /// As an independent reader sees them.
        private func letterCount(_ topic: String, _ stack: Stack) async throws -> Int {
            try await Kcat.read("\(topic).dlq", servers: stack.servers, directory: stack.directory).count
        }

        /// Pairs of records with one identity and time, other payloads and other keys: mostly in two partitions, so that only
        /// the sink can tell.
        private func publishConflicts(_ count: Int, to stack: Stack) throws {
            var configuration = try KafkaConfiguration.producerDefaults(
                bootstrapServers: stack.servers, clientID: "test-publisher")
            try configuration.set("statistics.interval.ms", "0")
            let publisher = try Publisher(configuration: configuration, topic: stack.pipeline.topics.inputs)
            for number in 0..<count {
                for income in [2.5, 3.5] {
                    let json =
                        #"{"id":"pair-\#(number)","timestamp":"2021-06-01T00:00:00Z","MedInc":\#(income),"HouseAge":20,"#
                        + #""AveRooms":5,"AveBedrms":1,"Population":500,"AveOccup":3,"Latitude":34,"Longitude":-118}"#
                    try publisher.send(
                        OutgoingEvent(key: Array("\(number):\(income)".utf8), value: Array(json.utf8)))
                }
            }
            try publisher.finish()
        }
    }
}
