// LoopTimeline: what monitors, controller, trainer and gate say while the stream runs, in one list.

import EventContracts
import Foundation
import Kafka
import PipelineContract
import Registry
import RegistryRuntime

/// One thing that happened.
struct LoopMoment: Encodable, Sendable, Equatable {
    enum Kind: String, Encodable, Sendable {
        case alert, decision, request, registered, approved, rejected, promoted, rolledBack, failed
    }

    var kind: Kind
    /// When the record was written, seconds since the Unix epoch.
    var wallSeconds: Double
    /// Event time that it is about, RFC 3339; nil when it has none.
    var eventTime: String?
    var title: String
    var detail: String
    /// Of the model, where it is about one.
    var version: String?
    var request: String?
}

/// Reads `models`, `alerts` and `retraining`. Not for use by two threads.
final class LoopTimeline {
    private static let featuresShown = 3

    private let follower: RegistryFollower
    private let topics: PipelineTopics
    private(set) var moments: [LoopMoment] = []
    /// Latest state of each alert.
    private(set) var alerts: [String: AlertRecord] = [:]
    private var seen: Set<String> = []

    init(configuration: KafkaConfiguration, contract: Pipeline) throws {
        topics = contract.topics
        follower = try RegistryFollower(
            configuration: configuration, model: contract.model.name, modelsTopic: topics.models,
            otherTopics: [topics.alerts, topics.retraining])
    }

    var registry: ModelRegistry { follower.registry }

    /// Requests that the registry does not hold the end of.
    var openRequests: [String] {
        moments.filter { $0.kind == .request }.compactMap(\.request).filter { registry.endedRequests[$0] == nil }
    }

    /// Takes what is there, waiting at most so long for the first record; gives what is new.
    func poll(milliseconds: Int32) throws -> [LoopMoment] {
        let before = moments.count
        try follower.poll(timeoutMilliseconds: milliseconds, step: take, other: take)
        return Array(moments[before...])
    }

    /// Takes everything that the topics hold now.
    func catchUp() throws { try follower.catchUp(step: take, other: take) }

    private func take(_ step: RegistryFollower.Step) {
        guard step.outcome == .applied else { return }
        let event = step.event
        let kind: LoopMoment.Kind
        switch event.type {
        case .registered: kind = .registered
        case .approved: kind = .approved
        case .rejected: kind = .rejected
        case .promoted: kind = .promoted
        case .rolledBack: kind = .rolledBack
        case .retrainingFailed: kind = .failed
        case .evaluated: return
        }
        moments.append(
            LoopMoment(
                kind: kind, wallSeconds: Self.seconds(event.time), eventTime: event.watermark,
                title: kind == .failed
                    ? "retraining ended without a candidate" : "version \(event.version) \(event.type.rawValue)",
                detail: Self.detail(event), version: event.version, request: event.request))
    }

    private static func detail(_ event: ModelEvent) -> String {
        // The gate's reasons stand at the approval.
        if event.type == .promoted { return "it serves from here on" }
        guard let comparison = event.comparison, let training = event.training else { return event.reason }
        func auc(_ side: ModelEvent.Comparison.Side) -> String { side.rocAUC.map { Numbers.decimal($0, 3) } ?? "-" }
        return "\(training.algorithm), \(training.rows) rows; AUC \(auc(comparison.candidate)) against "
            + "\(auc(comparison.production)) on \(comparison.rows) rows"
    }

    private func take(_ record: BroadcastRecord) throws {
        guard let value = record.value else { return }
        let wall = Double(record.timestampMilliseconds) / 1_000
        if record.topic == topics.retraining {
            guard let request = try RetrainingRequest.decode(value), seen.insert(request.id).inserted else { return }
            moments.append(
                LoopMoment(
                    kind: .request, wallSeconds: wall, eventTime: "\(request.decidedAt)", title: "retraining requested",
                    detail: "\(request.reason) (\(request.labelsAvailable) labels)", version: request.modelVersion,
                    request: request.id))
        } else if let event = try CloudEvent<AlertRecord>.decode(value, types: [AlertRecord.type]) {
            take(event.data, id: event.id, wall)
        } else if let event = try CloudEvent<ReactionDecision>.decode(value, types: [ReactionDecision.type]) {
            take(event.data, wall)
        }
    }

    private func take(_ alert: AlertRecord, id: String, _ wall: Double) {
        alerts[alert.id] = alert
        guard alert.state == .firing || alert.state == .resolved, seen.insert(id).inserted else { return }
        let known = moments.contains {
            $0.kind == .alert && $0.title == "\(alert.name) \(alert.state.rawValue)" && $0.request == alert.id
        }
        // A suspicion that goes away is no news.
        let hasFired = alert.state == .firing || moments.contains { $0.kind == .alert && $0.request == alert.id }
        guard !known, hasFired else { return }
        let report = alert.report
        let features = report.features.prefix(Self.featuresShown).map(\.name).joined(separator: ", ")
        let figures = report.value.map { value in
            "value \(Self.figure(value))" + (report.threshold.map { " (threshold \(Self.figure($0)))" } ?? "")
        }
        moments.append(
            LoopMoment(
                kind: .alert, wallSeconds: wall, eventTime: "\(report.newestEvent ?? alert.changedAt)",
                title: "\(alert.name) \(alert.state.rawValue)",
                detail: [alert.summary, figures, features.isEmpty ? nil : "features \(features)"].compactMap(\.self)
                    .joined(separator: "; "), request: alert.id))
    }

    /// Evidence grows to millions, rates stay below one.
    private static func figure(_ value: Double) -> String {
        (1_000..<1e15).contains(value.magnitude) ? Numbers.grouped(Int(value)) : Numbers.decimal(value, 3)
    }

    private func take(_ decision: ReactionDecision, _ wall: Double) {
        guard decision.action != .wait, seen.insert(decision.id).inserted else { return }
        let reasons = decision.reasons.map { "\($0.condition): \($0.detail)" }.joined(separator: "; ")
        moments.append(
            LoopMoment(
                kind: .decision, wallSeconds: wall, eventTime: "\(decision.decidedAt)",
                title: "decided to \(decision.action.rawValue)", detail: reasons, request: decision.requestID))
    }

    private static func seconds(_ time: String) -> Double {
        let bytes = Array(time.utf8)
        return (try? RFC3339.parse(bytes.span.bytes)).map { Double($0) / 1e6 } ?? 0
    }
}
