// RetrainingConsumer: reads requests and the registry, makes a candidate for each open request.

import EventContracts
public import Kafka
public import Logging
public import Observability
public import PipelineContract
import Registry
import RegistryRuntime
import Retraining
public import StageRuntime

/// Has no state of its own: a request is open until `<p>.models` says how it ended. A process that is killed in the middle
/// starts over and makes the same candidate; two processes at once register one, because the registry takes the first.
public final class RetrainingConsumer {
    private static let waitMilliseconds: Int32 = 200
    /// Between two attempts while the model in production cannot be opened.
    private static let retrySeconds = 5
    private static let recordsMax: Int64 = 500_000

    private let pipeline: Pipeline
    private let maker: CandidateMaker
    private let consumer: KafkaConfiguration
    private let follower: RegistryFollower
    private let writer: RegistryWriter
    private let control: StageControl
    private let health: HealthState
    private let logger: Logger
    /// In the order of the topic.
    private var requests: [RetrainingRequest] = []

    public init(
        pipeline: Pipeline, maker: CandidateMaker, consumer: KafkaConfiguration, producer: KafkaConfiguration,
        startMilliseconds: Int, control: StageControl, health: HealthState, logger: Logger
    ) throws {
        self.control = control
        self.pipeline = pipeline
        self.maker = maker
        self.consumer = consumer
        self.health = health
        self.logger = logger
        follower = try RegistryFollower(
            configuration: consumer, model: pipeline.model.name, modelsTopic: pipeline.topics.models,
            otherTopics: [pipeline.topics.retraining], startMilliseconds: startMilliseconds,
            isStopRequested: { control.isStopRequested })
        writer = try RegistryWriter(configuration: producer, topics: pipeline.topics)
    }

    /// Serves until a stop is requested.
    public func run() throws {
        try follower.catchUp(isStopRequested: { control.isStopRequested }, other: take)
        logger.info(
            "The registry is read",
            metadata: [
                "versions": "\(follower.registry.versions.count)", "requests": "\(requests.count)",
                "production": "\(follower.registry.production?.version ?? "none")",
            ])
        health.markReady()
        let clock = ContinuousClock()
        var retryAt = clock.now
        while !control.isStopRequested {
            health.heartbeat(backlog: 0, advanced: true)
            try follower.poll(timeoutMilliseconds: Self.waitMilliseconds, other: take)
            guard let request = openRequest, clock.now >= retryAt else { continue }
            do {
                try serve(request)
                health.clear("model")
            } catch let error as KafkaError {
                throw error
            } catch {
                // The request stays open; nothing is lost while the model cannot be opened.
                retryAt = clock.now + .seconds(Self.retrySeconds)
                health.fail("model", "\(error)")
                logger.error("The request waits", metadata: ["request": "\(request.id)", "reason": "\(error)"])
            }
        }
    }

    private var openRequest: RetrainingRequest? {
        requests.first { follower.registry.endedRequests[$0.id] == nil }
    }

    private func take(_ record: BroadcastRecord) {
        do {
            guard let request = try RetrainingRequest.decode(record.value ?? []) else { return }
            guard request.pipeline == pipeline.name, request.model == pipeline.model.name else { return }
            if !requests.contains(where: { $0.id == request.id }) { requests.append(request) }
        } catch {
            logger.error(
                "A record of the topic is no request and is passed over",
                metadata: ["topic": "\(record.topic)", "offset": "\(record.offset)", "reason": "\(error)"])
        }
    }

    private func serve(_ request: RetrainingRequest) throws {
        // What another process registered meanwhile counts.
        try follower.catchUp(isStopRequested: { control.isStopRequested }, other: take)
        guard follower.registry.endedRequests[request.id] == nil, !control.isStopRequested else { return }
        let start = ContinuousClock.now
        guard let production = follower.registry.production else {
            throw RequestRefused(reason: "no version of \(pipeline.model.name) is in production yet")
        }
        let join = TrainingJoin(
            featureCount: maker.featureNames.count, contractHash: maker.contractHash,
            until: request.trainUntil.microseconds)
        let dataset = TopicDataset(configuration: consumer, topics: pipeline.topics, recordsMax: Self.recordsMax)
        guard let (rows, skipped) = try dataset.read(join, isStopRequested: { control.isStopRequested }) else { return }
        logger.info(
            "Labels and features are joined",
            metadata: ["request": "\(request.id)", "rows": "\(rows.count)", "skipped": "\(skipped)"])
        let event = try maker.make(
            request, rows: rows, production: production, serial: follower.registry.nextSerial, time: RegistryClock.now)
        try writer.write(event)
        logger.notice(
            event.type == .registered ? "A candidate is registered" : "The request ended without a candidate",
            metadata: [
                "request": "\(request.id)", "version": "\(event.version)", "serial": "\(event.serial)",
                "reason": "\(event.reason)", "seconds": "\(ContinuousClock.now - start)",
            ])
        // The own event comes back, or that of another process that was quicker.
        try follower.catchUp(
            isStopRequested: { control.isStopRequested },
            step: { step in
                if case .refused(let reason) = step.outcome, step.event.id == event.id {
                    logger.warning("The registry refused the event", metadata: ["reason": "\(reason)"])
                }
            }, other: take)
    }
}
