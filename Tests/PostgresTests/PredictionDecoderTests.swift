// PredictionDecoderTests: what the sink takes for a prediction.

import EventContracts
import StageRuntime
import Testing

@testable import Postgres
@testable import SinkStage

@Suite("Prediction decoder") struct PredictionDecoderTests {
    private func decode(_ text: String) -> (rows: Int, code: ErrorCode?) {
        decode(Array(text.utf8))
    }

    private func decode(_ bytes: [UInt8]?) -> (rows: Int, code: ErrorCode?) {
        let (rows, _) = SinkFixture.batch([bytes], from: 0)
        #expect(rows.firstWithoutSingleOutcome(count: 1) == nil)
        return (rows.keys.count, rows.deadLetters.first?.code)
    }

    private var good: String { String(decoding: TestEvent(1).json, as: UTF8.self) }

    @Test("The keys that the delivery decides by are those of the record")
    func keys() throws {
        var event = TestEvent(5)
        event.payload = 0xfedc_ba98_7654_3210
        event.inputPartition = 3
        let (rows, _) = SinkFixture.batch([event], from: 0)
        let key = try #require(rows.keys.first)
        #expect(key.eventID == event.eventID)
        #expect(key.payloadHash == event.payload)
        #expect(key.inputPartition == 3)
        #expect(key.inputOffset == 5)
        #expect(rows.writer.rowCount == 1)
    }

    @Test("Space and another order of the keys are no fault; escapes are undone")
    func liberal() {
        #expect(decode(" " + good.replacing(",", with: " ,\n\t") + "\r\n").rows == 1)
        let moved = good.replacing("{\"v\":1,", with: "{").replacing("}", with: ",\"v\":1}")
        #expect(decode(moved).rows == 1)
        #expect(decode(good.replacing("\"key\"", with: "\"\\u006b\\ud83c\\udf0a\\n\"")).rows == 1)
        #expect(decode(good.replacing("\"key\"", with: "null")).rows == 1)
    }

    @Test("Strings of every length around a machine word: plain, escaped, with a control character, without an end")
    func lengths() {
        for length in 0...20 {
            let plain = String(repeating: "x", count: length)
            #expect(decode(good.replacing("\"key\"", with: "\"\(plain)\"")).rows == 1)
            #expect(decode(good.replacing("\"key\"", with: "\"\(plain)é\(plain)\"")).rows == 1)
            #expect(decode(good.replacing("\"key\"", with: "\"\(plain)\\t\(plain)\"")).rows == 1)
            #expect(decode(good.replacing("\"key\"", with: "\"\(plain)\\u0000\"")).code == .wrongType)
            #expect(decode(good.replacing("\"key\"", with: "\"\(plain)\t\"")).code == .malformedJSON)
            #expect(decode("{\"\(plain)").code == .malformedJSON)
        }
    }

    @Test("Each mistake has its code and makes no row")
    func mistakes() {
        let cases: [(String, ErrorCode)] = [
            ("", .emptyValue), ("[]", .notAnObject), ("null", .notAnObject), ("{}", .missingField),
            (good + "x", .malformedJSON), (String(good.dropLast()), .malformedJSON),
            (good.replacing("\"v\":1", with: "\"v\":2"), .unsupportedFormatVersion),
            (good.replacing("\"v\":1", with: "\"v\":1,\"v\":1"), .duplicateKey),
            (good.replacing("\"v\":1", with: "\"v\":1,\"w\":1"), .unknownField),
            (good.replacing("\"v\":1", with: "\"v\":01"), .malformedJSON),
            (good.replacing("\"v\":1", with: "\"v\":true"), .malformedJSON),
            (good.replacing("\"v\":1", with: "\"v\":{}"), .malformedJSON),
            (good.replacing("\"label\":1", with: "\"label\":1.5"), .wrongType),
            (good.replacing("\"label\":1", with: "\"label\":\"1\""), .wrongType),
            (good.replacing("\"label\":1", with: "\"label\":3000000000"), .outOfRange),
            (good.replacing("\"score\":0.25", with: "\"score\":1e99"), .nonFinitePrediction),
            (good.replacing("\"key\"", with: "\"\\ud800x\""), .malformedJSON),
            (good.replacing("\"key\"", with: "\"a\\u0000\""), .wrongType),
            (good.replacing("\"key\"", with: "\"a\nb\""), .malformedJSON),
            (good.replacing("2021-06-01T", with: "2021-06-31T"), .badTime),
            (good.replacing("\"0000000000000abc\"", with: "\"abc\""), .wrongType),
            (good.replacing("\"0000000000000abc\"", with: "\"0000000000000ABC\""), .wrongType),
        ]
        for (text, code) in cases {
            let result = decode(text)
            #expect(result.rows == 0, "\(text)")
            #expect(result.code == code, "\(text)")
        }
        #expect(decode(Array(good.utf8.dropLast(5)) + [0xff]).code == .notUTF8)
        #expect(decode([UInt8]?.none).code == .emptyValue)
    }

