// CommandTree: what the programs themselves say about their commands and options.

import Foundation
import ProcessControl
import Testing

/// A command as the argument parser describes it.
final class CommandTree: Decodable, Sendable {
    struct Argument: Decodable {
        struct Name: Decodable {
            var kind: String
            var name: String
        }

        var kind: String
        var names: [Name]?
        var isOptional: Bool
    }

    private struct Dump: Decodable { var command: CommandTree }

    let commandName: String
    let discussion: String?
    let shouldDisplay: Bool
    let subcommands: [CommandTree]?
    let arguments: [Argument]?

    static let programs = [
        "penstock", "ingest-consumer", "transform-consumer", "inference-consumer", "retraining-consumer",
        "promotion-gate", "prediction-sink", "embedded-broker", "key-broker", "penstock-oracle", "drift-monitor",
        "infrastructure-monitor", "reaction-controller", "alert-notifier",
    ]

    static func of(_ program: String) async throws -> CommandTree {
        let outcome = try await Program.run(program, ["--experimental-dump-help"])
        return try JSONDecoder().decode(Dump.self, from: Data(outcome.text.utf8)).command
    }

    func subcommand(_ name: String) -> CommandTree? { subcommands?.first { $0.commandName == name } }

    /// The option of that spelling, `--data` or `-h`.
    func option(_ spelling: String) -> Argument? {
        arguments?.first { argument in
            argument.names?.contains { name in
                name.kind == "long" ? spelling == "--\(name.name)" : spelling == "-\(name.name)"
            } == true
        }
    }

    /// Every command that help lists, as the words to type after the program's name.
    func paths(_ prefix: [String] = []) -> [[String]] {
        [prefix]
            + (subcommands ?? []).filter { $0.shouldDisplay && $0.commandName != "help" }.flatMap {
                $0.paths(prefix + [$0.commandName])
            }
    }
}

@Suite("Every command explains itself")
struct HelpTests {
    @Test("--help exits 0 and shows an example", arguments: CommandTree.programs)
    func help(program: String) async throws {
        let paths = try await CommandTree.of(program).paths()
        #expect(program != "penstock" || paths.count > 20)
        for path in paths {
            let outcome = try await Program.run(program, path + ["--help"])
            #expect(outcome.status == .exited(0), "\(program) \(path): \(outcome.text)")
            #expect(outcome.text.contains("Example"), "\(program) \(path): \(outcome.text)")
            #expect(outcome.text.contains("USAGE: "), "\(program) \(path): \(outcome.text)")
        }
    }

    @Test("Every option says what it is for", arguments: CommandTree.programs)
    func descriptions(program: String) async throws {
        struct Described: Decodable {
            var abstract: String?
            var shouldDisplay: Bool
            var names: [CommandTree.Argument.Name]?
        }
        struct Node: Decodable {
            var commandName: String
            var arguments: [Described]?
            var subcommands: [Node]?
        }
        struct Root: Decodable { var command: Node }
        let outcome = try await Program.run(program, ["--experimental-dump-help"])
        var nodes = [try JSONDecoder().decode(Root.self, from: Data(outcome.text.utf8)).command]
        while let node = nodes.popLast() {
            nodes += (node.subcommands ?? []).filter { $0.commandName != "help" }
            for argument in node.arguments ?? [] where argument.shouldDisplay {
                #expect(argument.abstract?.isEmpty == false, "\(program): \(argument.names?.first?.name ?? "argument")")
            }
        }
    }
}
