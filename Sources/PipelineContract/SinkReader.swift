// SinkReader: the sections `model`, `batch` and `sink` of pipeline.yaml.

struct SinkReader {
    static let example = "{ schema: penstock, table: my_predictions }"
    /// PostgreSQL's limit on identifiers is 63 bytes; the names of partitions and indexes append up to 15 to the table's.
    static let tableLengthMax = 48
    static let identifierLengthMax = 63

    /// Words that PostgreSQL 15 reserves and that somebody might choose as a name.
    private static let reservedWords: Set<String> = [
        "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "both", "case", "cast", "check", "collate",
        "column", "constraint", "create", "default", "desc", "distinct", "do", "else", "end", "except", "false",
        "fetch", "for", "foreign", "from", "grant", "group", "having", "in", "initially", "intersect", "into",
        "lateral", "leading", "limit", "not", "null", "offset", "on", "only", "or", "order", "placing", "primary",
        "references", "returning", "select", "some", "symmetric", "table", "then", "to", "trailing", "true", "union",
        "unique", "user", "using", "variadic", "when", "where", "window", "with",
    ]

    /// Tables that the sink makes for itself in the same schema.
    private static let ownTables: Set<String> = [
        "schema_migrations", "sink_tables", "sink_partitions", "consumer_offsets", "dead_letter_outbox", "duplicates",
    ]

    let findings: Findings

    func settings(_ node: LocatedNode?) -> SinkSettings? {
        let keys = ["schema", "table", "partition", "partitionsAhead", "retention"]
        guard let node,
            let reader = MappingReader(node, path: "sink", keys: keys, example: Self.example, findings: findings)
        else { return nil }
        let schema = reader.optionalString("schema", example: "penstock") ?? "penstock"
        check(schema, "schema", reader, lengthMax: Self.identifierLengthMax)
        let table = reader.requiredString("table", example: "my_predictions")
        if let table { check(table, "table", reader, lengthMax: Self.tableLengthMax) }
        if let table, Self.ownTables.contains(table) {
            findings.error(
                .badIdentifier, at: reader.position(of: "table"),
                "`sink.table` is `\(table)`, a table that the sink needs itself",
                mend: "choose another name, for example my_predictions")
        }
        let span = reader.choice("partition", default: SinkSettings.PartitionSpan.month)
        let retention = reader.duration("retention", default: nil, noneAllowed: true, from: "1d", to: "36500d")
        let spanDays: Int64 = span == .day ? 1 : span == .week ? 7 : 31
        if let retention, retention < spanDays * 86_400_000_000 {
            findings.error(
                .retentionTooShort, at: reader.position(of: "retention"),
                "`sink.retention` is shorter than one partition, a \(span.rawValue)",
                mend: "write at least \(spanDays)d, or a shorter `partition`")
        }
        return SinkSettings(
            schema: schema, table: table ?? "", partitionSpan: span,
            partitionsAhead: reader.integer("partitionsAhead", default: 2, in: 0...60, example: "2"),
            retentionMilliseconds: retention.map { $0 / 1_000 })
    }

    private func check(_ name: String, _ key: String, _ reader: MappingReader, lengthMax: Int) {
        let position = reader.position(of: key)
        let path = reader.name(key)
        let isWord = name.unicodeScalars.enumerated().allSatisfy { index, scalar in
            ("a"..."z").contains(scalar) || scalar == "_" || (index > 0 && ("0"..."9").contains(scalar))
        }
        if !isWord {
            findings.error(
                .badIdentifier, at: position, "`\(path)` is `\(name)`, which is no plain SQL identifier",
                mend: "use the letters a to z, digits and `_`, beginning with a letter: \(Self.identifier(from: name))")
        } else if Self.reservedWords.contains(name) {
            findings.error(
                .badIdentifier, at: position, "`\(path)` is `\(name)`, a word that SQL reserves",
                mend: "choose another name, for example \(name)_events")
        } else if name.hasPrefix("pg_") {
            findings.error(
                .badIdentifier, at: position, "`\(path)` begins with `pg_`, which PostgreSQL keeps for itself",
                mend: "choose another name")
        }
        if name.utf8.count > lengthMax {
            findings.error(
                .badIdentifier, at: position, "`\(path)` has \(name.utf8.count) characters",
                mend: "write at most \(lengthMax), so that the names made from it fit PostgreSQL's 63")
        }
    }

    private static func identifier(from name: String) -> String {
        let letters = name.lowercased().unicodeScalars.map { scalar in
            ("a"..."z").contains(scalar) || ("0"..."9").contains(scalar) ? Character(scalar) : "_"
        }
        let text = String(letters)
        return text.first?.isNumber == true ? "t_\(text)" : text
    }

    func model(_ node: LocatedNode?, directory: String) -> ModelReference? {
        guard let node,
            let reader = MappingReader(
                node, path: "model", keys: ["name", "manifest", "threshold"],
                example: "{ name: my-model, manifest: artifacts/model.json }", findings: findings)
        else { return nil }
        let name = reader.requiredString("name", example: "my-model")
        let manifest = reader.requiredString("manifest", example: "artifacts/model.json")
        return ModelReference(
            name: name ?? "", manifestPath: PipelineLoader.path(manifest ?? "", in: directory),
            decisionThreshold: reader.number("threshold", default: 0.5, in: 0...1, example: "0.5"))
    }

    func batching(_ node: LocatedNode?, inputBytesMax: Int) -> MicroBatching? {
        let fallback = MicroBatching(recordsMax: 2_048, bytesMax: 4_194_304, deadlineMicroseconds: 5_000)
        guard let node else { return fallback }
        guard
            let reader = MappingReader(
                node, path: "batch", keys: ["records", "bytes", "deadline"],
                example: "{ records: 2048, bytes: 4MiB, deadline: 5ms }", findings: findings)
        else { return nil }
        let batching = MicroBatching(
            recordsMax: reader.integer("records", default: fallback.recordsMax, in: 1...1_000_000, example: "2048"),
            bytesMax: reader.size("bytes", default: fallback.bytesMax, from: "1KiB", to: "1GiB"),
            deadlineMicroseconds: reader.duration(
                "deadline", default: fallback.deadlineMicroseconds, from: "0us", to: "60s") ?? 0)
        if batching.bytesMax < inputBytesMax {
            findings.error(
                .batchLimit, at: reader.position(of: "bytes"),
                "`batch.bytes` is \(batching.bytesMax) bytes, smaller than one record may be "
                    + "(`input.limits.bytes`, \(inputBytesMax))",
                mend: "write at least \(inputBytesMax)B")
        }
        return batching
    }
}
