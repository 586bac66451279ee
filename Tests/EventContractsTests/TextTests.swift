// TextTests: date-times, hexadecimal, trace context, UTF-8 and JSON text.

import Foundation
import Testing

@testable import EventContracts

@Suite("Texts")
struct TextTests {
    // The macros of Swift Testing take apart what they check, and cannot hold a span.
    private func parse(_ text: String) -> Int64? { try? RFC3339.parse(Array(text.utf8).span.bytes) }
    private func trace(_ text: String) -> TraceContext? { TraceContext(traceparent: Array(text.utf8).span.bytes) }
    private func hexadecimal(_ text: String) -> UInt64? { Hexadecimal.parse(Array(text.utf8).span.bytes) }
    private func isUTF8(_ bytes: [UInt8]) -> Bool { bytes.span.bytes.isUTF8 }
    private func isPlainJSON(_ bytes: [UInt8]) -> Bool { bytes.span.bytes.isPlainJSON }
    private func hasControl(_ bytes: [UInt8]) -> Bool { bytes.span.bytes.hasControlCharacter }
    private func hasControl(_ text: String) -> Bool { hasControl(Array(text.utf8)) }

    @Test(
        "A date-time is read to the microsecond",
        arguments: [
            ("1970-01-01T00:00:00Z", 0),
            ("2021-06-01T00:00:00.000000Z", 1_622_505_600_000_000),
            ("2021-06-01t02:00:00+02:00", 1_622_505_600_000_000),
            ("2021-05-31T23:59:59.5-00:01", 1_622_505_659_500_000),
            ("2021-06-01T00:00:00.1234567899z", 1_622_505_600_123_456),
            ("2000-02-29T00:00:00-00:00", 951_782_400_000_000),
            ("2024-02-29T12:00:00Z", 1_709_208_000_000_000),
            ("1969-12-31T23:59:59.999999Z", -1),
            ("0000-01-01T00:00:00Z", RFC3339.microsecondsMin),
            ("9999-12-31T23:59:59.999999Z", RFC3339.microsecondsMax),
            ("1998-12-31T23:59:60Z", 915_148_800_000_000),
            ("1998-12-31T15:59:60.5-08:00", 915_148_800_500_000),
        ])
    func valid(text: String, expected: Int64) {
        #expect(parse(text) == expected)
    }

    @Test(
        "What is no date-time is refused",
        arguments: [
            "", "2021-06-01", "2021-06-01T00:00:00", "2021-06-01 00:00:00Z", "2021-06-01T00:00Z",
            "2021-13-01T00:00:00Z", "2021-00-01T00:00:00Z", "2021-02-29T00:00:00Z", "1900-02-29T00:00:00Z",
            "2021-04-31T00:00:00Z", "2021-06-00T00:00:00Z", "2021-06-01T24:00:00Z", "2021-06-01T00:60:00Z",
            "2021-06-01T00:00:61Z", "2021-06-01T00:00:60Z", "1998-12-31T22:59:60Z", "2021-06-01T00:00:00.Z",
            "2021-06-01T00:00:00+24:00", "2021-06-01T00:00:00+02:60", "2021-06-01T00:00:00+0200",
            "2021-06-01T00:00:00Z ", " 2021-06-01T00:00:00Z", "2021-06-01T00:00:00ZZ", "0000-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01", "+021-06-01T00:00:00Z", "2021-06-01T00:00:00.٣Z", "2021-6-01T00:00:00.0Z",
        ])
    func invalid(text: String) {
        #expect(parse(text) == nil)
    }

    @Test("Of sixteen hexadecimal digits each character counts, and every other one is refused")
    func sixteenDigits() {
        for place in 0..<16 {
            for byte in UInt8.min...UInt8.max {
                var text = Array("0123456789abcdef".utf8)
                text[place] = byte
                let isDigit = (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte)
                let expected = isDigit ? UInt64(String(decoding: text, as: UTF8.self), radix: 16) : nil
                let found = Hexadecimal.parse(text.span.bytes)
                #expect(found == expected, "\(byte) at \(place)")
            }
        }
        var random = SeededRandom(seed: 21)
        for _ in 0..<1_000 {
            let value = random.next()
            #expect(hexadecimal(Hexadecimal.text(value)) == value)
            let id = EventID(high: value, low: random.next())
            let text = Array(id.description.utf8)
            let (strict, lenient) = (EventID(canonical: text.span.bytes), EventID(reading: text.span.bytes))
            #expect(strict == id && lenient == id)
            let upper = Array(id.description.uppercased().utf8)
            let read = EventID(canonical: upper.span.bytes)
            #expect(read == nil || upper == text)
        }
    }

    @Test("Every time is written as Foundation reads it, and read back")
    func roundTrip() throws {
        var random = SeededRandom(seed: 8)
        var times = [RFC3339.microsecondsMin, RFC3339.microsecondsMax, 0, -1]
        for _ in 0..<2_000 {
            times.append(Int64.random(in: RFC3339.microsecondsMin...RFC3339.microsecondsMax, using: &random))
        }
        let calendar = Date.ISO8601FormatStyle(includingFractionalSeconds: false)
        for time in times {
            let text = RFC3339.text(time)
            #expect(text.utf8.count == 27)
            #expect(parse(text) == time)
            guard time >= 0 else { continue }
            let date = try calendar.parse(String(text.prefix(19)) + "Z")
            #expect(Int64(date.timeIntervalSince1970) == time / 1_000_000)
        }
        #expect(RFC3339.text(.max) == "9999-12-31T23:59:59.999999Z")
        #expect(RFC3339.text(.min) == "0000-01-01T00:00:00.000000Z")
    }

