// ModelsRetrain: `penstock models retrain` asks for a retraining by hand.

import ArgumentParser
import EventContracts
import Foundation
import Kafka
import PipelineContract
import Registry
import RegistryRuntime

extension ModelsCommand {
    struct Retrain: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "retrain", abstract: "Ask for a retraining now, and wait for its end.",
            discussion: """
                The reaction controller asks by itself when its policy says so; this is for an administrator who knows better. \
                Whether the candidate serves, the promotion gate decides.

                Example: penstock models retrain --from 2021-06-01T00:00:00Z --reason 'new region'
                """)

        @Option(
            help: ArgumentHelp(
                "Start of the new regime in event time (default: all labelled events).", valueName: "time"))
        var from: String?

        @Option(help: ArgumentHelp("Use events and labels up to this event time (default: all).", valueName: "time"))
        var until: String?

        @Option(help: "Labelled events that are needed.")
        var labelsMin = 100

        @Option(help: "Why, in one sentence.")
        var reason: String

        @Option(help: "Seconds to wait for the end.")
        var timeout = 60

        @OptionGroup var options: RegistryOptions

        mutating func run() throws {
            let contract = try options.contract()
            let follower = try options.follower(contract)
            guard let production = follower.registry.production else {
                throw CommandFailure("no version of \(contract.model.name) is in production yet: see 'penstock status'")
            }
            let trainFrom = try from.map { try Self.time($0, "--from") }
            let now = EventTime(microseconds: try Self.time(RegistryClock.now, "the clock").microseconds)
            let trainUntil = try until.map { try Self.time($0, "--until") } ?? now
            let id = RecordIdentity.id([contract.name, "retraining", "by hand", UUID().uuidString])
            let request = RetrainingRequest(
                id: id, pipeline: contract.name, reason: reason, decidedAt: now,
                trigger: .init(alertID: "by-hand", alert: "none", features: [], changeTime: trainFrom),
                model: contract.model.name, modelVersion: production.version, labelsMin: labelsMin, labelsAvailable: 0,
                trainFrom: trainFrom, trainUntil: trainUntil, attempt: 1)
            let writer = try FactWriter(configuration: try options.cluster.producerConfiguration())
            try writer.write(
                topic: contract.topics.retraining, key: contract.model.name, value: try request.event().encoded(),
                headers: [
                    RecordHeader(CloudEventBinding.contentTypeHeader, text: CloudEventBinding.structuredContentType)
                ])
            try report(try wait(for: id, follower))
        }

        private static func time(_ text: String, _ name: String) throws -> EventTime {
            let bytes = Array(text.utf8)
            do {
                return EventTime(microseconds: try RFC3339.parse(bytes.span.bytes))
            } catch {
                throw CommandFailure.usage("\(name) is \(text), which is no RFC 3339 date-time: \(error)")
            }
        }

        /// The candidate when it was decided about, or the reason why there is none.
        private func wait(for id: String, _ follower: RegistryFollower) throws -> ModelVersion {
            let deadline = ContinuousClock.now + .seconds(timeout)
            var failure: String?
            while ContinuousClock.now < deadline {
                try follower.poll(
                    timeoutMilliseconds: 100,
                    step: { step in
                        if step.event.type == .retrainingFailed, step.event.request == id {
                            failure = step.event.reason
                        }
                    })
                if let failure { throw CommandFailure("the request ended without a candidate: \(failure)") }
                if let version = follower.registry.versions.first(where: { $0.request == id }),
                    version.status != .registered, version.status != .approved
                {
                    return version
                }
            }
            throw CommandFailure(
                "the request \(id) has not ended within \(timeout) s: check that retraining-consumer and promotion-gate "
                    + "run (penstock status)")
        }

        private func report(_ version: ModelVersion) throws {
            if options.output.isJSON { return try Console.print(json: version) }
            Console.print("\(version.model) \(version.version), serial \(version.serial): \(version.status.rawValue)")
            if let last = version.decisions.last { Console.print("\(last.type.rawValue): \(last.reason)") }
        }
    }
}
