// JSONFault: why a document was refused, and the sentence for a person.

import CSimdJSON

/// The mistake for which a document was refused. Broken syntax outweighs what the schema forbids; of the rest the first.
public struct JSONFault: Error, Sendable, Equatable {
    public enum Code: Int32, Sendable, CaseIterable {
        case empty = 1
        case tooLarge = 2
        case notUTF8 = 3
        case malformed = 4
        case tooDeep = 5
        case notAnObject = 6
        case duplicateKey = 7
        case unknownField = 8
        case wrongType = 9
        case notFinite = 10
        /// An integer beyond 2^53, which Float64 does not hold exactly.
        case outOfRange = 11
        case missingField = 12
    }

    public let code: Code
    /// Index into the schema's fields, where one is concerned.
    public let field: Int?
    /// Byte of the document, where known.
    public let position: Int?
    /// Bytes from `position` on that show what was found.
    let length: Int
    let detail: Int32

    /// The C record as it is written by the decoder.
    struct Record: Sendable {
        var code: Int32 = 0
        var detail: Int32 = 0
        var field: Int32 = -1
        var length: Int32 = 0
        var position: Int64 = -1
    }

    /// Most bytes of a document that a message repeats.
    static let excerptBytesMax = 40

    init?(_ record: Record) {
        guard let code = Code(rawValue: record.code) else { return nil }
        self.code = code
        field = record.field >= 0 ? Int(record.field) : nil
        position = record.position >= 0 ? Int(record.position) : nil
        length = Int(record.length)
        detail = record.detail
    }

    /// One sentence: the place, what was found, and the way to mend it.
    /// - Parameter document: the refused document, of which at most 40 bytes are repeated.
    public func message(in document: RawSpan, schema: JSONSchema) -> String {
        let name = field.map { "field \"\(schema.fields[$0].name)\"" }
        let place = position.map { " at byte \($0)" } ?? ""
        let found = excerpt(of: document)
        switch code {
        case .empty: return "the value is empty: send a JSON object"
        case .tooLarge:
            return """
                the value has \(document.byteCount) bytes, more than the limit of \(schema.bytesMax): send less, or raise \
                the limit of bytes in pipeline.yaml
                """
        case .notUTF8: return "the value is not UTF-8\(place): encode the JSON as UTF-8"
        case .malformed: return "the JSON is malformed\(place): \(syntax(found))"
        case .tooDeep:
            return """
                the JSON is nested deeper than the limit of \(schema.depthMax)\(place): flatten it, or raise the limit of \
                depth in pipeline.yaml
                """
        case .notAnObject: return "the value is \(kind): send one JSON object with the fields of the schema"
        case .duplicateKey: return "the key \(found)\(place) comes twice in one object: send it once"
        case .unknownField:
            return "the field \(found)\(place) is not in the schema: drop it, or set unknownFields: ignore"
        case .wrongType:
            let expected = field.map { Self.name(of: schema.fields[$0]) } ?? "of another type"
            return "the \(name ?? "field") must be \(expected), found \(kind) \(found)\(place)"
        case .notFinite:
            return """
                the \(name ?? "number") holds \(found)\(place), which is no finite number: send a number that a Float64 \
                holds, null, or leave the field out
                """
        case .outOfRange:
            return
                "the \(name ?? "number") holds \(found)\(place), beyond 2^53: send it as a string or a smaller integer"
        case .missingField:
            return "the \(name ?? "field") is missing: it is required by the schema, so send it"
        }
    }

    private static func name(of field: JSONSchema.Field) -> String {
        let type =
            switch field.type {
            case .number: "a number"
            case .integer: "an integer"
            case .boolean: "true or false"
            case .string: "a string"
            case .raw: "a value"
            }
        return field.isNullable ? "\(type) or null" : type
    }

    private var kind: String {
        switch Int(detail) {
        case penstock_json_found_null: "null"
        case penstock_json_found_boolean: "the boolean"
        case penstock_json_found_number: "the number"
        case penstock_json_found_string: "the string"
        case penstock_json_found_object: "an object"
        case penstock_json_found_array: "an array"
        case penstock_json_found_fraction: "the fraction"
        default: "another value"
        }
    }

    private func syntax(_ found: String) -> String {
        switch Int(detail) {
        case penstock_json_bad_value: "expected a value, found \(found)"
        case penstock_json_open_string: "the string that begins here has no closing quote"
        case penstock_json_control_character: "control characters in strings must be escaped, as \\n or \\u000a"
        case penstock_json_bad_escape: "this escape is not one of JSON"
        case penstock_json_bad_number: "this is not a number of JSON"
        case penstock_json_no_separator: "expected a comma or the closing bracket, found \(found)"
        case penstock_json_no_colon: "expected a colon after the key, found \(found)"
        case penstock_json_no_key: "expected a key in double quotes, found \(found)"
        case penstock_json_ends_early: "it ends before its last bracket is closed; send the whole document"
        case penstock_json_trailing: "something follows the end of the document; send one document per record"
        case penstock_json_byte_order_mark: "it begins with a byte order mark; send it without"
        default: "it does not follow RFC 8259"
        }
    }

    /// At most 40 bytes of what was found, printable; empty when nothing is to be shown.
    private func excerpt(of document: RawSpan) -> String {
        guard let position, length > 0, position < document.byteCount else { return "" }
        let available = min(length, document.byteCount - position)
        return JSONFault.printable(document.extracting(position..<(position + available)))
    }

    /// A text for messages: at most 40 bytes, cut between characters, control characters as `?`.
    public static func printable(_ bytes: RawSpan) -> String {
        let count = min(bytes.byteCount, excerptBytesMax)
        // The pointer lives as long as the closure.
        var shown = unsafe bytes.withUnsafeBytes { unsafe Array($0.prefix(count)) }
        if count < bytes.byteCount {
            // A cut must not leave half a character behind.
            while let last = shown.last, last & 0xc0 == 0x80 { shown.removeLast() }
            if let last = shown.last, last & 0x80 != 0 { shown.removeLast() }
        }
        for index in shown.indices where shown[index] < 0x20 || shown[index] == 0x7f { shown[index] = 0x3f }
        return String(decoding: shown, as: UTF8.self) + (count < bytes.byteCount ? "…" : "")
    }
}
