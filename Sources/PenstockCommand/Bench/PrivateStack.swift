// PrivateStack: a deployment of its own for a benchmark.

import EventContracts
import Foundation
import LocalDeployment
import PipelineContract

/// A stack of its own in an emptied data directory, with a model that fits the pipeline.
struct PrivateStack {
    let data: DataDirectory
    let pipelinePath: String
    let instances: Int
    /// `--set` options of the consumers.
    var settings: [String] = []
    /// Of each topic with more than one; nil as the pipeline says.
    var partitions: Int?
    /// Delivery profile of the consumers; nil takes what suits the broker.
    var profile: String?
    /// Ingest, transform and inference in one process.
    var isFused = false
    /// A cluster and a PostgreSQL that somebody else runs; nil for private ones.
    var servers: String?
    var postgres: String?
    /// The model is opened through a key broker. The oracle reads a plain file.
    var isSealed = true
    /// Monitors and reactions too; a benchmark measures the path alone.
    var hasMonitors = false
    /// The in-memory mock cluster instead of the durable log.
    var isMock = false

    /// Returns once every process is ready.
    func start(_ contract: Pipeline) throws -> BackgroundStack {
        try data.prepare()
        do {
            let _ = try data.lock()
            try data.clear(keeping: ["artifacts", "keys"])
            try data.prepare()
        }
        try ModelMaker(
            contract: contract, pipelinePath: pipelinePath, folder: data.artifacts,
            keys: isSealed ? SealingKeys(data: data).folder : nil
        ).make()
        let programs = Programs.directory
        var configuration = DeploymentConfiguration(
            data: data, programs: programs, pipeline: pipelinePath, artifacts: data.artifacts,
            broker: servers.map { ExternalBrokerProvider(servers: $0) }
                ?? EmbeddedBrokers.provider(
                    isMock: isMock, executable: "\(programs)/embedded-broker", contract: contract,
                    partitions: partitions),
            postgres: postgres)
        if isSealed {
            configuration.sealing = try LocalSealing.configuration(
                data: data, container: Artifacts(pipeline: contract, override: data.artifacts).container)
        }
        configuration.instances = instances
        configuration.hasMonitors = hasMonitors
        configuration.settings = settings
        let chosen = profile.map { ["--profile", $0] } ?? []
        let arguments =
            chosen + (isFused ? ["--fused"] : []) + (partitions.map { ["--partitions", String($0)] } ?? [])
            + (isMock ? ["--in-memory-mock"] : [])
        let stack = try BackgroundStack.start(configuration, exitsWithParent: true, arguments: arguments)
        _ = try stack.waitUntilReady(seconds: DemoCommand.startSecondsMax) { Progress.wait(for: $0) }
        return stack
    }
}

/// The brokers of this machine.
enum EmbeddedBrokers {
    /// - Parameter partitions: of each topic with more than one, in place of what the pipeline says.
    static func provider(
        isMock: Bool, executable: String, contract: Pipeline, partitions: Int?
    ) -> any BrokerProvider {
        func count(_ setting: TopicSetting) -> Int {
            setting.partitions > 1 ? partitions ?? setting.partitions : setting.partitions
        }
        guard isMock else {
            return EmbeddedLogProvider(
                executable: executable,
                topics: contract.topicSettings.map { ($0.topic, count($0), $0.kafkaSettings) })
        }
        return MockBrokerProvider(
            executable: executable, topics: contract.topicSettings.map { ($0.topic, count($0)) })
    }
}
