// CSVReaderTests: the CSV reader on good and damaged files.

import Cryptography
import Foundation
import PipelineContract
import Testing

@testable import Transforms

@Suite("The CSV reader")
struct CSVReaderTests {
    private let folder: Folder

    init() throws { folder = try Folder() }

    private func rows(_ text: String) throws -> [[String]] {
        var reader = try CSVReader.open(path: try folder.write(text, to: "data.csv"))
        var rows = [reader.header]
        while try reader.next() { rows.append(try reader.header.indices.map { try reader.text($0) }) }
        return rows
    }

    @Test("Quotes, doubled quotes, commas and line breaks within quotes are read")
    func quotes() throws {
        let text = "a,\"b \"\"x\"\"\",c\n1,\"two, and\nmore\",\"\"\n"
        #expect(try rows(text) == [["a", "b \"x\"", "c"], ["1", "two, and\nmore", ""]])
    }

    @Test("LF and CRLF, with or without a last line end, give the same rows")
    func lineEnds() throws {
        let expected = [["a", "b"], ["1", ""], ["", "2"]]
        for text in ["a,b\n1,\n,2\n", "a,b\n1,\n,2", "a,b\r\n1,\r\n,2\r\n", "\u{FEFF}a,b\n\n1,\n\n,2\n\n"] {
            #expect(try rows(text) == expected)
        }
    }

    @Test("A file longer than a block is read whole, wherever the block ends")
    func blocks() throws {
        for padding in 0..<3 {
            let header = "name,value" + String(repeating: "x", count: padding)
            let lines = (0..<9_000).map { "\"row \($0)\",\($0)\r\n" }
            let rows = try rows(header + "\r\n" + lines.joined())
            #expect(rows.count == 9_001)
            #expect(rows.last == ["row 8999", "8999"])
        }
    }

    @Test(
        "A damaged file names its line",
        arguments: [
            ("a,b\n1,2,3\n", ":2: 3 fields, but the header names 2 columns"),
            ("a,b\n1,2\n1\n", ":3: 1 fields"),
            ("a,b\n\"x\ny\",2\n1,\"open\n", ":4: a quote is opened and never closed"),
            ("a,b\n1,x\"y\n", ":2: a quote within an unquoted field"), ("a,b\n\"1\"2,3\n", ":2: text follows"),
            ("a,b\n1,2\r3,4\n", ":2: a carriage return"), ("a,a\n", ":1: the header names the column 'a' twice"),
            ("", " is empty"),
        ])
    func damaged(text: String, expected: String) throws {
        let found = message { _ = try rows(text) }
        #expect(found.contains("data.csv" + expected), "\(found)")
    }

    @Test("Only finite decimal numbers are numbers")
    func numbers() throws {
        var reader = try CSVReader.open(path: try folder.write("a,b,c,d\n-1.5e3,,+2,\"4.25\"\n", to: "n.csv"))
        #expect(try reader.next())
        #expect(try reader.number(0) == -1_500)
        #expect(try reader.number(1) == nil && reader.isMissing(1))
        #expect(try reader.number(2) == 2)
        #expect(try reader.number(3) == 4.25)
        for text in ["nan", "inf", "0x10", "1e999", " 1", "1,5", "one", "--1"] {
            var reader = try CSVReader.open(path: try folder.write("a\n\"\(text)\"\n", to: "n.csv"))
            #expect(try reader.next())
            let found = message { _ = try reader.number(0) }
            #expect(found.contains(":2: a is '\(text)', not a finite number"), "\(found)")
        }
    }

    @Test("Text that is not UTF-8 is refused")
    func notUTF8() throws {
        try Data([0x61, 0x0a, 0xff, 0xfe, 0x0a]).write(to: URL(fileURLWithPath: folder.file("x.csv")))
        var reader = try CSVReader.open(path: folder.file("x.csv"))
        #expect(try reader.next())
        #expect(message { _ = try reader.text(0) }.contains(":2: field 1 is not UTF-8"))
    }

    @Test("A missing file is one line that names it")
    func missingFile() {
        let path = folder.file("absent.csv")
        #expect(message { _ = try CSVReader.open(path: path).line } == "cannot read \(path): No such file or directory")
    }

    @Test("The digest is the file's SHA-256")
    func digest() throws {
        let pipeline = pipeline([.column("a")])
        let table = try ReferenceTable(
            path: try folder.write("a\n1\n2\n", to: "d.csv"), schema: pipeline.input.schema, features: pipeline.features
        )
        #expect(table.digest.hexadecimal == "d4fa155a0784a2543c083ff5c36ec7a7d4810f08946220e5acf4c1f11006216e")
    }

    @Test("Rows that the schema or the label would refuse name line, field and mend")
    func tableFaults() throws {
        let pipeline = pipeline([.column("a"), .column("b"), .column("n"), .column("on")])
        let cases: [(String, String)] = [
            ("a,b,n\n1,2,3\n", "the column 'on' is missing"),
            ("a,b,n,on,time,y\n1,1001,3,1,2021-01-01T00:00:00Z,1\n", ":2: b is 1001.0, outside the range"),
            ("a,b,n,on,time,y\n1,1,3.5,1,2021-01-01T00:00:00Z,1\n", ":2: n is 3.5, but the event schema declares an"),
            ("a,b,n,on,time,y\n1,1,3,maybe,2021-01-01T00:00:00Z,1\n", ":2: on is 'maybe'"),
            ("a,b,n,on,time,y\n1,1,3,1,2021-01-01 00:00:00,1\n", ":2: time is '2021-01-01 00:00:00'"),
            ("a,b,n,on,time,y\n1,1,3,1,2021-01-01T00:00:00Z,2\n", ":2: the label y is 2.0"),
            ("a,b,n,on,time,y\n1,1,3,1,2021-01-01T00:00:00Z,\n", ":2: the label y is missing"),
            ("a,b,n,on,time,y,z\n", ":1: the columns y, z could hold the label; name it by --label"),
            ("a,b,n,on,y\n", ":1: the column 'time' with the event time is missing"),
            ("a,b,n,on,time,y\n", "has a header and no rows"),
        ]
        for (text, expected) in cases {
            let path = try folder.write(text, to: "t.csv")
            let found = message {
                _ = try ReferenceTable(
                    path: path, schema: pipeline.input.schema, features: pipeline.features, timeField: "time",
                    label: .onlyOther)
            }
            #expect(found.contains(expected), "\(found)")
        }
    }
}
