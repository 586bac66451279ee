// ModelsCommand: `penstock models` shows the versions of a pipeline's model and carries decisions to the gate.

import ArgumentParser
import EventContracts
import Foundation
import PipelineContract
import Registry
import RegistryRuntime

struct ModelsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "models",
        abstract: "Show the versions of a model; approve, reject, promote or roll back.",
        discussion: """
            The registry is the topic <prefix>.<pipeline>.models: every command replays it. Decisions are signed with an
            approver's private key and take effect when the promotion gate has checked them.

            Example: penstock models list
            Example: penstock models approve 3 --key owner.pem --reason "checked by hand"
            Example: penstock models rollback --key owner.pem --reason "complaints since noon"
            """,
        subcommands: [
            List.self, Show.self, Approve.self, Reject.self, Promote.self, RollBack.self, Retrain.self,
        ])
}

/// What every subcommand needs: the pipeline and its registry.
struct RegistryOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Pipeline (default: the running one).", valueName: "path"))
    var pipeline: String?

    @OptionGroup var cluster: ClusterOptions
    @OptionGroup var output: OutputOption

    func contract() throws -> Pipeline {
        try PipelineLoader.load(path: try PipelineLocator.path(pipeline, data: cluster.data.directory))
    }

    /// The registry as it is now.
    func follower(_ contract: Pipeline) throws -> RegistryFollower {
        let follower = try RegistryFollower(
            configuration: try cluster.consumerConfiguration(), model: contract.model.name,
            modelsTopic: contract.topics.models)
        try follower.catchUp()
        return follower
    }

    static func version(_ text: String, in registry: ModelRegistry) throws -> ModelVersion {
        guard let version = registry.version(named: text) else {
            throw CommandFailure(
                "\(registry.model) has no version or serial '\(text)': see 'penstock models list'")
        }
        return version
    }
}

extension ModelsCommand {
    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "List all versions and what serves.",
            discussion: "Example: penstock models list --output json")

        @OptionGroup var options: RegistryOptions

        mutating func run() throws {
            let registry = try options.follower(try options.contract()).registry
            if options.output.isJSON { return try Console.print(json: registry.versions) }
            var table = Table(
                .right("serial"), .left("version"), .left("status"), .right("AUC"), .right("gain"), .right("rows"),
                .left("registered"), .left("last decision"))
            for version in registry.versions {
                let comparison = version.comparison
                table.add(
                    "\(version.serial)", version.version, version.status.rawValue,
                    comparison?.candidate.rocAUC.map(Self.digits) ?? "-",
                    comparison?.rocAUC.map { Self.digits($0.estimate) } ?? "-", comparison.map { "\($0.rows)" } ?? "-",
                    String(version.registered.prefix(19)),
                    version.decisions.last.map { "\($0.type.rawValue) by \($0.actor)" } ?? "-")
            }
            Console.print(registry.versions.isEmpty ? "\(registry.model) has no registered version." : table.text)
        }

        static func digits(_ value: Double) -> String { String(format: "%.4f", value) }
    }

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", abstract: "Show one version: file, lineage, comparison, decisions.",
            discussion: "Example: penstock models show 2")

        @Argument(help: "Serial or version.")
        var version: String

        @OptionGroup var options: RegistryOptions

        mutating func run() throws {
            let registry = try options.follower(try options.contract()).registry
            let version = try RegistryOptions.version(version, in: registry)
            if options.output.isJSON { return try Console.print(json: version) }
            var lines = [
                "\(version.model) \(version.version), serial \(version.serial): \(version.status.rawValue)",
                "registered  \(version.registered)\(version.request.map { ", request \($0)" } ?? "")",
                "file        \(version.file.location) (\(version.file.isSealed ? "sealed" : "NOT SEALED"))",
                "sha256      \(version.file.sha256)", "contract    \(version.contract)",
                "lineage     \(Self.lineage(version, registry))",
            ]
            if let training = version.training {
                lines.append(
                    "training    \(training.algorithm), \(training.rows) rows, \(training.from) to \(training.to), seed "
                        + "\(training.seed)")
            }
            if let comparison = version.comparison { lines += Self.lines(comparison) }
            lines += version.decisions.map { "\($0.time)  \($0.type.rawValue) by \($0.actor): \($0.reason)" }
            Console.print(lines.joined(separator: "\n"))
        }

        private static func lineage(_ version: ModelVersion, _ registry: ModelRegistry) -> String {
            var names: [String] = []
            var next: ModelVersion? = version
            while let current = next, names.count < registry.versions.count {
                names.append("\(current.version) (\(current.serial))")
                next = current.parent.flatMap { registry.version(serial: $0.serial) }
            }
            return names.joined(separator: " from ")
        }

        private static func lines(_ comparison: ModelEvent.Comparison) -> [String] {
            func text(_ difference: ModelEvent.Comparison.Difference?) -> String {
                difference.map {
                    String(format: "%+.4f (%+.4f to %+.4f)", $0.estimate, $0.lower, $0.upper)
                } ?? "-"
            }
            func auc(_ side: ModelEvent.Comparison.Side) -> String { side.rocAUC.map(List.digits) ?? "-" }
            return [
                "compared    with \(comparison.productionVersion) on \(comparison.rows) rows, \(comparison.from) to "
                    + comparison.to,
                "  AUC       \(auc(comparison.candidate)), production \(auc(comparison.production)); gain "
                    + text(comparison.rocAUC),
                "  log-loss  \(List.digits(comparison.candidate.logLoss)), production "
                    + "\(List.digits(comparison.production.logLoss)); gain \(text(comparison.logLoss))",
            ]
        }
    }
}
