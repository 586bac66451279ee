// LabelTests: labels in every form, the event that they name, and what is wrong with the others.

import EventContracts
import IngestStage
import PipelineContract
import StageRuntime
import Testing

@Suite("Label inputs")
struct LabelTests {
    private let eventTime: Int64 = 1_622_419_200_000_000
    private let body = #""source":"/s","id":"e1","event_time":"2021-05-31T00:00:00Z","label":1"#

    private var eventID: EventID { id(source: "/s") }

    private func id(source: String) -> EventID {
        let (source, id) = (Array(source.utf8), Array("e1".utf8))
        let digest = EventIdentity.publisherDigest(source: source.span.bytes, id: id.span.bytes)
        return EventIdentity.eventID(publisher: digest, eventTime: eventTime)
    }

    /// The labels, or the dead letters' codes and messages, in the order of the records.
    private func process(
        _ records: [InputRecord], _ change: (inout InputContract) -> Void = { _ in }
    ) throws -> [Result<LabelRecord, Refused>] {
        var processor = try LabelProcessor(input: contract(change))
        var output = OutputBatch()
        try processor.process(batch(records, firstOffset: 10), context: context, into: &output)
        #expect(output.firstWithoutSingleOutcome(count: records.count) == nil)
        var results: [Int: Result<LabelRecord, Refused>] = [:]
        for emission in output.emissions {
            let range = emission.value.start..<emission.value.start + emission.value.length
            results[emission.source] = .success(
                try LabelRecord(reading: output.arena.span.bytes.extracting(range)))
        }
        for letter in output.deadLetters {
            results[letter.source] = .failure(Refused(code: letter.code, message: letter.message))
        }
        return records.indices.compactMap { results[$0] }
    }

    struct Refused: Error {
        var code: ErrorCode
        var message: String
    }

    @Test("A label of each form names the same event that ingest made of it")
    func forms() throws {
        let results = try process([
            InputRecord("{\(body)}"), .binary("{\(body)}", id: "label-1", source: "/labels"),
            .structured(
                #"{"specversion":"1.0","id":"l","source":"/labels","type":"label","time":"2021-06-02T00:00:00Z","#
                    + #""data":{\#(body)}}"#),
            InputRecord(#"{"event_id":"\#(eventID)","label":1}"#).with { $0.key = nil },
        ])
        let labels = try results.map { try $0.get() }
        #expect(labels.map(\.eventID) == Array(repeating: eventID, count: 4))
        #expect(labels.allSatisfy { $0.label == 1 })
        #expect(labels.map(\.inputOffset) == [10, 11, 12, 13])
        // The label's own time: the Kafka timestamp, or what the CloudEvent says.
        let published = publishMilliseconds * 1_000
        #expect(labels.map(\.publishTime) == Array(repeating: published, count: 4))
        #expect(labels.map(\.labelTime) == [published, published - 60_000_000, published + 86_400_000_000, published])
        #expect(labels.allSatisfy { $0.ingestTime == context.nowMicroseconds })
    }

    @Test("Without a source the declared identity of plain JSON counts, and label_time goes before all other times")
    func plainIdentity() throws {
        let record = #"{"id":"e1","event_time":"2021-05-31T00:00:00Z","label":0,"label_time":"2021-06-07T00:00:00Z"}"#
        let results = try process([.binary(record)])
        let label = try results[0].get()
        #expect(label.eventID == id(source: "/test/plain") && label.label == 0)
        #expect(label.labelTime == eventTime + 7 * 86_400_000_000)
        guard case .failure(let refused) = try process([.binary(record)], { $0.identity = nil })[0] else {
            Issue.record("a label without a source was taken")
            return
        }
        #expect(refused.code == .missingField && refused.message.contains("source"))
    }

    @Test(
        "A bad label becomes a dead letter with its code",
        arguments: [
            (#"{"label":1}"#, ErrorCode.missingField, "event_id"),
            (#"{"event_id":"0","label":1}"#, .patternMismatch, "no UUID"),
            (#"{"event_id":"0","id":"1","label":1}"#, .unknownField, "leave one"),
            (#"{"id":"1","event_time":"2021-05-31","label":1}"#, .badTime, "event_time"),
            (#"{"id":"1","label":1}"#, .missingField, "event_time"),
            (#"{"id":"","event_time":"2021-05-31T00:00:00Z","label":1}"#, .missingAttribute, "id"),
            (#"{"id":"1","event_time":"2021-05-31T00:00:00Z"}"#, .missingField, "label"),
            (#"{"id":"1","event_time":"2021-05-31T00:00:00Z","label":-1}"#, .outOfRange, "label"),
            (#"{"id":"1","event_time":"2021-05-31T00:00:00Z","label":4294967296}"#, .outOfRange, "label"),
            (#"{"id":"1","event_time":"2021-05-31T00:00:00Z","label":0.5}"#, .wrongType, "label"),
            (#"{"id":"1","event_time":"2021-05-31T00:00:00Z","label":"yes"}"#, .wrongType, "label"),
            (#"{"id":"1","event_time":"2021-05-31T00:00:00Z","label":1,"x":1}"#, .unknownField, "x"),
            (#"{"id":"1""#, .malformedJSON, ""), ("", .emptyValue, "empty"),
        ])
    func refused(value: String, code: ErrorCode, mention: String) throws {
        guard case .failure(let refused) = try process([InputRecord(value)])[0] else {
            Issue.record("taken: \(value)")
            return
        }
        #expect(refused.code == code, "\(refused.message)")
        #expect(refused.message.contains(mention), "\(refused.message)")
    }
}
