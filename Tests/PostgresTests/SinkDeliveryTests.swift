// SinkDeliveryTests: what a micro-batch leaves in PostgreSQL.

import EventContracts
import Postgres
import StageRuntime
import TestSupport
import Testing

@testable import SinkStage

extension PostgresTests {
    @Suite("Sink delivery") struct SinkDeliveryTests {
        @Test("Rows arrive with every column, and the offset with them")
        func store() throws {
            let fixture = try SinkFixture()
            var delivery = try fixture.delivery()
            #expect(try fixture.start(&delivery) == [0: 0])
            let events = (0..<100).map { TestEvent($0) }
            #expect(try SinkFixture.deliver(&delivery, SinkFixture.batch(events, from: 0)) == .accepted)
            #expect(delivery.progress == [SinkFixture.partition(): 100])
            #expect(try fixture.nextOffset() == 100)
            #expect(try fixture.count() == 100)
            let row = try fixture.postgres.connect(role: TestPostgres.reader).query(
                "SELECT event_id, source, id, entity, event_time, predicted_at, model, model_version, contract, score, label,"
                    + " imputed, outliers, payload_hash, input_partition, input_offset, traceparent, stored_at"
                    + " FROM \(fixture.target.predictions) WHERE id = 'event-3'")
            let event = events[3]
            let id = try row.value(PostgresUUID.self, row: 0, column: 0)
            #expect(id.high == event.eventID.high && id.low == event.eventID.low)
            #expect(try row.value(String.self, row: 0, column: 1) == "/test")
            #expect(try row.value(String.self, row: 0, column: 3) == "key")
            let times = (event.time * 1_000, event.time * 1_000 + 4)
            #expect(try row.value(PostgresTimestamp.self, row: 0, column: 4).unixMicroseconds == times.0)
            #expect(try row.value(PostgresTimestamp.self, row: 0, column: 5).unixMicroseconds == times.1)
            #expect(try row.value(String.self, row: 0, column: 6) == "m")
            #expect(try row.value(String.self, row: 0, column: 8) == "0000000000000abc")
            #expect(try row.value(Float.self, row: 0, column: 9) == 0.25)
            #expect(try row.value(Int.self, row: 0, column: 10) == 1)
            #expect(try row.value(Int.self, row: 0, column: 12) == 1)
            #expect(try row.value(String.self, row: 0, column: 13) == "0000000000000007")
            #expect(try row.value(Int.self, row: 0, column: 15) == 3)
            #expect(row.isNull(row: 0, column: 16))
        }

        @Test("After a conflict batches go through staging for a while; what is stored is the same either way")
        func directAndStaged() throws {
            let fixture = try SinkFixture()
            var delivery = try fixture.delivery()
            _ = try fixture.start(&delivery)
            var next: Int64 = 0
            func deliver(_ events: [TestEvent]) throws {
                let batch = SinkFixture.batch(events, from: next, sequence: Int(next) + 1)
                #expect(try SinkFixture.deliver(&delivery, batch) == .accepted)
                next += Int64(events.count)
            }
            try deliver((0..<10).map { TestEvent($0) })
            // Half of it is there: the attempt of the direct COPY leaves nothing behind.
            try deliver((5..<15).map { TestEvent($0) })
            // Staged without a conflict, then direct again.
            try deliver((15..<20).map { TestEvent($0) })
            try deliver((20..<25).map { TestEvent($0) })
            // The same event twice in one batch.
            try deliver([TestEvent(25), TestEvent(25), TestEvent(26)])
            #expect(try fixture.count() == 27)
            #expect(try fixture.count("duplicates") == 0)
            #expect(try fixture.count("dead_letter_outbox") == 0)
            #expect(try fixture.nextOffset() == next)
        }

        @Test("The direct COPY pauses twice as long with each conflict, and not at all after a success")
        func directPauses() {
            var direct = DirectCopy()
            func staged() -> Int {
                var count = 0
                while !direct.isWorthTrying { count += 1 }
                return count
            }
            #expect(staged() == 0)
            for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 256] {
                direct.failed()
                #expect(staged() == expected)
            }
            direct.succeeded()
            #expect(staged() == 0)
            direct.failed()
            #expect(staged() == 1)
        }

        @Test("A successor starts where the offsets are")
        func restart() throws {
            let fixture = try SinkFixture()
            var first = try fixture.delivery()
            _ = try fixture.start(&first, partitions: [0, 1])
            _ = try SinkFixture.deliver(&first, SinkFixture.batch([TestEvent(1), TestEvent(2)], from: 0, partition: 1))
            first.close()
            var second = try fixture.delivery()
            #expect(try fixture.start(&second, partitions: [0, 1]) == [0: 0, 1: 2])
        }

