// AcceptedInputTests: what becomes of good records in every form.

import Cryptography
import EventContracts
import IngestStage
import PipelineContract
import StageRuntime
import Testing

@Suite("Accepted inputs")
struct AcceptedInputTests {
    private static let data =
        #"{"id":"1","timestamp":"2021-05-31T12:00:00+02:00","x":-0.5,"y":null,"n":3,"flag":true,"kind":"b","code":"AB12"}"#
    private static let time: Int64 = 1_622_455_200_000_000

    private func publisherID(_ source: String, _ id: String, _ time: Int64) -> EventID {
        let (source, id) = (Array(source.utf8), Array(id.utf8))
        let digest = EventIdentity.publisherDigest(source: source.span.bytes, id: id.span.bytes)
        return EventIdentity.eventID(publisher: digest, eventTime: time)
    }

    private func accepted(_ record: InputRecord, _ change: (inout InputContract) -> Void = { _ in }) throws -> Event {
        let outcome = try outcome(record, by: processor(change))
        return try #require(outcome.event, "\(outcome)")
    }

    @Test("Plain JSON gives an event with every field")
    func plain() throws {
        let event = try accepted(InputRecord(Self.data).with { $0.partition = 3 })
        #expect(event.source == "/test/plain")
        #expect(event.id == "1")
        #expect(event.numbers == ["timestamp": Double(Self.time), "x": -0.5, "n": 3, "flag": 1])
        #expect(event.texts == ["id": "1", "kind": "b", "code": "AB12"])
        let prefix = event.prefix
        #expect(prefix.eventID == publisherID("/test/plain", "1", Self.time))
        #expect(prefix.isIdentifiedByPublisher)
        #expect(prefix.eventTime == Self.time)
        #expect(prefix.publishTime == publishMilliseconds * 1_000)
        #expect(prefix.ingestTime == context.nowMicroseconds)
        #expect(prefix.inputPartition == 3)
        #expect(prefix.contractHash == schema().contractHash)
        #expect(prefix.trace == nil)
    }

    @Test("The three forms of one event differ in nothing but their place")
    func forms() throws {
        let structured = """
            {"specversion":"1.0","id":"e1","source":"/s","type":"t","time":"2021-05-31T23:59:00Z","comment":"x",
             "datacontenttype":"application/json","data": \(Self.data) }
            """
        var first = try accepted(.binary(Self.data))
        let second = try accepted(.structured(structured))
        #expect(first == second)
        #expect(first.prefix.eventID == publisherID("/s", "e1", Self.time))
        first.source = "/test/plain"
        #expect(first.numbers == (try accepted(InputRecord(Self.data))).numbers)
    }

    @Test("The event time is the declared field's, else ce_time, else the Kafka timestamp")
    func eventTime() throws {
        let bare = #"{"id":"1","x":1}"#
        #expect(try accepted(.binary(Self.data)).prefix.eventTime == Self.time)
        #expect(try accepted(.binary(bare)).prefix.eventTime == 1_622_505_540_000_000)
        #expect(try accepted(.binary(#"{"id":"1","x":1,"timestamp":null}"#)).prefix.eventTime == 1_622_505_540_000_000)
        #expect(try accepted(InputRecord(bare)).prefix.eventTime == publishMilliseconds * 1_000)
        let past = #"{"id":"1","x":1,"timestamp":"0001-01-01T00:00:00Z"}"#
        #expect(try accepted(InputRecord(past)).prefix.eventTime == -62_135_596_800_000_000)
        let ahead = #"{"id":"1","x":1,"timestamp":"2021-06-01T00:05:00Z"}"#
        #expect(try accepted(InputRecord(ahead)).prefix.eventTime == 1_622_505_900_000_000)
    }

