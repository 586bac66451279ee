// RecomputationTests: the oracle's own readers against values computed elsewhere.

import Foundation
import Testing

@testable import Oracle

@Suite("The oracle recomputes from the documents alone")
struct RecomputationTests {
    /// Computed by a few lines of Python (hashlib, struct) after docs/formats.md.
    @Test("Event ids and payload hashes are the documented ones")
    func identities() throws {
        let time: Int64 = 1_622_548_800_123_456
        let published = EventIdentifier(source: "/housing/plain", id: "a-1", eventTime: time)
        #expect(published.description == "0179c771-e27b-8add-a75d-79e594d7dfd6")
        #expect(EventIdentifier("0179c771-e27b-8add-a75d-79e594d7dfd6") == published)
        let placed = EventIdentifier(
            clusterID: "cluster-1", topic: "penstock.housing.inputs", origin: Origin(partition: 3, offset: 42),
            timestampMilliseconds: 1_622_548_800_500)
        #expect(placed.description == "0179c771-e3f4-8050-908e-6d6c7c12d182")
        let value = """
            {"id":"a-1","timestamp":"2021-06-01T12:00:00.123456Z","MedInc":3.5,"HouseAge":null,"AveRooms":5.25,\
            "AveBedrms":1,"Population":1.2e3,"AveOccup":2.75,"Latitude":37.5,"Longitude":-122.25}
            """
        let acceptance = Acceptance(facts: try SyntheticWorld.housing(), clusterID: "cluster-1")
        let event = try #require(acceptance.judge(SyntheticWorld.record(0, 0, value)).event)
        #expect(event.payloadHash == "746ebdfac325fa35")
        #expect(event.eventID == published)
        #expect(event.numbers["HouseAge"] == nil)
    }

    @Test("A network gives the score computed elsewhere")
    func network() throws {
        let model = try TinyModel.score(contract: "")
        let (score, label) = try model.predict([0.5, -1, 0.25, 2, -0.5, 1, 0, 0.75])
        #expect(abs(score - 0.4073334000459302) < 1e-7)
        #expect(label == (score >= 0.5 ? 1 : 0))
    }

    @Test("Sigmoid outputs, transposed and scaled products and elementwise operators are known; others are named")
    func operators() throws {
        func attribute(float name: String, _ value: Float) -> [UInt8] {
            let bits = value.bitPattern
            let raw = (0..<4).map { UInt8(truncatingIfNeeded: bits >> (8 * UInt32($0))) }
            return TinyModel.bytes(5, TinyModel.text(1, name) + TinyModel.varint(2 << 3 | 5) + raw)
        }
        let onnx = TinyModel.model(
            nodes: [
                TinyModel.node("Sub", ["features", "mean"], "centred"),
                TinyModel.node("Div", ["centred", "two"], "scaled"),
                TinyModel.node(
                    "Gemm", ["scaled", "w", "b"], "sum",
                    attributes: TinyModel.attribute("transB", 1) + attribute(float: "alpha", 0.5)
                        + attribute(float: "beta", 2)),
                TinyModel.node("Sigmoid", ["sum"], "probabilities"),
            ],
            tensors: [
                TinyModel.tensor("mean", [2], [1, 2]), TinyModel.tensor("two", [1], [2]),
                TinyModel.tensor("w", [1, 2], [3, 4]), TinyModel.tensor("b", [1], [0.25]),
            ])
        let model = try TinyModel.score(contract: "", onnx: onnx)
        // 0.5 * (3 * 1 + 4 * 2) + 2 * 0.25 = 6.
        #expect(abs(try model.predict([3, 6]).score - 1 / (1 + Foundation.exp(-6.0))) < 1e-12)
        let strange = TinyModel.model(nodes: [TinyModel.node("Einsum", ["features"], "probabilities")], tensors: [])
        let error = #expect(throws: OracleError.self) { try TinyModel.score(contract: "", onnx: strange).predict([1]) }
        #expect(error?.message.contains("Einsum") == true)
        for length in 0..<TinyModel.dense.count {
            // A damaged file is refused or gives some network; it never crashes.
            _ = try? TinyModel.score(contract: "", onnx: Array(TinyModel.dense.prefix(length))).predict(
                Array(repeating: 1, count: 8))
        }
    }

