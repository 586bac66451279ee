// LocatedNode: a YAML or JSON value that knows where it stands.

/// A tree of scalars, sequences and mappings with positions; YAML and JSON files are read into the same form.
struct LocatedNode {
    struct Entry {
        var key: String
        var keyPosition: Position
        var value: LocatedNode
    }

    indirect enum Content {
        /// The text of a scalar; numbers, booleans and null are scalars that are not quoted.
        case scalar(String, isQuoted: Bool)
        case sequence([LocatedNode])
        case mapping([Entry])
    }

    var position: Position
    var content: Content

    /// Text of a scalar, quoted or not; nil for null, sequences and mappings.
    var text: String? {
        guard case .scalar(let text, _) = content, !isNull else { return nil }
        return text
    }

    /// Text of a scalar that is not quoted.
    var plainText: String? {
        guard case .scalar(let text, isQuoted: false) = content, !isNull else { return nil }
        return text
    }

    /// Text of a quoted scalar: a JSON string.
    var quotedText: String? {
        guard case .scalar(let text, isQuoted: true) = content else { return nil }
        return text
    }

    var isNull: Bool {
        guard case .scalar(let text, isQuoted: false) = content else { return false }
        return text.isEmpty || text == "~" || text == "null" || text == "Null" || text == "NULL"
    }

    /// A whole number, not quoted.
    var integer: Int? { plainText.flatMap { Int($0) } }

    /// A finite number, not quoted.
    var number: Double? {
        guard let text = plainText, let first = text.unicodeScalars.first,
            first.properties.numericType != nil || first == "-" || first == "+" || first == ".",
            let value = Double(text), value.isFinite
        else { return nil }
        return value
    }

    var bool: Bool? {
        switch plainText {
        case "true": true
        case "false": false
        default: nil
        }
    }

    var entries: [Entry]? {
        guard case .mapping(let entries) = content else { return nil }
        return entries
    }

    var elements: [LocatedNode]? {
        guard case .sequence(let elements) = content else { return nil }
        return elements
    }

    /// Value of the first entry of that key.
    subscript(key: String) -> LocatedNode? { entries?.first { $0.key == key }?.value }

    /// What it is, for a message: `text "7d"`, `a list`, `nothing`.
    var kindDescription: String {
        switch content {
        case .mapping: return "a mapping"
        case .sequence: return "a list"
        case .scalar(let text, let isQuoted):
            if isNull { return "empty" }
            let shown = text.count > 60 ? String(text.prefix(60)) + "…" : text
            if isQuoted { return "the text \"\(shown)\"" }
            if number != nil { return "the number \(shown)" }
            return bool == nil ? "the text \"\(shown)\"" : shown
        }
    }
}
