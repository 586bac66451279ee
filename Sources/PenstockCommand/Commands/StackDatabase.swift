// StackDatabase: the PostgreSQL side of a local deployment: its host process, roles, tables and what commands read.

import ArgumentParser
import Foundation
import LocalDeployment
import PipelineContract
import Postgres

enum StackDatabase {
    static let database = "penstock"

    /// How the supervisor starts the private PostgreSQL.
    static func host(_ configuration: DeploymentConfiguration) throws -> Launch {
        Launch(
            executable: Programs.penstock,
            arguments: [
                ServePostgresCommand.configuration.commandName ?? "serve-postgres", "--data", configuration.data.path,
                "--pipeline", configuration.pipeline,
            ])
    }

    /// Addresses of an earlier run lead nowhere, or worse, somewhere else.
    static func removeAddresses(data: DataDirectory) throws {
        for file in [Deployment.URLFile.owner, .sink] {
            try? FileManager.default.removeItem(atPath: file.path(in: data))
        }
    }

    /// A connection to the database of the running deployment, or to the one that PENSTOCK_POSTGRES names.
    static func connect(data: DataDirectory) throws -> PostgresConnection {
        let environment = ProcessInfo.processInfo.environment["PENSTOCK_POSTGRES"].flatMap { $0.isEmpty ? nil : $0 }
        guard let url = Deployment.url(.owner, data: data) ?? environment else {
            throw CommandFailure(
                "no PostgreSQL is known for \(data.path): start one with 'penstock up' or name one with PENSTOCK_POSTGRES")
        }
        return try PostgresConnection(PostgresOptions(url: url, applicationName: "penstock"))
    }
}

extension PostgresConnection {
    /// Rows of the pipeline's predictions.
    func rowCount(_ sink: SinkSettings) throws -> Int {
        try query("SELECT count(*) FROM \(Self.table(sink))").value(Int.self, row: 0, column: 0)
    }

    static func table(_ sink: SinkSettings) -> String {
        "\(quote(identifier: sink.schema)).\(quote(identifier: sink.table))"
    }
}
