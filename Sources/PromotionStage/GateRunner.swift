// GateRunner: drives the promotion gate from `<p>.models` and `<p>.control`.

public import EventContracts
public import Kafka
public import Logging
public import ModelStore
public import Observability
import Registry
import RegistryRuntime
public import StageRuntime

/// Checks the signature of a person's decision.
public protocol DecisionVerifier: Sendable {
    /// - Throws: why the signature does not count, in one sentence.
    func verify(_ event: ModelEvent) throws
}

/// The gate's process. Has no state of its own: everything follows from the replay of the two topics.
public final class GateRunner {
    private static let waitMilliseconds: Int32 = 200

    private let gate: PromotionGate
    private let model: String
    /// Where the pipeline's own model stands: the first version of a registry.
    private let basePath: String
    private let store: any ModelStore
    private let verifier: any DecisionVerifier
    private let topics: PipelineTopics
    private let follower: RegistryFollower
    private let writer: RegistryWriter
    private let control: StageControl
    private let health: HealthState
    private let logger: Logger
    /// Signed decisions that the registry does not hold yet.
    private var commands: [ModelEvent] = []
    /// Ids of all facts and commands that were dealt with.
    private var known: Set<String> = []
    /// Versions whose snapshot is out of date.
    private var changed: Set<UInt64> = []

    public init(
        gate: PromotionGate, model: String, basePath: String, topics: PipelineTopics, store: any ModelStore,
        verifier: any DecisionVerifier, consumer: KafkaConfiguration, producer: KafkaConfiguration,
        startMilliseconds: Int, control: StageControl, health: HealthState, logger: Logger
    ) throws {
        self.gate = gate
        self.control = control
        self.model = model
        self.basePath = basePath
        self.store = store
        self.verifier = verifier
        self.topics = topics
        self.health = health
        self.logger = logger
        follower = try RegistryFollower(
            configuration: consumer, model: model, modelsTopic: topics.models, otherTopics: [topics.control],
            startMilliseconds: startMilliseconds, isStopRequested: { control.isStopRequested })
        writer = try RegistryWriter(configuration: producer, topics: topics)
    }

    /// Serves until a stop is requested.
    public func run(now: () -> String) throws {
        try catchUp()
        logger.info(
            "The registry is read",
            metadata: [
                "versions": "\(follower.registry.versions.count)",
                "production": "\(follower.registry.production?.version ?? "none")",
            ])
        if follower.registry.versions.isEmpty { try registerBase(time: now()) }
        health.markReady()
        while !control.isStopRequested {
            health.heartbeat(backlog: 0, advanced: true)
            // Everything that can be decided is decided before the next wait, each fact on the state with the one before.
            while let fact = try nextFact(now: now) {
                try writer.write(fact)
                try catchUp()
                guard !control.isStopRequested else { return }
            }
            try writeSnapshots()
            try follower.poll(timeoutMilliseconds: Self.waitMilliseconds, step: take, other: take)
        }
    }

    /// A registry without versions starts with the model that the pipeline names.
    private func registerBase(time: String) throws {
        let base = try store.describe(basePath)
        try writer.write(
            ModelEvent(
                type: .registered, id: "registered/base/\(base.version)", model: model, version: base.version,
                serial: follower.registry.nextSerial, time: time, actor: PromotionGate.actor,
                reason: "the model that the pipeline names", file: base.file, contract: base.contract))
        try catchUp()
    }

    private func catchUp() throws {
        try follower.catchUp(isStopRequested: { control.isStopRequested }, step: take, other: take)
    }

    private func nextFact(now: () -> String) throws -> ModelEvent? {
        while !commands.isEmpty {
            let command = commands.removeFirst()
            guard !known.contains(command.id) else { continue }
            known.insert(command.id)
            if let reason = refusal(of: command) {
                logger.error(
                    "A decision is refused",
                    metadata: [
                        "type": "\(command.type.rawValue)", "version": "\(command.version)",
                        "actor": "\(command.actor)", "reason": "\(reason)",
                    ])
                continue
            }
            return command
        }
        return gate.next(follower.registry, time: now(), verify: store.verify)
    }

    private func refusal(of command: ModelEvent) -> String? {
        switch command.type {
        case .approved, .rejected, .rolledBack: break
        case .registered, .evaluated, .promoted, .retrainingFailed:
            return "people approve, reject or roll back; \(command.type.rawValue) is no such decision"
        }
        do {
            try verifier.verify(command)
        } catch {
            return "\(error)"
        }
        return follower.registry.refusal(of: command)
    }

    private func take(_ step: RegistryFollower.Step) {
        let event = step.event
        switch step.outcome {
        case .applied:
            known.insert(event.id)
            changed.insert(event.serial)
            // A change of what serves changes the version before, too.
            changed.formUnion(follower.registry.history.suffix(2).map(\.serial))
            logger.notice(
                "The registry changed",
                metadata: [
                    "type": "\(event.type.rawValue)", "version": "\(event.version)", "serial": "\(event.serial)",
                    "actor": "\(event.actor)", "reason": "\(event.reason)",
                ])
        case .repeated: break
        case .refused(let reason):
            known.insert(event.id)
            logger.warning(
                "An event of the registry does not count",
                metadata: ["type": "\(event.type.rawValue)", "version": "\(event.version)", "reason": "\(reason)"])
        }
    }

    private func take(_ record: BroadcastRecord) {
        do {
            guard let event = try ModelControl.decode(record.value ?? []) else { return }
            commands.append(event)
        } catch {
            logger.error(
                "A record of the topic is no command and is passed over",
                metadata: ["topic": "\(record.topic)", "offset": "\(record.offset)", "reason": "\(error)"])
        }
    }

    private func writeSnapshots() throws {
        for serial in changed.sorted() {
            if let version = follower.registry.version(serial: serial) { try writer.writeSnapshot(version) }
        }
        changed.removeAll()
    }
}
