// SourceRules: rules of style that a formatter cannot hold.

import Foundation
import Testing

@Suite("The sources keep to the house style")
struct SourceRules {
    static let linesMax = 500
    private let repository = Repository()

    private func swiftFiles() -> [String] {
        ["Sources", "Tests", "examples"].flatMap { repository.files(below: $0, extension: "swift") }
    }

    @Test("No file is longer than its limit")
    func fileLength() throws {
        for path in swiftFiles() {
            let lines = try repository.text(path).split(separator: "\n", omittingEmptySubsequences: false).count
            #expect(lines <= Self.linesMax, "\(path) has \(lines) lines")
        }
    }

    @Test("Every file says in its first line what it is")
    func headerLine() throws {
        for path in swiftFiles() {
            let first = try repository.text(path).split(separator: "\n").first ?? ""
            #expect(first.hasPrefix("// "), "\(path) starts with: \(first)")
        }
    }

    @Test("Nothing in Sources may crash or poll by sleeping")
    func forbiddenConstructs() throws {
        let forbidden = ["fatalError(", "try!", "as!", "Task.detached", "Thread.sleep", "usleep("]
        for path in repository.files(below: "Sources", extension: "swift") {
            for (number, line) in try repository.text(path).split(
                separator: "\n", omittingEmptySubsequences: false
            ).enumerated() where !line.drop(while: { $0 == " " }).hasPrefix("//") {
                for construct in forbidden {
                    #expect(!line.contains(construct), "\(path):\(number + 1) uses \(construct)")
                }
            }
        }
    }

    /// A jump of the wall clock must move no deadline: it is read only where the time of a record, a log line, a key's validity
    /// or a person's view is made. Durations come from the monotonic clock.
    @Test("The wall clock is read in few places")
    func wallClock() throws {
        let readers: Set = [
            "Sources/EmbeddedLog/LogStore.swift", "Sources/StageCommand/Telemetry.swift",
            "Sources/LocalDeployment/Timestamp.swift", "Sources/SinkStage/RuntimeTime.swift",
            "Sources/key-broker/Program.swift", "Sources/SealedModels/WallClock.swift",
            "Sources/StageRuntime/TimeText.swift", "Sources/MonitorRuntime/MonitorRunner.swift",
            "Sources/Observability/LogTime.swift", "Sources/RegistryRuntime/RegistryClock.swift",
        ]
        let constructs = ["CLOCK_REALTIME", "Date()", "Date.now", "gettimeofday", "time(nil)"]
        for path in repository.files(below: "Sources", extension: "swift")
        where !path.hasPrefix("Sources/PenstockCommand/") {
            let text = try repository.text(path)
            let isReader = constructs.contains { text.contains($0) }
            #expect(isReader == readers.contains(path), "\(path): reads the wall clock: \(isReader)")
        }
    }

    @Test("Nothing refers to a place outside the repository")
    func standsAlone() throws {
        let pattern = ["..", "shared"].joined(separator: "/")
        let folders = ["Sources", "Tests", "topics", "compose", "runbooks", "docs", "examples", "scripts"]
        for ext in ["swift", "md", "yaml", "yml", "json", "py", "sh"] {
            for path in folders.flatMap({ repository.files(below: $0, extension: ext) }) {
                #expect(!(try repository.text(path)).contains(pattern), "\(path)")
            }
        }
    }
}
