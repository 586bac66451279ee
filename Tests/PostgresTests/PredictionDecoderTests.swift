// PredictionDecoderTests: what the sink takes for a prediction.

import EventContracts
import Postgres
import StageRuntime
import Testing

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

    @Test("Headers keep their bytes through the outbox")
    func headers() {
        let headers: [DeadLetterRecord.Header] = [
            .init(name: Array("a".utf8), value: [0, 255]), .init(name: [], value: nil), .init(name: [0xff], value: []),
        ]
        #expect(HeaderBlock.decode(HeaderBlock.encode(headers)) == headers)
        #expect(HeaderBlock.decode([1, 0, 0]).isEmpty)
    }
}
