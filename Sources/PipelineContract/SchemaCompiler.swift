// SchemaCompiler: a flat JSON Schema (draft 2020-12 subset) becomes an EventSchema, each mistake explained.

/// What is supported: one object of fields, each a number, integer, boolean, string or date-time, optionally null, with
/// limits on numbers, lengths, enumerations and patterns of texts. Everything else is refused with its reason, since a
/// keyword that is silently ignored lets events pass that its author meant to stop.
struct SchemaCompiler {
    struct Result {
        var schema: EventSchema
        /// Place of each field's key.
        var positions: [String: Position]
        /// What `additionalProperties` says, if it is there.
        var allowsAdditionalProperties: Bool?
    }

    static let fieldCountMax = 1_024

    private static let annotations = ["$comment", "title", "description", "examples", "default", "deprecated"]
    private static let rootKeywords = ["$schema", "$id", "type", "properties", "required", "additionalProperties"]
    private static let fieldKeywords = [
        "type", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum", "minLength",
        "maxLength", "pattern",
    ]

    /// Keywords of JSON Schema that are known and not supported, with what to do instead.
    private static let unsupported: [String: String] = [
        "$ref": "write the definition out in place", "$defs": "write the definitions out in place",
        "definitions": "write the definitions out in place", "$dynamicRef": "write the definition out in place",
        "$anchor": "remove it", "$dynamicAnchor": "remove it", "$vocabulary": "remove it",
        "allOf": "merge the parts into one list of properties", "anyOf": "write one type per field",
        "oneOf": "write one type per field; for a field that may be null write [\"number\", \"null\"]",
        "not": "state what is allowed", "if": "state what is always required", "then": "state what is always required",
        "else": "state what is always required", "dependentRequired": "list the fields in `required`",
        "dependentSchemas": "list the fields in `required`", "patternProperties": "name each field in `properties`",
        "propertyNames": "name each field in `properties`", "minProperties": "list the fields in `required`",
        "maxProperties": "set `additionalProperties` to false", "unevaluatedProperties": "use `additionalProperties`",
        "properties": "flatten the nested object: one field per value", "required": "flatten the nested object",
        "additionalProperties": "flatten the nested object", "items": "write one field per element",
        "prefixItems": "write one field per element", "contains": "write one field per element",
        "minItems": "write one field per element", "maxItems": "write one field per element",
        "uniqueItems": "write one field per element", "const": "write an `enum` with one text",
        "multipleOf": "use the type integer", "contentEncoding": "remove it", "contentMediaType": "remove it",
        "readOnly": "remove it", "writeOnly": "remove it",
    ]

    private let findings: Findings

    /// Nil when the schema has a mistake; each is in `findings`.
    static func compile(_ root: LocatedNode, findings: Findings) -> Result? {
        let before = findings.diagnostics.filter { $0.severity == .error }.count
        let result = SchemaCompiler(findings: findings).document(root)
        return findings.diagnostics.filter { $0.severity == .error }.count == before ? result : nil
    }

    private init(findings: Findings) {
        self.findings = findings
    }

    private func document(_ root: LocatedNode) -> Result? {
        guard let entries = root.entries else {
            findings.error(
                .badSchema, at: root.position, "the schema must be an object, but is \(root.kindDescription)",
                mend: "write { \"type\": \"object\", \"properties\": { … } }")
            return nil
        }
        checkKeywords(entries, known: Self.rootKeywords, place: "the schema")
        if let draft = root["$schema"], draft.quotedText?.contains("2020-12") != true {
            findings.error(
                .badSchema, at: draft.position, "`$schema` is \(draft.kindDescription)",
                mend: "write \"https://json-schema.org/draft/2020-12/schema\"")
        }
        if root["type"]?.quotedText != "object" {
            findings.error(
                .badSchema, at: root["type"]?.position ?? root.position, "the schema's `type` must be \"object\"",
                mend: "write \"type\": \"object\"")
        }
        var allowsMore: Bool?
        if let additional = root["additionalProperties"] {
            allowsMore = additional.bool
            if allowsMore == nil {
                findings.error(
                    .unsupportedKeyword, at: additional.position,
                    "`additionalProperties` must be true or false, but is \(additional.kindDescription)",
                    mend: "name each field in `properties`")
            }
        }
        guard let properties = root["properties"], let list = properties.entries, !list.isEmpty else {
            findings.error(
                .badSchema, at: root["properties"]?.position ?? root.position, "the schema has no `properties`",
                mend: "describe each field: \"properties\": { \"name\": { \"type\": \"number\" } }")
            return nil
        }
        if list.count > Self.fieldCountMax {
            findings.error(
                .badSchema, at: properties.position, "the schema has \(list.count) fields",
                mend: "describe at most \(Self.fieldCountMax) fields")
        }
        let required = requiredNames(root["required"], known: list.map(\.key))
        let fields = list.compactMap { field($0, isRequired: required.contains($0.key)) }
        return Result(
            schema: EventSchema(fields: fields),
            positions: Dictionary(list.map { ($0.key, $0.keyPosition) }) { first, _ in first },
            allowsAdditionalProperties: allowsMore)
    }

