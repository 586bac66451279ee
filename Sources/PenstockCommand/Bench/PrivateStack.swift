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
            contract: contract, pipelinePath: pipelinePath, folder: data.artifacts, keys: SealingKeys(data: data).folder
        ).make()
        let programs = Programs.directory
        var configuration = DeploymentConfiguration(
            data: data, programs: programs, pipeline: pipelinePath, artifacts: data.artifacts,
            broker: EmbeddedBrokers.provider(
                isMock: isMock, executable: "\(programs)/embedded-broker", contract: contract, partitions: partitions),
            postgres: nil)
        configuration.sealing = try LocalSealing.configuration(
            data: data, container: Artifacts(pipeline: contract, override: data.artifacts).container)
        configuration.instances = instances
        configuration.settings = settings
        let arguments = (partitions.map { ["--partitions", String($0)] } ?? []) + (isMock ? ["--in-memory-mock"] : [])
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
        let topics = contract.topicSettings.map { setting in
            (setting.topic, setting.partitions > 1 ? partitions ?? setting.partitions : setting.partitions)
        }
        guard isMock else {
            return EmbeddedLogProvider(
                executable: executable, topics: topics,
                compacted: Set(contract.topicSettings.filter(\.isCompacted).map(\.topic)))
        }
        return MockBrokerProvider(executable: executable, topics: topics)
    }
}