    @Test("A date-time cut or changed anywhere never traps")
    func damagedTimes() {
        var random = SeededRandom(seed: 9)
        let whole = Array("2021-06-01T00:00:00.123456+02:00".utf8)
        for length in 0...whole.count { _ = try? RFC3339.parse(Array(whole.prefix(length)).span.bytes) }
        for _ in 0..<5_000 {
            var bytes = whole
            bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            _ = try? RFC3339.parse(bytes.span.bytes)
        }
    }

    @Test("Hexadecimal is lower case, at most 16 digits")
    func hexadecimal() {
        #expect(Hexadecimal.text(0xab) == "00000000000000ab")
        #expect(hexadecimal("00000000000000ab") == 0xab)
        #expect(hexadecimal("ffffffffffffffff") == .max)
        for bad in ["", "AB", "g", "0x1", "00000000000000000"] {
            #expect(hexadecimal(bad) == nil)
        }
    }

    @Test("A trace context survives text, and an invalid one is ignored")
    func traceContext() throws {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        let context = try #require(trace(text))
        var bytes: [UInt8] = []
        context.appendText(to: &bytes)
        #expect(String(decoding: bytes, as: UTF8.self) == text)
        let later = "cc" + text.dropFirst(2) + "-what-the-future-brings"
        #expect(trace(later) == context)
        let bad = [
            "", String(text.dropLast()), text + "-x", text + "0", "ff" + text.dropFirst(2), text.uppercased(),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            text.replacingOccurrences(of: "-", with: "_"), "cc" + text.dropFirst(2) + ".x",
        ]
        for text in bad { #expect(trace(text) == nil, "\(text)") }
    }

    @Test("UTF-8 is judged as the standard library judges it")
    func utf8() {
        var random = SeededRandom(seed: 10)
        for _ in 0..<20_000 {
            var bytes = random.bytes(max: 6)
            if Bool.random(using: &random) { bytes += Array(random.text(max: 8).utf8) }
            if Bool.random(using: &random), !bytes.isEmpty { bytes.removeLast() }
            #expect(isUTF8(bytes) == (String(validating: bytes, as: UTF8.self) != nil), "\(bytes)")
        }
        for first in UInt8.min...UInt8.max {
            for second in UInt8.min...UInt8.max {
                let bytes = [first, second, 0x80, 0x80]
                #expect(isUTF8(bytes) == (String(validating: bytes, as: UTF8.self) != nil))
            }
        }
    }

    @Test("Control characters are found, in one byte and in two")
    func controlCharacters() {
        for text in ["\u{0}", "a\u{1f}", "\u{7f}", "é\u{85}"] { #expect(hasControl(text)) }
        for text in ["", "a b", "é", "\u{a0}", "日本"] { #expect(!hasControl(text)) }
    }

    @Test("A byte that matters is found wherever it stands, also where eight are looked at together")
    func everyPlace() {
        for length in 1...27 {
            for place in 0..<length {
                for byte in UInt8.min...UInt8.max {
                    var bytes = [UInt8](repeating: 0x61, count: length)
                    bytes[place] = byte
                    let isPlain = byte >= 0x20 && byte != 0x22 && byte != 0x5c
                    let found = (isPlainJSON(bytes), isUTF8(bytes), hasControl(bytes))
                    // 0xc2 is followed by 0x61, which makes no character, or by nothing.
                    let isControl = byte < 0x20 || byte == 0x7f || (byte == 0xc2 && place < length - 1)
                    guard found != (isPlain, byte < 0x80, isControl) else { continue }
                    Issue.record("\(byte) at \(place) of \(length): \(found)")
                }
                guard place > 0 else { continue }
                for byte in UInt8(0x80)...0xbf {
                    var bytes = [UInt8](repeating: 0x61, count: length)
                    (bytes[place - 1], bytes[place]) = (0xc2, byte)
                    guard !isUTF8(bytes) || hasControl(bytes) != (byte < 0xa0) else { continue }
                    Issue.record("c2 \(byte) at \(place) of \(length)")
                }
            }
        }
    }

    @Test("Numbers are written as Swift writes them")
    func decimals() {
        for value in [Int64.min, -10, -1, 0, 1, 9, 10, 1_234_567_890, .max] {
            var bytes: [UInt8] = [0x78]
            bytes.appendDecimal(value)
            #expect(String(decoding: bytes, as: UTF8.self) == "x\(value)")
        }
    }

    @Test("JSON strings read back through Foundation")
    func jsonStrings() throws {
        var random = SeededRandom(seed: 11)
        for _ in 0..<500 {
            let text = random.text(max: 30)
            var bytes: [UInt8] = []
            bytes.appendJSONString(Array(text.utf8).span.bytes)
            let read = try JSONSerialization.jsonObject(with: Data(bytes), options: .fragmentsAllowed)
            #expect(read as? String == text)
        }
    }
}
