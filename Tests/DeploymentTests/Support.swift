// Support: running the real programs to their end, and looking at what they say.

import Foundation
import Glibc
import ProcessControl
import TestSupport
import Testing

/// This repository, found from this file's own path.
enum Repository {
    static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path

    static var housing: String { "\(root)/topics/housing" }

    static func text(_ path: String) throws -> String {
        try String(contentsOfFile: "\(root)/\(path)", encoding: .utf8)
    }
}

/// How a program ended, and what it wrote to both of its outputs.
struct Outcome {
    var status: ChildProcess.ExitStatus?
    var text: String

    /// What a person reads: the lines that are no structured log lines.
    var messages: [String] {
        text.split(separator: "\n").map(String.init).filter { !$0.hasPrefix("{\"time\"") && !$0.hasPrefix("warning:") }
    }
}

enum Program {
    /// A password that must not appear in any output.
    static let secret = "geheim-4711"

    /// Runs a product to its end. No setting of the test's own environment reaches it by accident.
    static func run(
        _ product: String, _ arguments: [String], environment: [String: String] = [:], seconds: Int = 60
    ) async throws -> Outcome {
        try await run(executable: "\(TestProgram.productsDirectory)/\(product)", arguments, environment, seconds)
    }

    static func run(
        executable: String, _ arguments: [String], _ environment: [String: String] = [:], _ seconds: Int = 60
    ) async throws -> Outcome {
        let directory = try TemporaryDirectory()
        let output = directory.file("output")
        var quiet = ["PENSTOCK_DATA": directory.file("data"), "NO_COLOR": "1"]
        for variable in ["PIPELINE", "BOOTSTRAP_SERVERS", "POSTGRES", "ARTIFACTS"] {
            quiet["PENSTOCK_\(variable)"] = ""
        }
        let child = try ChildProcess(
            executable: executable, arguments: arguments,
            environment: quiet.merging(environment) { $1 }, outputPath: output)
        defer { child.kill() }
        let status = try await TestProgram.waitFor(timeoutMilliseconds: seconds * 1_000) { child.exitStatus }
        return Outcome(status: status, text: TestProgram.contents(of: output) ?? "")
    }
}

/// One clear message: the exit code, one line, each of `parts` in it, no stack trace, no secret.
func expectMessage(
    _ outcome: Outcome, exit code: Int32, lines: Int = 1, _ parts: String...,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(outcome.status == .exited(code), "\(outcome.text)", sourceLocation: sourceLocation)
    #expect(outcome.messages.count == lines, "\(outcome.messages)", sourceLocation: sourceLocation)
    let message = outcome.messages.joined(separator: "\n")
    for part in parts {
        #expect(message.contains(part), "\(part) is not in: \(message)", sourceLocation: sourceLocation)
    }
    for trace in ["Fatal error", "Stack", "Crash", "0x0000", Program.secret] {
        #expect(!outcome.text.contains(trace), "\(trace) in: \(outcome.text)", sourceLocation: sourceLocation)
    }
}

/// A copy of the housing pipeline with small artefacts, to be damaged by a test.
final class PipelineCopy: Sendable {
    let directory: TemporaryDirectory
    var path: String { directory.file("a pipeline") }
    var artifacts: String { "\(path)/artifacts" }

    /// - Parameter edit: changes pipeline.yaml.
    init(_ edit: (String) -> String = { $0 }) throws {
        directory = try TemporaryDirectory()
        let files = FileManager.default
        for folder in ["schemas", "data"] {
            try files.createDirectory(atPath: "\(path)/\(folder)", withIntermediateDirectories: true)
        }
        for file in ["schemas/housing-event.schema.json", "data/reference.csv"] {
            try files.copyItem(atPath: "\(Repository.housing)/\(file)", toPath: "\(path)/\(file)")
        }
        let text = try String(contentsOfFile: "\(Repository.housing)/pipeline.yaml", encoding: .utf8)
        try edit(text).write(toFile: "\(path)/pipeline.yaml", atomically: true, encoding: .utf8)
    }

    func fit() async throws {
        let outcome = try await Program.run("penstock", ["fit", path])
        try #require(outcome.status == .exited(0), "\(outcome.text)")
    }

    func train() async throws {
        let outcome = try await Program.run("penstock", ["train", path, "--model", "logistic", "--epochs", "2"])
        try #require(outcome.status == .exited(0), "\(outcome.text)")
    }

    /// Replaces text in one of the files.
    func edit(_ file: String, _ change: (String) -> String) throws {
        let name = "\(path)/\(file)"
        try change(try String(contentsOfFile: name, encoding: .utf8)).write(
            toFile: name, atomically: true, encoding: .utf8)
    }

    /// A text member of one of the artefacts.
    func member(_ name: String, of file: String) throws -> String {
        let data = try Data(contentsOf: URL(fileURLWithPath: "\(artifacts)/\(file)"))
        let object = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        return try #require(object[name] as? String)
    }
}