    private func checkKeywords(_ entries: [LocatedNode.Entry], known: [String], place: String) {
        for entry in entries where !known.contains(entry.key) && !Self.annotations.contains(entry.key) {
            if entry.key.hasPrefix("x-") { continue }
            if let instead = Self.unsupported[entry.key] {
                findings.error(
                    .unsupportedKeyword, at: entry.keyPosition,
                    "the keyword `\(entry.key)` of \(place) is not supported: events are flat objects", mend: instead)
            } else if known == Self.rootKeywords, Self.fieldKeywords.contains(entry.key) {
                findings.error(
                    .unsupportedKeyword, at: entry.keyPosition,
                    "the keyword `\(entry.key)` of \(place) has no effect here",
                    mend: "move it into a field under `properties`")
            } else {
                let mend = Spelling.nearest(to: entry.key, among: known).map { "did you mean `\($0)`?" }
                findings.error(
                    .unsupportedKeyword, at: entry.keyPosition, "unknown keyword `\(entry.key)` of \(place)",
                    mend: mend ?? "remove it, or begin its name with x- if it is a note of your own")
            }
        }
    }

    private func requiredNames(_ node: LocatedNode?, known: [String]) -> Set<String> {
        guard let node else { return [] }
        guard let elements = node.elements else {
            findings.error(
                .badSchema, at: node.position, "`required` must be a list of names, but is \(node.kindDescription)",
                mend: "write [\"a\", \"b\"]")
            return []
        }
        var names: Set<String> = []
        for element in elements {
            guard let name = element.quotedText, known.contains(name) else {
                let nearest = element.quotedText.flatMap { Spelling.nearest(to: $0, among: known) }
                findings.error(
                    .unknownField, at: element.position,
                    "`required` names \(element.kindDescription), which is not among the properties",
                    mend: nearest.map { "did you mean \"\($0)\"?" } ?? "add it to `properties`, or remove it")
                continue
            }
            if !names.insert(name).inserted {
                findings.error(
                    .badSchema, at: element.position, "`required` names \"\(name)\" twice",
                    mend: "remove one of the two")
            }
        }
        return names
    }

    // MARK: - Fields

    private func field(_ entry: LocatedNode.Entry, isRequired: Bool) -> EventSchema.Field? {
        let name = entry.key
        if name.isEmpty || name.utf8.count > 255 {
            findings.error(
                .badSchema, at: entry.keyPosition, "the name of a field must have 1 to 255 bytes", mend: "rename it")
        }
        guard let entries = entry.value.entries else {
            findings.error(
                .badSchema, at: entry.value.position,
                "the field `\(name)` must be described by an object, but is \(entry.value.kindDescription)",
                mend: "write { \"type\": \"number\" }")
            return nil
        }
        checkKeywords(entries, known: Self.fieldKeywords, place: "the field `\(name)`")
        guard let (type, isNullable) = type(of: entry) else { return nil }
        var field = EventSchema.Field(name: name, type: type, isRequired: isRequired, isNullable: isNullable)
        for constraint in entries {
            apply(constraint, to: &field)
        }
        checkLimits(of: field, at: entry.keyPosition)
        return field
    }

    private func type(of entry: LocatedNode.Entry) -> (EventSchema.FieldType, isNullable: Bool)? {
        let choices = "number, integer, boolean or string"
        guard let node = entry.value["type"] else {
            findings.error(
                .badSchema, at: entry.keyPosition, "the field `\(entry.key)` has no `type`", mend: "add one: \(choices)"
            )
            return nil
        }
        let elements = node.elements ?? [node]
        let isNullable = elements.contains { $0.quotedText == "null" }
        let others = elements.filter { $0.quotedText != "null" }
        guard others.count == 1, let name = others.first?.quotedText else {
            findings.error(
                .badSchema, at: node.position, "the field `\(entry.key)` must have one type",
                mend: "write one of \(choices); [\"number\", \"null\"] where a value may be missing")
            return nil
        }
        if name == "object" || name == "array" {
            findings.error(
                .unsupportedKeyword, at: node.position,
                "the field `\(entry.key)` is \(name == "array" ? "an array" : "a nested object"); events are flat objects",
                mend: "write one field per value, for example \"\(entry.key)_0\"")
            return nil
        }
        guard let type = EventSchema.FieldType(rawValue: name), type != .timestamp else {
            let nearest = Spelling.nearest(to: name, among: ["number", "integer", "boolean", "string"])
            findings.error(
                .badSchema, at: node.position, "the field `\(entry.key)` has the unknown type \"\(name)\"",
                mend: nearest.map { "did you mean \"\($0)\"?" } ?? "write \(choices)")
            return nil
        }
        guard let format = entry.value["format"] else { return (type, isNullable) }
        if type == .string, format.quotedText == "date-time" { return (.timestamp, isNullable) }
        findings.error(
            .unsupportedKeyword, at: format.position,
            "the format \(format.kindDescription) of the field `\(entry.key)` is not supported",
            mend: type == .string ? "write \"date-time\", or use `pattern`" : "remove it; formats are for strings")
        return nil
    }