        @Test("A batch delivered again after its commit stores and reports nothing twice")
        func redelivery() throws {
            let fixture = try SinkFixture()
            var delivery = try fixture.delivery()
            _ = try fixture.start(&delivery)
            let events = (0..<10).map { TestEvent($0) }
            _ = try SinkFixture.deliver(&delivery, SinkFixture.batch(events, from: 0))
            // The predictions topic of an at-least-once upstream holds the same records a second time.
            #expect(try SinkFixture.deliver(&delivery, SinkFixture.batch(events, from: 10, sequence: 2)) == .accepted)
            #expect(try fixture.count() == 10)
            #expect(try fixture.count("duplicates") == 0)
            #expect(try fixture.count("dead_letter_outbox") == 0)
            #expect(try fixture.nextOffset() == 20)
        }

        @Test("A repeat is recorded as a duplicate, a conflicting one is a dead letter, across batches and within one")
        func duplicates() throws {
            let fixture = try SinkFixture()
            var delivery = try fixture.delivery()
            _ = try fixture.start(&delivery)
            _ = try SinkFixture.deliver(&delivery, SinkFixture.batch([TestEvent(0), TestEvent(1)], from: 0))
            var rep = TestEvent(0)
            rep.inputOffset = 50
            var conflict = TestEvent(1)
            conflict.inputOffset = 51
            conflict.payload = 99
            var inner = TestEvent(2)
            inner.inputOffset = 52
            var innerConflict = TestEvent(2)
            innerConflict.inputOffset = 53
            innerConflict.payload = 98
            let again = TestEvent(2)
            let batch = SinkFixture.batch(
                [rep, conflict, TestEvent(2), inner, innerConflict, again], from: 2, sequence: 2)
            #expect(try SinkFixture.deliver(&delivery, batch) == .accepted)
            #expect(try fixture.count() == 3)
            #expect(try fixture.count(where: "payload_hash = '0000000000000007' AND input_offset < 50") == 3)
            #expect(try fixture.count("duplicates") == 2)
            #expect(try fixture.count("duplicates", where: "input_offset = 50 AND first_offset = 0") == 1)
            #expect(try fixture.count("duplicates", where: "input_offset = 52 AND first_offset = 2") == 1)
            let conflicts = "error_code = 'conflicting_duplicate' AND record_offset IN (3, 6)"
            #expect(try fixture.count("dead_letter_outbox", where: conflicts) == 2)
            #expect(try fixture.count("dead_letter_outbox") == 2)
        }

        @Test("Unreadable records and rows that PostgreSQL refuses go to the outbox, byte for byte; the rest is stored")
        func badRows() throws {
            let fixture = try SinkFixture()
            try fixture.postgres.connect().execute(
                "ALTER TABLE \(fixture.target.predictions) ADD CONSTRAINT no_thirteen CHECK (label <> 13)")
            var delivery = try fixture.delivery()
            _ = try fixture.start(&delivery)
            var values: [[UInt8]?] = (0..<200).map { TestEvent($0).json }
            for number: Int64 in [7, 8, 150] {
                var bad = TestEvent(number)
                bad.label = 13
                values[Int(number)] = bad.json
            }
            values[20] = nil
            values[21] = Array("{\"v\":1,\"\\u0000\":0}".utf8)
            values[22] = [0xff, 0x00, 0x01]
            #expect(try SinkFixture.deliver(&delivery, SinkFixture.batch(values, from: 0)) == .accepted)
            #expect(try fixture.count() == 194)
            #expect(
                try fixture.count(
                    "dead_letter_outbox", where: "error_code = 'sink_rejected' AND record_offset IN (7, 8, 150)") == 3)
            #expect(try fixture.count("dead_letter_outbox") == 6)
            #expect(try fixture.nextOffset() == 200)

