// BadServerTests: brokers, databases and ports that are not as they must be, each answered with one clear message.

import Foundation
import Kafka
import Postgres
import ProcessControl
import TestSupport
import Testing

@Suite("A broker or database that is absent or wrong is answered with one clear message")
struct BadServerTests {
    private static let nowhere = ["--bootstrap-servers", "127.0.0.1:1"]
    private static let roles = ["--runtime-role", TestPostgres.runtime, "--reader-role", TestPostgres.reader]

    @Test("Consumers give an absent broker up after the start time-out")
    func absentBroker() async throws {
        let copy = try PipelineCopy()
        try await copy.fit()
        try await copy.train()
        for program in BadConfigurationTests.consumers {
            let outcome = try await Program.run(
                program, ["--pipeline", copy.path, "--start-timeout", "1"] + Self.nowhere,
                environment: [
                    "PENSTOCK_POSTGRES": "postgresql://u@127.0.0.1:1/d", "PENSTOCK_ALLOW_UNSEALED_MODEL": "1",
                ])
            expectMessage(outcome, exit: 1, program, "No Kafka broker answers at 127.0.0.1:1", "check that it runs")
        }
    }

    @Test("Commands give an absent broker up")
    func absentBrokerOfCommands() async throws {
        for command in ["lag", "topics plan", "dlq list"] {
            let arguments = command.split(separator: " ").map(String.init) + [Repository.housing] + Self.nowhere
            expectMessage(try await Program.run("penstock", arguments), exit: 1, "--bootstrap-servers")
        }
        let publish = ["publish", Repository.housing, "\(Repository.housing)/data/analysis.csv", "--limit", "1"]
        expectMessage(try await Program.run("penstock", publish + Self.nowhere), exit: 1, "--bootstrap-servers")
        expectMessage(
            try await Program.run("penstock", ["lag", Repository.housing]), exit: 2, "penstock up",
            "--bootstrap-servers")
    }

    @Test("Topics that are missing are named")
    func missingTopics() async throws {
        let broker = try TestBroker()
        expectMessage(
            try await Program.run(
                "ingest-consumer",
                [
                    "--pipeline", Repository.housing, "--bootstrap-servers", broker.bootstrapServers,
                    "--start-timeout", "1",
                ]), exit: 1, "penstock.housing.inputs", broker.bootstrapServers, "create it")
    }

    @Test("A health port in use is named")
    func portInUse() async throws {
        let broker = try TestBroker()
        let port = try #require(broker.bootstrapServers.split(separator: ":").last).description
        expectMessage(
            try await Program.run(
                "ingest-consumer", ["--pipeline", Repository.housing, "--health-port", port] + Self.nowhere), exit: 1,
            "127.0.0.1:\(port)", "in use", "--health-port")
    }

    @Test("An absent database, a wrong password and a wrong schema are told apart")
    func databases() async throws {
        let broker = try TestBroker()
        for topic in ["predictions", "predictions.dlq"] {
            try broker.cluster.createTopic("penstock.housing.\(topic)", partitions: 1)
        }
        let database = try TestPostgres()
        func sink(_ url: String) async throws -> Outcome {
            try await Program.run(
                "prediction-sink",
                [
                    "--pipeline", Repository.housing, "--bootstrap-servers", broker.bootstrapServers,
                    "--start-timeout", "1",
                ] + Self.roles, environment: ["PENSTOCK_POSTGRES": url])
        }
        func migrate(_ url: String, _ options: [String] = BadServerTests.roles) async throws -> Outcome {
            try await Program.run(
                "prediction-sink", ["--migrate", "--pipeline", Repository.housing] + options,
                environment: ["PENSTOCK_POSTGRES": url])
        }
        let absent = "postgresql://u:\(Program.secret)@127.0.0.1:1/d"
        for outcome in [try await sink(absent), try await migrate(absent)] {
            expectMessage(outcome, exit: 1, "127.0.0.1:1/d as u", "Connection refused")
        }
        let url = database.url(role: TestPostgres.runtime)
        let wrong = try Self.withPassword(Program.secret, in: url)
        for outcome in [try await sink(wrong), try await migrate(wrong)] {
            expectMessage(outcome, exit: 1, TestPostgres.runtime, "password authentication failed")
        }
        let tableless = try await sink(url)
        expectMessage(tableless, exit: 1, "wrong schema", "no Penstock tables", "prediction-sink --migrate")
        expectMessage(
            try await migrate(database.url(), ["--runtime-role", "nobody_made_me"]), exit: 1, "nobody_made_me",
            "CREATE ROLE")

        let migrated = try await migrate(database.url())
        #expect(migrated.status == .exited(0), "\(migrated.text)")
        try database.connect().execute(
            "INSERT INTO penstock.schema_migrations (sink_table, version, name, checksum) VALUES ('', 99, 'later', 'x')"
        )
        for outcome in [try await sink(url), try await migrate(database.url())] {
            expectMessage(outcome, exit: 1, "wrong schema", "migration 99 (later)", "newer version")
        }
    }

    private static func withPassword(_ password: String, in url: String) throws -> String {
        var components = try #require(URLComponents(string: url))
        components.password = password
        return try #require(components.string)
    }
}
