// SinkRunnerTests: the whole sink, from a topic of a mock cluster to PostgreSQL.

import EventContracts
import Kafka
import LocalDeployment
import Logging
import Observability
import Postgres
import ProcessControl
import StageRuntime
import Synchronization
import TestSupport
import Testing

@testable import SinkStage

extension PostgresTests {
    @Suite("Sink runner", .serialized) struct SinkRunnerTests {
        /// A sink on its own thread, as the program runs it.
        private final class RunningSink: Sendable {
            let control = StageControl()
            let health = HealthState()
            let registry = MetricsRegistry()
            private let result = Mutex<Result<Void, StageFailure>?>(nil)

            init(_ fixture: SinkFixture, _ broker: TestBroker, topic: String, instance: String) throws {
                var consumer = try KafkaConfiguration.consumerDefaults(
                    bootstrapServers: broker.bootstrapServers, group: SinkFixture.group, clientID: instance)
                try consumer.set("fetch.wait.max.ms", "10")
                let producer = try KafkaConfiguration.producerDefaults(
                    bootstrapServers: broker.bootstrapServers, clientID: instance)
                let settings = StageSettings(
                    stage: "sink", group: SinkFixture.group, instance: instance, inputTopics: [topic],
                    readsHeaders: true, consumer: consumer,
                    batch: BatchLimits(recordsMax: 64, bytesMax: 1 << 20, deadlineMicroseconds: 2_000))
                let options = fixture.options()
                let isStarted = Threads.start(named: "sink-\(instance)") { [self] in
                    let logger = Logger(label: "sink") { _ in SwiftLogNoOpLogHandler() }
                    let outcome: Result<Void, StageFailure>
                    do throws(StageFailure) {
                        let delivery = PostgresDelivery(
                            options: options, publisher: KafkaDeadLetterPublisher(configuration: producer),
                            probe: KafkaRecordProbe(configuration: settings.consumer), registry: registry,
                            logger: logger)
                        let runner = try StageRunner(
                            settings: settings, processor: SinkProcessor(), delivery: delivery, control: control,
                            health: health,
                            metrics: StageMetrics(registry: registry, stage: "sink", group: SinkFixture.group),
                            logger: logger)
                        try runner.run()
                        outcome = .success(())
                    } catch {
                        outcome = .failure(error)
                    }
                    result.withLock { $0 = outcome }
                }
                guard isStarted else { throw SinkFixture.Unexpected("no thread") }
            }

            deinit { control.requestStop() }

            var outcome: Result<Void, StageFailure>? { result.withLock { $0 } }

            func stop() async throws {
                control.requestStop()
                try await TestProgram.waitFor(timeoutMilliseconds: 40_000) { outcome }?.get()
            }
        }

        private func produce(_ broker: TestBroker, _ topic: String, _ events: Range<Int64>) throws {
            try broker.produce(
                events.map { ("k\($0 % 11)", String(decoding: TestEvent($0).json, as: UTF8.self)) }, to: topic)
        }

        private func waitForRows(_ fixture: SinkFixture, _ count: Int) async throws {
            let found = try await TestProgram.waitFor(timeoutMilliseconds: 40_000) {
                (try? fixture.count()) == count ? true : nil
            }
            let rows = try fixture.count()
            #expect(found == true, "\(rows) rows instead of \(count)")
        }

