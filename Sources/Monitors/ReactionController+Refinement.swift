// ReactionController+Refinement: a model made from few labels is made again once there are many more.

import EventContracts
import MonitorRuntime
import PipelineContract

extension ReactionController {
    /// A candidate of ours that serves, and the labels of its regime.
    struct Refinement: Codable {
        /// Of the alert that began it.
        var fingerprint: String
        var version: String
        /// The request that the version came from.
        var request: RetrainingRequest
        /// Labels at the latest request of this regime, granted or refused.
        var labelsAsked: Int
    }

    /// The first retraining of a new regime comes as soon as it can be judged, so it learns from few labels. When they
    /// have grown by `reactions.retrain.refine`, the regime is learned again; the gate decides whether that is better.
    mutating func refine(_ report: MonitoringReport) throws {
        let factor = pipeline.reactions.refineFactor
        guard factor > 0, let refinement = memory.refinement, memory.requests.open == nil,
            report.level != .firing, report.modelVersion == refinement.version,
            memory.modelVersion == refinement.version, let episode = memory.alerts[refinement.fingerprint]
        else { return }
        // A new alarm has its own way to a retraining, and its own regime.
        guard !memory.alerts.values.contains(where: { $0.record.state == .firing && Self.cause(of: $0.record) != nil })
        else { return }
        let before = refinement.request.labelsAvailable
        let labels = before + (report.labelsAvailable ?? 0)
        let (needed, overflow) = refinement.labelsAsked.multipliedReportingOverflow(by: factor)
        let reasons =
            [
                ReactionDecision.Reason(
                    "evidence", isMet: true,
                    "version \(refinement.version) was made from \(before) labels of the new regime"),
                .init(
                    "labels", isMet: !overflow && labels >= needed,
                    "\(labels) labels of the regime, \(needed) are needed"),
            ] + commonConditions
        guard reasons.allSatisfy(\.isMet) else { return }
        var request = refinement.request
        request.attempt = episode.attempts + 1
        request.id = RetrainingRequest.id(
            pipeline: pipeline.name, alertID: request.trigger.alertID, attempt: request.attempt)
        request.reason =
            "refinement: version \(refinement.version) was made from \(before) labels, \(labels) are there now"
        request.decidedAt = EventTime(microseconds: memory.watermark)
        request.trainUntil = trainUntil(report)
        request.model = memory.model
        request.modelVersion = memory.modelVersion
        request.labelsAvailable = labels
        try send(request, refinement.fingerprint, reasons, of: episode)
    }

    /// Follows what became of the request in hand.
    mutating func noteForRefinement(_ event: ModelEvent, _ open: Requests.Open?) {
        switch event.type {
        case .promoted:
            memory.refinement = open.flatMap { open in
                open.request.map { request in
                    Refinement(
                        fingerprint: open.alert, version: event.version, request: request,
                        labelsAsked: request.labelsAvailable)
                }
            }
        case .rolledBack: memory.refinement = nil
        case .rejected, .retrainingFailed:
            if let labels = open?.request?.labelsAvailable { memory.refinement?.labelsAsked = labels }
        case .registered, .evaluated, .approved: break
        }
    }
}
