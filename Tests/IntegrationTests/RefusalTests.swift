// RefusalTests: what cannot work is refused at the start with one clear message, exit code 1 or 2, no stack trace.

import Foundation
import LocalDeployment
import ProcessControl
import TestSupport
import Testing

extension IntegrationTests {
    @Suite("Refusals at the start", .serialized) struct RefusalTests {
        private struct Refusal: Sendable {
            var name: String
            var stage: Stage
            var exitCode: Int32
            /// Words that the message must have.
            var words: [String]
            /// Replaces options of the ordinary command line, or removes them (nil).
            var options: [String: String?] = [:]
            var environment: [String: String] = [:]
            /// Further arguments.
            var further: [String] = []
            /// The message lists each mistake on lines of its own.
            var isList = false
        }

        /// Nothing listens there: the discard port of a machine without inetd.
        private static let nowhere = "127.0.0.1:9"

        private static func planned(_ stack: Stack, _ broken: BrokenPipelines) -> [Refusal] {
            let absentBroker = Stage.allCases.map {
                Refusal(
                    name: "absent broker", stage: $0, exitCode: 1, words: ["No Kafka broker answers at", nowhere],
                    options: ["bootstrap-servers": nowhere])
            }
            return absentBroker + [
                Refusal(
                    name: "no such pipeline", stage: .ingest, exitCode: 2, words: ["/nowhere"],
                    options: ["pipeline": "/nowhere"], isList: true),
                Refusal(
                    name: "mistake in the pipeline", stage: .transform, exitCode: 2,
                    words: ["pipeline.yaml:", "partitons"],
                    options: ["pipeline": broken.misspelt], isList: true),
                Refusal(
                    name: "missing option", stage: .inference, exitCode: 2,
                    words: ["--bootstrap-servers is missing", "PENSTOCK_BOOTSTRAP_SERVERS"],
                    options: ["bootstrap-servers": nil]),
                Refusal(
                    name: "unknown setting", stage: .ingest, exitCode: 2, words: ["sesion.timeout.ms"],
                    further: ["--set", "kafka.consumer.sesion.timeout.ms=1"]),
                Refusal(
                    name: "unwritable folder", stage: .ingest, exitCode: 1, words: ["/proc/nowhere"],
                    options: ["health-port-file": "/proc/nowhere/port"]),
                Refusal(
                    name: "no artefacts", stage: .transform, exitCode: 1, words: ["transform.json", "penstock fit"],
                    options: ["artifacts": "/nowhere"]),
                Refusal(
                    name: "model of another contract", stage: .inference, exitCode: 1, words: ["contract"],
                    options: ["artifacts": broken.otherContract]),
                Refusal(
                    name: "absent database", stage: .sink, exitCode: 1, words: ["127.0.0.1:9"],
                    environment: ["PENSTOCK_POSTGRES": "postgresql://someone:secret-word@127.0.0.1:9/nothing"]),
                Refusal(
                    name: "wrong password", stage: .sink, exitCode: 1, words: ["password authentication failed"],
                    environment: ["PENSTOCK_POSTGRES": broken.wrongPasswordURL]),
                Refusal(
                    name: "wrong schema", stage: .sink, exitCode: 1, words: ["wrong schema", "--migrate"],
                    options: ["pipeline": broken.otherSchema]),
                Refusal(
                    name: "no database named", stage: .sink, exitCode: 2, words: ["PENSTOCK_POSTGRES"],
                    environment: ["PENSTOCK_POSTGRES": ""]),
            ]
        }

        /// Pipelines and artefacts that a consumer must refuse.
        private struct BrokenPipelines {
            let misspelt: String
            let otherSchema: String
            let otherContract: String
            let wrongPasswordURL: String

