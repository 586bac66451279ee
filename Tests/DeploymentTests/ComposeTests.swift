// ComposeTests: the services of compose.yaml, run as plain processes against the embedded default.

import Foundation
import LocalDeployment
import Postgres
import ProcessControl
import TestSupport
import Testing
import Yams

@Suite("The compose file fits the programs")
struct ComposeTests {
    private static let passwords = [
        "PENSTOCK_OWNER_PASSWORD": "owner", "PENSTOCK_SINK_PASSWORD": "s'i n\"k/@:%",
        "PENSTOCK_READER_PASSWORD": "reader",
    ]

    @Test("Each Penstock service starts with its command and environment, gets ready, and stops on SIGTERM")
    func services() async throws {
        let services = try ComposeService.all()
        let jobs = services.filter(\.isJob)
        let consumers = services.filter { !$0.isJob }
        #expect(Set(jobs.map(\.name)) == ["topics", "artifacts", "migrate"])
        #expect(
            Set(consumers.map(\.name)) == [
                "ingest", "transform", "inference", "labels", "retraining", "gate", "sink", "drift-monitor",
                "infrastructure-monitor",
                "reaction-controller", "alert-notifier",
            ])

        let directory = try TemporaryDirectory()
        let address = directory.file("address")
        try FileManager.default.createDirectory(
            atPath: directory.file("artifacts"), withIntermediateDirectories: true)
        // This broker has no administration: the topics are there from the start, and `topics apply` finds them.
        let topics = ["inputs", "events", "features", "predictions", "label-inputs", "labels"].map {
            "penstock.housing.\($0):4"
        }
        let single = [
            "duplicates", "inputs.dlq", "events.dlq", "features.dlq", "predictions.dlq", "label-inputs.dlq",
            "monitoring",
            "monitor-state", "alerts", "alerts-current", "retraining", "review", "models", "models-current",
            "telemetry",
            "control",
        ].map { "penstock.housing.\($0):1" }
        let broker = try TestProgram.start(
            "embedded-broker",
            ["--in-memory-mock", "--address-file", address] + (topics + single).flatMap { ["--topic", $0] },
            outputPath: directory.file("broker.log"))
        defer { broker.stop(graceMilliseconds: 10_000) }
        let server = try TestPostgres.makeServer()
        defer { TestPostgres.remove(server) }
        // As the postgres image makes it: every role may connect.
        try server.connect().execute("CREATE DATABASE penstock")
        let servers = try #require(
            try await TestProgram.waitFor { TestProgram.contents(of: address) }, "the broker did not start")
        let postgres = try #require(URLComponents(string: server.url(database: "penstock")))
        let owner = [
            "${PENSTOCK_OWNER_PASSWORD": try #require(postgres.password),
            "penstock_owner": PrivatePostgres.administrator,
        ]
        let places = [
            "/etc/penstock/topics": "\(Repository.root)/topics", "kafka:9092": servers,
            "/var/lib/penstock/artifacts": directory.file("artifacts"),
            "@postgres:5432": "@127.0.0.1:\(try #require(postgres.port))",
        ]
        for name in ["topics", "artifacts", "migrate"] {
            let job = try #require(jobs.first { $0.name == name }).placed(places, owner, Self.passwords)
            let outcome = try await Program.run(executable: job.program, job.arguments, job.environment, 120)
            #expect(outcome.status == .exited(0), "\(name): \(outcome.text)")
            // A job may run again: `up` after `stop` starts it once more.
            let again = try await Program.run(executable: job.program, job.arguments, job.environment, 120)
            #expect(again.status == .exited(0), "\(name) again: \(again.text)")
            if name == "topics" { #expect(outcome.text.contains("Created 0, kept 22.")) }
        }
        for consumer in consumers.map({ $0.placed(places, owner, Self.passwords) }) {
            try await serve(consumer, in: directory)
        }
    }

    private func serve(_ service: ComposeService, in directory: TemporaryDirectory) async throws {
        let portFile = directory.file("\(service.name).port")
        let log = directory.file("\(service.name).log")
        // Every container has its own port 8080; here a free one is taken.
        let child = try ChildProcess(
            executable: service.program, arguments: service.arguments,
            environment: service.environment.merging(
                ["PENSTOCK_HEALTH_PORT": "0", "PENSTOCK_HEALTH_PORT_FILE": portFile]) { $1 }, outputPath: log)
        defer { child.kill() }
        let isReady = try await TestProgram.waitFor(timeoutMilliseconds: 60_000) { () -> Bool? in
            if child.exitStatus != nil { return false }
            guard let port = TestProgram.contents(of: portFile).flatMap({ Int($0.filter(\.isNumber)) }) else {
                return nil
            }
            return HealthProbe.isReady(port: port) ? true : nil
        }
        #expect(isReady == true, "\(service.name): \(TestProgram.contents(of: log) ?? "")")
        child.send(SIGTERM)
        let status = try await TestProgram.waitFor(timeoutMilliseconds: 40_000) { child.exitStatus }
        #expect(status == .exited(0), "\(service.name): \(TestProgram.contents(of: log) ?? "")")
    }

    @Test("docker-compose accepts the file")
    func dockerCompose() async throws {
        let compose = try await Program.run(executable: "sh", ["-c", "command -v docker-compose"])
        guard compose.status == .exited(0) else { return }
        let arguments = ["-f", "\(Repository.root)/compose/compose.yaml", "config", "--quiet"]
        let accepted = try await Program.run(executable: "docker-compose", arguments, Self.passwords)
        #expect(accepted.status == .exited(0), "\(accepted.text)")
        // Empty passwords, as in a copy of .env.example that nobody filled in, are refused.
        let refused = try await Program.run(
            executable: "docker-compose", arguments, Self.passwords.mapValues { _ in "" })
        #expect(refused.status != .exited(0))
        #expect(refused.text.contains("choose one in compose/.env"), "\(refused.text)")
        let example = try Repository.text("compose/.env.example")
        for variable in Self.passwords.keys { #expect(example.contains("\(variable)=\n")) }
    }

    @Test("The image holds the programs that the services run, and the packages that the programs load")
    func image() async throws {
        let text = try Repository.text("compose/Dockerfile").replacingOccurrences(of: "\\\n", with: " ")
        let loop = try #require(text.firstMatch(of: /for program in ([^;]+);/))
        let programs = Set(loop.1.split(separator: " ").map(String.init))
        let used = try Set(ComposeService.all().map { $0.command[0] == "sh" ? "penstock" : $0.command[0] })
        #expect(programs == used.union(["penstock-oracle"]))
        let installed = try #require(text.matches(of: /apt-get install -y --no-install-recommends ([^&]+)&&/).last)
        let packages = Set(installed.1.split(separator: " ").map(String.init))
        // What every debian:12-slim has, or what the named packages bring along.
        let given: Set = ["libc6", "libgcc-s1", "libstdc++6"]
        var needed: Set<String> = []
        for program in programs { needed.formUnion(try await Self.packages(of: program)) }
        #expect(packages.subtracting(["ca-certificates", "curl"]) == needed.subtracting(given))
    }

    /// Debian packages of the libraries that a program itself names; those of the Swift runtime are linked statically in
    /// the image.
    private static func packages(of program: String) async throws -> Set<String> {
        let path = "\(TestProgram.productsDirectory)/\(program)"
        let script = """
            for name in $(readelf --dynamic "$1" | sed -n 's/.*NEEDED.*\\[\\(.*\\)\\]/\\1/p'); do
                file=$(ldd "$1" | sed -n "s|^[[:space:]]*$name => \\([^ ]*\\) .*|\\1|p")
                [ -n "$file" ] && dpkg --search "$(readlink --canonicalize "$file")" 2>/dev/null
            done; exit 0
            """
        let outcome = try await Program.run(executable: "sh", ["-c", script, "sh", path])
        return Set(outcome.messages.compactMap { $0.split(separator: ":").first.map(String.init) })
    }
}

