// MappingReader: typed access to the keys of one mapping, reporting each mistake.

/// Every getter reports what is wrong and returns a value to go on with, so that one run finds all mistakes. The value
/// is never used: a pipeline with errors is not handed out.
struct MappingReader {
    let node: LocatedNode
    /// Dotted path of the mapping, empty for the file itself.
    let path: String
    let findings: Findings
    private let entries: [String: LocatedNode.Entry]

    /// Nil, with a diagnostic, when the node is no mapping. Keys outside `keys` are reported.
    init?(_ node: LocatedNode, path: String, keys: [String], example: String, findings: Findings) {
        guard let list = node.entries else {
            findings.error(
                .wrongType, at: node.position,
                "\(path.isEmpty ? "the file" : "`\(path)`") must be a mapping, but is \(node.kindDescription)",
                mend: "write \(example)")
            return nil
        }
        self.node = node
        self.path = path
        self.findings = findings
        entries = Dictionary(list.map { ($0.key, $0) }) { first, _ in first }
        for entry in list where !keys.contains(entry.key) && !YAMLReader.isRenamed(entry.key) {
            let place = path.isEmpty ? "" : " in `\(path)`"
            let mend =
                Spelling.nearest(to: entry.key, among: keys).map { "did you mean `\($0)`?" }
                ?? "remove it; known keys are \(Spelling.list(keys))"
            findings.error(
                .unknownKey, at: entry.keyPosition, "unknown key `\(entry.key)`\(place)", mend: mend)
        }
    }

    func name(_ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

    /// The value, or nil when the key is absent. An empty value counts as absent and is reported.
    func value(_ key: String) -> LocatedNode? {
        guard let entry = entries[key] else { return nil }
        if entry.value.isNull {
            findings.error(
                .wrongType, at: entry.keyPosition, "`\(name(key))` has no value",
                mend: "write a value, or remove the key")
            return nil
        }
        return entry.value
    }

    func has(_ key: String) -> Bool { entries[key] != nil }

    func position(of key: String) -> Position { entries[key]?.value.position ?? node.position }

    func required(_ key: String, example: String) -> LocatedNode? {
        if !has(key) {
            findings.error(
                .missingKey, at: node.position, "the key `\(name(key))` is missing", mend: "add `\(key): \(example)`")
        }
        return value(key)
    }

    func string(_ node: LocatedNode, _ key: String, example: String) -> String? {
        if let text = node.text, !text.isEmpty { return text }
        wrongType(node, key, "text", example: example)
        return nil
    }

    func requiredString(_ key: String, example: String) -> String? {
        required(key, example: example).flatMap { string($0, key, example: example) }
    }

    func optionalString(_ key: String, example: String) -> String? {
        value(key).flatMap { string($0, key, example: example) }
    }

    func integer(_ key: String, default fallback: Int?, in range: ClosedRange<Int>, example: String) -> Int {
        let found = fallback == nil ? required(key, example: example) : value(key)
        guard let found else { return fallback ?? range.lowerBound }
        guard let integer = found.integer else {
            wrongType(found, key, "a whole number", example: example)
            return range.lowerBound
        }
        check(range.contains(integer), found, key, integer, "\(range.lowerBound)", "\(range.upperBound)")
        return integer
    }

    func number(_ key: String, default fallback: Double, in range: ClosedRange<Double>, example: String) -> Double {
        guard let found = value(key) else { return fallback }
        guard let number = found.number else {
            wrongType(found, key, "a number", example: example)
            return fallback
        }
        check(range.contains(number), found, key, number, "\(range.lowerBound)", "\(range.upperBound)")
        return number
    }

    /// Microseconds. `none` is accepted when `noneAllowed`, and gives nil.
    func duration(
        _ key: String, default fallback: Int64?, noneAllowed: Bool = false,
        from lower: String, to upper: String
    ) -> Int64? {
        guard let found = value(key) else { return fallback }
        if noneAllowed, found.plainText == "none" { return nil }
        guard let text = found.text, let microseconds = Quantity.microseconds(text) else {
            let units = Spelling.list(Quantity.durationUnits.map(\.name))
            findings.error(
                .badDuration, at: found.position, "`\(name(key))` must be a duration, but is \(found.kindDescription)",
                mend: "write a number with a unit (\(units)), for example 5m\(noneAllowed ? ", or `none`" : "")")
            return fallback
        }
        let bounds = (Quantity.microseconds(lower) ?? 0)...(Quantity.microseconds(upper) ?? Int64.max)
        check(bounds.contains(microseconds), found, key, text, lower, upper)
        return microseconds
    }

    /// Bytes.
    func size(_ key: String, default fallback: Int, from lower: String, to upper: String) -> Int {
        guard let found = value(key) else { return fallback }
        guard let text = found.text, let bytes = Quantity.bytes(text) else {
            let units = Spelling.list(Quantity.sizeUnits.map(\.name))
            findings.error(
                .badSize, at: found.position, "`\(name(key))` must be a size, but is \(found.kindDescription)",
                mend: "write a number with a unit (\(units)), for example 64KiB")
            return fallback
        }
        let bounds = (Quantity.bytes(lower) ?? 0)...(Quantity.bytes(upper) ?? Int.max)
        check(bounds.contains(bytes), found, key, text, lower, upper)
        return bytes
    }

    /// One of the cases of an enumeration, by raw value.
    func choice<T: RawRepresentable & CaseIterable>(_ key: String, default fallback: T) -> T
    where T.RawValue == String {
        guard let found = value(key) else { return fallback }
        return choice(found, key, T.self) ?? fallback
    }

    func choice<T: RawRepresentable & CaseIterable>(_ found: LocatedNode, _ key: String, _ type: T.Type) -> T?
    where T.RawValue == String {
        if let text = found.text, let value = T(rawValue: text) { return value }
        badChoice(found, key, T.allCases.map(\.rawValue))
        return nil
    }

    func badChoice(_ found: LocatedNode, _ key: String, _ choices: [String]) {
        let nearest = found.text.flatMap { Spelling.nearest(to: $0, among: choices) }
        findings.error(
            .badValue, at: found.position, "`\(name(key))` is \(found.kindDescription)",
            mend: nearest.map { "did you mean `\($0)`?" } ?? "write \(Spelling.list(choices))")
    }

    func wrongType(_ found: LocatedNode, _ key: String, _ expected: String, example: String) {
        let isQuotedNumber = found.quotedText.map { Double($0) != nil } ?? false
        findings.error(
            .wrongType, at: found.position, "`\(name(key))` must be \(expected), but is \(found.kindDescription)",
            mend: isQuotedNumber ? "remove the quotation marks" : "write for example `\(key): \(example)`")
    }

    private func check(
        _ isInside: Bool, _ found: LocatedNode, _ key: String, _ value: some CustomStringConvertible, _ lower: String,
        _ upper: String
    ) {
        guard !isInside else { return }
        findings.error(
            .outOfRange, at: found.position, "`\(name(key))` is \(value)", mend: "write \(lower) to \(upper)")
    }
}