    @Test("Any prefix and any damaged byte is a row or a dead letter, never a trap")
    func damaged() {
        let bytes = TestEvent(1).json
        for length in 0..<bytes.count { #expect(decode(Array(bytes[..<length])).rows == 0) }
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<2_000 {
            var damaged = bytes
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                damaged[Int.random(in: 0..<damaged.count, using: &generator)] = UInt8.random(
                    in: 0...255, using: &generator)
            }
            let result = decode(damaged)
            #expect(result.rows == 1 || result.code != nil)
        }
    }

    // The macros of Swift Testing take apart what they check, and cannot hold a span.
    private func read(_ reader: inout CanonicalPrediction, _ bytes: [UInt8]) -> Bool { reader.read(bytes.span.bytes) }

    /// Rows as the sink's reader makes them, and as the reader of any JSON makes them.
    private func decodeTwice(_ bytes: [UInt8]) -> (rows: [UInt8]?, json: [UInt8]?) {
        func rows(_ decode: (inout PredictionDecoder, inout SinkRows) throws -> Void) -> [UInt8]? {
            var decoder = PredictionDecoder()
            var rows = SinkRows()
            guard (try? decode(&decoder, &rows)) != nil else { return nil }
            return rows.writer.bytes
        }
        return (
            rows { decoder, rows in try decoder.decode(bytes.span.bytes, source: 0, into: &rows) },
            rows { decoder, rows in try decoder.decodeJSON(bytes.span.bytes, source: 0, into: &rows) }
        )
    }

    /// A record of random content, and whether it has nothing that needs the reader of any JSON.
    private func random(_ generator: inout some RandomNumberGenerator) -> (bytes: [UInt8], isPlain: Bool) {
        func pick<T>(_ values: [T]) -> T { values[Int.random(in: 0..<values.count, using: &generator)] }
        func word() -> UInt64 { generator.next() >> UInt64.random(in: 0..<64, using: &generator) }
        let time = Int64.random(in: RFC3339.microsecondsMin...RFC3339.microsecondsMax, using: &generator)
        let prefix = RecordPrefix(
            kind: .features, eventID: EventID(high: generator.next(), low: generator.next()), eventTime: time,
            publishTime: pick([0, time, -1, RFC3339.microsecondsMin]), ingestTime: pick([1, RFC3339.microsecondsMax]),
            stageTime: time / 2, inputOffset: pick([0, Int64(word() >> 6), 999_999_999_999_999_999]),
            inputPartition: pick([0, 7, .max]), payloadHash: word(), contractHash: word(),
            trace: pick([nil, TraceContext(traceHigh: word(), traceLow: 1, span: word() | 1, isSampled: true)]),
            isIdentifiedByPublisher: true)
        let texts = ["", "/s", "a-long-source-of-more-than-sixteen-bytes", "é🌊", "w\"q", "b\\", "t\u{1}", "Straße 12"]
        let (source, id, entity) = (pick(texts), pick(texts), pick(texts))
        let scores: [Float] = [
            0, 1, 0.1, Float(0.5).nextUp, -0.0, 123_456.78, Float.random(in: 0..<1, using: &generator), 1e-9,
        ]
        let score = pick(scores)
        var bytes: [UInt8] = []
        PredictionWriter(model: pick(["m", "housing-dense"]), modelVersion: pick(["1", "2026.11"])).append(
            Prediction(
                score: score, label: pick([0, 1, -1, Int(Int32.max), Int(Int32.min)]), imputed: pick([0, 8, 40]),
                outliers: pick([0, 12])),
            prefix: prefix, source: Array(source.utf8).span.bytes, id: Array(id.utf8).span.bytes,
            entity: Array(entity.utf8).span.bytes, predictedAt: time / 3, to: &bytes)
        let needsEscape = (id.isEmpty ? [entity] : [source, id, entity]).contains { text in
            text.utf8.contains { $0 < 0x20 || $0 == 0x22 || $0 == 0x5c }
        }
        return (bytes, !needsEscape && !score.description.contains("e"))
    }

