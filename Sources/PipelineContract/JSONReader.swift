// JSONReader: a JSON text (RFC 8259) as a tree with positions.

/// Reads the JSON Schema with the place of every value, which Foundation's parser does not tell. Repeated keys are
/// reported and the reading goes on; the first syntax error ends it.
struct JSONReader {
    static let depthMax = 64

    private let scalars: [Unicode.Scalar]
    private let findings: Findings
    private var index = 0
    private var position = Position.start

    private struct SyntaxError: Error {
        var position: Position
        var message: String
        var mend: String
    }

    static func read(_ text: String, findings: Findings) -> LocatedNode? {
        var reader = JSONReader(scalars: Array(text.unicodeScalars), findings: findings)
        do {
            return try reader.document()
        } catch {
            findings.error(
                .jsonSyntax, at: error.position, "the file is not valid JSON: \(error.message)", mend: error.mend)
            return nil
        }
    }

    private init(scalars: [Unicode.Scalar], findings: Findings) {
        self.scalars = scalars
        self.findings = findings
    }

    private var current: Unicode.Scalar? { index < scalars.count ? scalars[index] : nil }

    private mutating func advance() {
        if scalars[index] == "\n" {
            position = Position(line: position.line + 1, column: 1)
        } else {
            position.column += 1
        }
        index += 1
    }

    private mutating func skipWhitespace() {
        while let scalar = current, scalar == " " || scalar == "\n" || scalar == "\t" || scalar == "\r" { advance() }
    }

    private func failure(_ message: String, mend: String, at place: Position? = nil) -> SyntaxError {
        SyntaxError(position: place ?? position, message: message, mend: mend)
    }

    private var found: String {
        guard let current else { return "the end of the file" }
        return current.value < 0x20 ? "a control character" : "`\(current)`"
    }

    private mutating func document() throws(SyntaxError) -> LocatedNode {
        skipWhitespace()
        let root = try value(depth: 0)
        skipWhitespace()
        guard current == nil else {
            throw failure(
                "\(found) stands behind the end of the document", mend: "remove what follows the last bracket")
        }
        return root
    }

    private mutating func value(depth: Int) throws(SyntaxError) -> LocatedNode {
        let start = position
        guard depth < Self.depthMax else {
            throw failure("the values are nested deeper than \(Self.depthMax)", mend: "write a flat schema")
        }
        switch current {
        case "{":
            return LocatedNode(position: start, content: .mapping(try object(depth: depth)))
        case "[":
            return LocatedNode(position: start, content: .sequence(try array(depth: depth)))
        case "\"":
            return LocatedNode(position: start, content: .scalar(try string(), isQuoted: true))
        default:
            return LocatedNode(position: start, content: .scalar(try literal(), isQuoted: false))
        }
    }

    private mutating func object(depth: Int) throws(SyntaxError) -> [LocatedNode.Entry] {
        advance()
        var entries: [LocatedNode.Entry] = []
        var lines: [String: Int] = [:]
        skipWhitespace()
        if current == "}" {
            advance()
            return entries
        }
        while true {
            skipWhitespace()
            let keyPosition = position
            guard current == "\"" else {
                let mend = current == "}" ? "remove the comma before it" : "put the key in double quotes"
                throw failure("a key in double quotes is expected, found \(found)", mend: mend)
            }
            let key = try string()
            skipWhitespace()
            guard current == ":" else {
                throw failure(
                    "a colon is expected after the key \"\(key)\", found \(found)", mend: "write \"key\": value")
            }
            advance()
            skipWhitespace()
            let member = try value(depth: depth + 1)
            if let line = lines[key] {
                findings.error(
                    .duplicateKey, at: keyPosition,
                    "the key `\(key)` stands here a second time; it is first in line \(line)",
                    mend: "remove one of the two")
            } else {
                lines[key] = keyPosition.line
                entries.append(LocatedNode.Entry(key: key, keyPosition: keyPosition, value: member))
            }
            if try isClosed(by: "}") { return entries }
        }
    }

    private mutating func array(depth: Int) throws(SyntaxError) -> [LocatedNode] {
        advance()
        var elements: [LocatedNode] = []
        skipWhitespace()
        if current == "]" {
            advance()
            return elements
        }
        while true {
            skipWhitespace()
            elements.append(try value(depth: depth + 1))
            if try isClosed(by: "]") { return elements }
        }
    }

