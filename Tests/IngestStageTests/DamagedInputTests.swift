// DamagedInputTests: every way to damage an input has its code and a message that helps.

import EventContracts
import IngestStage
import PipelineContract
import Testing

@Suite("Damaged inputs")
struct DamagedInputTests {
    struct Damage: CustomTestStringConvertible, Sendable {
        var name: String
        var code: ErrorCode
        /// What the message must name.
        var mention: String
        var record: @Sendable () -> InputRecord

        init(_ name: String, _ code: ErrorCode, _ mention: String, _ record: @escaping @Sendable () -> InputRecord) {
            (self.name, self.code, self.mention, self.record) = (name, code, mention, record)
        }

        var testDescription: String { name }
    }

    private static let good = #"{"id":"1","x":1}"#

    private static func plain(_ fields: String) -> @Sendable () -> InputRecord {
        { InputRecord(#"{"id":"1","x":1,\#(fields)}"#) }
    }

    private static func structured(_ fields: String) -> @Sendable () -> InputRecord {
        { InputRecord.structured("{\(fields)}") }
    }

    static let bytes: [Damage] = [
        Damage("tombstone", .emptyValue, "tombstone") { InputRecord(nil) },
        Damage("empty value", .emptyValue, "empty") { InputRecord("") },
        Damage("white space", .emptyValue, "empty") { InputRecord(" \n") },
        Damage("too large", .tooLarge, "1024") { InputRecord(#"{"id":"\#(String(repeating: "a", count: 2_000))"}"#) },
        Damage("not UTF-8", .notUTF8, "byte 7") {
            InputRecord("").with { $0.value = Array(#"{"id":""#.utf8) + [0xff] + Array(#"","x":1}"#.utf8) }
        },
        Damage("cut off", .malformedJSON, "byte 13") { InputRecord(#"{"id":"1","x""#) },
        Damage("single quotes", .malformedJSON, "byte 1") { InputRecord("{'id':'1'}") },
        Damage("trailing comma", .malformedJSON, "key") { InputRecord(#"{"id":"1","x":1,}"#) },
        Damage("two documents", .malformedJSON, "follows") { InputRecord(good + good) },
        Damage("plain text", .malformedJSON, "byte 0") { InputRecord("hello") },
        Damage("byte order mark", .malformedJSON, "byte order mark") { InputRecord("\u{feff}" + good) },
        Damage("too deep", .tooDeep, "limit of 4", plain(#""kind":[[[[]]]]"#)),
        Damage("array", .notAnObject, "array") { InputRecord("[\(good)]") },
        Damage("number", .notAnObject, "number") { InputRecord("5") },
        Damage("duplicate key", .duplicateKey, "\"x\"", plain(#""x":2"#)),
        Damage("duplicate key in escapes", .duplicateKey, "byte 16", plain(#""\u0078":2"#)),
    ]

    static let content: [Damage] = [
        Damage("missing field", .missingField, "\"x\"") { InputRecord(#"{"id":"1"}"#) },
        Damage("unknown field", .unknownField, "\"extra\"", plain(#""extra":1"#)),
        Damage("number as text", .wrongType, "\"x\"") { InputRecord(#"{"id":"1","x":"5"}"#) },
        Damage("text as number", .wrongType, "\"id\"") { InputRecord(#"{"id":1,"x":5}"#) },
        Damage("null where none may be", .wrongType, "null") { InputRecord(#"{"id":"1","x":null}"#) },
        Damage("fraction", .wrongType, "integer", plain(#""n":1.5"#)),
        Damage("boolean as number", .wrongType, "true or false", plain(#""flag":1"#)),
        Damage("integer beyond 2^53", .outOfRange, "2^53", plain(#""n":9007199254740993"#)),
        Damage("above the maximum", .outOfRange, "at most 10") { InputRecord(#"{"id":"1","x":10.5}"#) },
        Damage("below the minimum", .outOfRange, "at least -10") { InputRecord(#"{"id":"1","x":-11}"#) },
        Damage("at the exclusive minimum", .outOfRange, "greater than 0", plain(#""y":0"#)),
        Damage("at the exclusive maximum", .outOfRange, "less than 1", plain(#""y":1"#)),
        Damage("text too long", .outOfRange, "at most 8") { InputRecord(#"{"id":"123456789","x":1}"#) },
        Damage("text too short", .outOfRange, "at least 1") { InputRecord(#"{"id":"","x":1}"#) },
        Damage("NaN", .notFinite, "\"x\"") { InputRecord(#"{"id":"1","x":NaN}"#) },
        Damage("Infinity", .notFinite, "\"x\"") { InputRecord(#"{"id":"1","x":-Infinity}"#) },
        Damage("overflow", .notFinite, "1e999") { InputRecord(#"{"id":"1","x":1e999}"#) },
        Damage("not in the enumeration", .notInEnumeration, "\"a\", \"b\"", plain(#""kind":"c""#)),
        Damage("pattern", .patternMismatch, "[A-Z]{2}", plain(#""code":"ab1""#)),
        Damage("time without offset", .badTime, "\"timestamp\"", plain(#""timestamp":"2021-06-01T00:00:00""#)),
        Damage("no such day", .badTime, "2021-02-29", plain(#""timestamp":"2021-02-29T00:00:00Z""#)),
        Damage("time as number", .wrongType, "\"timestamp\"", plain(#""timestamp":1622505600"#)),
        Damage("time ahead of publishing", .clockSkew, "300000", plain(#""timestamp":"2021-06-01T00:05:00.001Z""#)),
        Damage("control character in the identity", .patternMismatch, "\"id\"") {
            InputRecord(#"{"id":"a\u0000","x":1}"#)
        },
    ]

    static let envelopes: [Damage] = [
        Damage("no key", .missingAttribute, "key") { InputRecord(good).with { $0.key = nil } },
        Damage("empty key", .missingAttribute, "key") { InputRecord(good).with { $0.key = [] } },
        Damage("no Kafka timestamp", .badTime, "timestamp") { InputRecord(good).with { $0.timestamp = -1 } },
        Damage("content type", .unsupportedContentType, "text/csv") {
            InputRecord(good).header("content-type", "text/csv")
        },
        Damage("charset", .unsupportedContentType, "latin-1") {
            InputRecord(good).header("content-type", "application/json; charset=latin-1")
        },
        Damage("batch of CloudEvents", .unsupportedContentType, "one event") {
            InputRecord("[]").header("content-type", "application/cloudevents-batch+json")
        },
        Damage("Avro in CloudEvents", .unsupportedContentType, "avro") {
            InputRecord.binary(good).header("content-type", "application/avro")
        },
        Damage("no specversion", .missingAttribute, "ce_specversion") { .binary(good, version: nil) },
        Damage("old specversion", .unsupportedSpecVersion, "0.3") { .binary(good, version: "0.3") },
        Damage("no id", .missingAttribute, "ce_id") { .binary(good, id: nil) },
        Damage("empty id", .missingAttribute, "ce_id") { .binary(good, id: "") },
        Damage("no source", .missingAttribute, "ce_source") { .binary(good, source: nil) },
        Damage("no type", .missingAttribute, "ce_type") { .binary(good, type: nil) },
        Damage("id not UTF-8", .notUTF8, "ce_id") {
            InputRecord.binary(good, id: nil).with { $0.headers.append(("ce_id", [0xff])) }
        },
        Damage("id with a control character", .patternMismatch, "ce_id") { .binary(good, id: "a\nb") },
        Damage("bad ce_time", .badTime, "ce_time") { .binary(good, time: "yesterday") },
        Damage("ce_time ahead", .clockSkew, "2021-06-01T01:00:00") { .binary(good, time: "2021-06-01T01:00:00Z") },
        Damage("CloudEvent without data", .emptyValue, "tombstone") { .binary(nil) },
        Damage("envelope malformed", .malformedJSON, "envelope", structured(#""id""#)),
        Damage("envelope without id", .missingAttribute, "id", structured(#""specversion":"1.0","source":"/s""#)),
        Damage("envelope without data", .missingAttribute, "data", structured(#"\#(attributes)"#)),
        Damage("data not an object", .notAnObject, "data", structured(#"\#(attributes),"data":null"#)),
        Damage("data against the schema", .wrongType, "data", structured(#"\#(attributes),"data":{"id":"1","x":"1"}"#)),
        Damage(
            "data in base64", .unsupportedContentType, "data_base64",
            structured(#"\#(attributes),"data_base64":"AA==""#)),
        Damage(
            "data of another type", .unsupportedContentType, "datacontenttype",
            structured(#"\#(attributes),"datacontenttype":"text/xml","data":"<a/>""#)),
        Damage("bad extension", .unknownField, "Bad_Name", structured(#"\#(attributes),"Bad_Name":1,"data":\#(good)"#)),
        Damage("specversion as number", .wrongType, "specversion", structured(#""specversion":1.0,"data":\#(good)"#)),
    ]
    private static let attributes = #""specversion":"1.0","id":"1","source":"/s","type":"t""#

    @Test("Each damage has its code, and its message names what is wrong", arguments: bytes + content + envelopes)
    func codes(damage: Damage) throws {
        let outcome = try outcome(damage.record(), by: processor())
        guard case .dead(let code, let message) = outcome else {
            Issue.record("accepted: \(outcome)")
            return
        }
        #expect(code == damage.code, "\(message)")
        #expect(message.contains(damage.mention), "\(message)")
        #expect(message.utf8.count < 400)
    }

    @Test("A message repeats at most 40 bytes of a value")
    func noSecrets() throws {
        let secret = String(repeating: "s", count: 200)
        for document in [#"{"id":"1","x":"\#(secret)"}"#, #"{"id":"\#(secret)","x":1}"#, #"{"\#(secret)":1}"#] {
            guard case .dead(_, let message) = try outcome(InputRecord(document), by: processor()) else {
                Issue.record("accepted: \(document)")
                continue
            }
            #expect(!message.contains(String(repeating: "s", count: 41)))
        }
    }

    @Test("Damaged records do not harm their neighbours")
    func neighbours() throws {
        var random = SeededRandom(seed: 40)
        let damages = Self.bytes + Self.content + Self.envelopes
        var processor = try processor()
        for round in 0..<20 {
            var records: [InputRecord] = []
            var expected: [String] = []
            for position in 0..<30 {
                if Bool.random(using: &random), let damage = damages.randomElement(using: &random) {
                    records.append(damage.record())
                    expected.append(damage.code.rawValue)
                } else {
                    records.append(InputRecord(#"{"id":"\#(round)-\#(position)","x":1}"#))
                    expected.append("new")
                }
            }
            let kinds = try outcomes(records, by: &processor, firstOffset: Int64(round * 30)).map(\.kind)
            #expect(kinds == expected)
        }
    }

    @Test("A format that the contract does not list is refused")
    func formats() throws {
        let onlyJSON = try processor { $0.formats = [.json] }
        #expect(try outcome(.binary(Self.good), by: onlyJSON).code == .unsupportedContentType)
        #expect(try outcome(InputRecord(Self.good), by: onlyJSON).code == nil)
        let onlyCloudEvents = try processor { $0.formats = [.cloudevents] }
        #expect(try outcome(InputRecord(Self.good), by: onlyCloudEvents).code == .unsupportedContentType)
        #expect(try outcome(.binary(Self.good), by: onlyCloudEvents).code == nil)
    }

    @Test("A contract that the stage cannot serve is refused with the setting's name")
    func configuration() throws {
        let changes: [(String, (inout InputContract) -> Void)] = [
            ("input.eventTime", { $0.eventTimeField = "id" }),
            ("input.identity", { $0.identity = PlainIdentity(idField: "x", source: "/s") }),
            ("input.identity.source", { $0.identity = PlainIdentity(idField: "id", source: "") }),
            ("input.limits.depth", { $0.depthMax = 0 }),
            ("input.limits.bytes", { $0.bytesMax = 0 }),
            ("input.duplicateWindow", { $0.duplicateWindowRecords = -1 }),
        ]
        for (name, change) in changes {
            let error = #expect(throws: IngestConfigurationError.self) { try processor(change) }
            #expect(error?.message.contains(name) == true, "\(name)")
        }
    }
}

/// SplitMix64 (https://prng.di.unimi.it/splitmix64.c): the same numbers for the same seed, everywhere.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