            while delivery.outbox.hasWork { try delivery.poll(waitMilliseconds: 0) }
            #expect(try fixture.count("dead_letter_outbox") == 0)
            let letters = fixture.letters.records
            #expect(letters.count == 6)
            let key: [UInt8]? = Array("key".utf8)
            let letterTopic = "\(SinkFixture.topic).dlq"
            #expect(letters.allSatisfy { $0.topic == letterTopic && $0.key == key })
            for value in [nil, [0xff, 0x00, 0x01], values[150]] as [[UInt8]?] {
                #expect(letters.filter { $0.value == value }.count == 1)
            }
            func header(_ name: String, _ letter: DeadLetterRecord) -> String? {
                letter.headers.first { $0.name == Array(name.utf8) }?.value.map { String(decoding: $0, as: UTF8.self) }
            }
            let codes = Set(letters.compactMap { header("x-error-code", $0) })
            #expect(codes == ["sink_rejected", "empty_value", "unknown_field", "not_utf8"])
            let offsets = Set(letters.compactMap { header("__connect.errors.offset", $0) })
            #expect(offsets == ["7", "8", "20", "21", "22", "150"])
        }

        @Test("A batch of nothing but bad rows moves on")
        func onlyBadRows() throws {
            let fixture = try SinkFixture()
            var delivery = try fixture.delivery()
            _ = try fixture.start(&delivery)
            let batch = SinkFixture.batch([nil, [1], Array("[]".utf8)], from: 0)
            #expect(try SinkFixture.deliver(&delivery, batch) == .accepted)
            #expect(try fixture.count("dead_letter_outbox") == 3)
            #expect(try fixture.nextOffset() == 3)
        }

        @Test("The outbox keeps what was not delivered, and a successor publishes it")
        func outbox() throws {
            let fixture = try SinkFixture()
            fixture.letters.failNext(2)
            var first = try fixture.delivery { $0.outboxRowsMax = 4 }
            _ = try fixture.start(&first)
            _ = try SinkFixture.deliver(&first, SinkFixture.batch([[UInt8]?](repeating: nil, count: 10), from: 0))
            try first.poll(waitMilliseconds: 0)
            try first.poll(waitMilliseconds: 0)
            // Killed here: two of the first four failed, two arrived.
            var second = try fixture.delivery { $0.outboxRowsMax = 4 }
            _ = try fixture.start(&second)
            while second.outbox.hasWork { try second.poll(waitMilliseconds: 0) }
            #expect(try fixture.count("dead_letter_outbox") == 0)
            let offsets = fixture.letters.records.compactMap { letter in
                letter.headers.first { $0.name == Array("__connect.errors.offset".utf8) }?.value
            }
            #expect(Set(offsets).count == 10)
        }

        @Test("Partitions are made for the event times of the batch and ahead of them; absurd times are dead letters")
        func partitions() throws {
            let fixture = try SinkFixture(span: "day", ahead: 2)
            var delivery = try fixture.delivery { $0.partitionsPerAttemptMax = 3 }
            _ = try fixture.start(&delivery)
            let day: Int64 = 86_400_000
            var events = (0..<10).map { TestEvent($0, time: 1_622_505_600_000 + $0 * day) }
            events.append(TestEvent(10, time: 9_000_000_000_000))
            #expect(try SinkFixture.deliver(&delivery, SinkFixture.batch(events, from: 0)) == .accepted)
            #expect(try fixture.count() == 10)
            #expect(try fixture.count("sink_partitions") == 10)
            #expect(try fixture.count("dead_letter_outbox", where: "error_code = 'sink_rejected'") == 1)
            try delivery.poll(waitMilliseconds: 0)
            #expect(try fixture.count("sink_partitions") == 12)
        }

        @Test(
            "Retention drops whole partitions behind the newest event, never a newer one, and late rows still find a place"
        )
        func retention() throws {
            let day: Int64 = 86_400_000
            let fixture = try SinkFixture(span: "day", retention: 3 * day)
            var delivery = try fixture.delivery { $0.maintenanceMilliseconds = 0 }
            _ = try fixture.start(&delivery)
            let events = (0..<10).map { TestEvent($0, time: 1_622_505_600_000 + $0 * day + 1) }
            _ = try SinkFixture.deliver(&delivery, SinkFixture.batch(events, from: 0))
            try delivery.poll(waitMilliseconds: 0)
            #expect(try fixture.count() == 4)
            #expect(try fixture.count(where: "input_offset >= 6") == 4)
            // Another instance still believes in the dropped partition.
            delivery.partitions.insert(1_622_505_600_000..<1_622_505_600_000 + day)
            let late = SinkFixture.batch([TestEvent(20, time: 1_622_505_600_005)], from: 10, sequence: 2)
            #expect(try SinkFixture.deliver(&delivery, late) == .accepted)
            #expect(try fixture.count() == 5)
        }

        @Test("A fault in the middle leaves neither rows nor offsets")
        func atomic() throws {
            let fixture = try SinkFixture()
            var delivery = try fixture.delivery()
            _ = try fixture.start(&delivery)
            try fixture.postgres.connect().execute(
                "ALTER TABLE \(fixture.target.qualified("consumer_offsets")) ADD CHECK (next_offset < 5)")
            let batch = SinkFixture.batch((0..<10).map { TestEvent($0) }, from: 0)
            #expect(throws: DeliveryFailure.self) { try SinkFixture.deliver(&delivery, batch) }
            #expect(try fixture.count() == 0)
            #expect(try fixture.nextOffset() == 0)
        }
    }
}
