// ModelWatcher: keeps what an inference instance serves in step with the registry.

public import Inference
public import InferenceStage
public import Kafka
public import Logging
public import ModelStore
import Registry
import RegistryRuntime
public import StageRuntime

/// Follows `<p>.models` beside the stage, loads what is promoted on its own thread, and hands it over for the next batch
/// boundary. A version that cannot be opened is refused with the reason, and the one before serves on; it is tried again
/// as long as the registry names it.
public final class ModelWatcher {
    /// What every model of the pipeline must fit.
    public struct Requirements: Sendable {
        /// Name of the pipeline's model.
        public var model: String
        /// Hash of the fitted features.
        public var contractHash: UInt64
        /// Decision threshold.
        public var threshold: Double
        /// Of a micro-batch.
        public var recordsMax: Int

        public init(model: String, contractHash: UInt64, threshold: Double, recordsMax: Int) {
            self.model = model
            self.contractHash = contractHash
            self.threshold = threshold
            self.recordsMax = recordsMax
        }
    }

    private static let waitMilliseconds: Int32 = 200
    private static let retrySeconds = 5

    private let follower: RegistryFollower
    private let store: any ModelStore
    private let requirements: Requirements
    private let logger: Logger
    /// The version that was ordered last, and when the next attempt may be made if it was refused.
    private var ordered: String?
    private var retryAt: ContinuousClock.Instant?

    /// Waits for the brokers and reads the registry up to its end, so that an instance never starts with a version that
    /// was replaced long ago.
    /// - Parameter startMilliseconds: longest wait for brokers and topic.
    public init(
        configuration: KafkaConfiguration, modelsTopic: String, store: any ModelStore, requirements: Requirements,
        startMilliseconds: Int, control: StageControl, logger: Logger
    ) throws {
        follower = try RegistryFollower(
            configuration: configuration, model: requirements.model, modelsTopic: modelsTopic,
            startMilliseconds: startMilliseconds, isStopRequested: { control.isStopRequested })
        self.store = store
        self.requirements = requirements
        self.logger = logger
        try follower.catchUp(isStopRequested: { control.isStopRequested })
        if control.isStopRequested { throw StopRequested() }
    }

    /// The source of the version in production; nil when the registry has none.
    /// - Throws: why it cannot be opened.
    public func productionSource() throws -> (any ModelSource)? {
        guard let production = follower.registry.production else { return nil }
        ordered = production.version
        return try store.open(production.file, usage: .inference)
    }

    /// Follows the registry for ever. Runs on a thread of its own.
    /// - Throws: when the topic cannot be read any more.
    public func run(_ mailbox: ModelMailbox) throws {
        while true {
            try follower.poll(timeoutMilliseconds: Self.waitMilliseconds)
            guard let production = follower.registry.production else { continue }
            if production.version != ordered {
                retryAt = nil
            } else if retryAt.map({ ContinuousClock.now < $0 }) ?? true {
                continue
            }
            order(production, mailbox)
        }
    }

    private func order(_ version: ModelVersion, _ mailbox: ModelMailbox) {
        ordered = version.version
        retryAt = nil
        let start = ContinuousClock.now
        let way: String
        if mailbox.current == version.version {
            mailbox.keep()
            way = "it serves already"
        } else if mailbox.rollBack(to: version.version) {
            way = "it is warm"
        } else {
            do {
                let source = try store.open(version.file, usage: .inference)
                try check(source, version)
                mailbox.serve(
                    try LoadedModel.load(
                        source, contractHash: requirements.contractHash, threshold: requirements.threshold,
                        recordsMax: requirements.recordsMax))
                way = "loaded"
            } catch {
                retryAt = ContinuousClock.now + .seconds(Self.retrySeconds)
                logger.error(
                    "The promoted model is refused; the one before serves on",
                    metadata: [
                        "version": "\(version.version)", "serial": "\(version.serial)", "reason": "\(error)",
                        "serving": "\(mailbox.current)",
                    ])
                return
            }
        }
        logger.notice(
            "The model takes over at the next batch",
            metadata: [
                "version": "\(version.version)", "serial": "\(version.serial)", "way": "\(way)",
                "seconds": "\(ContinuousClock.now - start)",
            ])
    }

    private func check(_ source: any ModelSource, _ version: ModelVersion) throws {
        let manifest = source.manifest
        guard manifest.name == requirements.model, manifest.version == version.version else {
            throw ModelLoadError(
                .badManifest,
                "\(source.place): this is \(manifest.name) \(manifest.version), the registry promoted "
                    + "\(version.model) \(version.version)")
        }
    }
}
