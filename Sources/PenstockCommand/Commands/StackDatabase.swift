// StackDatabase: the PostgreSQL side of a local deployment: its host process, roles, tables and what commands read.

import ArgumentParser
import EventContracts
import Foundation
import Kafka
import LocalDeployment
import PipelineContract
import Postgres
import SinkStage

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
        for file in Deployment.URLFile.allCases {
            try? FileManager.default.removeItem(atPath: file.path(in: data))
        }
    }

    /// Database, roles and tables; then the addresses, which tell the supervisor that all this is there.
    static func prepare(_ server: PrivatePostgres, contract: Pipeline, data: DataDirectory) throws {
        try server.createDatabase(database)
        for role in [SinkTarget.defaultRuntimeRole, SinkTarget.defaultReaderRole] {
            try server.createRole(role)
            try server.allow(role: role, toConnectTo: database)
        }
        try SinkSchema.migrate(try server.connect(database: database), SinkTarget(contract.sink))
        try Deployment.write(server.url(database: database), to: .owner, data: data)
        try Deployment.write(
            server.url(database: database, role: SinkTarget.defaultReaderRole), to: .reader, data: data)
        // Last: this one is what readiness looks for.
        try Deployment.write(server.url(database: database, role: SinkTarget.defaultRuntimeRole), to: .sink, data: data)
    }

    /// Binds the sink's offsets to a cluster that has just begun with empty topics. Rows stay.
    static func resetOffsets(ownerURL: String, servers: String, pipelinePath: String) throws {
        let contract = try PipelineLoader.load(path: pipelinePath)
        let consumer = try Consumer(
            configuration: try KafkaConfiguration.consumerDefaults(
                bootstrapServers: servers, group: "penstock-command", clientID: "penstock"))
        let timeout = TopicReader.requestMilliseconds
        guard let cluster = consumer.clusterID(timeoutMilliseconds: timeout) else {
            throw CommandFailure("the broker at \(servers) does not tell its cluster's id; is it ready?")
        }
        let topic = contract.topics.predictions
        var starts: [Int32: Int64] = [:]
        for partition in try consumer.topics(named: [topic], timeoutMilliseconds: timeout).flatMap(\.partitions) {
            starts[partition.partition] = try consumer.watermarks(partition, timeoutMilliseconds: timeout).low
        }
        let connection = try PostgresConnection(PostgresOptions(url: ownerURL, applicationName: "penstock"))
        let target = SinkTarget(contract.sink)
        let group = "\(contract.topics.root).sink"
        // A first start finds nothing stored; the sink then begins by itself.
        guard try !SinkOffsets.show(connection, target, group: group).isEmpty else { return }
        try SinkOffsets.reset(connection, target, group: group, topic: topic, clusterID: cluster, to: starts)
    }

    /// A connection to the database of the running deployment, or to the one that PENSTOCK_POSTGRES names.
    static func connect(data: DataDirectory) throws -> PostgresConnection {
        let environment = ProcessInfo.processInfo.environment["PENSTOCK_POSTGRES"].flatMap { $0.isEmpty ? nil : $0 }
        guard let url = Deployment.url(.owner, data: data) ?? environment else {
            throw CommandFailure(
                "no PostgreSQL is known for \(data.path): start one with 'penstock up' or name one with PENSTOCK_POSTGRES"
            )
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
