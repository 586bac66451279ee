// YAMLReader: a YAML text as a tree with positions, by Yams.

import Yams

/// Reads YAML and explains what keeps it from being read. Repeated keys do not end the reading: each is reported and
/// the rest of the file is still checked.
enum YAMLReader {
    /// Nodes in a file after aliases are expanded; stops "billion laughs" files.
    static let nodeCountMax = 100_000
    /// Repeated keys reported in one file.
    static let duplicateKeysMax = 100

    /// A repeated key is replaced by such characters while the rest is read; it is not reported as unknown.
    static func isRenamed(_ key: String) -> Bool {
        key.unicodeScalars.first.map { (0xE000...0xF8FF).contains($0.value) } ?? false
    }

    static func read(_ text: String, findings: Findings) -> LocatedNode? {
        if reportTabs(in: text, findings: findings) { return nil }
        var text = text
        for _ in 0..<duplicateKeysMax {
            do {
                guard let root = try Yams.compose(yaml: text) else {
                    findings.error(
                        .yamlSyntax, at: .start, "the file is empty", mend: "start from topics/housing/pipeline.yaml")
                    return nil
                }
                var budget = nodeCountMax
                guard let tree = convert(root, fallback: .start, budget: &budget) else {
                    findings.error(
                        .yamlSyntax, at: .start,
                        "the file has more than \(nodeCountMax) values once aliases are expanded",
                        mend: "write fewer values; pipeline.yaml needs no aliases")
                    return nil
                }
                return tree
            } catch YamlError.duplicatedKeysInMapping(let names, let context) {
                let start = Position(line: context.mark.line, column: context.mark.column)
                guard let renamed = renameDuplicates(names, mappingAt: start, in: text, findings: findings) else {
                    return nil
                }
                text = renamed
            } catch {
                report(error, findings: findings)
                return nil
            }
        }
        return nil
    }

    // MARK: - Conversion

    private static func convert(_ node: Node, fallback: Position, budget: inout Int) -> LocatedNode? {
        budget -= 1
        guard budget > 0 else { return nil }
        let position = node.mark.map { Position(line: $0.line, column: $0.column) } ?? fallback
        switch node {
        case .scalar(let scalar):
            let isPlain = scalar.style == .plain || scalar.style == .any
            return LocatedNode(position: position, content: .scalar(scalar.string, isQuoted: !isPlain))
        case .sequence(let sequence):
            var elements: [LocatedNode] = []
            for element in sequence {
                guard let element = convert(element, fallback: position, budget: &budget) else { return nil }
                elements.append(element)
            }
            return LocatedNode(position: position, content: .sequence(elements))
        case .mapping(let mapping):
            var entries: [LocatedNode.Entry] = []
            for (key, value) in mapping {
                let keyPosition = key.mark.map { Position(line: $0.line, column: $0.column) } ?? position
                guard let value = convert(value, fallback: keyPosition, budget: &budget) else { return nil }
                let name = key.scalar?.string ?? "(a key that is not text)"
                entries.append(LocatedNode.Entry(key: name, keyPosition: keyPosition, value: value))
            }
            return LocatedNode(position: position, content: .mapping(entries))
        case .alias:
            return LocatedNode(position: position, content: .scalar("", isQuoted: false))
        }
    }

    // MARK: - Mistakes in the syntax

    /// YAML forbids tabs as indentation; libyaml's own message for them is obscure.
    private static func reportTabs(in text: String, findings: Findings) -> Bool {
        var found = false
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let indentation = line.prefix { $0 == " " || $0 == "\t" }
            let rest = line[indentation.endIndex...]
            guard let tab = indentation.firstIndex(of: "\t"), !rest.isEmpty, !rest.hasPrefix("#") else { continue }
            found = true
            let column = line.distance(from: line.startIndex, to: tab) + 1
            findings.error(
                .yamlSyntax, at: Position(line: index + 1, column: column), "a tab is used as indentation",
                mend: "indent with spaces, two per level")
        }
        return found
    }

    private static func report(_ error: any Error, findings: Findings) {
        switch error {
        case YamlError.scanner(let context, let problem, let mark, _),
            YamlError.parser(let context, let problem, let mark, _),
            YamlError.composer(let context, let problem, let mark, _):
            let place = context.map { " \($0.text) that begins in line \($0.mark.line)" } ?? ""
            findings.error(
                .yamlSyntax, at: Position(line: mark.line, column: mark.column),
                "the file is not valid YAML: \(problem)\(place)", mend: mend(for: problem))
        case YamlError.reader(let problem, let offset, _, let text):
            findings.error(
                .yamlSyntax, at: position(ofCharacter: offset ?? 0, in: text),
                "the file cannot be read as YAML: \(problem)", mend: "remove the character")
        default:
            findings.error(
                .yamlSyntax, at: .start, "the file is not valid YAML: \(error)", mend: "correct the syntax")
        }
    }

    private static func mend(for problem: String) -> String {
        if problem.contains("mapping values are not allowed") {
            return "check the indentation of this line, or quote the value if it contains a colon"
        }
        if problem.contains("expected ',' or") { return "close the bracket, or separate the entries by commas" }
        if problem.contains("could not find expected ':'") { return "write `key: value`" }
        if problem.contains("end of stream") { return "close the quotation mark or bracket that is still open" }
        if problem.contains("found another document") { return "keep one document in the file: remove the `---`" }
        if problem.contains("undefined alias") { return "define the anchor before it, or quote the value" }
        return "correct the syntax: keys of one level stand in one column, lists as `[a, b]`, mappings as `{ a: b }`"
    }

    private static func position(ofCharacter offset: Int, in text: String) -> Position {
        var position = Position.start
        for character in text.prefix(offset) {
            if character.isNewline {
                position = Position(line: position.line + 1, column: 1)
            } else {
                position.column += 1
            }
        }
        return position
    }

    // MARK: - Repeated keys

    /// Reports the repetitions of `names` in the mapping that begins at `start`, and renames them to unique keys of the
    /// same length, so that the file can be read on with its positions unchanged. Nil when none was found.
    private static func renameDuplicates(
        _ names: [String], mappingAt start: Position, in text: String, findings: Findings
    ) -> String? {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map { Array($0.unicodeScalars) }
        var renamed = false
        for name in Set(names).sorted() where !name.isEmpty {
            let places = KeyScanner(lines: lines).places(of: Array(name.unicodeScalars), mappingAt: start)
            for (index, place) in places.enumerated().dropFirst() {
                findings.error(
                    .duplicateKey, at: place,
                    "the key `\(name)` stands here a second time; it is first in line "
                        + "\(places[0].line)", mend: "remove one of the two")
                let unique = Unicode.Scalar(0xE000 + UInt32(index % 0x1800)) ?? "\u{E000}"
                let column = place.column - 1
                lines[place.line - 1].replaceSubrange(
                    column..<(column + name.unicodeScalars.count),
                    with: repeatElement(unique, count: name.unicodeScalars.count))
                renamed = true
            }
        }
        guard renamed else {
            findings.error(
                .duplicateKey, at: start,
                "the mapping that begins here has the key \(names.sorted().joined(separator: ", ")) twice",
                mend: "remove one of the two")
            return nil
        }
        return lines.map { line in
            var string = String.UnicodeScalarView()
            string.append(contentsOf: line)
            return String(string)
        }.joined(separator: "\n")
    }
}
