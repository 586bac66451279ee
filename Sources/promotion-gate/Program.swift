// promotion-gate: registered candidates and signed decisions in, promotions out.

import ArgumentParser
import EventContracts
import Foundation
import Logging
import ModelStore
import PipelineContract
import PromotionStage
import Registry
import RegistryRuntime
import StageCommand
import StageRuntime
import Transforms

@main
struct Program: StageProgram {
    static let configuration = CommandConfiguration(
        commandName: "promotion-gate",
        abstract: "Decides which candidate serves, by policy or by a signed decision.",
        discussion: """
            Checks each registered candidate's file, contract, comparison with production and latency, and writes approval \
            and promotion, or the rejection with its reason. Decisions of people come over the control topic and count when \
            an approver's key has signed them (see `penstock models approve`).

            Example: promotion-gate --pipeline topics/housing --bootstrap-servers localhost:9092
            Example: promotion-gate --manual --approvers owner.pub.pem --pipeline topics/housing
            """)

    @OptionGroup var options: StageOptions
    @OptionGroup var model: ModelOptions

    @Flag(help: "Candidates that pass wait for a signed approval, whatever the pipeline says.")
    var manual = false

    @Option(help: "PEM files of the approvers' public keys, separated by commas. [PENSTOCK_APPROVERS]")
    var approvers: String?

    @Option(help: "Test rows that a comparison needs, in place of the pipeline's `reactions.promote.rows`.")
    var rowsMin: Int?

    func execute() async -> Int32 {
        let definition = StageDefinition(stage: "promotion", program: "promotion-gate", writesTopics: false) {
            [$0.topics.models]
        }
        let environment = ProcessInfo.processInfo.environment
        let keys = (approvers ?? environment["PENSTOCK_APPROVERS"] ?? "").split(separator: ",").map(String.init)
        return await ControlMain.run(definition, options: options) {
            [manual, rowsMin, choice = model.choice] parts in
            let configuration = parts.configuration
            let pipeline = configuration.pipeline
            let policy = Self.policy(pipeline.reactions.promotion, isManual: manual, rowsMin: rowsMin)
            let fitted = try FittedTransform.load(for: pipeline)
            let logger = parts.logger
            try GateRunner(
                gate: PromotionGate(policy: policy, contract: Hexadecimal.text(fitted.contractHash)),
                model: pipeline.model.name, basePath: pipeline.model.manifestPath, topics: pipeline.topics,
                store: try choice.store(
                    folder: configuration.modelFolder, basePath: pipeline.model.manifestPath, opensModels: false,
                    warn: { logger.critical("\($0)") }),
                verifier: try ApproverKeys(paths: keys), consumer: configuration.settings.consumer,
                producer: configuration.producer, startMilliseconds: configuration.settings.startMillisecondsMax,
                control: parts.control, health: parts.health, logger: logger
            ).run { RegistryClock.now }
        }
    }

    /// The pipeline's limits, and what the command line says instead.
    private static func policy(
        _ settings: ReactionSettings.Promotion, isManual: Bool, rowsMin: Int?
    ) -> GatePolicy {
        var policy = GatePolicy()
        policy.isAutomatic = settings.decision == .automatic && !isManual
        policy.rowsMin = rowsMin ?? settings.rowsMin
        policy.logLossGainMin = settings.logLossGainMin
        policy.aucLossMax = settings.aucLossMax
        policy.latencyRatioMax = settings.latencyRatioMax
        return policy
    }
}
