// CommandOptions: options that several commands share.

import ArgumentParser
import EventContracts
import Foundation
import Kafka
import LocalDeployment
import PipelineContract

extension OutputOption.Format: ExpressibleByArgument {}
extension WireFormat: ExpressibleByArgument {}

struct OutputOption: ParsableArguments {
    enum Format: String, CaseIterable { case text, json }

    @Option(name: .long, help: "How to print the result: text or json.")
    var output: Format = .text

    var isJSON: Bool { output == .json }
}

struct DataOption: ParsableArguments {
    @Option(
        name: .customLong("data"),
        help: ArgumentHelp("Data directory (default: PENSTOCK_DATA, else .penstock).", valueName: "dir"))
    var path: String?

    var directory: DataDirectory {
        DataDirectory(explicit: path, environment: ProcessInfo.processInfo.environment)
    }
}

struct ClusterOptions: ParsableArguments {
    @OptionGroup var data: DataOption

    @Option(
        help: ArgumentHelp(
            "Kafka brokers (default: PENSTOCK_BOOTSTRAP_SERVERS, else those of the running deployment).",
            valueName: "host:port,…"))
    var bootstrapServers: String?

    @Option(
        help: ArgumentHelp("Setting of librdkafka, as kafka.<name>=<value>; may be repeated.", valueName: "setting"))
    var set: [String] = []

    /// The brokers to talk to.
    func servers() throws -> String {
        if let bootstrapServers { return bootstrapServers }
        if let servers = ProcessInfo.processInfo.environment["PENSTOCK_BOOTSTRAP_SERVERS"], !servers.isEmpty {
            return servers
        }
        guard let state = try DeploymentState.read(data.directory), state.isSupervisorAlive else {
            throw CommandFailure.usage(
                "no broker is known: nothing runs in \(data.directory.path); start it with 'penstock up' "
                    + "or name brokers with --bootstrap-servers HOST:PORT")
        }
        guard let servers = state.bootstrapServers else {
            throw CommandFailure("the broker of \(data.directory.path) is not ready; see 'penstock status'")
        }
        return servers
    }

    /// Settings for a client that reads, without a group of its own.
    func consumerConfiguration(group: String? = nil) throws -> KafkaConfiguration {
        var configuration = try KafkaConfiguration.consumerDefaults(
            bootstrapServers: try servers(), group: group ?? "penstock-command", clientID: "penstock")
        try configuration.set("statistics.interval.ms", "0")
        try apply(to: &configuration)
        return configuration
    }

    func producerConfiguration() throws -> KafkaConfiguration {
        var configuration = try KafkaConfiguration.producerDefaults(
            bootstrapServers: try servers(), clientID: "penstock")
        try configuration.set("statistics.interval.ms", "0")
        try apply(to: &configuration)
        return configuration
    }

    private func apply(to configuration: inout KafkaConfiguration) throws {
        for setting in set {
            guard setting.hasPrefix("kafka."), let equals = setting.firstIndex(of: "=") else {
                // Only the name: the value could be a secret.
                throw CommandFailure.usage("--set \(setting.prefix { $0 != "=" }): write it as kafka.<name>=<value>")
            }
            let name = String(setting[..<equals].dropFirst("kafka.".count))
            try configuration.set(name, String(setting[setting.index(after: equals)...]))
        }
    }
}

enum PipelineLocator {
    /// The pipeline that is meant: the argument, else PENSTOCK_PIPELINE, else the running deployment's, else
    /// topics/housing.
    static func path(_ argument: String?, data: DataDirectory) throws -> String {
        if let argument { return argument }
        if let path = ProcessInfo.processInfo.environment["PENSTOCK_PIPELINE"], !path.isEmpty { return path }
        if let state = try DeploymentState.read(data), state.isSupervisorAlive { return state.pipeline }
        return try standard()
    }

    /// topics/housing in the working directory or beside the sources that the programs were built from.
    static func standard() throws -> String {
        var candidates = ["topics/housing"]
        var directory = Programs.directory
        for _ in 0..<4 {
            directory = (directory as NSString).deletingLastPathComponent
            candidates.append("\(directory)/topics/housing")
        }
        guard let found = candidates.first(where: { FileManager.default.fileExists(atPath: "\($0)/pipeline.yaml") })
        else {
            throw CommandFailure.usage(
                "no pipeline given and there is no topics/housing here: name a pipeline's folder")
        }
        return found
    }

    /// An absolute path, for processes whose working directory may differ.
    static func absolute(_ path: String) -> String {
        URL(fileURLWithPath: path).standardizedFileURL.path
    }
}

enum Programs {
    /// Folder of this program, where the others are too; `PENSTOCK_PROGRAMS` overrides it.
    static var directory: String {
        if let path = ProcessInfo.processInfo.environment["PENSTOCK_PROGRAMS"], !path.isEmpty { return path }
        let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        return (own as NSString).deletingLastPathComponent
    }

    static var penstock: String {
        (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? "\(directory)/penstock"
    }
}