    /// Takes over one keyword; keywords that do not fit the type are mistakes.
    private func apply(_ constraint: LocatedNode.Entry, to field: inout EventSchema.Field) {
        let node = constraint.value
        switch constraint.key {
        case "minimum", "exclusiveMinimum":
            guard let value = limit(constraint, of: field) else { return }
            if field.minimum != nil { return twice(constraint, of: field, "`minimum` and `exclusiveMinimum`") }
            field.minimum = value
            field.isMinimumExclusive = constraint.key == "exclusiveMinimum"
        case "maximum", "exclusiveMaximum":
            guard let value = limit(constraint, of: field) else { return }
            if field.maximum != nil { return twice(constraint, of: field, "`maximum` and `exclusiveMaximum`") }
            field.maximum = value
            field.isMaximumExclusive = constraint.key == "exclusiveMaximum"
        case "minLength":
            field.lengthMin = length(constraint, of: field)
        case "maxLength":
            field.lengthMax = length(constraint, of: field)
        case "enum":
            field.enumeration = enumeration(constraint, of: field)
        case "pattern":
            guard fits(constraint, field, [.string]) else { return }
            guard let text = node.quotedText, (try? Regex(text)) != nil else {
                findings.error(
                    .badSchema, at: node.position, "the pattern of the field `\(field.name)` is no regular expression",
                    mend: "write for example \"^[a-z]+$\"")
                return
            }
            field.pattern = text
        default:
            return
        }
    }

    private func fits(_ constraint: LocatedNode.Entry, _ field: EventSchema.Field, _ types: [EventSchema.FieldType])
        -> Bool
    {
        if types.contains(field.type) { return true }
        let type = field.type == .timestamp ? "a date-time" : "of type \(field.type.rawValue)"
        findings.error(
            .badSchema, at: constraint.keyPosition,
            "`\(constraint.key)` has no effect: the field `\(field.name)` is \(type)",
            mend: "remove it, or change the type")
        return false
    }

    private func limit(_ constraint: LocatedNode.Entry, of field: EventSchema.Field) -> Double? {
        guard fits(constraint, field, [.number, .integer]) else { return nil }
        if let number = constraint.value.number { return number }
        findings.error(
            .badSchema, at: constraint.value.position,
            "`\(constraint.key)` of the field `\(field.name)` must be a number, but is "
                + constraint.value.kindDescription, mend: "write a number without quotation marks")
        return nil
    }

    private func length(_ constraint: LocatedNode.Entry, of field: EventSchema.Field) -> Int? {
        guard fits(constraint, field, [.string]) else { return nil }
        if let length = constraint.value.integer, length >= 0 { return length }
        findings.error(
            .badSchema, at: constraint.value.position,
            "`\(constraint.key)` of the field `\(field.name)` must be a whole number from 0, but is "
                + constraint.value.kindDescription, mend: "write for example 64")
        return nil
    }

    private func enumeration(_ constraint: LocatedNode.Entry, of field: EventSchema.Field) -> [String]? {
        guard fits(constraint, field, [.string]) else { return nil }
        let elements = constraint.value.elements ?? []
        let texts = elements.compactMap(\.quotedText)
        guard !texts.isEmpty, texts.count == elements.count, Set(texts).count == texts.count else {
            findings.error(
                .badSchema, at: constraint.value.position,
                "`enum` of the field `\(field.name)` must be a list of different texts",
                mend: "write [\"a\", \"b\"]; for null add it to the type: [\"string\", \"null\"]")
            return nil
        }
        return texts
    }

    private func twice(_ constraint: LocatedNode.Entry, of field: EventSchema.Field, _ names: String) {
        findings.error(
            .badSchema, at: constraint.keyPosition, "the field `\(field.name)` has both \(names)",
            mend: "keep one of the two")
    }

    private func checkLimits(of field: EventSchema.Field, at position: Position) {
        if let minimum = field.minimum, let maximum = field.maximum,
            minimum > maximum || (minimum == maximum && (field.isMinimumExclusive || field.isMaximumExclusive))
        {
            findings.error(
                .badSchema, at: position,
                "no value of the field `\(field.name)` lies between \(minimum) and \(maximum)",
                mend: "swap or correct the limits")
        }
        if let lengthMin = field.lengthMin, let lengthMax = field.lengthMax, lengthMin > lengthMax {
            findings.error(
                .badSchema, at: position,
                "no text of the field `\(field.name)` has \(lengthMin) to \(lengthMax) characters",
                mend: "swap or correct the lengths")
        }
    }
}
