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

    /// Returns once every process is ready.
    func start(_ contract: Pipeline) throws -> BackgroundStack {
        try data.prepare()
        do {
            let _ = try data.lock()
            try data.clear(keeping: ["artifacts"])
            try data.prepare()
        }
        try ModelMaker(contract: contract, pipelinePath: pipelinePath, folder: data.artifacts).make()
        let programs = Programs.directory
        var configuration = DeploymentConfiguration(
            data: data, programs: programs, pipeline: pipelinePath, artifacts: data.artifacts,
            broker: MockBrokerProvider(
                executable: "\(programs)/embedded-broker", contract: contract, partitions: partitions),
            postgres: nil)
        configuration.instances = instances
        configuration.settings = settings
        let arguments = partitions.map { ["--partitions", String($0)] } ?? []
        let stack = try BackgroundStack.start(configuration, exitsWithParent: true, arguments: arguments)
        _ = try stack.waitUntilReady(seconds: DemoCommand.startSecondsMax) { Progress.wait(for: $0) }
        return stack
    }
}

extension MockBrokerProvider {
    /// The topics of a pipeline.
    /// - Parameter partitions: of each topic with more than one, in place of what the pipeline says.
    init(executable: String, contract: Pipeline, partitions: Int?) {
        self.init(
            executable: executable,
            topics: contract.topicSettings.map { setting in
                (setting.topic, setting.partitions > 1 ? partitions ?? setting.partitions : setting.partitions)
            })
    }
}
