// BadConfigurationTests: what an operator can write wrongly, each answered with one clear message.

import Foundation
import Glibc
import ProcessControl
import TestSupport
import Testing

@Suite("A wrong configuration is answered with one clear message")
struct BadConfigurationTests {
    static let consumers = ["ingest-consumer", "transform-consumer", "inference-consumer", "prediction-sink"]
    private static let nowhere = ["--bootstrap-servers", "127.0.0.1:1"]

    @Test("A missing option names the option and its variable", arguments: consumers)
    func missingOption(program: String) async throws {
        expectMessage(try await Program.run(program, []), exit: 2, program, "--pipeline", "PENSTOCK_PIPELINE")
        expectMessage(
            try await Program.run(program, ["--pipeline", Repository.housing]), exit: 2, "--bootstrap-servers",
            "PENSTOCK_BOOTSTRAP_SERVERS")
    }

    @Test("A pipeline that is not there is named", arguments: consumers)
    func missingPipeline(program: String) async throws {
        expectMessage(
            try await Program.run(program, ["--pipeline", "/nowhere/pipeline.yaml"] + Self.nowhere), exit: 2,
            "/nowhere/pipeline.yaml", "does not exist", "check the path")
    }

    @Test("The commands name a pipeline that is not there", arguments: ["lint", "fit", "train", "lag", "dlq list"])
    func missingPipelineOfCommand(command: String) async throws {
        let arguments = command.split(separator: " ").map(String.init) + ["/nowhere"]
        let outcome = try await Program.run("penstock", arguments)
        let isLint = command == "lint"
        expectMessage(
            outcome, exit: isLint ? 2 : 1, lines: isLint ? 3 : 1, "/nowhere", "does not exist", "check the path")
    }

    @Test("Mistakes in pipeline.yaml: consumers show the first and the way to the others")
    func mistakes() async throws {
        let copy = try PipelineCopy {
            $0.replacingOccurrences(of: "prefix:", with: "prefixx:").replacingOccurrences(
                of: "retention: 1d", with: "retentoin: 1d")
        }
        let file = "\(copy.path)/pipeline.yaml"
        for program in Self.consumers {
            expectMessage(
                try await Program.run(program, ["--pipeline", copy.path] + Self.nowhere), exit: 2,
                "\(file):4:1: unknown key `prefixx`", "did you mean `prefix`?", "penstock lint \(file)")
        }
        expectMessage(
            try await Program.run("penstock", ["up", "--pipeline", copy.path]), exit: 1, "\(file):4:1:", "prefixx")
        let lint = try await Program.run("penstock", ["lint", copy.path])
        #expect(lint.status == .exited(1))
        #expect(lint.text.contains("\(file):4:1: error: unknown key `prefixx`"))
        #expect(lint.text.contains("unknown key `retentoin` in `topics.events`"))
        #expect(lint.text.contains("mend: did you mean `retention`?"))
    }

    @Test("A file that is no YAML is refused at its line")
    func noYAML() async throws {
        let copy = try PipelineCopy { _ in "version: 1\npipeline: [unclosed\n" }
        expectMessage(
            try await Program.run("transform-consumer", ["--pipeline", copy.path] + Self.nowhere), exit: 2,
            "\(copy.path)/pipeline.yaml:")
    }

    @Test("Settings of librdkafka: unknown names and bad values are named, secrets are not shown")
    func settings() async throws {
        let base = ["--pipeline", Repository.housing] + Self.nowhere
        func outcome(_ setting: String, _ program: String = "ingest-consumer") async throws -> Outcome {
            try await Program.run(program, base + ["--set", setting])
        }
        expectMessage(try await outcome("kafka.no.such.thing=1"), exit: 2, "no.such.thing", "no such setting")
        expectMessage(try await outcome("kafka.session.timeout.ms=soon"), exit: 2, "session.timeout.ms")
        expectMessage(try await outcome("kafka.consumer.linger.msec=1"), exit: 2, "linger.msec")
        expectMessage(
            try await outcome("sasl.password=\(Program.secret)"), exit: 2, "--set sasl.password", "kafka.<name>")
        expectMessage(try await outcome("sasl.password=\(Program.secret)", "prediction-sink"), exit: 2, "sasl.password")
        expectMessage(
            try await Program.run(
                "penstock", ["lag", Repository.housing] + Self.nowhere + ["--set", "password=\(Program.secret)"]),
            exit: 2, "--set password")
        let oracle = try await Program.run(
            "penstock-oracle", base + ["--postgres", "postgresql://x", "--set", "password=\(Program.secret)"])
        #expect(oracle.status == .exited(2))
        #expect(!oracle.text.contains(Program.secret))
        let variable = try await Program.run(
            "ingest-consumer", base + ["--start-timeout", "1"],
            environment: ["PENSTOCK_KAFKA_SASL_PASSWORD": Program.secret, "PENSTOCK_KAFKA_NO_SUCH": Program.secret])
        expectMessage(variable, exit: 2, "no.such")
    }

