// KeyScanner: finds the places of a key in one YAML mapping, from the text.

/// Yams reports that a key is repeated, but not where. This scanner looks the places up: in a block mapping by its
/// column, in a flow mapping by counting brackets.
struct KeyScanner {
    let lines: [[Unicode.Scalar]]

    /// Positions of the key's first character (behind a quotation mark, if any), in order.
    func places(of key: [Unicode.Scalar], mappingAt start: Position) -> [Position] {
        guard start.line >= 1, start.line <= lines.count, start.column >= 1 else { return [] }
        let line = lines[start.line - 1]
        let isFlow = start.column <= line.count && line[start.column - 1] == "{"
        return isFlow ? flowPlaces(of: key, from: start) : blockPlaces(of: key, from: start)
    }

    private func blockPlaces(of key: [Unicode.Scalar], from start: Position) -> [Position] {
        var places: [Position] = []
        for number in start.line...lines.count {
            let line = lines[number - 1]
            let indentation = line.prefix { $0 == " " }.count
            if indentation == line.count || line[indentation] == "#" { continue }
            // The first line may hold a `- ` before the mapping's first key.
            if number > start.line, indentation < start.column - 1 { break }
            if let column = match(key, in: line, at: start.column - 1) {
                places.append(Position(line: number, column: column + 1))
            }
        }
        return places
    }

    private func flowPlaces(of key: [Unicode.Scalar], from start: Position) -> [Position] {
        var places: [Position] = []
        var depth = 0
        var quote: Unicode.Scalar?
        var expectsKey = false
        for number in start.line...lines.count {
            let line = lines[number - 1]
            var column = number == start.line ? start.column - 1 : 0
            while column < line.count {
                let scalar = line[column]
                if let open = quote {
                    if scalar == open { quote = nil }
                } else if expectsKey, depth == 1, scalar != " ", let found = match(key, in: line, at: column) {
                    places.append(Position(line: number, column: found + 1))
                    expectsKey = false
                    column = found + key.count
                    continue
                } else {
                    switch scalar {
                    case "{", "[": depth += 1
                    case "}", "]": depth -= 1
                    case "\"", "'": quote = scalar
                    case "#" where column == 0 || line[column - 1] == " ": column = line.count
                    default: break
                    }
                    if scalar == "{" || scalar == "," {
                        expectsKey = true
                    } else if scalar != " " {
                        expectsKey = false
                    }
                    if depth == 0 { return places }
                }
                column += 1
            }
        }
        return places
    }

    /// Column of the key's first character when `key`, possibly quoted, and a colon stand at `column`.
    private func match(_ key: [Unicode.Scalar], in line: [Unicode.Scalar], at column: Int) -> Int? {
        guard column < line.count else { return nil }
        let quote: Unicode.Scalar? = line[column] == "\"" || line[column] == "'" ? line[column] : nil
        let begin = quote == nil ? column : column + 1
        var end = begin + key.count
        guard end <= line.count, Array(line[begin..<end]) == key else { return nil }
        if let quote {
            guard end < line.count, line[end] == quote else { return nil }
            end += 1
        }
        while end < line.count, line[end] == " " { end += 1 }
        return end < line.count && line[end] == ":" ? begin : nil
    }
}
