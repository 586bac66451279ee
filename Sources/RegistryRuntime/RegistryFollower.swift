// RegistryFollower: the model registry of this process, kept up to date from `<p>.models`.

public import EventContracts
public import Kafka
public import Registry

/// Replays `<p>.models` and, if asked, hands over the records of other broadcast topics in passing.
public final class RegistryFollower {
    /// One event of the registry, and what became of it.
    public struct Step: Sendable {
        public var event: ModelEvent
        public var outcome: ModelRegistry.Outcome
    }

    public private(set) var registry: ModelRegistry
    private let modelsTopic: String
    private let reader: BroadcastReader
    /// Records of `<p>.models` that are no model events, with the reason; the newest ones.
    public private(set) var malformed: [(offset: Int64, reason: String)] = []
    private static let malformedMax = 100

    /// - Parameters:
    ///   - model: name of the pipeline's model.
    ///   - modelsTopic: `PipelineTopics.models`.
    ///   - otherTopics: read along with it.
    ///   - startMilliseconds, isStopRequested: as of `BroadcastReader`.
    public init(
        configuration: KafkaConfiguration, model: String, modelsTopic: String, otherTopics: [String] = [],
        startMilliseconds: Int = 10_000, isStopRequested: () -> Bool = { false }
    ) throws {
        registry = ModelRegistry(model: model)
        self.modelsTopic = modelsTopic
        reader = try BroadcastReader(
            configuration: configuration, topics: [modelsTopic] + otherTopics,
            startMilliseconds: startMilliseconds, isStopRequested: isStopRequested)
    }

    /// Takes in everything that the topics hold now.
    public func catchUp(
        isStopRequested: () -> Bool = { false }, step: (Step) throws -> Void = { _ in },
        other: (BroadcastRecord) throws -> Void = { _ in }
    ) throws {
        try reader.catchUp(isStopRequested: isStopRequested) { try take($0, step, other) }
    }

    /// Waits up to the time-out for more.
    @discardableResult
    public func poll(
        timeoutMilliseconds: Int32, step: (Step) throws -> Void = { _ in },
        other: (BroadcastRecord) throws -> Void = { _ in }
    ) throws -> Int {
        try reader.poll(timeoutMilliseconds: timeoutMilliseconds) { try take($0, step, other) }
    }

    /// Ends the wait of a `poll` in progress early. For use from another thread.
    public var wake: @Sendable () -> Void { reader.wake }

    private func take(
        _ record: BroadcastRecord, _ step: (Step) throws -> Void, _ other: (BroadcastRecord) throws -> Void
    ) throws {
        guard record.topic == modelsTopic else { return try other(record) }
        let event: ModelEvent
        do {
            event = try ModelEvent.decode(record.value ?? [])
        } catch {
            if malformed.count == Self.malformedMax { malformed.removeFirst() }
            malformed.append((record.offset, error.message))
            return
        }
        try step(Step(event: event, outcome: registry.apply(event)))
    }
}

/// Writes facts about models, and the compacted snapshot beside them.
public final class RegistryWriter {
    private let writer: FactWriter
    private let topics: PipelineTopics

    public init(configuration: KafkaConfiguration, topics: PipelineTopics) throws(KafkaError) {
        writer = try FactWriter(configuration: configuration)
        self.topics = topics
    }

    /// Returns when the brokers have the event. Whether it counts, the replay says.
    public func write(_ event: ModelEvent) throws(KafkaError) {
        try writer.write(topic: topics.models, key: event.model, value: event.encoded())
    }

    /// Writes the state of a version to `<p>.models-current`.
    public func writeSnapshot(_ version: ModelVersion) throws {
        try writer.write(
            topic: topics.modelsCurrent, key: "\(version.model)/\(version.serial)", value: try version.encoded())
    }
}