    /// Consumes a comma (false) or the closing bracket (true).
    private mutating func isClosed(by bracket: Unicode.Scalar) throws(SyntaxError) -> Bool {
        skipWhitespace()
        guard let scalar = current, scalar == "," || scalar == bracket else {
            let mend = current == nil ? "add the missing `\(bracket)`" : "separate the entries by commas"
            throw failure("a comma or `\(bracket)` is expected, found \(found)", mend: mend)
        }
        advance()
        return scalar == bracket
    }

    private mutating func string() throws(SyntaxError) -> String {
        let start = position
        advance()
        var text = String.UnicodeScalarView()
        while let scalar = current {
            switch scalar {
            case "\"":
                advance()
                return String(text)
            case "\\":
                text.append(try escape())
            case _ where scalar.value < 0x20:
                throw failure("a control character stands in a string", mend: "close the string, or write \\n or \\t")
            default:
                text.append(scalar)
                advance()
            }
        }
        throw failure("the string that begins here is not closed", mend: "add the closing quotation mark", at: start)
    }

    private mutating func escape() throws(SyntaxError) -> Unicode.Scalar {
        let start = position
        advance()
        let simple: [Unicode.Scalar: Unicode.Scalar] = [
            "\"": "\"", "\\": "\\", "/": "/", "b": "\u{8}", "f": "\u{c}", "n": "\n", "r": "\r", "t": "\t",
        ]
        if let scalar = current, let replacement = simple[scalar] {
            advance()
            return replacement
        }
        guard current == "u" else {
            throw failure("`\\` is followed by \(found)", mend: "write \\\\ for a backslash", at: start)
        }
        advance()
        let high = try hexadecimal(from: start)
        if let scalar = Unicode.Scalar(high) { return scalar }
        let lowMend = "write the character itself, or both halves of the surrogate pair"
        guard high < 0xDC00, current == "\\" else {
            throw failure("half of a surrogate pair", mend: lowMend, at: start)
        }
        advance()
        guard current == "u" else { throw failure("half of a surrogate pair", mend: lowMend, at: start) }
        advance()
        let low = try hexadecimal(from: start)
        guard (0xDC00...0xDFFF).contains(low),
            let scalar = Unicode.Scalar(0x10000 + (high - 0xD800) << 10 + (low - 0xDC00))
        else { throw failure("half of a surrogate pair", mend: lowMend, at: start) }
        return scalar
    }

    private mutating func hexadecimal(from start: Position) throws(SyntaxError) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let scalar = current, scalar.isASCII, let digit = Character(scalar).hexDigitValue else {
                throw failure("`\\u` needs four hexadecimal digits", mend: "write \\u00e9 for é", at: start)
            }
            value = value << 4 | UInt32(digit)
            advance()
        }
        return value
    }

    private mutating func literal() throws(SyntaxError) -> String {
        let start = position
        var text = ""
        while let scalar = current, scalar.isASCII,
            Character(scalar).isLetter || Character(scalar).isNumber
                || scalar == "-" || scalar == "+" || scalar == "."
        {
            text.unicodeScalars.append(scalar)
            advance()
        }
        if text == "true" || text == "false" || text == "null" || Self.isNumber(text) { return text }
        if text.isEmpty {
            let mend = current == "]" || current == "}" ? "remove the comma before it" : "write a value"
            throw failure("a value is expected, found \(found)", mend: mend, at: start)
        }
        throw failure("`\(text)` is no JSON value", mend: "put text in double quotes", at: start)
    }

    /// `-`? digits without a leading zero, then an optional fraction and exponent.
    private static func isNumber(_ text: String) -> Bool {
        var rest = text[...]
        func digits() -> Int {
            let count = rest.prefix { $0.isASCII && $0.isNumber }.count
            rest = rest.dropFirst(count)
            return count
        }
        if rest.first == "-" { rest = rest.dropFirst() }
        let startsWithZero = rest.first == "0"
        let whole = digits()
        guard whole == 1 || (whole > 1 && !startsWithZero) else { return false }
        if rest.first == "." {
            rest = rest.dropFirst()
            guard digits() > 0 else { return false }
        }
        if rest.first == "e" || rest.first == "E" {
            rest = rest.dropFirst()
            if rest.first == "-" || rest.first == "+" { rest = rest.dropFirst() }
            guard digits() > 0 else { return false }
        }
        return rest.isEmpty
    }
}
