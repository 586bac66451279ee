// Envelope: the forms in which an event may come, and what each says around the event itself.

import EventContracts
import JSONColumns

/// How a record carries its event (CloudEvents Kafka binding 1.0, section 3).
enum EnvelopeForm {
    case plain
    /// Attributes in headers `ce_…`, the event in the value.
    case binary
    /// Attributes and event in one JSON object.
    case structured
}

/// What is known of a record before its event is read. Slices without an arena of their own lie in `AttributeBytes`.
struct Envelope {
    /// Batch index of the record.
    var record: Int
    var form: EnvelopeForm
    /// Where the JSON of the event stands in the batch's arena.
    var data: JSONSlice
    /// The CloudEvents attributes, null in the plain form.
    var source = JSONSlice(start: 0, length: -1)
    var id = JSONSlice(start: 0, length: -1)
    /// `time` of CloudEvents, microseconds since the Unix epoch.
    var time: Int64?
    var trace: TraceContext?
    var rejection: Rejection?
}

/// Copies of the attributes of a batch: they come from headers, from parsed envelopes and from the contract.
struct AttributeBytes {
    private(set) var bytes: [UInt8] = []

    mutating func removeAll() { bytes.removeAll(keepingCapacity: true) }

    mutating func append(_ text: RawSpan) -> JSONSlice {
        let start = bytes.count
        bytes.append(copying: text)
        return JSONSlice(start: start, length: text.byteCount)
    }
}

/// Checks that CloudEvents and this service make of an attribute.
enum Attribute {
    /// A required attribute: present, not empty, UTF-8, without control characters, short enough for a record.
    static func check(_ text: RawSpan?, _ name: String) throws(Rejection) {
        guard let text, text.byteCount > 0 else {
            throw Rejection(.missingAttribute, "the attribute \(name) is missing or empty: every event needs one")
        }
        guard text.isUTF8 else {
            throw Rejection(.notUTF8, "the attribute \(name) is not UTF-8: encode it as UTF-8")
        }
        guard !text.hasControlCharacter else {
            throw Rejection(
                .patternMismatch, "the attribute \(name) is \(text.quoted), with a control character: remove it")
        }
        guard text.byteCount <= EventRecordEncoder.textBytesMax else {
            throw Rejection(
                .outOfRange,
                "the attribute \(name) has \(text.byteCount) bytes, at most \(EventRecordEncoder.textBytesMax) fit: shorten it"
            )
        }
    }

    static func checkVersion(_ text: RawSpan?, _ name: String) throws(Rejection) {
        guard let text, text.byteCount > 0 else {
            throw Rejection(.missingAttribute, "the attribute \(name) is missing or empty: send \"1.0\"")
        }
        guard text.equals("1.0") else {
            throw Rejection(
                .unsupportedSpecVersion, "the attribute \(name) is \(text.quoted): only CloudEvents 1.0 is understood")
        }
    }
}

/// A media type as far as this stage cares.
enum MediaType: Equatable {
    case json
    case cloudEventsJSON
    case other

    /// Reads a content type (RFC 9110, section 8.3.1): case counts for nothing, and a charset other than UTF-8 makes any
    /// type `other`.
    init(_ text: RawSpan) {
        let parts = text.lowercasedText.split(separator: ";", omittingEmptySubsequences: false)
        let type = parts.first.map(Self.trimmed) ?? ""
        self = type == "application/cloudevents+json" ? .cloudEventsJSON : .other
        if type == "application/json" || type == "text/json" { self = .json }
        if self == .other, type.hasSuffix("+json"), !type.hasPrefix("application/cloudevents") { self = .json }
        for part in parts.dropFirst() {
            let pair = part.split(separator: "=", maxSplits: 1).map(Self.trimmed)
            guard pair.count == 2, pair[0] == "charset" else { continue }
            if pair[1] != "utf-8", pair[1] != "\"utf-8\"" { self = .other }
        }
    }

    private static func trimmed(_ text: Substring) -> Substring {
        var text = text
        while let first = text.first, first == " " || first == "\t" { text.removeFirst() }
        while let last = text.last, last == " " || last == "\t" { text.removeLast() }
        return text
    }
}

extension RawSpan {
    /// Short texts only: content types.
    fileprivate var lowercasedText: String {
        withUnsafeBytes { unsafe String(decoding: $0.prefix(256), as: UTF8.self) }.lowercased()
    }
}
