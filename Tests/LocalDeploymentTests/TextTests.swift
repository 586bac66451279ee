// TextTests: tables, numbers, CSV, keys and event files of the command line.

import Foundation
import LocalDeployment
import PipelineContract
import Testing

@testable import PenstockCommand

@Suite("Texts of the command line")
struct TextTests {
    @Test("A table aligns its columns and cuts what does not fit")
    func table() {
        var table = Table(.left("name"), .right("count"), .left("note"))
        table.widthMax = 100
        table.add("a", "1", "")
        table.add("longer", "12345", "x")
        #expect(table.lines == ["name    count  note", "-------------------", "a           1", "longer  12345  x"])
        table.add("b", "2", String(repeating: "y", count: 200))
        #expect(table.lines.allSatisfy { $0.count <= 100 })
        #expect(table.lines.last?.hasSuffix("…") == true)
    }

    @Test("Missing cells are empty, surplus ones are left out")
    func cells() {
        var table = Table(.left("a"), .left("b"))
        table.add("1")
        table.add("1", "2", "3")
        #expect(table.lines.suffix(2) == ["1", "1  2"])
    }

    @Test("Numbers are written as people read them")
    func numbers() {
        #expect(Numbers.grouped(0) == "0")
        #expect(Numbers.grouped(999) == "999")
        #expect(Numbers.grouped(1_000) == "1,000")
        #expect(Numbers.grouped(-1_234_567) == "-1,234,567")
        #expect(Numbers.decimal(0.9996, 3) == "1.000")
        #expect(Numbers.decimal(12.345, 1) == "12.3")
        #expect(Numbers.decimal(-0.04, 1) == "0.0")
        #expect(Numbers.decimal(2.5, 0) == "3")
        #expect(Numbers.decimal(.nan, 2) == "-")
        #expect(Numbers.milliseconds(0.0012) == "1.20")
        #expect(Numbers.milliseconds(1.5) == "1500")
    }

    @Test("A progress line tells share and counts, with a bar only where a person watches")
    func progress() {
        #expect(
            Progress.line(title: "t", done: 1_500, of: 3_000, detail: "d", hasBar: false) == "t: 1,500/3,000 (50%), d")
        let line = Progress.line(title: "t", done: 5, of: 5, detail: "", hasBar: true)
        #expect(line.contains("100%") && line.contains("5/5") && !line.contains("░"))
        #expect(Progress.line(title: "t", done: 0, of: 0, detail: "", hasBar: false) == "t: 0/0 (0%)")
    }

    @Test("CSV keeps quotes, commas and line breaks within cells")
    func csv() throws {
        let text = "\u{feff}a,b\r\n1,\"x, \"\"y\"\"\nz\"\r\n\r\n,2"
        let csv = try CSV(path: "f.csv", bytes: Array(text.utf8))
        #expect(csv.header == ["a", "b"])
        #expect(csv.rows == [["1", "x, \"y\"\nz"], ["", "2"]])
        #expect(try csv.index(of: "b") == 1)
    }

    @Test("A broken CSV is refused with the place", arguments: ["", "a,b\n1\n", "a\n\"x"])
    func brokenCSV(_ text: String) {
        let error = #expect(throws: CommandFailure.self) { _ = try CSV(path: "f.csv", bytes: Array(text.utf8)) }
        #expect(error?.message.hasPrefix("f.csv") == true)
    }

    @Test("Only what RFC 8259 calls a number is one")
    func jsonNumbers() {
        for text in ["0", "-1", "1.5", "1e9", "-0.1E-3", "10"] { #expect(JSONText.isNumber(text), "\(text)") }
        for text in ["", "-", "01", "1.", ".5", "NaN", "1e", "+1", "0x1", " 1"] {
            #expect(!JSONText.isNumber(text), "\(text)")
        }
    }

    @Test("JSON strings are escaped")
    func jsonStrings() throws {
        let text = "a\"b\\c\n\u{1}é"
        let decoded = try JSONDecoder().decode([String].self, from: Data("[\(JSONText.string(text))]".utf8))
        #expect(decoded == [text])
    }

    @Test("A key template is filled from fields")
    func keys() throws {
        let template = try KeyTemplate("{Latitude}:{Longitude}")
        #expect(template.fields == ["Latitude", "Longitude"])
        #expect(template.key { ["Latitude": "1", "Longitude": "2"][$0] } == "1:2")
        #expect(template.key { ["Latitude": "1"][$0] } == nil)
        for text in ["{a", "a}", "{}", "{{a}}"] {
            #expect(throws: CommandFailure.self, "\(text)") { _ = try KeyTemplate(text) }
        }
    }

    @Test("Times of other tools become RFC 3339")
    func times() {
        #expect(EventFile.time("2021-06-01 00:00:00") == "2021-06-01T00:00:00Z")
        #expect(EventFile.time("2021-06-01 00:00:00.5+02:00") == "2021-06-01T00:00:00.5+02:00")
        #expect(EventFile.time("2021-06-01T00:00:00Z") == "2021-06-01T00:00:00Z")
        #expect(EventFile.time("yesterday") == "yesterday")
    }

    @Test("CloudEvents are encoded by their Kafka binding")
    func cloudEvents() throws {
        let event = SourceEvent(payload: "{\"x\":1}", id: "i\"d", time: "2021-06-01T00:00:00Z", key: "k")
        let encoder = EventEncoder(source: "/s", type: "t")
        let binary = encoder.encode(event, as: .cloudEventsBinary)
        #expect(binary.value == Array(event.payload.utf8))
        #expect(
            binary.headers.map(\.name) == [
                "ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "content-type",
            ])
        let structured = encoder.encode(event, as: .cloudEventsStructured)
        let object = try JSONSerialization.jsonObject(with: Data(structured.value ?? [])) as? [String: Any]
        #expect(object?["id"] as? String == "i\"d")
        #expect((object?["data"] as? [String: Any])?["x"] as? Int == 1)
        #expect((0..<3).map { WireFormat.mixed.resolved($0) } == [.json, .cloudEventsBinary, .cloudEventsStructured])
    }

    @Test("Passwords do not appear in addresses for people")
    func passwords() {
        #expect(
            Deployment.withoutPassword("postgresql://u:secret@h:1/d?sslmode=require")
                == "postgresql://u@h:1/d?sslmode=require")
        #expect(Deployment.withoutPassword("postgresql://u:s@e:c@h/d?password=x&a=b") == "postgresql://u@h/d?a=b")
        #expect(Deployment.withoutPassword("host=h password=x user=u") == "host=h user=u")
        #expect(Deployment.withoutPassword("postgresql://h/d") == "postgresql://h/d")
    }
}
