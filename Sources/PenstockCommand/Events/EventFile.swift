// EventFile: events from a CSV or NDJSON file, shaped by the pipeline's event schema.

import Foundation
import LocalDeployment
import PipelineContract

struct EventFile {
    let events: [SourceEvent]
    /// What a person should know, such as columns that the schema does not have.
    let notes: [String]

    /// - Parameter template: of the record key; nil for none.
    init(path: String, input: InputContract, template: KeyTemplate?) throws {
        if let template {
            let known = Set(input.schema.fields.map(\.name))
            if let unknown = template.fields.first(where: { !known.contains($0) }) {
                throw CommandFailure.usage(
                    "--key-template names the field '\(unknown)', which the schema does not have: it has "
                        + input.schema.fields.map(\.name).joined(separator: ", "))
            }
        }
        switch (path as NSString).pathExtension.lowercased() {
        case "csv": (events, notes) = try Self.readCSV(try CSV(path: path), input: input, template: template)
        case "ndjson", "jsonl", "json": (events, notes) = try Self.readLines(path, input: input, template: template)
        default: throw CommandFailure.usage("\(path): name a file that ends in .csv or .ndjson")
        }
    }

    // MARK: CSV

    private static func readCSV(
        _ csv: CSV, input: InputContract, template: KeyTemplate?
    ) throws(CommandFailure) -> ([SourceEvent], [String]) {
        var columns: [(index: Int, field: EventSchema.Field)] = []
        var unknown: [String] = []
        for (index, name) in csv.header.enumerated() {
            if let field = input.schema.fields.first(where: { $0.name == name }) {
                columns.append((index, field))
            } else {
                unknown.append(name)
            }
        }
        guard !columns.isEmpty else {
            throw CommandFailure(
                "\(csv.path): no column of the header is a field of the schema, which has "
                    + input.schema.fields.map(\.name).joined(separator: ", "))
        }
        var events: [SourceEvent] = []
        events.reserveCapacity(csv.rows.count)
        for (number, row) in csv.rows.enumerated() {
            func cell(_ name: String) -> String? {
                columns.first { $0.field.name == name }.map { row[$0.index] }.flatMap { $0.isEmpty ? nil : $0 }
            }
            let members = columns.compactMap { column in
                json(row[column.index], column.field).map { "\(JSONText.string(column.field.name)):\($0)" }
            }
            let key = try key(template, place: "\(csv.path), record \(number + 2)", cell)
            events.append(
                SourceEvent(
                    payload: "{\(members.joined(separator: ","))}",
                    id: input.identity.flatMap { cell($0.idField) }
                        ?? "\((csv.path as NSString).lastPathComponent):\(number + 1)",
                    time: input.eventTimeField.flatMap(cell).map(time) ?? Timestamp.now(), key: key))
        }
        let notes =
            unknown.isEmpty
            ? [] : ["columns that the schema does not have are left out: \(unknown.joined(separator: ", "))"]
        return (events, notes)
    }

    /// The cell as JSON; nil leaves the member out.
    private static func json(_ cell: String, _ field: EventSchema.Field) -> String? {
        if cell.isEmpty, field.type != .string { return field.isNullable ? "null" : nil }
        switch field.type {
        case .number, .integer: return JSONText.isNumber(cell) ? cell : JSONText.string(cell)
        case .boolean: return ["true", "false"].contains(cell) ? cell : JSONText.string(cell)
        case .timestamp: return JSONText.string(time(cell))
        case .string: return JSONText.string(cell)
        }
    }

    /// `2021-06-01 00:00:00`, as many tools write it, in RFC 3339 (UTC); other texts stay as they are.
    static func time(_ text: String) -> String {
        let bytes = Array(text.utf8)
        guard bytes.count >= 19, bytes[10] == UInt8(ascii: " ") else { return text }
        let joined = text.prefix(10) + "T" + text.dropFirst(11)
        let hasZone = joined.last == "Z" || joined.dropFirst(19).contains { $0 == "+" || $0 == "-" }
        return hasZone ? String(joined) : joined + "Z"
    }

    // MARK: NDJSON

    private static func readLines(
        _ path: String, input: InputContract, template: KeyTemplate?
    ) throws(CommandFailure) -> ([SourceEvent], [String]) {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw CommandFailure("cannot read \(path): name a readable file with one JSON object per line")
        }
        var events: [SourceEvent] = []
        for (number, line) in data.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated()
        where !line.allSatisfy({ $0 == 0x20 || $0 == 0x0d || $0 == 0x09 }) {
            let place = "\(path), line \(number + 1)"
            guard let object = (try? JSONSerialization.jsonObject(with: line)) as? [String: Any],
                let text = String(validating: line, as: UTF8.self)
            else { throw CommandFailure("\(place) is not a JSON object: write one object per line") }
            func field(_ name: String) -> String? {
                switch object[name] {
                case let text as String: text
                case let number as NSNumber: "\(number)"
                default: nil
                }
            }
            let key = try key(template, place: place, field)
            events.append(
                SourceEvent(
                    payload: text.filter { $0 != "\r" },
                    id: input.identity.flatMap { field($0.idField) }
                        ?? "\((path as NSString).lastPathComponent):\(number + 1)",
                    time: input.eventTimeField.flatMap(field) ?? Timestamp.now(), key: key))
        }
        return (events, [])
    }

    private static func key(
        _ template: KeyTemplate?, place: String, _ field: (String) -> String?
    ) throws(CommandFailure) -> String? {
        guard let template else { return nil }
        guard let key = template.key(field) else {
            throw CommandFailure(
                "\(place) lacks a field of the key: \(template.fields.joined(separator: ", ")); choose another --key-template"
            )
        }
        return key
    }
}
