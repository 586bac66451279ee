// DuplicateTests: repeats, conflicts, the bounds of the window, and the same verdicts after a restart.

import EventContracts
import Foundation
import IngestStage
import PipelineContract
import StageRuntime
import Testing

@Suite("Duplicates")
struct DuplicateTests {
    private func record(
        _ id: String, x: Int = 1, seconds: Int = 0, partition: Int32 = 0, published: Int64 = publishMilliseconds
    ) -> InputRecord {
        let second = seconds < 10 ? "0\(seconds)" : "\(seconds)"
        return InputRecord(#"{"id":"\#(id)","x":\#(x),"timestamp":"2021-05-31T00:00:\#(second)Z"}"#)
            .with {
                $0.partition = partition
                $0.timestamp = published
            }
    }

    @Test("A repeat becomes a notice, and the same id with other content or time a dead letter")
    func verdicts() throws {
        var processor = try processor()
        let records = [
            record("a"), record("b"), record("a"), record("a", x: 2), record("a", seconds: 1), record("a"),
            record("a", partition: 1),
        ]
        let result = try outcomes(records, by: &processor, firstOffset: 10)
        #expect(
            result.map(\.kind) == [
                "new", "new", "duplicate", "conflicting_duplicate", "conflicting_duplicate", "duplicate", "new",
            ])
        guard case .duplicate(let notice) = result[2], let first = result[0].event else {
            Issue.record("no notice")
            return
        }
        #expect(
            notice == """
                {"v":1,"event_id":"\(first.prefix.eventID)","source":"/test/plain","id":"a","input_partition":0,\
                "input_offset":12,"first_offset":10}
                """)
        guard case .dead(_, let message) = result[3] else { return }
        #expect(message.contains("offset 10"))
    }

    @Test("A repeat in another batch, form or spelling is recognised")
    func spellings() throws {
        var processor = try processor()
        let data = #"{"id":"1","x":1,"timestamp":"2021-05-31T00:00:00Z"}"#
        let spelled = #"{"x":1.0, "timestamp":"2021-05-31T01:00:00+01:00", "id":"1"}"#
        let structured = #"{"specversion":"1.0","id":"e","source":"/s","type":"t","data":\#(data)}"#
        #expect(try outcomes([.binary(data, id: "e")], by: &processor).map(\.kind) == ["new"])
        let later = [InputRecord.binary(spelled, id: "e", time: nil), .structured(structured), .binary(data, id: "f")]
        #expect(
            try outcomes(later, by: &processor, firstOffset: 1).map(\.kind) == ["duplicate", "duplicate", "new"])
    }

    @Test("A refused record does not stand in the way of the mended one")
    func refused() throws {
        var processor = try processor()
        let records = [record("a", x: 99), record("a", x: 1)]
        #expect(try outcomes(records, by: &processor).map(\.kind) == ["out_of_range", "new"])
    }

    @Test("Records without an identity of the publisher's never repeat")
    func anonymous() throws {
        var processor = try processor { $0.identity = nil }
        #expect(try outcomes([record("a"), record("a")], by: &processor).map(\.kind) == ["new", "new"])
    }

    @Test("The window ends after the given offsets and the given age")
    func bounds() throws {
        var processor = try processor {
            $0.duplicateWindowRecords = 5
            $0.duplicateWindowMilliseconds = 1_000
        }
        #expect(try outcomes([record("a")], by: &processor, firstOffset: 0).map(\.kind) == ["new"])
        #expect(try outcomes([record("a")], by: &processor, firstOffset: 5).map(\.kind) == ["duplicate"])
        #expect(try outcomes([record("a")], by: &processor, firstOffset: 11).map(\.kind) == ["new"])
        let late = record("a", published: publishMilliseconds + 1_000)
        #expect(try outcomes([late], by: &processor, firstOffset: 12).map(\.kind) == ["duplicate"])
        let later = record("a", published: publishMilliseconds + 2_001)
        #expect(try outcomes([later], by: &processor, firstOffset: 13).map(\.kind) == ["new"])
    }

    @Test("A window of 0 records recognises nothing")
    func noWindow() throws {
        var processor = try processor { $0.duplicateWindowRecords = 0 }
        #expect(try outcomes([record("a"), record("a")], by: &processor).map(\.kind) == ["new", "new"])
    }

    @Test("Forgotten partitions start anew, the others go on")
    func forget() throws {
        var processor = try processor()
        _ = try outcomes([record("a"), record("a", partition: 1)], by: &processor)
        processor.forget([TopicPartition(topic: "penstock.test.inputs", partition: 0)])
        let result = try outcomes([record("a"), record("a", partition: 1)], by: &processor, firstOffset: 9)
        #expect(result.map(\.kind) == ["new", "duplicate"])
    }

    /// A log with many repeats, conflicts, bad records and timestamps out of order.
    private func randomLog(_ count: Int, using random: inout SeededRandom) -> [InputRecord] {
        (0..<count).map { position in
            let id = "i\(Int.random(in: 0..<12, using: &random))"
            if Int.random(in: 0..<10, using: &random) == 0 { return InputRecord(#"{"id":"\#(id)"}"#) }
            let published = publishMilliseconds + Int64(position) * 100 + Int64.random(in: -900...900, using: &random)
            return record(id, x: Int.random(in: 1...2, using: &random), published: published)
        }
    }

    /// The verdicts by the definition: the earliest valid record of the id in the window decides.
    private func expected(_ log: [InputRecord], records: Int, age: Int64) throws -> [String] {
        var processor = try processor { $0.duplicateWindowRecords = 0 }
        let valid = try outcomes(log, by: &processor).map { $0.code == nil }
        return try log.indices.map { index in
            guard valid[index] else { return "missing_field" }
            let object = try fields(log[index])
            for earlier in max(0, index - records)..<index where valid[earlier] {
                let other = try fields(log[earlier])
                guard other.id == object.id, log[earlier].timestamp >= log[index].timestamp - age else { continue }
                return other.x == object.x ? "duplicate" : "conflicting_duplicate"
            }
            return "new"
        }
    }

    private func fields(_ record: InputRecord) throws -> (id: String, x: Int) {
        let object = try JSONSerialization.jsonObject(with: Data(record.value ?? [])) as? [String: Any]
        return (object?["id"] as? String ?? "", object?["x"] as? Int ?? 0)
    }

    @Test("Whatever the batches and wherever a restart falls, the verdicts follow from the log", arguments: 1...40)
    func restarts(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let log = randomLog(300, using: &random)
        let (records, age) = (40, Int64(3_000))
        func fresh() throws -> IngestProcessor {
            try processor {
                $0.duplicateWindowRecords = records
                $0.duplicateWindowMilliseconds = age
            }
        }
        let expected = try expected(log, records: records, age: age)
        var stage = try fresh()
        let rewind = try #require(stage.rewind)
        var position = 0
        var start = 0
        var read = 0
        while position < log.count {
            switch Int.random(in: 0..<5, using: &random) {
            case 0:
                // Restart: the runtime reads back what `rewind` asks for, then goes on.
                stage = try fresh()
                start = position
                let first = replayStart(log, position, rewind)
                let replay = batch(Array(log[first..<position]), firstOffset: Int64(first))
                try stage.rebuild(replay, context: context)
            case 1:
                // The same process reads some records again, but none from before its start.
                position = max(start, position - Int.random(in: 0...10, using: &random))
            default:
                let end = min(log.count, position + Int.random(in: 1...25, using: &random))
                let kinds = try outcomes(
                    Array(log[position..<end]), by: &stage, firstOffset: Int64(position)
                ).map(\.kind)
                #expect(kinds == Array(expected[position..<end]))
                (position, read) = (end, read + 1)
            }
        }
        #expect(read > 5)
        #expect(Set(expected) == ["new", "duplicate", "conflicting_duplicate", "missing_field"])
    }

    /// The first record that the runtime replays: neither too far back nor too old.
    private func replayStart(_ log: [InputRecord], _ position: Int, _ rewind: Rewind) -> Int {
        let farthest = max(0, position - Int(rewind.recordsMax))
        guard position < log.count else { return farthest }
        let oldest = log[position].timestamp - rewind.ageMillisecondsMax
        return (farthest..<position).first { log[$0].timestamp >= oldest } ?? position
    }
}
