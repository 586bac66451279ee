// Diagnostic: one mistake in a pipeline's files, with its place and the way to mend it.

/// A place in a text file; both count from 1, columns in Unicode scalars.
public struct Position: Sendable, Hashable, Comparable {
    public var line: Int
    public var column: Int

    public init(line: Int, column: Int) {
        self.line = line
        self.column = column
    }

    public static let start = Position(line: 1, column: 1)

    public static func < (lhs: Position, rhs: Position) -> Bool {
        lhs.line == rhs.line ? lhs.column < rhs.column : lhs.line < rhs.line
    }
}

/// A mistake (or something doubtful) in pipeline.yaml or in the JSON Schema it names.
public struct Diagnostic: Sendable, Equatable, Codable, CustomStringConvertible {
    public enum Severity: String, Sendable, Codable { case error, warning }

    /// The kinds of diagnostics. Raw values are printed and may be searched for: never rename one.
    public enum Code: String, Sendable, Codable, CaseIterable {
        // Files and their syntax.
        case fileUnreadable = "file-unreadable"
        case notUTF8 = "not-utf8"
        case yamlSyntax = "yaml-syntax"
        case jsonSyntax = "json-syntax"
        case duplicateKey = "duplicate-key"
        // Shape and values.
        case unknownKey = "unknown-key"
        case missingKey = "missing-key"
        case wrongType = "wrong-type"
        case badDuration = "bad-duration"
        case badSize = "bad-size"
        case badValue = "bad-value"
        case outOfRange = "out-of-range"
        case unsupportedVersion = "unsupported-version"
        case noEffect = "no-effect"
        // Topics.
        case badTopicName = "bad-topic-name"
        case ambiguousTopicName = "ambiguous-topic-name"
        case notCoPartitioned = "not-co-partitioned"
        case retentionTooShort = "retention-too-short"
        // Input, features and sink.
        case unknownField = "unknown-field"
        case fieldNotNumeric = "field-not-numeric"
        case duplicateFeature = "duplicate-feature"
        case quantileOrder = "quantile-order"
        case badEventTimeField = "bad-event-time-field"
        case badIdentityField = "bad-identity-field"
        case optionalField = "optional-field"
        case badIdentifier = "bad-identifier"
        case batchLimit = "batch-limit"
        // The JSON Schema.
        case unsupportedKeyword = "unsupported-keyword"
        case badSchema = "bad-schema"
    }

    public var severity: Severity
    public var code: Code
    /// Path of the file, as it can be opened from the working directory.
    public var file: String
    public var line: Int
    public var column: Int
    /// What is wrong, one sentence without a full stop.
    public var message: String
    /// What to do about it.
    public var mend: String

    public init(
        severity: Severity, code: Code, file: String, position: Position, message: String, mend: String
    ) {
        self.severity = severity
        self.code = code
        self.file = file
        line = position.line
        column = position.column
        self.message = message
        self.mend = mend
    }

    /// `file:line:column: error: message [code]`, then the mend on a line of its own.
    public var description: String {
        "\(file):\(line):\(column): \(severity.rawValue): \(message) [\(code.rawValue)]\n    mend: \(mend)"
    }
}

/// A pipeline that cannot be used; holds every mistake found.
public struct PipelineError: Error, Sendable, Equatable, CustomStringConvertible {
    /// In the order of the files' text; at least one is an error.
    public var diagnostics: [Diagnostic]

    public init(diagnostics: [Diagnostic]) {
        self.diagnostics = diagnostics
    }

    public var description: String { diagnostics.map(\.description).joined(separator: "\n") }

    /// One mistake in one line, and how to see the others. A misspelt key explains the missing one beside it, so unknown
    /// keys come first.
    public var summary: String {
        let errors = diagnostics.filter { $0.severity == .error }
        guard let first = errors.first(where: { $0.code == .unknownKey }) ?? errors.first else { return description }
        let place = "\(first.file):\(first.line):\(first.column)"
        let others = errors.count - 1
        let rest =
            others == 0
            ? "" : " (and \(others) more \(others == 1 ? "mistake" : "mistakes"): penstock lint \(first.file))"
        return "\(place): \(first.message): \(first.mend)\(rest)"
    }
}

/// Collects what is found in one file. A class, since a dozen readers add to the same list.
final class Findings {
    let file: String
    private(set) var diagnostics: [Diagnostic] = []

    init(file: String) {
        self.file = file
    }

    var hasErrors: Bool { diagnostics.contains { $0.severity == .error } }

    func error(_ code: Diagnostic.Code, at position: Position, _ message: String, mend: String) {
        add(.error, code, position, message, mend)
    }

    func warning(_ code: Diagnostic.Code, at position: Position, _ message: String, mend: String) {
        add(.warning, code, position, message, mend)
    }

    private func add(
        _ severity: Diagnostic.Severity, _ code: Diagnostic.Code, _ position: Position, _ message: String,
        _ mend: String
    ) {
        diagnostics.append(
            Diagnostic(
                severity: severity, code: code, file: file, position: position, message: message, mend: mend))
    }

    /// Diagnostics in the order of the text.
    var sorted: [Diagnostic] {
        diagnostics.enumerated().sorted { lhs, rhs in
            let left = Position(line: lhs.element.line, column: lhs.element.column)
            let right = Position(line: rhs.element.line, column: rhs.element.column)
            return left == right ? lhs.offset < rhs.offset : left < right
        }.map(\.element)
    }
}