        @Test("Records become rows, bad ones dead letters with their headers, over two instances and a change of hands")
        func endToEnd() async throws {
            let fixture = try SinkFixture()
            let broker = try TestBroker()
            let topic = try broker.makeTopic("predictions", partitions: 4)
            try broker.cluster.createTopic("\(topic).dlq", partitions: 1)
            try produce(broker, topic, 0..<500)
            let first = try RunningSink(fixture, broker, topic: topic, instance: "a")
            try await waitForRows(fixture, 500)
            let second = try RunningSink(fixture, broker, topic: topic, instance: "b")
            try produce(broker, topic, 500..<1_000)
            try await waitForRows(fixture, 1_000)

            let producer = try broker.makeProducer()
            let index = try producer.registerTopic(topic)
            let key: [UInt8] = [9]
            let bad: [UInt8] = [0x7b, 0, 0xff]
            try producer.produce(
                topic: index, key: key.span.bytes, value: bad.span.bytes, headers: [RecordHeader("h", [1, 0])])
            try producer.flush(timeoutMilliseconds: 10_000)
            let reader = try broker.makeConsumer()
            try reader.subscribe(topics: ["\(topic).dlq"])
            let letter = try #require(try reader.collect(1, timeoutMilliseconds: 30_000).first)
            #expect(letter.key == key)
            #expect(letter.value == bad)
            #expect(letter.headers.first == RecordHeader("h", [1, 0]))
            #expect(letter.headers.contains(RecordHeader("x-error-code", text: "not_utf8")))
            #expect(letter.headers.contains(RecordHeader("__connect.errors.stage", text: "TASK_PUT")))

            try await first.stop()
            try produce(broker, topic, 1_000..<1_200)
            try await waitForRows(fixture, 1_200)
            try await second.stop()
            let offsets = try SinkOffsets.show(fixture.postgres.administrator(), fixture.target)
            #expect(offsets.map(\.nextOffset).reduce(0, +) == 1_201)
            #expect(try fixture.count("dead_letter_outbox") == 0)

            // A restart compares the fingerprints with the log and finds them right.
            let third = try RunningSink(fixture, broker, topic: topic, instance: "c")
            try produce(broker, topic, 1_200..<1_300)
            try await waitForRows(fixture, 1_300)
            try await third.stop()
            // The group's offsets follow, for those who watch the lag.
            let committed = try broker.makeConsumer(group: SinkFixture.group).committed(
                (0..<4).map { KafkaPartition(topic: topic, partition: $0) }, timeoutMilliseconds: 10_000)
            #expect(committed.values.map(\.offset).reduce(0, +) == 1_301)
        }

        @Test("PostgreSQL stops with batches waiting and comes back: all of them arrive, once")
        func restart() async throws {
            let server = try TestPostgres.makeServer(isDurable: true)
            defer { TestPostgres.remove(server) }
            let fixture = try SinkFixture(server: TestPostgres(on: server))
            let broker = try TestBroker()
            let topic = try broker.makeTopic("predictions", partitions: 2)
            try broker.cluster.createTopic("\(topic).dlq", partitions: 1)
            let sink = try RunningSink(fixture, broker, topic: topic, instance: "a")
            try produce(broker, topic, 0..<300)
            try await waitForRows(fixture, 300)
            server.kill()
            try produce(broker, topic, 300..<2_000)
            // The sink says that it has to wait.
            let reason = try await TestProgram.waitFor(timeoutMilliseconds: 30_000) {
                sink.health.readinessFailures.isEmpty ? nil : sink.health.readinessFailures
            }
            #expect(reason != nil)
            try server.start()
            try await waitForRows(fixture, 2_000)
            try await sink.stop()
            #expect(try fixture.count("duplicates") == 0)
            #expect(try fixture.count("dead_letter_outbox") == 0)
        }

        @Test("The probe tells records, expired ones and the end of the log apart")
        func probe() throws {
            let broker = try TestBroker()
            let topic = try broker.makeTopic("probe")
            try broker.produce([("k", "a"), ("k", "b")], to: topic)
            var probe = KafkaRecordProbe(
                configuration: try KafkaConfiguration.consumerDefaults(
                    bootstrapServers: broker.bootstrapServers, group: "probe", clientID: "probe"))
            guard case .found(let record) = probe.record(topic: topic, partition: 0, offset: 1) else {
                Issue.record("the record is there")
                return
            }
            let expected = Fingerprint(
                offset: 1, timestampMilliseconds: record.timestampMilliseconds, key: Array("k".utf8),
                value: Array("b".utf8))
            #expect(record == expected)
            #expect(probe.record(topic: topic, partition: 0, offset: 2) == .beyondEnd)
        }
    }
}