    @Test("Without an identity, or without a time of its own, the record's position makes the event id")
    func position() throws {
        let expected = EventIdentity.eventID(
            clusterID: Array("cluster-1".utf8), topic: Array("penstock.test.inputs".utf8), partition: 2, offset: 0,
            timestampMilliseconds: publishMilliseconds)
        let anonymous = try accepted(InputRecord(Self.data).with { $0.partition = 2 }) { $0.identity = nil }
        #expect(anonymous.prefix.eventID == expected)
        #expect(!anonymous.prefix.isIdentifiedByPublisher)
        #expect(anonymous.id.isEmpty && anonymous.source.isEmpty)
        let timeless = try accepted(.binary(#"{"id":"1","x":1}"#, time: nil).with { $0.partition = 2 })
        #expect(timeless.prefix.eventID == expected)
        #expect(!timeless.prefix.isIdentifiedByPublisher)
        #expect(timeless.id == "e1")
        #expect(timeless.source == "/s")
    }

    @Test("A trace context comes from the Kafka header, else from the extension; a bad one is ignored")
    func trace() throws {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        let other = "00-11111111111111111111111111111111-2222222222222222-00"
        #expect(
            try accepted(.binary(Self.data).header("traceparent", text)).prefix.trace?.span == 0xb7ad_6b71_6920_3331)
        #expect(try accepted(.binary(Self.data).header("ce_traceparent", text)).prefix.trace?.isSampled == true)
        let both = InputRecord.binary(Self.data).header("ce_traceparent", other).header("traceparent", text)
        #expect(try accepted(both).prefix.trace?.isSampled == true)
        #expect(try accepted(InputRecord(Self.data).header("traceparent", "00-zz")).prefix.trace == nil)
        let structured = """
            {"specversion":"1.0","id":"e1","source":"/s","type":"t","traceparent":"\(other)","data":\(Self.data)}
            """
        #expect(try accepted(.structured(structured)).prefix.trace?.traceLow == 0x1111_1111_1111_1111)
    }

    @Test(
        "Content types of JSON are understood in any spelling",
        arguments: [
            "application/json", "Application/JSON", "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "text/json", "application/vnd.example+json", "application/json ; version=1",
        ])
    func contentTypes(type: String) throws {
        #expect(try accepted(InputRecord(Self.data).header("content-type", type)).id == "1")
    }

    @Test("Unknown fields are ignored where the contract says so, the key is optional likewise")
    func policies() throws {
        let record = InputRecord(#"{"id":"1","x":1,"extra":{"deep":[1]}}"#)
        #expect(try accepted(record) { $0.unknownFields = .ignore }.numbers["x"] == 1)
        #expect(try accepted(InputRecord(Self.data).with { $0.key = nil }) { $0.isKeyRequired = false }.id == "1")
    }

    @Test("The payload hash depends on content and time, and on nothing else")
    func payloadHash() throws {
        let one = try accepted(InputRecord(#"{"id":"1","x":1,"timestamp":"2021-05-31T00:00:00Z"}"#)).prefix
        let spaced = try accepted(InputRecord(#"{ "timestamp":"2021-05-31T02:00:00+02:00", "x":1e0, "id":"\u0031" }"#))
        let other = try accepted(InputRecord(#"{"id":"1","x":1,"timestamp":"2021-05-31T00:00:01Z"}"#)).prefix
        #expect(one.payloadHash == spaced.prefix.payloadHash)
        #expect(one.payloadHash != other.payloadHash)
    }

    @Test("Limits hold to the byte and to the level")
    func limits() throws {
        let document = #"{"id":"1","x":1}"#
        let size = document.utf8.count
        #expect(try outcome(InputRecord(document), by: processor { $0.bytesMax = size }).code == nil)
        #expect(try outcome(InputRecord(document), by: processor { $0.bytesMax = size - 1 }).code == .tooLarge)
        let deep = InputRecord(#"{"id":"1","x":1,"extra":[[[]]]}"#)
        #expect(try outcome(deep, by: processor { $0.unknownFields = .ignore }).code == nil)
        #expect(
            try outcome(
                deep,
                by: processor {
                    $0.unknownFields = .ignore
                    $0.depthMax = 3
                }
            ).code == .tooDeep)
    }
}

@Suite("The housing pipeline")
struct HousingTests {
    @Test("The shipped contract takes a housing event in every form, and its rules hold")
    func housing() throws {
        let root = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(separator: "/")
        let pipeline = try PipelineLoader.load(path: "\(root)/topics/housing/pipeline.yaml")
        var processor = try IngestProcessor(input: pipeline.input, topic: pipeline.topics.inputs)
        func event(_ id: String, _ rest: String) -> String {
            #"{"id":"\#(id)","timestamp":"2021-05-31T00:00:00Z",\#(rest),"Longitude":-122.23}"#
        }
        let full =
            #""MedInc":8.3,"HouseAge":41,"AveRooms":6.98,"AveBedrms":1.02,"Population":322,"AveOccup":2.5,"Latitude":37.88"#
        let records = [
            InputRecord(event("1", full)), .binary(event("2", #""MedInc":null,"Latitude":37.88"#)),
            InputRecord(event("1", full)), InputRecord(event("3", #""Latitude":91"#)),
            InputRecord(event("4", #""MedInc":1"#)), InputRecord(event("5", #""Latitude":1"#)).with { $0.key = nil },
        ]
        var output = processor.makeOutput()
        try processor.process(batch(records), context: context, into: &output)
        #expect(output.emissions.map(\.source) == [0, 1])
        #expect(output.duplicates.map(\.source) == [2])
        #expect(output.deadLetters.map(\.code) == [.outOfRange, .missingField, .missingAttribute])
    }
}
