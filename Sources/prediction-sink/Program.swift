// prediction-sink: predictions become rows in PostgreSQL, each exactly once.

import ArgumentParser
import EventContracts
import Foundation
import Kafka
import PipelineContract
import Postgres
import SinkStage
import StageCommand
import StageRuntime

@main
struct PredictionSink: StageProgram {
    static let configuration = CommandConfiguration(
        commandName: "prediction-sink",
        abstract: "Stores predictions in PostgreSQL, together with the offsets they came from.",
        discussion: """
            Example, the tables made once by their owner:
              PENSTOCK_POSTGRES=postgresql://owner:…@host/db prediction-sink --migrate --pipeline topics/housing
            Example, any number of sinks with the URL of a role that may only write:
              PENSTOCK_POSTGRES=postgresql://penstock_sink:…@host/db \\
                prediction-sink --pipeline topics/housing --bootstrap-servers localhost:9092

            The roles of the sink and of readers must exist. When PENSTOCK_SINK_PASSWORD (and PENSTOCK_READER_PASSWORD)
            hold their passwords and the owner may create roles, --migrate makes them.
            """)

    @OptionGroup var options: StageOptions

    @Option(help: "PostgreSQL URL. A password in it shows in the process list: prefer [PENSTOCK_POSTGRES].")
    var postgres: String?

    @Flag(help: "Create or update tables, rights and settings as their owner, then stop.")
    var migrate = false

    @Option(help: "Role of the sink; --migrate gives it its rights. [PENSTOCK_RUNTIME_ROLE]")
    var runtimeRole: String?

    @Option(help: "Role that may read predictions; --migrate gives it its rights. [PENSTOCK_READER_ROLE]")
    var readerRole: String?

    func execute() async -> Int32 {
        migrate ? runMigration() : await runSink()
    }

    private static let definition = StageDefinition(
        stage: "sink", program: "prediction-sink", readsHeaders: true, writesTopics: false,
        inputTopics: { [$0.topics.predictions] })

    private func runSink() async -> Int32 {
        await StageMain.run(
            Self.definition, options: options, processor: { _ in SinkProcessor() },
            delivery: { parts in
                let configuration = parts.configuration
                var delivery = PostgresDelivery.Options(url: try url(), target: target(configuration.pipeline))
                delivery.startMillisecondsMax = configuration.settings.startMillisecondsMax
                if let kills = configuration.settings.kills {
                    delivery.hooks.beforeCommit = { kills.pass(.beforeCommit) }
                    delivery.hooks.afterCommit = { kills.pass(.afterCommit) }
                }
                delivery.faults.noCompareAndSet = configuration.settings.faults.contains(.noCompareAndSet)
                let consumer = configuration.settings.consumer
                let publisher: any DeadLetterPublisher =
                    switch configuration.profile {
                    case .exact:
                        TransactionalDeadLetters(
                            producer: configuration.producer, consumer: consumer, group: configuration.settings.group,
                            logger: parts.logger)
                    case .latency: KafkaDeadLetterPublisher(configuration: configuration.producer)
                    }
                return PostgresDelivery(
                    options: delivery, publisher: publisher,
                    probe: KafkaRecordProbe(configuration: consumer),
                    registry: parts.registry, logger: parts.logger)
            })
    }

    private func runMigration() -> Int32 {
        do {
            guard let path = setting("PIPELINE", options.pipeline) else {
                throw StageFailure(exitCode: 2, "--pipeline is missing: give the folder of the pipeline's contract")
            }
            let pipeline = try Self.load(path)
            let connection = try PostgresConnection(PostgresOptions(url: url(), applicationName: "prediction-sink"))
            try makeRoles(target(pipeline), on: connection)
            let applied = try SinkSchema.migrate(connection, target(pipeline))
            let place = "\(pipeline.sink.schema).\(pipeline.sink.table) at \(connection.place)"
            print(applied.isEmpty ? "\(place): up to date" : "\(place): applied \(applied.joined(separator: ", "))")
            return 0
        } catch {
            FileHandle.standardError.write(Data("prediction-sink: \(error)\n".utf8))
            return (error as? StageFailure)?.exitCode ?? 1
        }
    }

    /// Only where a password is given: roles are an administrator's matter otherwise.
    private func makeRoles(_ target: SinkTarget, on connection: PostgresConnection) throws {
        let passwords = [setting("SINK_PASSWORD", nil), setting("READER_PASSWORD", nil)]
        guard passwords.contains(where: { $0 != nil }) else { return }
        try SinkRoles.make(
            [(target.runtimeRole, passwords[0]), (target.readerRole, passwords[1])], on: connection)
    }

    private static func load(_ path: String) throws(StageFailure) -> Pipeline {
        do {
            return try PipelineLoader.load(path: path)
        } catch {
            throw StageFailure(exitCode: 2, error.summary)
        }
    }

    private func target(_ pipeline: Pipeline) -> SinkTarget {
        SinkTarget(
            pipeline.sink, runtimeRole: setting("RUNTIME_ROLE", runtimeRole) ?? SinkTarget.defaultRuntimeRole,
            readerRole: setting("READER_ROLE", readerRole) ?? SinkTarget.defaultReaderRole)
    }

    private func url() throws(StageFailure) -> String {
        guard let url = setting("POSTGRES", postgres) else {
            throw StageFailure(
                exitCode: 2, "the PostgreSQL URL is missing: set PENSTOCK_POSTGRES=postgresql://user:password@host/db")
        }
        if let problem = PostgresOptions(url: url).problem { throw StageFailure(exitCode: 2, problem) }
        return url
    }

    private func setting(_ name: String, _ given: String?) -> String? {
        let value = given ?? ProcessInfo.processInfo.environment["PENSTOCK_\(name)"]
        // Empty is what compose files and service managers make of an unset variable.
        return value.flatMap { $0.isEmpty ? nil : $0 }
    }
}