/// A service of compose.yaml that runs one of our programs.
struct ComposeService {
    var name: String
    var command: [String]
    var environment: [String: String]
    /// Runs to its end, once.
    var isJob: Bool

    static func all() throws -> [ComposeService] {
        let file = try #require(try Yams.load(yaml: try Repository.text("compose/compose.yaml")) as? [String: Any])
        let services = try #require(file["services"] as? [String: [String: Any]])
        return try services.filter { $0.value["image"] as? String == "penstock" }.map { name, service in
            let environment = try #require(service["environment"] as? [String: Any])
            return ComposeService(
                name: name, command: try #require(service["command"] as? [String]),
                environment: environment.mapValues { "\($0)" }, isJob: service["restart"] == nil)
        }
    }

    /// The program of the tests' own build.
    var program: String { command[0] == "sh" ? "sh" : "\(TestProgram.productsDirectory)/\(command[0])" }
    var arguments: [String] { Array(command.dropFirst()) }

    /// With places of this machine instead of the containers', and the values of variables.
    func placed(_ places: [String: String], _ owner: [String: String], _ variables: [String: String]) -> ComposeService
    {
        func fill(_ text: String) -> String {
            var text = places.reduce(text) { $0.replacingOccurrences(of: $1.key, with: $1.value) }
            text = text.replacingOccurrences(of: "penstock_owner", with: owner["penstock_owner"] ?? "")
            for (variable, value) in variables {
                let actual = owner["${\(variable)"] ?? value
                text = text.replacingOccurrences(
                    of: "\\$\\{\(variable):\\?[^}]*\\}", with: NSRegularExpression.escapedTemplate(for: actual),
                    options: .regularExpression)
            }
            // Receivers that nobody named.
            return text.replacing(/\$\{[A-Z_]+:-\}/, with: "")
        }
        var service = self
        service.command = command.map(fill)
        service.environment = environment.mapValues(fill)
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
        service.environment["PATH"] = "\(TestProgram.productsDirectory):\(path)"
        return service
    }
}
