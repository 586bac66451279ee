// PipelineFixture: the housing pipeline in a folder of its own, with parts of its text replaced.

import Foundation
import PipelineContract
import Testing

/// A copy of topics/housing that is removed with the value's last use.
final class PipelineFixture {
    static let repository = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    static let housing = repository.appending(path: "topics/housing")

    let folder: URL
    var yaml: String
    var schema: String

    var pipelinePath: String { folder.appending(path: "pipeline.yaml").path }
    var schemaPath: String { folder.appending(path: "schemas/housing-event.schema.json").path }

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "penstock-lint-\(UUID().uuidString)")
        try FileManager.default.createDirectory(
            at: folder.appending(path: "schemas"), withIntermediateDirectories: true)
        yaml = try String(contentsOf: Self.housing.appending(path: "pipeline.yaml"), encoding: .utf8)
        schema = try String(
            contentsOf: Self.housing.appending(path: "schemas/housing-event.schema.json"), encoding: .utf8)
    }

    deinit { try? FileManager.default.removeItem(at: folder) }

    func lint() throws -> [Diagnostic] {
        try write()
        return PipelineLinter.lint(path: pipelinePath)
    }

    func write() throws {
        try Data(yaml.utf8).write(to: URL(filePath: pipelinePath))
        try Data(schema.utf8).write(to: URL(filePath: schemaPath))
    }

    /// Line (from 1) of the first line that contains `text`, in the YAML or the schema.
    func line(of text: String, inSchema: Bool) throws -> Int {
        let lines = (inSchema ? schema : yaml).split(separator: "\n", omittingEmptySubsequences: false)
        return try #require(lines.firstIndex { $0.contains(text) }) + 1
    }
}

/// One planted mistake and the diagnostic that it must give.
struct Mistake: Sendable, CustomTestStringConvertible {
    var original: String
    var replacement: String
    var code: Diagnostic.Code
    /// Text in the line (after the replacement) that the diagnostic must name.
    var place: String
    var mend: String
    var severity: Diagnostic.Severity

    init(
        _ original: String, _ replacement: String, _ code: Diagnostic.Code, at place: String? = nil, mend: String,
        _ severity: Diagnostic.Severity = .error
    ) {
        self.original = original
        self.replacement = replacement
        self.code = code
        self.place = place ?? replacement
        self.mend = mend
        self.severity = severity
    }

    var testDescription: String { "\(code.rawValue): \(original) -> \(replacement)" }

    func check(inSchema: Bool) throws {
        let fixture = try PipelineFixture()
        let text = inSchema ? fixture.schema : fixture.yaml
        try #require(text.contains(original))
        let range = try #require(text.range(of: original))
        let changed = text.replacingCharacters(in: range, with: replacement)
        if inSchema { fixture.schema = changed } else { fixture.yaml = changed }
        let diagnostics = try fixture.lint()
        let found = try #require(
            diagnostics.first { $0.code == code && $0.severity == severity }, "found only \(diagnostics)")
        let line = try fixture.line(of: place, inSchema: inSchema)
        #expect(found.line == line, "\(found)")
        #expect(found.column >= 1)
        #expect(found.mend.contains(mend), "\(found)")
        #expect(found.file == (inSchema ? fixture.schemaPath : fixture.pipelinePath))
        #expect(diagnostics.count == 1, "one mistake gives one diagnostic, not \(diagnostics)")
    }
}
