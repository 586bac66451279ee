// Acceptance: whether an input record is a valid event, judged from its bytes alone.

import Digests
import Foundation

/// A valid event as the oracle reads it.
struct AcceptedEvent: Sendable {
    var eventID: EventIdentifier
    /// The publisher's own identity, when it can serve as one.
    var identity: PublisherIdentity?
    /// Microseconds since the Unix epoch.
    var eventTime: Int64
    /// By field; nil where missing. Times are microseconds, booleans 0 or 1.
    var numbers: [String: Double]
    /// 16 hexadecimal digits.
    var payloadHash: String
    /// The Kafka key as the prediction shows it.
    var entity: String?
}

struct PublisherIdentity: Hashable, Sendable {
    var source: String
    var id: String

    /// Neither empty nor with control characters (U+0000-001F, U+007F-009F).
    init?(source: String, id: String) {
        func serves(_ text: String) -> Bool {
            !text.isEmpty && !text.unicodeScalars.contains { $0.value < 0x20 || (0x7f...0x9f).contains($0.value) }
        }
        guard serves(source), serves(id) else { return nil }
        self.source = source
        self.id = id
    }
}

/// What is wrong with a record. A record may have several faults; a dead letter must name one that it has.
struct Verdict: Sendable {
    /// Nil when there are faults.
    var event: AcceptedEvent?
    /// Error codes that a dead letter may name.
    var faults: Set<String> = []
}

/// Judges records. Shares nothing with `ingest-consumer`: own JSON, own calendar, own schema.
struct Acceptance {
    let facts: PipelineFacts
    let clusterID: String
    private let fieldsByName: [String: FieldRule]
    private let patterns: [String: NSRegularExpression]

    init(facts: PipelineFacts, clusterID: String) {
        self.facts = facts
        self.clusterID = clusterID
        fieldsByName = Dictionary(facts.fields.map { ($0.name, $0) }) { first, _ in first }
        patterns = Dictionary(
            facts.fields.compactMap { field in
                field.pattern.flatMap { try? NSRegularExpression(pattern: $0) }.map { (field.name, $0) }
            }
        ) { first, _ in first }
    }

    /// Parts of a record, whatever its envelope.
    private struct Envelope {
        var payload: JSONValue
        /// CloudEvents attributes; nil for plain JSON.
        var attributes: [String: String]?
    }

    func judge(_ record: LogRecord) -> Verdict {
        var faults: Set<String> = []
        guard let value = record.value, !value.isEmpty else { return Verdict(faults: ["empty_value"]) }
        if value.count > facts.bytesMax { faults.insert("too_large") }
        if record.key == nil, facts.isKeyRequired { faults.insert("missing_attribute") }
        guard let envelope = envelope(of: record, value: value, faults: &faults) else { return Verdict(faults: faults) }
        guard envelope.payload.members != nil else { return Verdict(faults: faults.union(["not_an_object"])) }
        let fields = fields(of: envelope.payload, faults: &faults)
        let eventTime = eventTime(of: envelope, fields: fields, record: record, faults: &faults)
        if let eventTime, record.timestampMilliseconds >= 0,
            eventTime > (record.timestampMilliseconds + facts.clockSkewMilliseconds) * 1_000
        {
            faults.insert("clock_skew")
        }
        guard faults.isEmpty, let eventTime else { return Verdict(faults: faults) }
        let identity = identity(of: envelope, fields: fields)
        let eventID =
            identity.map { EventIdentifier(source: $0.source, id: $0.id, eventTime: eventTime) }
            ?? EventIdentifier(
                clusterID: clusterID, topic: facts.inputs, origin: record.origin,
                timestampMilliseconds: record.timestampMilliseconds)
        return Verdict(
            event: AcceptedEvent(
                eventID: eventID, identity: identity, eventTime: eventTime,
                numbers: fields.compactMapValues(\.number), payloadHash: payloadHash(fields, eventTime: eventTime),
                entity: entity(record.key)))
    }

    private func entity(_ key: [UInt8]?) -> String? {
        guard let key, !key.contains(0) else { return nil }
        return String(validating: key, as: UTF8.self)
    }