    @Test("What Penstock writes is read in one pass, and the reader of any JSON reads the same")
    func canonical() throws {
        var generator = SystemRandomNumberGenerator()
        var plain = 0
        for _ in 0..<3_000 {
            let (bytes, isPlain) = random(&generator)
            var reader = CanonicalPrediction()
            let isRead = read(&reader, bytes)
            #expect(isRead || !isPlain, "\(String(decoding: bytes, as: UTF8.self))")
            plain += isPlain ? 1 : 0
            let (rows, json) = decodeTwice(bytes)
            #expect(rows != nil && rows == json, "\(String(decoding: bytes, as: UTF8.self))")
        }
        #expect(plain > 300)
    }

    @Test("A damaged record is the same row to both readers, or none to both")
    func agreement() {
        var generator = SystemRandomNumberGenerator()
        let telling = Array("0123456789abcdefABCDEF-+.eTZ:\"\\{}, tnul".utf8)
        var read = 0
        for _ in 0..<20_000 {
            var (bytes, _) = random(&generator)
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                let place = Int.random(in: 0..<bytes.count, using: &generator)
                let byte = telling[Int.random(in: 0..<telling.count, using: &generator)]
                switch Int.random(in: 0..<8, using: &generator) {
                case 0: bytes.remove(at: place)
                case 1: bytes.insert(byte, at: place)
                case 2: bytes[place] = UInt8.random(in: 0...255, using: &generator)
                default: bytes[place] = byte
                }
            }
            let (rows, json) = decodeTwice(bytes)
            #expect(rows == json, "\(String(decoding: bytes, as: UTF8.self))")
            read += rows == nil ? 0 : 1
        }
        #expect(read > 1_000)
    }

    @Test("A date that was seen before is read by its clock alone: each wrong clock is refused, each right one counts")
    func clocks() throws {
        var reader = CanonicalPrediction()
        let isFirstRead = read(&reader, TestEvent(1).json)
        #expect(isFirstRead)
        for (text, isRead) in [
            ("00:00:00.000000Z", true), ("23:59:59.999999Z", true), ("24:00:00.000000Z", false),
            ("12:60:00.000000Z", false), ("23:59:60.000000Z", false), ("12:00:00.00000:Z", false),
            ("12:00:00,000000Z", false), ("12:00:00.000000z", false), ("1/:00:00.000000Z", false),
        ] {
            let moved = good.replacing(/"event_time":"2021-06-01T[^"]*"/, with: "\"event_time\":\"2021-06-01T\(text)\"")
            #expect(moved != good)
            let found = read(&reader, Array(moved.utf8))
            #expect(found == isRead, "\(text)")
            guard isRead else { continue }
            let time = try RFC3339.parse(Array("2021-06-01T\(text)".utf8).span.bytes)
            #expect(reader.eventTime == time)
        }
    }

    @Test("Headers keep their bytes through the outbox")
    func headers() {
        let headers: [DeadLetterRecord.Header] = [
            .init(name: Array("a".utf8), value: [0, 255]), .init(name: [], value: nil), .init(name: [0xff], value: []),
        ]
        #expect(HeaderBlock.decode(HeaderBlock.encode(headers)) == headers)
        #expect(HeaderBlock.decode([1, 0, 0]).isEmpty)
    }
}
