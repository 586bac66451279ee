// InputReader: the section `input` of pipeline.yaml.

struct InputReader {
    static let example = "{ schema: schemas/event.schema.json, eventTime: timestamp }"
    private static let keys = [
        "schema", "formats", "eventTime", "identity", "key", "unknownFields", "limits", "clockSkew", "duplicateWindow",
    ]
    private static let day: Int64 = 86_400_000_000

    private enum KeyPolicy: String, CaseIterable { case required, optional }

    let findings: Findings
    let reader: MappingReader

    init?(_ node: LocatedNode, findings: Findings) {
        guard
            let reader = MappingReader(
                node, path: "input", keys: Self.keys, example: Self.example, findings: findings)
        else { return nil }
        self.findings = findings
        self.reader = reader
    }

    /// Path of the schema as written, with its place.
    var schemaPath: (text: String, position: Position)? {
        reader.requiredString("schema", example: "schemas/event.schema.json").map {
            ($0, reader.position(of: "schema"))
        }
    }

    /// - Parameter compiled: nil when the schema has mistakes; what depends on it is then not checked.
    func contract(compiled: SchemaCompiler.Result?) -> InputContract {
        let schema = compiled?.schema
        let unknownFields = reader.choice("unknownFields", default: InputContract.UnknownFields.reject)
        if compiled?.allowsAdditionalProperties == false, unknownFields == .ignore {
            findings.warning(
                .noEffect, at: reader.position(of: "unknownFields"),
                "`unknownFields: ignore` contradicts `additionalProperties: false` in the schema; unknown fields are ignored",
                mend: "remove `additionalProperties` from the schema, or write `unknownFields: reject`")
        }
        let limits = reader.value("limits").flatMap {
            MappingReader(
                $0, path: "input.limits", keys: ["bytes", "depth"], example: "{ bytes: 64KiB, depth: 8 }",
                findings: findings)
        }
        let window = reader.value("duplicateWindow").flatMap {
            MappingReader(
                $0, path: "input.duplicateWindow", keys: ["records", "age"], example: "{ records: 100000, age: 1d }",
                findings: findings)
        }
        let skew = reader.duration("clockSkew", default: 300_000_000, from: "0s", to: "3650d") ?? 0
        let age = window?.duration("age", default: Self.day, from: "1s", to: "365d") ?? Self.day
        return InputContract(
            schema: schema ?? EventSchema(fields: []), formats: formats(), eventTimeField: eventTimeField(schema),
            identity: identity(schema), isKeyRequired: reader.choice("key", default: KeyPolicy.required) == .required,
            unknownFields: unknownFields,
            bytesMax: limits?.size("bytes", default: 65_536, from: "64B", to: "64MiB") ?? 65_536,
            depthMax: limits?.integer("depth", default: 8, in: 1...64, example: "8") ?? 8,
            clockSkewMilliseconds: skew / 1_000,
            duplicateWindowRecords: window?.integer("records", default: 100_000, in: 0...100_000_000, example: "100000")
                ?? 100_000,
            duplicateWindowMilliseconds: age / 1_000)
    }

    var windowAgePosition: Position {
        reader.value("duplicateWindow")?["age"]?.position ?? reader.position(of: "duplicateWindow")
    }

    var bytesPosition: Position { reader.value("limits")?["bytes"]?.position ?? reader.position(of: "limits") }

    private func formats() -> Set<InputContract.Format> {
        let all = Set(InputContract.Format.allCases)
        guard let found = reader.value("formats") else { return all }
        guard let elements = found.elements, !elements.isEmpty else {
            reader.wrongType(found, "formats", "a list of formats", example: "[json, cloudevents]")
            return all
        }
        var formats: Set<InputContract.Format> = []
        for element in elements {
            guard let format = reader.choice(element, "formats", InputContract.Format.self) else { continue }
            if !formats.insert(format).inserted {
                findings.error(
                    .badValue, at: element.position, "`input.formats` names \(format.rawValue) twice",
                    mend: "remove one of the two")
            }
        }
        return formats
    }

    private func eventTimeField(_ schema: EventSchema?) -> String? {
        guard let name = reader.optionalString("eventTime", example: "timestamp") else { return nil }
        guard let schema else { return name }
        let position = reader.position(of: "eventTime")
        guard let field = field(name, "eventTime", at: position, among: schema.fields) else { return name }
        guard field.type == .timestamp else {
            findings.error(
                .badEventTimeField, at: position,
                "`input.eventTime` names the field `\(name)`, which is of type \(field.type.rawValue) in the schema",
                mend: "name a field of type string with the format date-time")
            return name
        }
        warnIfOptional(
            field, "eventTime", at: position, "an event without it is refused unless it is a CloudEvent with `time`")
        return name
    }

    private func identity(_ schema: EventSchema?) -> PlainIdentity? {
        guard let node = reader.value("identity"),
            let identity = MappingReader(
                node, path: "input.identity", keys: ["id", "source"], example: "{ id: id, source: /my/source }",
                findings: findings)
        else { return nil }
        let source = identity.requiredString("source", example: "/my/source")
        if let source, source.utf8.count > 1_024 {
            findings.error(
                .outOfRange, at: identity.position(of: "source"),
                "`input.identity.source` has \(source.utf8.count) bytes", mend: "write at most 1024 bytes")
        }
        guard let name = identity.requiredString("id", example: "id") else { return nil }
        let position = identity.position(of: "id")
        if let schema, let field = field(name, "identity.id", at: position, among: schema.fields) {
            if field.type == .string {
                warnIfOptional(field, "identity.id", at: position, "a repeat of an event without it is not recognised")
            } else {
                let type = field.type == .timestamp ? "a date-time" : "of type \(field.type.rawValue)"
                findings.error(
                    .badIdentityField, at: position,
                    "`input.identity.id` names the field `\(name)`, which is \(type) in the schema",
                    mend: "name a field of type string without a format")
            }
        }
        return PlainIdentity(idField: name, source: source ?? "")
    }

    private func field(_ name: String, _ key: String, at position: Position, among fields: [EventSchema.Field])
        -> EventSchema.Field?
    {
        if let field = fields.first(where: { $0.name == name }) { return field }
        let nearest = Spelling.nearest(to: name, among: fields.map(\.name))
        findings.error(
            .unknownField, at: position, "`input.\(key)` names the field `\(name)`, which the schema lacks",
            mend: nearest.map { "did you mean `\($0)`?" } ?? "add the field to the schema, or name one that it has")
        return nil
    }

    private func warnIfOptional(_ field: EventSchema.Field, _ key: String, at position: Position, _ effect: String) {
        guard !field.isRequired || field.isNullable else { return }
        findings.warning(
            .optionalField, at: position,
            "the field `\(field.name)` of `input.\(key)` may be missing by the schema: \(effect)",
            mend: "list it in the schema's `required`, without null among its types")
    }
}