    @Test("Date-times follow RFC 3339")
    func dateTimes() {
        #expect(DateTime.microseconds("1970-01-01T00:00:00Z") == 0)
        #expect(DateTime.microseconds("2021-06-01t12:00:00.1234569+02:00") == 1_622_541_600_123_456)
        #expect(DateTime.microseconds("2000-02-29T23:59:59-00:30") == 951_870_599_000_000)
        #expect(DateTime.microseconds("2016-12-31T23:59:60Z") == 1_483_228_800_000_000)
        #expect(DateTime.microseconds("0000-01-01T00:00:00Z") == -62_167_219_200_000_000)
        #expect(DateTime.microseconds("9999-12-31T23:59:59.999999Z") == 253_402_300_799_999_999)
        let wrong = [
            "2021-06-01 12:00:00Z", "2021-06-01T12:00Z", "2021-06-01T12:00:00", "2021-02-29T12:00:00Z",
            "2021-13-01T12:00:00Z", "2021-06-01T24:00:00Z", "2021-06-01T12:00:60Z", "2021-06-01T12:00:00.Z",
            "2021-06-01T12:00:00+0200", "0000-01-01T00:00:00+00:01", "1622548800", "",
        ]
        for text in wrong { #expect(DateTime.microseconds(text) == nil, "\(text)") }
    }

    @Test("JSON is read to the letter, as Foundation reads it where Foundation is strict")
    func json() throws {
        let good = [
            #"{"a":[1,2.5e3,-0,true,false,null,"x\u00e9\ud83d\ude00\n"]}"#, " [ ] ", #""text""#, "-1.5E-7",
        ]
        for text in good {
            let value = try StrictJSON.parse(Array(text.utf8))
            let other = try JSONSerialization.jsonObject(with: Data(text.utf8), options: .fragmentsAllowed)
            #expect(Self.isEqual(value, other), "\(text)")
        }
        let bad = [
            "", "{", "[1,]", "{\"a\":1,}", "{a:1}", "01", "1.", ".5", "+1", "\"\u{1}\"", #""\ud800""#, #""\x""#,
            "[1] 2", "tru", "{\"a\" 1}", "'a'", "// c\n1",
        ]
        for text in bad { #expect(throws: JSONFault.malformed, "\(text)") { try StrictJSON.parse(Array(text.utf8)) } }
        #expect(throws: JSONFault.notUTF8) { try StrictJSON.parse([0x22, 0xff, 0x22]) }
        #expect(throws: JSONFault.notFinite) { try StrictJSON.parse(Array("[NaN]".utf8)) }
        #expect(throws: JSONFault.tooDeep) { try StrictJSON.parse(Array(repeating: 0x5b, count: 10_000)) }
        #expect(try StrictJSON.parse(Array(#"{"a":{"b":1,"b":2}}"#.utf8)).hasRepeatedKeys)
        #expect(try StrictJSON.parse(Array(#"{"a":[{}]}"#.utf8)).depth == 3)
        let equivalent = try StrictJSON.parse(Array("{\"e\u{301}\":1,\"\u{e9}\":2}".utf8))
        #expect(!equivalent.hasRepeatedKeys)
        #expect(equivalent["\u{e9}"]?.integer == 2)
    }

    private static func isEqual(_ value: JSONValue, _ other: Any) -> Bool {
        switch (value, other) {
        case (.null, is NSNull): true
        case (.string(let text), let other as String): text == other
        case (.array(let elements), let others as [Any]):
            elements.count == others.count && zip(elements, others).allSatisfy { isEqual($0, $1) }
        case (.object(let members), let others as [String: Any]):
            members.count == others.count
                && members.allSatisfy { key, value in others[key].map { isEqual(value, $0) } ?? false }
        case (.bool(let bool), let number as NSNumber): number.boolValue == bool
        case (.number, let number as NSNumber): value.double == number.doubleValue
        default: false
        }
    }

    static let verdicts: [(value: String?, key: String?, headers: [LogHeader], fault: String?)] = {
        let cloud = [
            LogHeader("ce_specversion", "1.0"), LogHeader("ce_id", "1"), LogHeader("ce_source", "s"),
            LogHeader("ce_type", "t"),
        ]
        let structured = [LogHeader("content-type", "application/cloudevents+json; charset=UTF-8")]
        let event = SyntheticWorld.event("a")
        return [
            (event, "k", [], nil), (event, nil, [], "missing_attribute"), (nil, "k", [], "empty_value"),
            ("", "k", [], "empty_value"), (String(repeating: " ", count: 70_000), "k", [], "too_large"),
            ("[1]", "k", [], "not_an_object"), ("{\"x\":NaN}", "k", [], "not_finite"),
            (SyntheticWorld.event("a", changes: ["extra": "1"]), "k", [], "unknown_field"),
            (SyntheticWorld.event("a", changes: ["extra": "[[[[[[[[[1]]]]]]]]]"]), "k", [], "too_deep"),
            (String(event.dropLast()) + ",\"id\":\"b\"}", "k", [], "duplicate_key"),
            (SyntheticWorld.event("a", changes: ["Latitude": "\"1\""]), "k", [], "wrong_type"),
            (SyntheticWorld.event("a", changes: ["Latitude": "null"]), "k", [], "wrong_type"),
            (SyntheticWorld.event("a", changes: ["Latitude": "1e999"]), "k", [], "not_finite"),
            (SyntheticWorld.event("a", changes: ["Latitude": "-90.5"]), "k", [], "out_of_range"),
            (SyntheticWorld.event(""), "k", [], "out_of_range"),
            (SyntheticWorld.event("a", changes: ["timestamp": "\"yesterday\""]), "k", [], "bad_time"),
            (event, "k", [LogHeader("content-type", "text/csv")], "unsupported_content_type"),
            (event, "k", [LogHeader("content-type", "Application/JSON;charset=utf-8")], nil),
            (event, "k", cloud, nil), (event, "k", Array(cloud.dropLast()), "missing_attribute"),
            (event, "k", [LogHeader("ce_specversion", "0.3")] + cloud.dropFirst(), "unsupported_spec_version"),
            (event, "k", cloud + [LogHeader("ce_time", "noon")], "bad_time"),
            (
                "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"data\":\(event)}", "k",
                structured, nil
            ),
            (
                "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"t\"}", "k", structured,
                "missing_attribute"
            ),
            (
                "{\"specversion\":\"1.0\",\"id\":1,\"source\":\"s\",\"type\":\"t\",\"data\":\(event)}", "k", structured,
                "missing_attribute"
            ),
        ]
    }()

    @Test("A record's faults are found", arguments: verdicts.indices)
    func verdict(_ index: Int) throws {
        let (value, key, headers, fault) = Self.verdicts[index]
        let acceptance = Acceptance(facts: try SyntheticWorld.housing(), clusterID: "c")
        let verdict = acceptance.judge(SyntheticWorld.record(0, 0, value, key: key, headers: headers))
        if let fault {
            #expect(verdict.faults.contains(fault), "\(verdict.faults)")
            #expect(verdict.event == nil)
        } else {
            #expect(verdict.faults.isEmpty)
            #expect(verdict.event != nil)
        }
    }

    @Test("The duplicate window ends by offsets and by time, and conflicts stay in it")
    func window() throws {
        var facts = try SyntheticWorld.housing()
        facts.windowRecords = 10
        facts.windowMilliseconds = 1_000
        var window = DuplicateWindow(facts: facts, starts: [:])
        func outcomes(_ offset: Int64, at time: Int64, payload: String = "p", partition: Int32 = 0) -> Set<Outcome> {
            let record = LogRecord(
                origin: Origin(partition: partition, offset: offset), timestampMilliseconds: time, key: nil, value: nil)
            let event = AcceptedEvent(
                eventID: EventIdentifier(high: 0, low: 0), identity: PublisherIdentity(source: "s", id: "i"),
                eventTime: 0, numbers: [:], payloadHash: payload, entity: nil)
            return window.outcomes(of: record, event)
        }
        let conflict = Outcome.deadLetter(.inputs, "conflicting_duplicate")
        #expect(outcomes(0, at: 0) == [.row])
        #expect(outcomes(0, at: 0, partition: 1) == [.row])
        #expect(outcomes(3, at: 10) == [.duplicate])
        #expect(outcomes(4, at: 20, payload: "q") == [conflict])
        #expect(outcomes(10, at: 30, payload: "q") == [conflict])
        // Offset 0 and 3 are out of reach, 4 is the earliest known.
        #expect(outcomes(14, at: 40, payload: "q") == [.duplicate])
        #expect(outcomes(30, at: 50) == [.row])
        #expect(outcomes(31, at: 1_051) == [.row])
        #expect(outcomes(32, at: 1_052) == [.duplicate])
    }

    @Test("Identities with control characters or nothing in them do not serve")
    func identityTexts() {
        #expect(PublisherIdentity(source: "s", id: "i") != nil)
        #expect(
            PublisherIdentity(source: "s", id: "e\u{301}") != PublisherIdentity(source: "s", id: "\u{e9}"))
        #expect(PublisherIdentity(source: "", id: "i") == nil)
        #expect(PublisherIdentity(source: "s", id: "a\u{85}") == nil)
        #expect(PublisherIdentity(source: "s\n", id: "i") == nil)
    }
}
