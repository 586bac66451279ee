// DocumentTests: what the documents say exists: commands, options, files, folders.

import Foundation
import TestSupport
import Testing

@Suite("The documents agree with the programs and files")
struct DocumentTests {
    static let documents: [String] = {
        let files = FileManager.default
        let folders = ["runbooks", "docs"].flatMap { folder in
            ((try? files.contentsOfDirectory(atPath: "\(Repository.root)/\(folder)")) ?? []).map { "\(folder)/\($0)" }
        }
        return (folders + ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"]).filter { $0.hasSuffix(".md") }.sorted()
    }()

    /// Programs from elsewhere that the documents may use; all but docker come with `scripts/install-packages test`
    /// or with the system.
    static let foreign: Set = [
        "kcat", "psql", "curl", "docker", "make", "python3", "cp", "cat", "cd", "export", "kill", "swift", "sudo",
        "git",
    ]

    @Test("Commands and options in the documents exist", arguments: documents)
    func commands(document: String) async throws {
        var trees: [String: CommandTree] = [:]
        for command in DocumentCommand.all(in: try Repository.text(document)) {
            guard let program = command.words.first else { continue }
            let place = "\(document): \(command.words.joined(separator: " "))"
            if CommandTree.programs.contains(program) {
                let known = trees[program]
                let tree = if let known { known } else { try await CommandTree.of(program) }
                trees[program] = tree
                check(Array(command.words.dropFirst()), tree, place)
            } else if program == "make" {
                for target in command.words.dropFirst() where !target.contains("=") {
                    #expect(try Repository.text("Makefile").contains("\n\(target):"), "\(place): no target \(target)")
                }
            } else {
                #expect(
                    Self.foreign.contains(program) || Self.isScript(program), "\(place): unknown program \(program)")
            }
        }
    }

    private static func isScript(_ program: String) -> Bool {
        FileManager.default.isExecutableFile(atPath: "\(Repository.root)/\(program)")
    }

    private func check(_ words: [String], _ root: CommandTree, _ place: String) {
        var command = root
        var rest = words[...]
        while let word = rest.first, let next = command.subcommand(word) {
            command = next
            rest.removeFirst()
        }
        if command.subcommands?.isEmpty == false {
            #expect(rest.first?.hasPrefix("--") == true || rest.isEmpty, "\(place): no command \(rest.first ?? "")")
        }
        var positionals = 0
        while let word = rest.popFirst() {
            guard word.hasPrefix("-"), word != "-" else {
                positionals += 1
                if word.hasPrefix("topics/") {
                    let isMade = word.contains("/artifacts/")
                    #expect(isMade || FileManager.default.fileExists(atPath: "\(Repository.root)/\(word)"), "\(place)")
                }
                continue
            }
            let name = word.split(separator: "=", maxSplits: 1).first.map(String.init) ?? word
            if ["--help", "--version"].contains(name) { continue }
            guard let option = command.option(name) else {
                Issue.record("\(place): no option \(name)")
                continue
            }
            if option.kind == "option", !word.contains("=") { rest = rest.dropFirst() }
        }
        let accepted = (command.arguments ?? []).filter { $0.kind == "positional" }
        let isHelp = words.contains("--help")
        #expect(positionals <= accepted.count, "\(place): too many arguments")
        #expect(isHelp || positionals >= accepted.count { !$0.isOptional }, "\(place): an argument is missing")
    }

