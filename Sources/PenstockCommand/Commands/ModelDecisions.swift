// ModelDecisions: the subcommands of `penstock models` that sign a decision and wait for its effect.

import ArgumentParser
import Cryptography
import EventContracts
import Foundation
import Kafka
import PipelineContract
import PromotionStage
import Registry
import RegistryRuntime

/// Signs one decision, sends it, and waits until the registry shows its effect.
struct DecisionOptions: ParsableArguments {
    private static let keyBytesMax = 64 << 10

    @Option(help: ArgumentHelp("Private key (P-384, PEM) of an approver.", valueName: "pem"))
    var key: String

    @Option(help: "Why, in one sentence; it stands in the registry for ever.")
    var reason: String

    @Option(help: ArgumentHelp("Who decides (default: the login name).", valueName: "name"))
    var actor: String?

    @Option(help: "Seconds to wait for the gate.")
    var timeout = 15

    @OptionGroup var options: RegistryOptions

    func send(
        _ type: ModelEvent.Kind, until goal: ModelVersion.Status,
        version choose: (ModelRegistry) throws -> ModelVersion
    ) throws {
        guard !reason.trimmingCharacters(in: .whitespaces).isEmpty else {
            throw CommandFailure.usage("--reason is empty: say why in one sentence")
        }
        let contract = try options.contract()
        let follower = try options.follower(contract)
        let version = try choose(follower.registry)
        let event = try ApproverKeys.sign(
            ModelEvent(
                type: type, id: "\(type.rawValue)/\(UUID().uuidString.lowercased())", model: version.model,
                version: version.version, serial: version.serial, time: RegistryClock.now,
                actor: actor ?? NSUserName(), reason: reason), with: try privateKey())
        // What the gate would refuse is said at once, with the reason.
        if let refusal = follower.registry.refusal(of: event) { throw CommandFailure(refusal) }
        let writer = try FactWriter(configuration: try options.cluster.producerConfiguration())
        try writer.write(
            topic: contract.topics.control, key: version.model,
            value: try ModelControl.encoded(event, pipeline: contract.name),
            headers: [RecordHeader(CloudEventBinding.contentTypeHeader, text: CloudEventBinding.structuredContentType)])
        let result = try wait(for: event, version, goal, follower)
        if options.output.isJSON { return try Console.print(json: result) }
        Console.print("\(result.model) \(result.version), serial \(result.serial): \(result.status.rawValue)")
    }

    private func wait(
        for event: ModelEvent, _ version: ModelVersion, _ goal: ModelVersion.Status, _ follower: RegistryFollower
    ) throws -> ModelVersion {
        let deadline = ContinuousClock.now + .seconds(timeout)
        while ContinuousClock.now < deadline {
            try follower.poll(timeoutMilliseconds: 100)
            if let now = follower.registry.version(serial: version.serial), now.status == goal,
                now.decisions != version.decisions
            {
                return now
            }
        }
        throw CommandFailure(
            "the promotion gate has not acted within \(timeout) s: check that it runs (penstock status), and that it "
                + "knows the key (--approvers); its log says why it refuses a decision")
    }

    private func privateKey() throws -> ECPrivateKey {
        guard let data = FileManager.default.contents(atPath: key), data.count <= Self.keyBytesMax else {
            throw CommandFailure.usage("--key \(key): the file cannot be read")
        }
        let bytes = Array(data)
        do {
            return try ECPrivateKey(pem: bytes.span.bytes)
        } catch {
            throw CommandFailure.usage("--key \(key): this is no private key in PEM (\(error))")
        }
    }
}

extension ModelsCommand {
    struct Approve: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "approve", abstract: "Approve a version, also one that the gate rejected; it then serves.",
            discussion: "Example: penstock models approve 3 --key owner.pem --reason 'checked by hand'")

        @Argument(help: "Serial or version.")
        var version: String

        @OptionGroup var decision: DecisionOptions

        mutating func run() throws {
            let name = version
            try decision.send(.approved, until: .production) { try RegistryOptions.version(name, in: $0) }
        }
    }

    struct Promote: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "promote", abstract: "Put a version into production; the same as approve.",
            discussion: """
                A version that served before comes back by rollback, not by promote.

                Example: penstock models promote 3 --key owner.pem --reason 'release of the day'
                """)

        @Argument(help: "Serial or version.")
        var version: String

        @OptionGroup var decision: DecisionOptions

        mutating func run() throws {
            let name = version
            try decision.send(.approved, until: .production) { try RegistryOptions.version(name, in: $0) }
        }
    }

    struct Reject: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "reject", abstract: "Reject a version that waits for approval.",
            discussion: "Example: penstock models reject 3 --key owner.pem --reason 'trained on a faulty export'")

        @Argument(help: "Serial or version.")
        var version: String

        @OptionGroup var decision: DecisionOptions

        mutating func run() throws {
            let name = version
            try decision.send(.rejected, until: .rejected) { try RegistryOptions.version(name, in: $0) }
        }
    }

    struct RollBack: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "rollback", abstract: "Let an earlier version serve again; it is still warm.",
            discussion: """
                Without a version the one before the present one comes back.

                Example: penstock models rollback --key owner.pem --reason 'complaints since noon'
                """)

        @Argument(help: "Serial or version (default: the one before).")
        var version: String?

        @OptionGroup var decision: DecisionOptions

        mutating func run() throws {
            let name = version
            try decision.send(.rolledBack, until: .production) { registry in
                if let name { return try RegistryOptions.version(name, in: registry) }
                guard let previous = registry.previous else {
                    throw CommandFailure("\(registry.model) has no earlier version to go back to")
                }
                return previous
            }
        }
    }
}
