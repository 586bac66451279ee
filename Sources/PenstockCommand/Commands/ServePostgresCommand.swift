// ServePostgresCommand: the process in which a deployment's private PostgreSQL lives.

import ArgumentParser
import Foundation
import LocalDeployment
import PipelineContract
import Postgres
import SinkStage

struct ServePostgresCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve-postgres", abstract: "Run the private PostgreSQL of a deployment.", shouldDisplay: false)

    @OptionGroup var data: DataOption

    @Option(help: "Pipeline whose tables to make.")
    var pipeline: String

    mutating func run() throws {
        Supervisor.blockSignals()
        let contract = try PipelineLoader.load(path: pipeline)
        let directory = data.directory
        let postgres = try PrivatePostgres(PrivatePostgres.Configuration(directory: directory.postgres))
        for notice in postgres.notices { Console.note(notice) }
        // Standard input ends with the supervisor; this process then stops the server in order.
        Lifeline.watchStandardInput()
        let wasAsked = try PostgresHost.run(postgres) { server in
            try StackDatabase.prepare(server, contract: contract, data: directory)
            Console.note("PostgreSQL is ready on port \(server.port)")
        }
        guard wasAsked else { throw CommandFailure("PostgreSQL ended by itself: \(postgres.logTail)") }
    }
}