    @Test("Wrong values of options end with 2 and say what is expected")
    func values() async throws {
        let base = ["--pipeline", Repository.housing] + Self.nowhere
        for (option, value, expected) in [
            ("--profile", "fast", "one of exact, latency"), ("--log-level", "loud", "one of trace"),
            ("--start", "middle", "earliest, latest"), ("--health-port", "70000", "0 to 65535"),
            ("--start-timeout", "0", "1 to 3600"), ("--on-lost-range", "weep", "continue, stop"),
        ] {
            expectMessage(
                try await Program.run("ingest-consumer", base + [option, value]), exit: 2, option, value, expected)
        }
        let malformed = try await Program.run(
            "prediction-sink",
            base + ["--postgres", "postgresql://u:\(Program.secret)@h:port:x/%zz", "--start-timeout", "1"])
        expectMessage(malformed, exit: 2, "PostgreSQL URL cannot be read")
        expectMessage(
            try await Program.run("prediction-sink", base + ["--start-timeout", "1"]), exit: 2, "PENSTOCK_POSTGRES")
    }

    @Test(
        "Unknown options and commands end with 2",
        arguments: consumers + ["embedded-broker", "penstock-oracle", "penstock"])
    func unknownOption(program: String) async throws {
        let needed = program == "embedded-broker" ? ["--in-memory-mock", "--address-file", "/nowhere/address"] : []
        let outcome = try await Program.run(program, needed + ["--no-such-option"])
        #expect(outcome.status == .exited(2))
        #expect(outcome.text.contains("no-such-option"))
        if program == "penstock" {
            #expect(try await Program.run(program, ["frobnicate"]).status == .exited(2))
        }
    }

    @Test("A directory that cannot be written is named, with the option to choose another")
    func unwritable() async throws {
        let copy = try PipelineCopy()
        try await copy.fit()
        try await copy.train()
        // Not even root can make a folder below a file.
        let file = copy.directory.file("file")
        try "".write(toFile: file, atomically: true, encoding: .utf8)
        expectMessage(
            try await Program.run(
                "penstock", ["up", "--unsealed-model", "--pipeline", copy.path, "--data", "\(file)/data"]), exit: 1,
            "\(file)/data", "Not a directory", "--data DIR")
        expectMessage(
            try await Program.run("penstock", ["fit", copy.path, "--artifacts", "\(file)/x"]), exit: 1, "\(file)/x")
        expectMessage(
            try await Program.run("penstock", ["train", copy.path, "--artifacts", "\(file)/x"]), exit: 1, "\(file)/x")
        expectMessage(
            try await Program.run(
                "ingest-consumer",
                ["--pipeline", copy.path, "--health-port-file", "\(file)/port"] + Self.nowhere), exit: 1, "\(file)/port"
        )
        try await unwritableForAnother(copy)
    }

    /// The same as a user who may not write, when the test runs as root and that user can reach the programs.
    private func unwritableForAnother(_ copy: PipelineCopy) async throws {
        guard getuid() == 0 else { return }
        let asNobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--"]
        let penstock = "\(TestProgram.productsDirectory)/penstock"
        chmod(copy.directory.path, 0o755)
        let reachable = try await Program.run(executable: "setpriv", asNobody + [penstock, "lint", copy.path])
        guard reachable.status == .exited(0) else { return }
        let folder = copy.directory.file("root's own")
        mkdir(folder, 0o755)
        expectMessage(
            try await Program.run(
                executable: "setpriv",
                asNobody + [penstock, "up", "--unsealed-model", "--pipeline", copy.path, "--data", folder]),
            exit: 1, folder, "--data DIR")
        expectMessage(
            try await Program.run(executable: "setpriv", asNobody + [penstock, "fit", copy.path]), exit: 1,
            "\(copy.artifacts)/transform.json", "Permission denied")
    }
}