    @Test("Links between the documents lead somewhere", arguments: documents)
    func links(document: String) throws {
        let text = try Repository.text(document)
        let folder = (document as NSString).deletingLastPathComponent
        for match in text.matches(of: /\]\(([^)\s]+)\)/) {
            let target = String(match.1.prefix { $0 != "#" })
            guard !target.isEmpty, !target.contains("://") else { continue }
            let path = folder.isEmpty ? target : "\(folder)/\(target)"
            #expect(
                FileManager.default.fileExists(atPath: "\(Repository.root)/\(path)"), "\(document) links to \(target)")
        }
    }

    @Test("Files and folders that are named exist", arguments: documents)
    func paths(document: String) throws {
        for match in try Repository.text(document).matches(
            of: /`((?:Sources|Tests|docs|runbooks|compose|scripts|examples)\/[A-Za-z0-9_+.\/-]+)`/)
        {
            let path = String(match.1)
            #expect(FileManager.default.fileExists(atPath: "\(Repository.root)/\(path)"), "\(document) names \(path)")
        }
    }

    @Test("The architecture names every folder of Sources and of the root")
    func folders() throws {
        let text = try Repository.text("ARCHITECTURE.md")
        for parent in ["Sources", ""] {
            let path = parent.isEmpty ? Repository.root : "\(Repository.root)/\(parent)"
            for name in try FileManager.default.contentsOfDirectory(atPath: path) where !name.hasPrefix(".") {
                var isFolder: ObjCBool = false
                _ = FileManager.default.fileExists(atPath: "\(path)/\(name)", isDirectory: &isFolder)
                guard isFolder.boolValue else { continue }
                #expect(text.contains(name), "ARCHITECTURE.md does not name \(parent)/\(name)")
            }
        }
    }

    @Test("Every metric is documented, and no other")
    func metrics() throws {
        let names = try Repository.text("Sources/Observability/MetricNames.swift")
            .matches(of: /"((?:penstock|kafka|process)_[a-z_]+)"/).map { String($0.1) }
        let documented = try Repository.text("docs/operations.md")
            .matches(of: /\| `([a-z_]+)` \|.*\|.*\|/).map { String($0.1) }
        #expect(names.count > 10)
        #expect(documented.sorted() == names.sorted())
    }

    @Test("Every runbook is in the index, and each has a command to run")
    func index() throws {
        let index = try Repository.text("runbooks/README.md")
        for document in Self.documents where document.hasPrefix("runbooks/") && document != "runbooks/README.md" {
            let name = document.dropFirst("runbooks/".count)
            #expect(index.contains("(\(name))"), "runbooks/README.md does not link \(name)")
            #expect(!DocumentCommand.all(in: try Repository.text(document)).isEmpty, "\(document) has no command")
        }
    }

    @Test("The command reader takes blocks, pipes, substitutions and continued lines apart")
    func reader() {
        let text = """
            Text `not this`.
              ```sh
              A=1 penstock publish topics/housing 'a file' \\
                  --limit 3 | cat     # a remark
              psql "$(cat x)" && make run
              ```
            ```json
            nor this
            ```
            """
        #expect(
            DocumentCommand.all(in: text).map(\.words) == [
                ["penstock", "publish", "topics/housing", "a file", "--limit", "3"], ["cat"], ["psql", "$(cat x)"],
                ["make", "run"],
            ])
    }
}

/// One command of a fenced `sh` block.
struct DocumentCommand {
    var words: [String]

    static func all(in document: String) -> [DocumentCommand] {
        var commands: [DocumentCommand] = []
        var isShell = false
        var isFenced = false
        var open = ""
        for line in document.split(separator: "\n", omittingEmptySubsequences: false) {
            let text = line.trimmingCharacters(in: .whitespaces)
            if text.hasPrefix("```") {
                isFenced.toggle()
                isShell = isFenced && text == "```sh"
                continue
            }
            guard isShell else { continue }
            if text.hasSuffix("\\") {
                open += text.dropLast() + " "
            } else {
                commands += split(open + text)
                open = ""
            }
        }
        return commands
    }

    /// Words as a shell takes them, without assignments before the program, redirections and remarks.
    private static func split(_ line: String) -> [DocumentCommand] {
        var commands: [[String]] = [[]]
        var word = ""
        var isWord = false
        var quote: Character?
        var depth = 0
        func end() {
            if isWord { commands[commands.count - 1].append(word) }
            word = ""
            isWord = false
        }
        scan: for character in line {
            if let open = quote {
                if character == open { quote = nil } else { word.append(character) }
                continue
            }
            switch character {
            case "'", "\"":
                quote = character
                isWord = true
            case "(", ")":
                depth += character == "(" ? 1 : -1
                word.append(character)
            case " " where depth == 0: end()
            case "#" where !isWord && depth == 0: break scan
            case "|", "&", ";":
                end()
                commands.append([])
            default:
                word.append(character)
                isWord = true
            }
        }
        end()
        return commands.compactMap { words in
            let rest = words.drop { $0.wholeMatch(of: /[A-Z_]+=.*/) != nil }
            let shown = rest.filter { !$0.hasPrefix(">") && !$0.hasPrefix("<") }
            return shown.isEmpty ? nil : DocumentCommand(words: Array(shown))
        }
    }
}
