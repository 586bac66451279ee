// FoundationTests: mutated documents are judged, and read, as Foundation does it.

import Foundation
import JSONColumns
import Testing

@Suite("Against Foundation")
struct FoundationTests {
    private static let fields: [JSONSchema.Field] = [
        .init("id", .string), .init("MedInc", .number, isNullable: true), .init("Lat", .number),
        .init("ok", .boolean), .init("text", .string),
    ]
    private static let seeds = [
        #"{"id":"a-1","MedInc":3.25,"Lat":-37.5e0,"ok":true,"text":"caf\u00e9 \"x\" \ud83c\udfe0"}"#,
        #"{ "Lat" : 0.1 , "MedInc" : null , "extra" : [1, 2.5e-3, {"a": [], "b": {}}], "id" : "日本" }"#,
        #"{"text":"","ok":false,"more":{"x":"\\\/\b","y":[true,false,null,"s"]},"Lat":12345678901234567890}"#,
        #"{"id":"1","u":-0,"v":1E5,"w":[[[[1]]]],"z":"end"}"#,
    ]
    private static let pieces = [
        "{", "}", "[", "]", ",", ":", "\"", "\\", " ", "\n", "0", "1", "-", ".", "e", "E", "+", "t", "true", "null",
        "false", "NaN", "\\u0041", "\\ud800", "é", "\u{0}", "1e400", "\"id\":", "{}", "[]", "''", "//", "\t",
    ]

    private func mutated(_ seed: String, using random: inout SeededRandom) -> [UInt8] {
        var bytes = Array(seed.utf8)
        for _ in 0..<Int.random(in: 0...3, using: &random) {
            let at = Int.random(in: 0...bytes.count, using: &random)
            switch Int.random(in: 0...4, using: &random) {
            case 0 where at < bytes.count: bytes.remove(at: at)
            case 1 where at < bytes.count: bytes[at] = UInt8.random(in: 0...255, using: &random)
            case 2: bytes.insert(contentsOf: Array((Self.pieces.randomElement(using: &random) ?? "").utf8), at: at)
            case 3: bytes.removeSubrange(at...)
            default:
                let end = Int.random(in: at...bytes.count, using: &random)
                bytes.insert(contentsOf: bytes[at..<end], at: at)
            }
        }
        return bytes
    }

    /// What our rules refuse though it is JSON to Foundation, and the other way round, is left out of the comparison.
    private func isComparable(_ fault: JSONFault?) -> Bool {
        guard let fault else { return true }
        switch fault.code {
        case .malformed, .notUTF8, .empty, .notAnObject: return true
        case .tooLarge, .tooDeep, .duplicateKey, .unknownField, .wrongType, .notFinite, .outOfRange, .missingField:
            return false
        }
    }

    @Test("20,000 mutated documents", arguments: 1...4)
    func mutations(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let decoder = try JSONColumnDecoder(schema(Self.fields, unknown: .ignore, depthMax: 256))
        var accepted = 0
        for _ in 0..<50 {
            let documents = (0..<100).map { _ in
                mutated(Self.seeds.randomElement(using: &random) ?? "", using: &random)
            }
            let outcomes = try decode(documents, with: decoder)
            for (row, document) in documents.enumerated() where isComparable(decoder.columns.fault(row)) {
                let text = String(decoding: document, as: UTF8.self)
                let isUTF8 = String(validating: document, as: UTF8.self) != nil
                // Foundation guesses other encodings and takes a byte order mark; JSON for exchange is UTF-8 without.
                let isPlain = isUTF8 && !document.contains(0) && !text.hasPrefix("\u{feff}")
                let object = isPlain ? try? JSONSerialization.jsonObject(with: Data(document)) as? [String: Any] : nil
                guard case .row(let values) = outcomes[row] else {
                    #expect(object == nil || hasTrailingComma(text), "refused: \(text)")
                    continue
                }
                accepted += 1
                let read = try #require(object, "accepted: \(text)")
                compare(values, read, text)
            }
        }
        #expect(accepted > 500)
    }

    private func compare(_ values: [String: Value], _ object: [String: Any], _ text: String) {
        for field in Self.fields {
            let other = object[field.name]
            switch values[field.name] {
            case nil: #expect(other == nil, "\(text)")
            case .null: #expect(other is NSNull, "\(text)")
            case .number(let number): #expect(isNear((other as? NSNumber)?.doubleValue, number), "\(text)")
            case .text(let string): #expect(other as? String == string, "\(text)")
            }
        }
    }

    /// Foundation on Linux takes `{"a":1,}`, which RFC 8259 does not.
    private func hasTrailingComma(_ text: String) -> Bool {
        var (isInString, isEscaped, isAfterComma) = (false, false, false)
        for character in text.unicodeScalars {
            if isInString {
                if character == "\"", !isEscaped { isInString = false }
                isEscaped = character == "\\" && !isEscaped
            } else if character == "\"" {
                (isInString, isAfterComma) = (true, false)
            } else if character == "}", isAfterComma {
                return true
            } else if !" \t\n\r".unicodeScalars.contains(character) {
                isAfterComma = character == ","
            }
        }
        return false
    }

    /// Foundation on Linux does not round long numbers to the nearest; the next test compares exactly.
    private func isNear(_ other: Double?, _ number: Double) -> Bool {
        guard let other else { return false }
        return abs(other - number) <= 16 * number.ulp
    }

    @Test("Random numbers read as the standard library reads them")
    func numbers() throws {
        var random = SeededRandom(seed: 30)
        let decoder = try JSONColumnDecoder(schema([.init("x", .number)]))
        var texts: [String] = []
        for _ in 0..<3_000 {
            let value = Double(bitPattern: random.next())
            if value.isFinite { texts.append("\(value)") }
            let digits = (0..<Int.random(in: 1...40, using: &random)).map { _ in
                String(Int.random(in: 0...9, using: &random))
            }
            let exponent = Int.random(in: -340...310, using: &random)
            texts.append("\(Int.random(in: 1...9, using: &random)).\(digits.joined())e\(exponent)")
            texts.append("-\(Int.random(in: 1...9, using: &random))\(digits.joined())")
        }
        let outcomes = try decode(texts.map { Array(#"{"x":\#($0)}"#.utf8) }, with: decoder)
        for (text, outcome) in zip(texts, outcomes) {
            let expected = try #require(Double(text))
            if expected.isFinite {
                #expect(outcome == .row(["x": .number(expected)]), "\(text)")
            } else {
                #expect(outcome.code == .notFinite, "\(text)")
            }
        }
    }
}
