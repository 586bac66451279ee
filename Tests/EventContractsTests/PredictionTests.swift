// PredictionTests: the JSON of predictions and duplicate notices.

import EventContracts
import Foundation
import Testing

@Suite("Predictions")
struct PredictionTests {
    private let prefix = RecordPrefix(
        kind: .features, eventID: EventID(high: 0x0179_c4f2_1c00_8abc, low: 0x8001_0203_0405_0607),
        eventTime: 1_622_505_600_000_000, publishTime: 1_622_505_600_001_000, ingestTime: 1_622_505_600_002_000,
        stageTime: 1_622_505_600_003_000, inputOffset: 4_242, inputPartition: 3, payloadHash: 0xdead_beef,
        contractHash: 0x0123_4567_89ab_cdef,
        trace: TraceContext(traceHigh: 1, traceLow: 2, span: 3, isSampled: true), isIdentifiedByPublisher: true)

    @Test("A prediction is one line of JSON, exactly as documented")
    func layout() {
        var bytes: [UInt8] = []
        PredictionWriter(model: "housing-dense", modelVersion: "1").append(
            Prediction(score: 0.1, label: 0, imputed: 2, outliers: 1), prefix: prefix,
            source: Array("/s".utf8).span.bytes, id: Array("a\"1".utf8).span.bytes,
            entity: Array("é".utf8).span.bytes, predictedAt: 1_622_505_600_004_000, to: &bytes)
        let expected = """
            {"v":1,"event_id":"0179c4f2-1c00-8abc-8001-020304050607","source":"/s","id":"a\\"1","entity":"é",\
            "event_time":"2021-06-01T00:00:00.000000Z","published_at":"2021-06-01T00:00:00.001000Z",\
            "ingested_at":"2021-06-01T00:00:00.002000Z","transformed_at":"2021-06-01T00:00:00.003000Z",\
            "predicted_at":"2021-06-01T00:00:00.004000Z","model":"housing-dense","model_version":"1",\
            "contract":"0123456789abcdef","score":0.1,"label":0,"imputed":2,"outliers":1,\
            "payload":"00000000deadbeef","input_partition":3,"input_offset":4242,\
            "traceparent":"00-00000000000000010000000000000002-0000000000000003-01"}
            """
        #expect(String(decoding: bytes, as: UTF8.self) == expected)
    }

    @Test("Nothing known is written as null")
    func nulls() throws {
        var bare = prefix
        bare.trace = nil
        bare.isIdentifiedByPublisher = false
        for entity in [nil, [0xff], [0x61, 0]] as [[UInt8]?] {
            var bytes: [UInt8] = []
            let writer = PredictionWriter(model: "m", modelVersion: "v")
            let prediction = Prediction(score: 1, label: 1, imputed: 0, outliers: 0)
            let empty: [UInt8] = []
            if let entity {
                writer.append(
                    prediction, prefix: bare, source: empty.span.bytes, id: empty.span.bytes,
                    entity: entity.span.bytes, predictedAt: 0, to: &bytes)
            } else {
                writer.append(
                    prediction, prefix: bare, source: empty.span.bytes, id: empty.span.bytes, entity: nil,
                    predictedAt: 0, to: &bytes)
            }
            let object = try #require(JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])
            for key in ["source", "id", "entity", "traceparent"] { #expect(object[key] is NSNull, "\(key)") }
        }
    }

    @Test("A score reads back as the same Float32 through any JSON reader")
    func scores() throws {
        var random = SeededRandom(seed: 13)
        var scores: [Float] = [
            0, 1, .leastNonzeroMagnitude, .greatestFiniteMagnitude, -1e-30, 1e-5, 0.5, 1.0.nextDown.f,
        ]
        for _ in 0..<2_000 {
            let score = Float(bitPattern: UInt32(truncatingIfNeeded: random.next()))
            if score.isFinite { scores.append(score) }
        }
        for score in scores {
            var bytes: [UInt8] = []
            bytes.appendShortest(score)
            #expect(bytes.count <= 15)
            let read = try JSONSerialization.jsonObject(with: Data(bytes), options: .fragmentsAllowed)
            #expect((read as? NSNumber)?.floatValue == score)
            #expect(Float(String(decoding: bytes, as: UTF8.self)) == score)
        }
    }

    @Test("A duplicate notice is exactly as documented")
    func duplicate() {
        var bytes: [UInt8] = []
        DuplicateNotice(eventID: prefix.eventID, inputPartition: 1, inputOffset: 9, firstOffset: 4)
            .append(source: Array("/s".utf8).span.bytes, id: Array("x".utf8).span.bytes, to: &bytes)
        let expected = """
            {"v":1,"event_id":"0179c4f2-1c00-8abc-8001-020304050607","source":"/s","id":"x","input_partition":1,\
            "input_offset":9,"first_offset":4}
            """
        #expect(String(decoding: bytes, as: UTF8.self) == expected)
    }
}

extension Double {
    fileprivate var f: Float { Float(self) }
}

@Suite("Reading predictions")
struct PredictionReaderTests {
    private static let line = #"""
        {"v":1,"event_id":"0178e6d0-7c00-8abc-8123-456789abcdef","source":"a\"b","id":null,"entity":null,"event_time":"2021-06-01T00:00:00.000001Z","model":"m","model_version":"3","contract":"00","score":0.25,"label":1,"imputed":0}
        """#

    private static func read(_ text: String) throws(RecordFormatError) -> ScoredEvent {
        var reader = PredictionReader()
        return try reader.read(Array(text.utf8).span.bytes)
    }

    @Test("What a prediction says is read, in any order of keys")
    func fields() throws {
        let event = try Self.read(Self.line)
        #expect(event.eventID.description == "0178e6d0-7c00-8abc-8123-456789abcdef")
        #expect(event.eventTime == 1_622_505_600_000_001)
        #expect(event.score == 0.25 && event.label == 1 && event.model == "m" && event.modelVersion == "3")
        let moved = Self.line.replacing(#""v":1,"#, with: "").replacing(
            #""imputed":0"#, with: #""imputed" : 0, "v" : 1"#)
        #expect(try Self.read(moved) == event)
    }

    @Test("A prediction cut anywhere, of another version or without a field is refused")
    func damage() {
        let bytes = Array(Self.line.utf8)
        for length in 0..<bytes.count {
            #expect(throws: RecordFormatError.self) {
                try Self.read(String(decoding: bytes[..<length], as: UTF8.self))
            }
        }
        for (from, to) in [
            ("\"v\":1", "\"v\":2"), ("\"label\":1", "\"label\":1.5"), ("\"score\"", "\"s\""), ("8abc", "8abg"),
        ] {
            #expect(throws: RecordFormatError.self) { try Self.read(Self.line.replacing(from, with: to)) }
        }
    }
}
