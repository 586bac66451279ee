// EmbeddedBrokerTests: the broker process serves, stops when asked, and never outlives its parent.

import Glibc
import Kafka
import ProcessControl
import TestSupport
import Testing

@Suite("embedded-broker")
struct EmbeddedBrokerTests {
    private let directory: TemporaryDirectory
    private var addressFile: String { directory.file("address") }
    private var log: String { directory.file("log") }
    private var data: String { directory.file("data") }

    init() throws { directory = try TemporaryDirectory() }

    private func address() async throws -> String {
        try #require(try await TestProgram.waitFor { TestProgram.contents(of: addressFile) })
    }

    @Test(
        "It serves the topics it was asked for at the address it wrote, and stops on SIGTERM with 0",
        arguments: [true, false])
    func serves(isDurable: Bool) async throws {
        let kind = isDurable ? ["--data", data] : ["--in-memory-mock"]
        let arguments =
            [
                "--address-file", addressFile, "--topic", "a.inputs:3", "--topic", "b", "--default-partitions", "2",
                "--exit-with-parent",
            ] + kind
        try await TestProgram.run("embedded-broker", arguments, outputPath: log) { child in
            let configuration = try KafkaConfiguration.consumerDefaults(
                bootstrapServers: try await address(), group: "g", clientID: "test")
            let consumer = try Consumer(configuration: configuration)
            let topics = try consumer.topics(timeoutMilliseconds: 10_000)
            #expect(
                Set(topics) == [
                    TopicDescription(name: "a.inputs", partitionCount: 3),
                    TopicDescription(name: "b", partitionCount: 2),
                ])
            #expect(child.stop(graceMilliseconds: 20_000) == .exited(0))
        }
        let lines = try #require(TestProgram.contents(of: log)).split(separator: "\n")
        #expect(lines.count == 2)
        #expect(lines.allSatisfy { $0.hasPrefix("{\"time\":") && $0.hasSuffix("}") })
    }

    @Test("It stops on SIGINT with 0")
    func interrupt() async throws {
        try await TestProgram.run("embedded-broker", ["--data", data, "--address-file", addressFile], outputPath: log) {
            child in
            _ = try await address()
            child.send(SIGINT)
            #expect(child.wait(timeoutMilliseconds: 20_000) == .exited(0))
        }
    }

    @Test(
        "Wrong use ends with 2 and says what is wrong",
        arguments: [
            ([], "--address-file"),
            (["--address-file", "x", "--topic", "t:none"], "--topic"),
            (["--address-file", "x", "--topic", "t", "--topic", "t:2"], "named twice"),
            (["--address-file", "x", "--brokers", "0"], "--brokers"),
            (["--address-file", "x", "--data", "d", "--no-such-option"], "--no-such-option"),
            (["--address-file", "x"], "--data"),
            (["--address-file", "x", "--data", "d", "--fsync", "never"], "--fsync"),
        ])
    func wrongUse(arguments: [String], complaint: String) async throws {
        try await TestProgram.run("embedded-broker", arguments, outputPath: log) { child in
            #expect(child.wait(timeoutMilliseconds: 20_000) == .exited(2))
        }
        #expect(TestProgram.contents(of: log)?.contains(complaint) == true)
    }

    @Test("An address file that cannot be written ends it with 1")
    func unwritable() async throws {
        let arguments = ["--data", data, "--address-file", directory.file("no/such/place")]
        try await TestProgram.run("embedded-broker", arguments, outputPath: log) { child in
            #expect(child.wait(timeoutMilliseconds: 20_000) == .exited(1))
        }
        #expect(TestProgram.contents(of: log)?.contains("Cannot write") == true)
    }

    @Test("It ends when its parent is killed")
    func exitWithParent() async throws {
        // The shell is the broker's parent; it tells the broker's id and is killed without a chance to clean up.
        let program = "\(TestProgram.productsDirectory)/embedded-broker"
        let script = "'\(program)' --data '\(data)' --address-file '\(addressFile)' --exit-with-parent & echo $!; wait"
        let shell = try ChildProcess(executable: "/bin/sh", arguments: ["-c", script], outputPath: log)
        _ = try await address()
        let text = try #require(TestProgram.contents(of: log)?.split(separator: "\n").first { Int32($0) != nil })
        let broker = try #require(Int32(text))
        #expect(kill(broker, 0) == 0)
        // To the shell alone: `kill()` would take the broker with it.
        shell.send(SIGKILL)
        #expect(shell.wait(timeoutMilliseconds: 10_000) == .signalled(SIGKILL))
        let ended = try await TestProgram.waitFor { () -> Bool? in Self.isRunning(broker) ? nil : true }
        #expect(ended == true)
        // Should the check above fail, the broker still must not outlive the test.
        if Self.isRunning(broker) { kill(broker, SIGKILL) }
    }

    /// Whether the process runs; one that ended and waits to be collected by init does not.
    private static func isRunning(_ process: Int32) -> Bool {
        guard let status = TestProgram.contents(of: "/proc/\(process)/stat") else { return false }
        let state = status.split(separator: ")").last?.split(separator: " ").first
        return state != "Z" && state != "X"
    }
}
