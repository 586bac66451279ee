// CloudEvent: the envelope of the records of `monitoring`, `alerts` and `retraining`. Layout: docs/formats.md.

import Cryptography
import FoundationEssentials

/// A CloudEvent 1.0 in structured JSON (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md).
public struct CloudEvent<Payload: Codable & Sendable>: Sendable, Codable {
    public var specversion = "1.0"
    /// Unique with `source`. The programs of Penstock derive it from what is told, so that a repeat has the same id.
    public var id: String
    /// `/penstock/<pipeline>/<program>`.
    public var source: String
    public var type: String
    public var subject: String?
    /// Watermark (event) time of the record's cause, not the clock of the machine.
    public var time: EventTime
    public var datacontenttype = "application/json"
    public var data: Payload

    public init(id: String, source: String, type: String, subject: String?, time: EventTime, data: Payload) {
        self.id = id
        self.source = source
        self.type = type
        self.subject = subject
        self.time = time
        self.data = data
    }

    /// The JSON, keys sorted, without white space.
    public func encoded() throws(RecordFormatError) -> [UInt8] { try RecordJSON.encode(self) }

    /// Reads a record of the topic; nil when its `type` is not in `types`, which a reader passes over.
    /// - Throws: when the record is no such CloudEvent, with the place in the JSON.
    public static func decode(_ bytes: [UInt8], types: Set<String>) throws(RecordFormatError) -> CloudEvent? {
        let head = try RecordJSON.decode(CloudEventHead.self, from: bytes)
        guard head.specversion == "1.0" else {
            throw RecordFormatError(
                .unsupportedSpecVersion, "specversion is \(head.specversion); this reader knows 1.0")
        }
        guard types.contains(head.type) else { return nil }
        if let version = head.data?.v, version != 1 {
            throw RecordFormatError(
                .unsupportedFormatVersion,
                "\(head.type) has format version \(version); this reader knows 1: upgrade it")
        }
        return try RecordJSON.decode(CloudEvent.self, from: bytes)
    }
}

/// The attributes that tell what a CloudEvent is, and the version of its data where it tells one.
private struct CloudEventHead: Decodable {
    struct Version: Decodable { var v: Int? }

    var specversion: String
    var type: String
    var data: Version?

    enum CodingKeys: String, CodingKey { case specversion, type, data }

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        specversion = try values.decode(String.self, forKey: .specversion)
        type = try values.decode(String.self, forKey: .type)
        // Data of another kind are of other types, which nobody here reads.
        data = try? values.decode(Version.self, forKey: .data)
    }
}

/// Constants of the CloudEvents Kafka binding.
public enum CloudEventBinding {
    /// Value of the header `content-type` of a structured event.
    public static let structuredContentType = "application/cloudevents+json; charset=UTF-8"
    public static let contentTypeHeader = "content-type"
}

/// JSON of the records that are few: Foundation's coders, one place for their errors.
public enum RecordJSON {
    /// Bytes of one record, at most; a larger one is not read.
    public static let bytesMax = 900_000

    public static func encode(_ value: some Encodable) throws(RecordFormatError) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do {
            return Array(try encoder.encode(value))
        } catch {
            throw RecordFormatError(.malformedRecord, "the record cannot be written as JSON: \(error)")
        }
    }

    public static func decode<T: Decodable>(_ type: T.Type, from bytes: [UInt8]) throws(RecordFormatError) -> T {
        guard bytes.count <= bytesMax else {
            throw RecordFormatError(.tooLarge, "the record has \(bytes.count) bytes; at most \(bytesMax) are read")
        }
        do {
            return try JSONDecoder().decode(type, from: Data(bytes))
        } catch let error as DecodingError {
            throw RecordFormatError(.malformedRecord, Self.text(error))
        } catch {
            throw RecordFormatError(.malformedJSON, "the record is not JSON: \(error)")
        }
    }

    private static func text(_ error: DecodingError) -> String {
        func place(_ context: DecodingError.Context) -> String {
            let path = context.codingPath.map { $0.intValue.map { "[\($0)]" } ?? ".\($0.stringValue)" }.joined()
            return path.isEmpty ? "the record" : path.hasPrefix(".") ? String(path.dropFirst()) : path
        }
        return switch error {
        case .keyNotFound(let key, let context): "\(place(context)) lacks the key \"\(key.stringValue)\""
        case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
            "\(place(context)): \(context.debugDescription)"
        @unknown default: "the record does not have the documented form"
        }
    }
}

/// Ids that are the same whenever the same thing is told again.
public enum RecordIdentity {
    /// 32 hex digits of a SHA-256 over the parts, each with its length.
    public static func id(_ parts: [String]) -> String {
        var hash = SHA256()
        for part in parts {
            let bytes = Array(part.utf8)
            var length: [UInt8] = []
            length.appendLittleEndian(UInt64(bytes.count))
            hash.update(length)
            hash.update(bytes)
        }
        let words = hash.finish().words
        return Hexadecimal.text(words.0) + Hexadecimal.text(words.1)
    }
}