            init(_ stack: Stack) throws {
                func copy(_ name: String, replacing text: String, by other: String) throws -> String {
                    let folder = "\(stack.directory)/\(name)"
                    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
                    try FileManager.default.copyItem(
                        atPath: "\(stack.directory)/schemas", toPath: "\(folder)/schemas")
                    let yaml = try String(contentsOfFile: "\(stack.directory)/pipeline.yaml", encoding: .utf8)
                    guard yaml.contains(text) else { throw TestFailure("pipeline.yaml has no '\(text)'") }
                    try yaml.replacing(text, with: other).write(
                        toFile: "\(folder)/pipeline.yaml", atomically: true, encoding: .utf8)
                    return folder
                }
                misspelt = try copy("misspelt", replacing: "inputs: { partitions:", by: "inputs: { partitons:")
                otherSchema = try copy("other schema", replacing: "schema: penstock", by: "schema: elsewhere")
                let folder = "\(stack.directory)/other contract"
                try FileManager.default.copyItem(atPath: try Artifacts.folder(), toPath: folder)
                let manifest = "\(folder)/model.json"
                let text = try String(contentsOfFile: manifest, encoding: .utf8)
                guard let range = text.firstRange(of: #/"contract"\s*:\s*"[^"]*"/#) else {
                    throw TestFailure("model.json names no contract")
                }
                let digits = String(text[range].reversed().dropFirst().prefix { $0 != "\"" }.reversed())
                let other = String(digits.map { $0 == "0" ? "1" : "0" })
                try text.replacing(digits, with: other).write(toFile: manifest, atomically: true, encoding: .utf8)
                otherContract = folder
                let place = stack.postgres.url(role: TestPostgres.runtime).split(separator: "@").last ?? ""
                wrongPasswordURL = "postgresql://\(TestPostgres.runtime):secret-word@\(place)"
            }
        }

        @Test("Each refusal is one clear message with its exit code")
        func refusals() async throws {
            var options = Stack.Options()
            options.notStarted = Set(Stage.allCases)
            try await Stack.run(options) { stack in
                let refusals = Self.planned(stack, try BrokenPipelines(stack))
                // All at once: some of them wait for half a minute before they give up.
                let children = try refusals.enumerated().map { number, refusal in
                    try TestProgram.start(
                        refusal.stage.program, Self.arguments(refusal, stack),
                        environment: [
                            "PENSTOCK_POSTGRES": stack.postgres.url(role: TestPostgres.runtime),
                            "PENSTOCK_RUNTIME_ROLE": TestPostgres.runtime,
                            "PENSTOCK_READER_ROLE": TestPostgres.reader,
                            "PENSTOCK_ALLOW_UNSEALED_MODEL": "1",
                        ].merging(refusal.environment) { $1 },
                        outputPath: "\(stack.directory)/refusal-\(number).log")
                }
                for (number, (refusal, child)) in zip(refusals, children).enumerated() {
                    let status = try await onThread { child.wait(timeoutMilliseconds: 90_000) }
                    let log = TestProgram.contents(of: "\(stack.directory)/refusal-\(number).log") ?? ""
                    let name = "\(refusal.name), \(refusal.stage)"
                    #expect(status == .exited(refusal.exitCode), "\(name): \(log)")
                    // Beside the structured lines there is the message, and nothing else.
                    let lines = log.split(separator: "\n").filter { !$0.hasPrefix("{") }
                    #expect(lines.first?.hasPrefix("\(refusal.stage.program): ") == true, "\(name): \(log)")
                    #expect(lines.count == 1 || refusal.isList, "\(name): \(log)")
                    let message = lines.joined(separator: "\n")
                    for word in refusal.words { #expect(message.contains(word), "\(name): \(log)") }
                    #expect(!log.contains("Fatal error") && !log.contains("secret-word"), "\(name): \(log)")
                }
            }
        }

        private static func arguments(_ refusal: Refusal, _ stack: Stack) throws -> [String] {
            var options: [String: String?] = [
                "pipeline": stack.directory, "artifacts": try Artifacts.folder(), "bootstrap-servers": stack.servers,
                "group": TestBroker.uniqueName("refusal"),
            ]
            options.merge(refusal.options) { $1 }
            return options.flatMap { name, value in value.map { ["--\(name)", $0] } ?? [] } + ["--exit-with-parent"]
                + refusal.further
        }
    }
}
