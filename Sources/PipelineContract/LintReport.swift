// LintReport: what `penstock lint` prints and its exit status.

import Foundation

/// The diagnostics of one pipeline, as text or JSON.
public struct LintReport: Sendable, Codable {
    /// The path that was checked.
    public var file: String
    public var errors: Int
    public var warnings: Int
    public var diagnostics: [Diagnostic]

    public init(path: String) {
        file = path
        diagnostics = PipelineLinter.lint(path: path)
        errors = diagnostics.filter { $0.severity == .error }.count
        warnings = diagnostics.count - errors
    }

    /// 0 without errors, 1 with errors, 2 when there is no such pipeline to check.
    public var exitStatus: Int32 {
        let isAbsent = diagnostics.count == 1 && diagnostics[0].code == .fileUnreadable && diagnostics[0].line == 1
        return errors == 0 ? 0 : isAbsent ? 2 : 1
    }

    /// One block per diagnostic, then one line of summary.
    public var text: String {
        let summary =
            diagnostics.isEmpty
            ? "\(file): no mistakes found"
            : "\(file): \(Self.count(errors, "error")), \(Self.count(warnings, "warning"))"
        return (diagnostics.map(\.description) + [summary]).joined(separator: "\n")
    }

    /// One JSON object, keys sorted.
    public func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(self), as: UTF8.self)
    }

    private static func count(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }
}
