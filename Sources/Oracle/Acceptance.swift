// Acceptance: whether an input record is a valid event, judged from its bytes alone.

import Cryptography
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

    // Byte by byte: Swift's own comparison takes canonically equivalent texts for equal.
    static func == (lhs: PublisherIdentity, rhs: PublisherIdentity) -> Bool {
        lhs.source.utf8.elementsEqual(rhs.source.utf8) && lhs.id.utf8.elementsEqual(rhs.id.utf8)
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(Array(source.utf8))
        hasher.combine(Array(id.utf8))
    }

    /// Nil when one of the two cannot serve.
    init?(source: String, id: String) {
        guard AttributeText.faults(of: source).isEmpty, AttributeText.faults(of: id).isEmpty else { return nil }
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
    private let fieldsByName: [[UInt8]: FieldRule]
    private let patterns: [String: NSRegularExpression]
    /// In the order of the schema, as in the body of `events`.
    private let numericFields: [FieldRule]
    private let textFields: [FieldRule]

    init(facts: PipelineFacts, clusterID: String) {
        self.facts = facts
        self.clusterID = clusterID
        fieldsByName = Dictionary(facts.fields.map { (Array($0.name.utf8), $0) }) { first, _ in first }
        numericFields = facts.fields.filter { $0.kind != .text }
        textFields = facts.fields.filter { $0.kind == .text }
        patterns = Dictionary(
            facts.fields.compactMap { field in
                field.pattern.flatMap { try? NSRegularExpression(pattern: $0) }.map { (field.name, $0) }
            }
        ) { first, _ in first }
    }

    func judge(_ record: LogRecord) -> Verdict {
        var faults: Set<String> = []
        guard let value = record.value, !value.isEmpty else { return Verdict(faults: ["empty_value"]) }
        if value.count > facts.bytesMax { faults.insert("too_large") }
        if (record.key ?? []).isEmpty, facts.isKeyRequired { faults.insert("missing_attribute") }
        guard let envelope = envelope(of: record, value: value, faults: &faults) else { return Verdict(faults: faults) }
        guard envelope.payload.members != nil else { return Verdict(faults: faults.union(["not_an_object"])) }
        let fields = fields(of: envelope.payload, faults: &faults)
        let declared = facts.eventTimeField.flatMap { fields[$0]?.time } ?? envelope.time
        let published = record.timestampMilliseconds
        if published < 0 || published > 253_402_300_799_999 { faults.insert("bad_time") }
        let eventTime = declared ?? published.multipliedReportingOverflow(by: 1_000).partialValue
        if declared != nil, published >= 0, eventTime / 1_000 - published > facts.clockSkewMilliseconds {
            faults.insert("clock_skew")
        }
        var identity = identity(of: envelope, fields: fields, faults: &faults)
        guard faults.isEmpty else { return Verdict(faults: faults) }
        // Without a time of the publisher's own, a repeat would have another event id: then the position counts.
        if declared == nil { identity = nil }
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

    // MARK: - Fields

    struct FieldValue {
        var number: Double?
        var time: Int64?
        var text: String?
    }

    private func fields(of payload: JSONValue, faults: inout Set<String>) -> [String: FieldValue] {
        var values: [String: FieldValue] = [:]
        for member in payload.members ?? [] {
            guard let rule = fieldsByName[Array(member.key.utf8)] else {
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
            if rule.kind == .integer {
                if number != number.rounded() { faults.insert("wrong_type") }
                // 2^53: beyond it Float64 does not hold every integer.
                if abs(number) > 9_007_199_254_740_992 { faults.insert("out_of_range") }
            }
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
        if text.utf8.count >= 65_535 { faults.insert("out_of_range") }
        if let choices = rule.choices, !choices.contains(where: { $0.utf8.elementsEqual(text.utf8) }) {
            faults.insert("not_in_enumeration")
        }
        if let pattern = patterns[rule.name],
            pattern.firstMatch(in: text, range: NSRange(text.startIndex..., in: text)) == nil
        {
            faults.insert("pattern_mismatch")
        }
    }

    // MARK: - Identity

    private func identity(of envelope: Envelope, fields: [String: FieldValue], faults: inout Set<String>)
        -> PublisherIdentity?
    {
        if let attributes = envelope.attributes {
            return PublisherIdentity(source: attributes["source"] ?? "", id: attributes["id"] ?? "")
        }
        guard let identity = facts.identity, let id = fields[identity.field]?.text else { return nil }
        faults.formUnion(AttributeText.faults(of: id))
        return PublisherIdentity(source: identity.source, id: id)
    }

    /// First word of the SHA-256 over the event time and the body of `events`, built anew from docs/formats.md.
    private func payloadHash(_ fields: [String: FieldValue], eventTime: Int64) -> String {
        var body = Bytes.little(UInt16(numericFields.count)) + Bytes.little(UInt16(textFields.count))
        var validity = [UInt8](repeating: 0, count: (numericFields.count + 7) / 8)
        var numbers: [UInt8] = []
        for (index, rule) in numericFields.enumerated() {
            let number = fields[rule.name]?.number
            if number != nil { validity[index / 8] |= 1 << UInt8(index % 8) }
            numbers += Bytes.little((number ?? 0).bitPattern)
        }
        body += validity + numbers
        for rule in textFields {
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