    // MARK: - Envelope

    private func envelope(of record: LogRecord, value: [UInt8], faults: inout Set<String>) -> Envelope? {
        let contentType = record.headers.last { $0.name == Array("content-type".utf8) }?.value
            .flatMap { String(validating: $0, as: UTF8.self) }?
            .split(separator: ";").first.map { $0.trimmingCharacters(in: .whitespaces).lowercased() }
        let isBinary = record.hasHeader("ce_specversion")
        let isStructured = contentType == "application/cloudevents+json" && !isBinary
        let isKnown = isStructured || contentType == nil || contentType == "application/json"
        if !isKnown || !(isBinary || isStructured ? facts.acceptsCloudEvents : facts.acceptsJSON) {
            faults.insert("unsupported_content_type")
            return nil
        }
        guard let json = parse(value, faults: &faults) else { return nil }
        if isStructured { return structured(json, faults: &faults) }
        guard isBinary else { return Envelope(payload: json) }
        var attributes: [String: String] = [:]
        for header in record.headers {
            guard let name = String(validating: header.name, as: UTF8.self), name.hasPrefix("ce_") else { continue }
            attributes[String(name.dropFirst(3))] = header.value.flatMap { String(validating: $0, as: UTF8.self) }
        }
        check(attributes, faults: &faults)
        return Envelope(payload: json, attributes: attributes)
    }

    private func parse(_ value: [UInt8], faults: inout Set<String>) -> JSONValue? {
        let json: JSONValue
        do {
            json = try StrictJSON.parse(value)
        } catch {
            switch error {
            case .notUTF8: faults.insert("not_utf8")
            case .notFinite: faults.formUnion(["not_finite", "malformed_json"])
            case .tooDeep: faults.insert("too_deep")
            case .malformed: faults.insert("malformed_json")
            }
            return nil
        }
        if json.depth > facts.depthMax { faults.insert("too_deep") }
        if json.hasRepeatedKeys { faults.insert("duplicate_key") }
        return json
    }

    private func structured(_ json: JSONValue, faults: inout Set<String>) -> Envelope? {
        guard let members = json.members else {
            faults.insert("not_an_object")
            return nil
        }
        var attributes: [String: String] = [:]
        for member in members where attributes[member.key] == nil { attributes[member.key] = member.value.text }
        check(attributes, faults: &faults)
        guard let data = json["data"] else {
            faults.insert(json["data_base64"] == nil ? "missing_attribute" : "unsupported_content_type")
            return nil
        }
        return Envelope(payload: data, attributes: attributes)
    }

    /// CloudEvents 1.0: `specversion`, `id`, `source` and `type` are required and not empty.
    private func check(_ attributes: [String: String], faults: inout Set<String>) {
        for name in ["specversion", "id", "source", "type"] where (attributes[name] ?? "").isEmpty {
            faults.insert("missing_attribute")
        }
        if let version = attributes["specversion"], version != "1.0" { faults.insert("unsupported_spec_version") }
        if let time = attributes["time"], DateTime.microseconds(time) == nil { faults.insert("bad_time") }
    }

    // MARK: - Fields

    struct FieldValue {
        var number: Double?
        var time: Int64?
        var text: String?
    }

    private func fields(of payload: JSONValue, faults: inout Set<String>) -> [String: FieldValue] {
        var values: [String: FieldValue] = [:]
        for member in payload.members ?? [] {
            guard let rule = fieldsByName[member.key] else {
                if facts.refusesUnknownFields { faults.insert("unknown_field") }
                continue
            }
            if member.value == .null {
                if !rule.isNullable { faults.insert("wrong_type") }
                values[rule.name] = FieldValue()
            } else {
                values[rule.name] = value(member.value, rule, faults: &faults)
            }
        }
        for rule in facts.fields where rule.isRequired && values[rule.name] == nil { faults.insert("missing_field") }
        return values
    }

