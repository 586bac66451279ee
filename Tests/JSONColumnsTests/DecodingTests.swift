// DecodingTests: what is accepted, value by value, and what is refused, code by code.

import JSONColumns
import Testing

@Suite("JSON into columns")
struct DecodingTests {
    private static let fields: [JSONSchema.Field] = [
        .init("x", .number), .init("n", .integer, isNullable: true), .init("b", .boolean),
        .init("s", .string, isNullable: true), .init("é", .string), .init("q\"\\", .string),
    ]

    private func decoder(_ unknown: JSONSchema.UnknownFields = .reject) throws -> JSONColumnDecoder {
        try JSONColumnDecoder(schema(Self.fields, unknown: unknown, depthMax: 4))
    }

    @Test(
        "A good document gives its values",
        arguments: [
            (#"{}"#, [:]),
            (" \n\t\r{ } ", [:]),
            (#"{"x":1}"#, ["x": .number(1)]),
            (
                #"{"x":-0.0,"n":null,"b":true,"s":"a"}"#,
                ["x": .number(0), "n": .null, "b": .number(1), "s": .text("a")]
            ),
            (#"{"s":"","b":false,"x":1e-7}"#, ["s": .text(""), "b": .number(0), "x": .number(1e-7)]),
            (#"{"n":1.0}"#, ["n": .number(1)]),
            (#"{"n":1e3}"#, ["n": .number(1_000)]),
            (#"{"n":9007199254740992}"#, ["n": .number(9_007_199_254_740_992)]),
            (#"{"n":-9007199254740992}"#, ["n": .number(-9_007_199_254_740_992)]),
            (#"{"x":123456789012345678901234567890}"#, ["x": .number(123_456_789_012_345_677_877_719_597_056)]),
            (#"{"x":18446744073709551616}"#, ["x": .number(18446744073709551616)]),
            (#"{"x":1.7976931348623157e308}"#, ["x": .number(1.7976931348623157e308)]),
            (#"{"x":5e-324}"#, ["x": .number(.leastNonzeroMagnitude)]),
            (#"{"x":1e-999}"#, ["x": .number(0)]),
            (#"{"x":0.1000000000000000055511151231257827021181583404541015625}"#, ["x": .number(0.1)]),
            (#"{"s":"\"\\\/\b\f\n\r\t\u0041\u00e9\ud83c\udfe0"}"#, ["s": .text("\"\\/\u{8}\u{c}\n\r\tAé🏠")]),
            (#"{"é":"日本"}"#, ["é": .text("日本")]),
            (#"{"\u00e9":"x"}"#, ["é": .text("x")]),
            (#"{"q\"\\":"x"}"#, ["q\"\\": .text("x")]),
            (#"{"\u0078":2}"#, ["x": .number(2)]),
            (#"{"s":null}"#, ["s": .null]),
            ("{\"s\":\"\u{7f}\u{80}\"}", ["s": .text("\u{7f}\u{80}")]),
        ] as [(String, [String: Value])])
    func accepts(document: String, expected: [String: Value]) throws {
        #expect(try decode(document, with: decoder()) == .row(expected))
    }

    @Test(
        "A bad document gives the code, the field and the byte",
        arguments: [
            ("", .empty, nil, nil), (" ", .empty, nil, 0),
            ("{", .malformed, nil, 1), ("}", .malformed, nil, 0), ("{}}", .malformed, nil, 2),
            ("{} {}", .malformed, nil, 3), ("{}x", .malformed, nil, 2), (#"{"x":1}{"x":2}"#, .malformed, nil, 7),
            (#"{"x":1,}"#, .malformed, nil, 7), (#"{,"x":1}"#, .malformed, nil, 1), (#"{"x" 1}"#, .malformed, nil, 5),
            (#"{"x":}"#, .malformed, "x", 5), (#"{"x":1 "n":2}"#, .malformed, nil, 7), (#"{x:1}"#, .malformed, nil, 1),
            (#"{'x':1}"#, .malformed, nil, 1), (#"{"s":'a'}"#, .malformed, "s", 5), (#"{"x":1"#, .malformed, nil, 6),
            (#"{"x":01}"#, .malformed, "x", 5), (#"{"x":1.}"#, .malformed, "x", 5), (#"{"x":.5}"#, .malformed, "x", 5),
            (#"{"x":+1}"#, .malformed, "x", 5), (#"{"x":1e}"#, .malformed, "x", 5), (#"{"x":-}"#, .malformed, "x", 5),
            (#"{"x":0x10}"#, .malformed, "x", 5), (#"{"x":1_000}"#, .malformed, "x", 5),
            (#"{"b":True}"#, .malformed, "b", 5), (#"{"b":tru}"#, .malformed, "b", 5),
            (#"{"b":truee}"#, .malformed, "b", 5), (#"{"n":nul}"#, .malformed, "n", 5),
            (#"{"n":nulll}"#, .malformed, "n", 5), (#"{"s":"a}"#, .malformed, nil, 5),
            (#"{"s":"\x"}"#, .malformed, "s", 6), (#"{"s":"\u12"}"#, .malformed, "s", 6),
            (#"{"s":"\ud800"}"#, .malformed, "s", 6), (#"{"s":"\udc00"}"#, .malformed, "s", 6),
            ("{\"s\":\"a\nb\"}", .malformed, nil, 7), ("{\"s\":\"a\u{0}b\"}", .malformed, nil, 7),
            ("\u{feff}{}", .malformed, nil, 0), ("{\"x\":1}\u{0}", .malformed, nil, 7),
            ("[1", .malformed, nil, 2), ("nope", .malformed, nil, 0), ("1 2", .malformed, nil, 2),
            ("/*c*/{}", .malformed, nil, 0), (#"{"x":1/**/}"#, .malformed, "x", 5),
            (#"{"x":NaN}"#, .notFinite, "x", 5), (#"{"x":-Infinity}"#, .notFinite, "x", 5),
            (#"{"x":nan}"#, .notFinite, "x", 5), (#"{"x":inf}"#, .notFinite, "x", 5),
            (#"{"x":1e999}"#, .notFinite, "x", 5), (#"{"n":-1e999}"#, .notFinite, "n", 5),
            ("[]", .notAnObject, nil, 0), ("[{}]", .notAnObject, nil, 0), ("5", .notAnObject, nil, 0),
            ("\"a\"", .notAnObject, nil, 0), ("null", .notAnObject, nil, 0), ("true", .notAnObject, nil, 0),
            (#"{"x":1,"x":1}"#, .duplicateKey, "x", 7), (#"{"x":1,"\u0078":1}"#, .duplicateKey, "x", 7),
            (#"{"y":1}"#, .unknownField, nil, 1), (#"{"X":1}"#, .unknownField, nil, 1),
            (#"{"":1}"#, .unknownField, nil, 1),
            (#"{"x":"5"}"#, .wrongType, "x", 5), (#"{"x":true}"#, .wrongType, "x", 5),
            (#"{"x":null}"#, .wrongType, "x", 5), (#"{"x":{}}"#, .wrongType, "x", 5),
            (#"{"x":[1]}"#, .wrongType, "x", 5),
            (#"{"n":1.5}"#, .wrongType, "n", 5), (#"{"n":"1"}"#, .wrongType, "n", 5), (#"{"b":1}"#, .wrongType, "b", 5),
            (#"{"b":"true"}"#, .wrongType, "b", 5), (#"{"s":5}"#, .wrongType, "s", 5),
            (#"{"n":9007199254740993}"#, .outOfRange, "n", 5), (#"{"n":-9007199254740993}"#, .outOfRange, "n", 5),
            (#"{"n":1e16}"#, .outOfRange, "n", 5), (#"{"n":123456789012345678901234567890}"#, .outOfRange, "n", 5),
        ] as [(String, JSONFault.Code, String?, Int?)])
    func refuses(document: String, code: JSONFault.Code, field: String?, position: Int?) throws {
        let outcome = try decode(document, with: decoder())
        #expect(outcome == .fault(code, field: field, position: position))
    }

    @Test("Broken syntax outweighs an earlier mistake of content")
    func precedence() throws {
        #expect(try decode(#"{"x":"5","y":1,"x":2,]"#, with: decoder()).code == .malformed)
        #expect(try decode(#"{"x":"5","y":1}"#, with: decoder()).code == .wrongType)
        #expect(try decode(#"{"y":1,"x":"5"}"#, with: decoder()).code == .unknownField)
    }

    @Test("Bytes that are no UTF-8 are found where they stand", arguments: [0, 1, 30, 63, 64, 65, 200])
    func utf8(padding: Int) throws {
        let head = Array(#"{"s":"é"#.utf8) + [UInt8](repeating: 0x61, count: padding)
        for bad in [[0xff], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80], [0xe6, 0x97]] as [[UInt8]] {
            let outcome = try decode([head + bad + Array(#""}"#.utf8)], with: decoder())
            #expect(outcome == [.fault(.notUTF8, field: nil, position: head.count)])
        }
    }

    @Test("Nothing is read across the end of a value, whatever follows")
    func neighbours() throws {
        let starts = [#"{"x":12"#, #"{"s":"a"#, #"{"s":"a""#, #"{"b":tru"#, #"{"x":1,"s":"#, "{", #"{"x"#, #"{"x":-"#]
        let ends = ["3}", "\"}", "e}", "}", ",\"n\":1}", ":1}", "\":1}", "}}}}}}}}", " }"]
        let decoder = try decoder(.ignore)
        for start in starts {
            for end in ends {
                let outcomes = try decode([Array(start.utf8), Array(end.utf8), Array(#"{"x":1}"#.utf8)], with: decoder)
                #expect(outcomes.map(\.code) == [.malformed, .malformed, nil], "\(start) \(end)")
            }
        }
        let nested = try decode([Array(#"{"u":{"u":{"u":1}"#.utf8), Array("}}}}}}".utf8)], with: decoder)
        #expect(nested.map(\.code) == [.malformed, .malformed])
    }

    @Test("Ignored fields must be valid JSON all the same")
    func ignored() throws {
        let decoder = try decoder(.ignore)
        #expect(try decode(#"{"y":{"z":[1,"a",null,true,1e999]},"x":1}"#, with: decoder) == .row(["x": .number(1)]))
        let bad: [(String, JSONFault.Code)] = [
            (#"{"y":01}"#, .malformed), (#"{"y":[1,]}"#, .malformed), (#"{"y":{"z":}}"#, .malformed),
            (#"{"y":"\x"}"#, .malformed), (#"{"y":[}]}"#, .malformed), (#"{"y":[nul]}"#, .malformed),
            (#"{"y":{"z":"\ud800"}}"#, .malformed), (#"{"y":{"\x":1}}"#, .malformed), (#"{"y":[1 2]}"#, .malformed),
            (#"{"y":NaN}"#, .notFinite), (#"{"y":[NaN]}"#, .notFinite), (#"{"y":{1:2}}"#, .malformed),
            (#"{"y":1,"y":2}"#, .duplicateKey), (#"{"y":1,"\u0079":2}"#, .duplicateKey),
            (#"{"y":{"z":1,"z":2}}"#, .duplicateKey), (#"{"y":[{"z":1,"\u007a":2}]}"#, .duplicateKey),
            (#"{"y":{"z":{"a":[[]]}}}"#, .tooDeep), (#"{"y":["a":1]}"#, .malformed), (#"{"y":"a":1}"#, .malformed),
            (#"{"y":[[[[]]]]}"#, .tooDeep),
        ]
        for (document, code) in bad { #expect(try decode(document, with: decoder).code == code, "\(document)") }
        for good in [#"{"y":{"z":{"a":1}}}"#, #"{"y":[[[]]]}"#, #"{"y":{"z":1},"w":{"z":1}}"#, #"{"y":{"y":1}}"#] {
            #expect(try decode(good, with: decoder) == .row([:]), "\(good)")
        }
    }

    @Test("A repeated key among many is found, and many different ones are not mistaken", arguments: [5, 13, 500])
    func manyKeys(count: Int) throws {
        let decoder = try decoder(.ignore)
        let keys = (0..<count).map { #""k\#($0)":\#($0)"# }
        #expect(try decode("{\(keys.joined(separator: ","))}", with: decoder) == .row([:]))
        let repeated = "{\(keys.joined(separator: ",")),\"k\(count / 2)\":1}"
        #expect(try decode(repeated, with: decoder).code == .duplicateKey)
    }

    @Test("The limits of bytes hold to the byte")
    func bytes() throws {
        let decoder = try JSONColumnDecoder(schema([.init("s", .string)], bytesMax: 10))
        #expect(try decode(#"{"s":"ab"}"#, with: decoder) == .row(["s": .text("ab")]))
        #expect(try decode(#"{"s":"abc"}"#, with: decoder).code == .tooLarge)
    }

    @Test("A required field must come, and null only where it may")
    func required() throws {
        let decoder = try JSONColumnDecoder(
            schema([.init("a", .number, isRequired: true), .init("b", .string, isRequired: true, isNullable: true)]))
        #expect(try decode(#"{"a":1,"b":null}"#, with: decoder) == .row(["a": .number(1), "b": .null]))
        #expect(try decode(#"{"b":"x"}"#, with: decoder) == .fault(.missingField, field: "a", position: 9))
        #expect(try decode(#"{"a":1}"#, with: decoder) == .fault(.missingField, field: "b", position: 7))
        #expect(try decode(#"{"a":null,"b":null}"#, with: decoder).code == .wrongType)
    }

    @Test("A raw field gives its place in the input")
    func raw() throws {
        let decoder = try JSONColumnDecoder(schema([.init("data", .raw), .init("id", .string)]))
        let values = [#"{"a":[1, {"b":2}] }"#, "[ ]", "12.5", "\"a\\n\"", "true", "null"]
        for value in values {
            let outcome = try decode(#"{ "data" : \#(value) , "id":"i" }"#, with: decoder)
            #expect(outcome == .row(["data": .text(value), "id": .text("i")]), "\(value)")
            #expect(try decode(#"{"data":\#(value)}"#, with: decoder) == .row(["data": .text(value)]))
        }
        #expect(try decode(#"{"data":{"a":1,"a":2}}"#, with: decoder).code == .duplicateKey)
        #expect(try decode(#"{"data":[1,]}"#, with: decoder).code == .malformed)
    }

    @Test("Attributes of CloudEvents have plain names and values")
    func extensions() throws {
        let decoder = try JSONColumnDecoder(schema([.init("id", .string)], unknown: .cloudEventsExtensions))
        #expect(
            try decode(#"{"id":"1","comment":"x","n2":5,"t":true,"z":null}"#, with: decoder) == .row(["id": .text("1")])
        )
        for bad in [#"{"Comment":1}"#, #"{"a_b":1}"#, #"{"a":{}}"#, #"{"a":[]}"#, #"{"":1}"#] {
            #expect(try decode(bad, with: decoder).code == .unknownField, "\(bad)")
        }
    }

    @Test("A message names the place, shows at most 40 bytes, and says how to mend")
    func messages() throws {
        let long = String(repeating: "é", count: 100)
        let decoder = try decoder()
        #expect(
            try message(#"{"x":"\#(long)"}"#, with: decoder) == """
                the field "x" must be a number, found the string "\(String(repeating: "é", count: 19))… at byte 5
                """)
        #expect(
            try message(#"{"x":NaN}"#, with: decoder) == """
                the field "x" holds NaN} at byte 5, which is no finite number: send a number that a Float64 holds, null, \
                or leave the field out
                """)
        #expect(
            try message("{\"y\n\":1}", with: decoder)
                == #"the JSON is malformed at byte 3: control characters in strings must be escaped, as \n or \u000a"#)
        for document in ["", "{", "[]", #"{"zz":1}"#, #"{"n":1e300}"#, #"{"x":1,"x":1}"#, "\u{feff}{}"] {
            #expect(try message(document, with: decoder).contains(":"), "\(document)")
        }
    }

    @Test("Bad rows leave their neighbours alone, and a decoder serves batch after batch")
    func batches() throws {
        let decoder = try decoder()
        var random = SeededRandom(seed: 20)
        for _ in 0..<50 {
            let kinds = (0..<Int.random(in: 0...40, using: &random)).map { _ in Int.random(in: 0...3, using: &random) }
            let documents = kinds.enumerated().map { index, kind in
                [#"{"x":\#(index),"s":"t\#(index)\n"}"#, #"{"x":"#, #"{"s":"a\n","x":"b"}"#, ""][kind]
            }
            let outcomes = try decode(documents.map { Array($0.utf8) }, with: decoder)
            for (index, kind) in kinds.enumerated() {
                let good: [String: Value] = ["x": .number(Double(index)), "s": .text("t\(index)\n")]
                if kind == 0 { #expect(outcomes[index] == .row(good)) } else { #expect(outcomes[index].code != nil) }
            }
        }
    }
}
