// FeaturesReader: the section `features` of pipeline.yaml.

struct FeaturesReader {
    static let example = "{ transform: artifacts/transform.json, columns: [{ name: … }] }"
    static let columnCountMax = 4_096
    private static let columnExample = "{ name: MedInc, impute: median, scale: standard }"
    private static let columnKeys = ["name", "field", "impute", "scale", "outliers"]

    let findings: Findings
    let directory: String

    func settings(_ node: LocatedNode?, schema: EventSchema?) -> FeatureSettings? {
        guard let node,
            let reader = MappingReader(
                node, path: "features", keys: ["transform", "columns"], example: Self.example, findings: findings)
        else { return nil }
        let transform = reader.requiredString("transform", example: "artifacts/transform.json") ?? ""
        let list = reader.required("columns", example: "[\(Self.columnExample)]")
        guard let list else { return nil }
        guard let elements = list.elements, !elements.isEmpty, elements.count <= Self.columnCountMax else {
            reader.wrongType(
                list, "columns", "a list of 1 to \(Self.columnCountMax) columns", example: "[\(Self.columnExample)]")
            return nil
        }
        var columns: [FeatureSettings.Column] = []
        var lines: [String: Int] = [:]
        for (index, element) in elements.enumerated() {
            guard let column = column(element, index: index, schema: schema) else { continue }
            if let line = lines[column.name] {
                findings.error(
                    .duplicateFeature, at: element["name"]?.position ?? element.position,
                    "the feature `\(column.name)` stands here a second time; it is first in line \(line)",
                    mend: "give it another name (and name its field by `field:`), or remove it")
            }
            lines[column.name] = lines[column.name] ?? element.position.line
            columns.append(column)
        }
        return FeatureSettings(columns: columns, transformPath: PipelineLoader.path(transform, in: directory))
    }

    private func column(_ node: LocatedNode, index: Int, schema: EventSchema?) -> FeatureSettings.Column? {
        let path = "features.columns[\(index)]"
        guard
            let reader = MappingReader(
                node, path: path, keys: Self.columnKeys, example: Self.columnExample, findings: findings)
        else { return nil }
        guard let name = reader.requiredString("name", example: "MedInc") else { return nil }
        if name.utf8.count > 255 {
            findings.error(
                .outOfRange, at: reader.position(of: "name"), "`\(path).name` has \(name.utf8.count) bytes",
                mend: "write at most 255 bytes")
        }
        let fieldKey = reader.has("field") ? "field" : "name"
        let fieldName = reader.optionalString("field", example: name) ?? name
        let field = schema.flatMap { check(fieldName, at: reader.position(of: fieldKey), feature: name, schema: $0) }
        let impute = impute(reader, field: field)
        let scale = reader.choice("scale", default: FeatureSettings.Column.Scale.none)
        let outliers = reader.value("outliers").flatMap {
            MappingReader(
                $0, path: "\(path).outliers", keys: ["policy", "lower", "upper"],
                example: "{ policy: clip, lower: 0.001, upper: 0.999 }", findings: findings)
        }
        guard let outliers else {
            return FeatureSettings.Column(
                name: name, field: fieldName, impute: impute, scale: scale, outlierPolicy: .none, lowerQuantile: 0,
                upperQuantile: 1)
        }
        let (policy, lower, upper) = outlierPolicy(outliers)
        return FeatureSettings.Column(
            name: name, field: fieldName, impute: impute, scale: scale, outlierPolicy: policy, lowerQuantile: lower,
            upperQuantile: upper)
    }

    private func check(_ name: String, at position: Position, feature: String, schema: EventSchema)
        -> EventSchema.Field?
    {
        guard let field = schema.fields.first(where: { $0.name == name }) else {
            let nearest = Spelling.nearest(to: name, among: schema.fields.map(\.name))
            findings.error(
                .unknownField, at: position,
                "the feature `\(feature)` is made from the field `\(name)`, which the schema lacks",
                mend: nearest.map { "did you mean `\($0)`?" } ?? "add the field to the schema, or name one by `field:`")
            return nil
        }
        if field.type == .string || field.type == .timestamp {
            let type = field.type == .string ? "a text" : "a date-time"
            findings.error(
                .fieldNotNumeric, at: position,
                "the feature `\(feature)` is made from the field `\(name)`, which is \(type) in the schema",
                mend: "name a field of type number, integer or boolean")
            return nil
        }
        return field
    }

    private func impute(_ reader: MappingReader, field: EventSchema.Field?) -> FeatureSettings.Column.Impute {
        guard let found = reader.required("impute", example: "median") else { return .reject }
        if let constant = found.number {
            let isBelow = field?.minimum.map { constant < $0 } ?? false
            let isAbove = field?.maximum.map { constant > $0 } ?? false
            if isBelow || isAbove {
                findings.warning(
                    .outOfRange, at: found.position,
                    "`\(reader.name("impute"))` is \(constant), which the schema refuses as a value of the field",
                    mend: "choose a value within the field's limits, or median")
            }
            return .constant(constant)
        }
        switch found.text {
        case "mean": return .mean
        case "median": return .median
        case "reject": return .reject
        default:
            reader.badChoice(found, "impute", ["mean", "median", "reject", "a number"])
            return .reject
        }
    }

    private func outlierPolicy(_ reader: MappingReader) -> (FeatureSettings.Column.OutlierPolicy, Double, Double) {
        let policies = FeatureSettings.Column.OutlierPolicy.allCases.map(\.rawValue)
        guard reader.required("policy", example: "clip") != nil else { return (.none, 0, 1) }
        let policy = reader.choice("policy", default: FeatureSettings.Column.OutlierPolicy.none)
        let isKnown = reader.node["policy"]?.text.map { policies.contains($0) } ?? false
        guard policy != .none else {
            for key in ["lower", "upper"] where isKnown && reader.has(key) {
                findings.warning(
                    .noEffect, at: reader.position(of: key), "`\(reader.name(key))` has no effect with `policy: none`",
                    mend: "remove it, or choose clip, flag or reject")
            }
            return (.none, 0, 1)
        }
        let lower = reader.number("lower", default: 0.001, in: 0...1, example: "0.001")
        let upper = reader.number("upper", default: 0.999, in: 0...1, example: "0.999")
        if lower >= upper, (0...1).contains(lower), (0...1).contains(upper) {
            findings.error(
                .quantileOrder, at: reader.position(of: "lower"),
                "`\(reader.name("lower"))` is \(lower), not below `upper`, \(upper)", mend: "swap the two")
        }
        return (policy, lower, upper)
    }
}
