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
            The tables are made once, by their owner:
              PENSTOCK_POSTGRES=postgresql://owner:…@host/db prediction-sink --migrate --pipeline topics/housing
            Then run any number of sinks with the URL of a role that may only write:
              PENSTOCK_POSTGRES=postgresql://penstock_sink:…@host/db \\
                prediction-sink --pipeline topics/housing --bootstrap-servers localhost:9092
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
        stage: "sink", program: "prediction-sink", readsHeaders: true, inputTopics: { [$0.topics.predictions] })

    private func runSink() async -> Int32 {
        await StageMain.run(
            Self.definition, options: options, processor: { _ in SinkProcessor() },
            delivery: { parts in
                let configuration = parts.configuration
                var delivery = PostgresDelivery.Options(url: try url(), target: target(configuration.pipeline))
                delivery.faults.noCompareAndSet = configuration.settings.faults.contains(.noCompareAndSet)
                return PostgresDelivery(
                    options: delivery, publisher: KafkaDeadLetterPublisher(configuration: configuration.producer),
                    probe: KafkaRecordProbe(configuration: configuration.settings.consumer),
                    registry: parts.registry, logger: parts.logger)
            })
    }

    private func runMigration() -> Int32 {
        do {
            guard let path = setting("PIPELINE", options.pipeline) else {
                throw StageFailure(exitCode: 2, "--pipeline is missing: give the folder of the pipeline's contract")
            }
            let pipeline = try PipelineLoader.load(path: path)
            let connection = try PostgresConnection(PostgresOptions(url: url(), applicationName: "prediction-sink"))
            let applied = try SinkSchema.migrate(connection, target(pipeline))
            let place = "\(pipeline.sink.schema).\(pipeline.sink.table) at \(connection.place)"
            print(applied.isEmpty ? "\(place): up to date" : "\(place): applied \(applied.joined(separator: ", "))")
            return 0
        } catch {
            FileHandle.standardError.write(Data("prediction-sink: \(error)\n".utf8))
            return (error as? StageFailure)?.exitCode ?? 1
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
