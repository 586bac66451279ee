// Envelope: plain JSON or a CloudEvent, binary or structured: where the event stands and what is said of it.

import Foundation

/// The parts of a record, whatever its form.
struct Envelope {
    var payload: JSONValue
    /// CloudEvents attributes; nil for plain JSON.
    var attributes: [String: String]?

    /// The attribute `time`.
    var time: Int64? { attributes?["time"].flatMap { DateTime.microseconds($0) } }
}

/// What a text must be to identify an event or describe it.
enum AttributeText {
    /// Present, without control characters (U+0000-001F, U+007F-009F), and short enough for a record.
    static func faults(of text: String?) -> Set<String> {
        guard let text, !text.isEmpty else { return ["missing_attribute"] }
        var faults: Set<String> = []
        if text.unicodeScalars.contains(where: { $0.value < 0x20 || (0x7f...0x9f).contains($0.value) }) {
            faults.insert("pattern_mismatch")
        }
        if text.utf8.count >= 65_535 { faults.insert("out_of_range") }
        return faults
    }
}

extension Acceptance {
    private static let contentTypeNames = ["content-type", "Content-Type"].map { Array($0.utf8) }

    /// CloudEvents 1.0: lower-case letters and digits.
    private static func isAttributeName(_ name: String) -> Bool {
        !name.isEmpty
            && name.utf8.allSatisfy { byte in
                (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                    || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
            }
    }

    private enum MediaType { case json, cloudEvent, other }

    /// Case counts for nothing; a charset other than UTF-8 makes any type another one.
    private static func mediaType(_ text: String) -> MediaType {
        let parts = text.lowercased().split(separator: ";", omittingEmptySubsequences: false)
            .map { $0.trimmingCharacters(in: .whitespaces) }
        for part in parts.dropFirst() where part.hasPrefix("charset") {
            let value = part.split(separator: "=", maxSplits: 1).last?.trimmingCharacters(in: .whitespaces)
            if value != "utf-8", value != "\"utf-8\"" { return .other }
        }
        let type = parts.first ?? ""
        if type == "application/cloudevents+json" { return .cloudEvent }
        let isJSON = type == "application/json" || type == "text/json" || type.hasSuffix("+json")
        return isJSON && !type.hasPrefix("application/cloudevents") ? .json : .other
    }

    /// Finds the event in a record; nil, with faults, when there is none.
    func envelope(of record: LogRecord, value: [UInt8], faults: inout Set<String>) -> Envelope? {
        let header = record.headers.last { Self.contentTypeNames.contains($0.name) }
        let type = (header?.value).map { Self.mediaType(String(decoding: $0, as: UTF8.self)) } ?? .json
        let hasAttributes = record.headers.contains { $0.name.starts(with: "ce_".utf8) }
        let isCloudEvent = type == .cloudEvent || hasAttributes
        if type == .other || !(isCloudEvent ? facts.acceptsCloudEvents : facts.acceptsJSON) {
            faults.insert("unsupported_content_type")
            return nil
        }
        if type == .cloudEvent { return structured(value, faults: &faults) }
        let json = parse(value, depthMax: facts.depthMax, faults: &faults)
        guard hasAttributes else { return json.map { Envelope(payload: $0) } }
        var attributes: [String: String] = [:]
        for header in record.headers where header.name.starts(with: "ce_".utf8) {
            let name = String(decoding: header.name.dropFirst(3), as: UTF8.self)
            attributes[name] = header.value.flatMap { String(validating: $0, as: UTF8.self) }
            if header.value != nil, attributes[name] == nil { faults.insert("not_utf8") }
        }
        check(attributes, faults: &faults)
        return json.map { Envelope(payload: $0, attributes: attributes) }
    }

    private func parse(_ value: [UInt8], depthMax: Int, faults: inout Set<String>) -> JSONValue? {
        let json: JSONValue
        do {
            json = try StrictJSON.parse(value)
        } catch {
            switch error {
            // What is no text is no JSON either.
            case .notUTF8: faults.formUnion(["not_utf8", "malformed_json"])
            case .notFinite: faults.formUnion(["not_finite", "malformed_json"])
            case .tooDeep: faults.formUnion(["too_deep", "malformed_json"])
            case .malformed: faults.insert("malformed_json")
            }
            return nil
        }
        if json.depth > depthMax { faults.insert("too_deep") }
        if json.hasRepeatedKeys { faults.insert("duplicate_key") }
        return json
    }

    /// CloudEvents 1.0 in JSON: attributes, extensions ([a-z0-9], no objects and no arrays) and the event in `data`.
    private func structured(_ value: [UInt8], faults: inout Set<String>) -> Envelope? {
        // The envelope is one level more than the event, for which the limit is.
        guard let json = parse(value, depthMax: facts.depthMax + 1, faults: &faults) else { return nil }
        guard let members = json.members else {
            faults.insert("not_an_object")
            return nil
        }
        let texts = ["specversion", "id", "source", "type", "time", "datacontenttype", "traceparent"]
        var attributes: [String: String] = [:]
        for (name, value) in members where name != "data" && name != "data_base64" {
            if texts.contains(name) {
                if value != .null, value.text == nil { faults.insert("wrong_type") }
                attributes[name] = attributes[name] ?? value.text
            } else if value.depth > 0 || !Self.isAttributeName(name) {
                faults.insert("unknown_field")
            }
        }
        check(attributes, faults: &faults)
        if let type = attributes["datacontenttype"], Self.mediaType(type) != .json {
            faults.insert("unsupported_content_type")
        }
        if let base64 = json["data_base64"], base64 != .null {
            faults.insert("unsupported_content_type")
        }
        guard let data = json["data"], data != .null else {
            faults.formUnion(["missing_attribute", "not_an_object"])
            return nil
        }
        return Envelope(payload: data, attributes: attributes)
    }

    private func check(_ attributes: [String: String], faults: inout Set<String>) {
        for name in ["id", "source", "type"] { faults.formUnion(AttributeText.faults(of: attributes[name])) }
        let version = attributes["specversion"] ?? ""
        if version != "1.0" { faults.insert(version.isEmpty ? "missing_attribute" : "unsupported_spec_version") }
        if let time = attributes["time"], DateTime.microseconds(time) == nil { faults.insert("bad_time") }
    }
}