    private func value(_ json: JSONValue, _ rule: FieldRule, faults: inout Set<String>) -> FieldValue {
        switch (rule.kind, json) {
        case (.boolean, .bool(let value)):
            return FieldValue(number: value ? 1 : 0)
        case (.number, .number), (.integer, .number):
            guard let number = json.double, number.isFinite else {
                faults.formUnion(["not_finite", "out_of_range"])
                return FieldValue()
            }
            if rule.kind == .integer, number != number.rounded() { faults.insert("wrong_type") }
            let isInside =
                number >= rule.minimum ?? -.infinity && number <= rule.maximum ?? .infinity
                && rule.exclusiveMinimum.map { number > $0 } ?? true
                && rule.exclusiveMaximum.map { number < $0 } ?? true
            if !isInside { faults.insert("out_of_range") }
            return FieldValue(number: number)
        case (.time, .string(let text)):
            guard let time = DateTime.microseconds(text) else {
                faults.insert("bad_time")
                return FieldValue()
            }
            return FieldValue(number: Double(time), time: time)
        case (.text, .string(let text)):
            check(text, rule, faults: &faults)
            return FieldValue(text: text)
        default:
            faults.insert("wrong_type")
            return FieldValue()
        }
    }

    private func check(_ text: String, _ rule: FieldRule, faults: inout Set<String>) {
        if !rule.lengths.contains(text.unicodeScalars.count) { faults.insert("out_of_range") }
        // The length of a text in `events` is 16 bits, with 65535 for a missing one.
        if text.utf8.count >= 65_535 { faults.formUnion(["out_of_range", "output_too_large"]) }
        if let choices = rule.choices, !choices.contains(text) { faults.insert("not_in_enumeration") }
        if let pattern = patterns[rule.name],
            pattern.firstMatch(in: text, range: NSRange(text.startIndex..., in: text)) == nil
        {
            faults.insert("pattern_mismatch")
        }
    }

    // MARK: - Time and identity

    /// The declared field, else the CloudEvents attribute `time`, else the record's own timestamp.
    private func eventTime(
        of envelope: Envelope, fields: [String: FieldValue], record: LogRecord, faults: inout Set<String>
    ) -> Int64? {
        if let name = facts.eventTimeField, let time = fields[name]?.time { return time }
        if let time = envelope.attributes?["time"].flatMap({ DateTime.microseconds($0) }) { return time }
        if facts.eventTimeField != nil {
            if faults.isEmpty { faults.formUnion(["missing_field", "missing_attribute"]) }
            return nil
        }
        if record.timestampMilliseconds < 0 {
            faults.insert("bad_time")
            return nil
        }
        return record.timestampMilliseconds * 1_000
    }

    private func identity(of envelope: Envelope, fields: [String: FieldValue]) -> PublisherIdentity? {
        if let attributes = envelope.attributes {
            return PublisherIdentity(source: attributes["source"] ?? "", id: attributes["id"] ?? "")
        }
        guard let identity = facts.identity, let id = fields[identity.field]?.text else { return nil }
        return PublisherIdentity(source: identity.source, id: id)
    }

    /// First word of the SHA-256 over the event time and the body of `events`, built anew from docs/formats.md.
    private func payloadHash(_ fields: [String: FieldValue], eventTime: Int64) -> String {
        let numeric = facts.fields.filter { $0.kind != .text }
        let texts = facts.fields.filter { $0.kind == .text }
        var body = Bytes.little(UInt16(numeric.count)) + Bytes.little(UInt16(texts.count))
        var validity = [UInt8](repeating: 0, count: (numeric.count + 7) / 8)
        var numbers: [UInt8] = []
        for (index, rule) in numeric.enumerated() {
            let number = fields[rule.name]?.number
            if number != nil { validity[index / 8] |= 1 << UInt8(index % 8) }
            numbers += Bytes.little((number ?? 0).bitPattern)
        }
        body += validity + numbers
        for rule in texts {
            guard let text = fields[rule.name]?.text else {
                body += [0xff, 0xff]
                continue
            }
            body += Bytes.little(UInt16(truncatingIfNeeded: text.utf8.count)) + Array(text.utf8)
        }
        let digest = SHA256.digest(of: Bytes.little(UInt64(bitPattern: eventTime)) + body)
        return Bytes.hexadecimal(digest.words.0)
    }
}
