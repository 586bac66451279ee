// ReactionTests: the life of an alert and the policy of retraining, one edge after the other.

import EventContracts
import Foundation
import MonitorRuntime
import Monitors
import PipelineContract
import StageRuntime
import Testing

/// A controller with its outputs decoded.
private struct Desk {
    var controller: ReactionController
    var alerts: [AlertRecord] = []
    var decisions: [ReactionDecision] = []
    var requests: [RetrainingRequest] = []
    var reviews = 0
    let topics: PipelineTopics

    init(_ change: (inout ReactionSettings) -> Void = { _ in }) throws {
        var pipeline = try World.pipeline()
        change(&pipeline.reactions)
        controller = ReactionController(pipeline: pipeline)
        topics = pipeline.topics
    }

    mutating func report(
        _ level: MonitoringReport.Level, alert: String = AlertCatalogue.dataDrift,
        kind: MonitoringReport.Kind = .drift, day: Double, labels: Int? = nil, version: String = "1",
        features: [String] = [], newestDay: Double? = nil
    ) throws {
        let time = EventTime(microseconds: World.start + Int64(day * 86_400_000_000))
        var report = MonitoringReport(
            pipeline: "housing", kind: kind, alert: alert, labels: ["pipeline": "housing"], level: level,
            watermark: time, summary: "\(alert) is \(level.rawValue)")
        report.labelsAvailable = labels
        report.newestEvent = newestDay.map {
            EventTime(microseconds: World.start + Int64($0 * 86_400_000_000))
        }
        report.model = "m"
        report.modelVersion = version
        report.changeTime = time
        report.value = 1
        report.features = features.map { .init(name: $0, logEvidence: 1, isAtFault: true, metrics: []) }
        try send(0, try report.event(program: "test", sequence: "\(day)").encoded())
    }

    mutating func model(_ kind: ModelEvent.Kind, request: String?, version: String = "2") throws {
        try send(
            1,
            ModelEvent(
                type: kind, id: UUID().uuidString, model: "m", version: version, serial: 2,
                time: "2021-01-01T00:00:00Z", actor: "test", reason: "test", request: request
            ).encoded())
    }

    mutating func send(_ topic: Int, _ value: [UInt8]) throws {
        try controller.take(World.batch([(topic, value)]))
        for output in controller.takeOutputs() {
            switch output.topic {
            case topics.alerts:
                if let alert = try CloudEvent<AlertRecord>.decode(output.value, types: [AlertRecord.type]) {
                    alerts.append(alert.data)
                }
                let decision = try CloudEvent<ReactionDecision>.decode(output.value, types: [ReactionDecision.type])
                if let decision { decisions.append(decision.data) }
            case topics.retraining: requests.append(try #require(try RetrainingRequest.decode(output.value)))
            case topics.review: reviews += 1
            default: break
            }
        }
    }
}

@Suite("The reaction controller")
struct ReactionTests {
    @Test("One alert per episode: suspect, firing, resolved, and the next episode has the next number")
    func lifecycle() throws {
        var desk = try Desk()
        for (day, level) in [
            (1.0, MonitoringReport.Level.ok), (2, .suspect), (3, .firing), (4, .firing), (5, .suspect), (6, .ok),
            (7, .ok),
            (8, .firing),
        ] {
            try desk.report(level, day: day)
        }
        #expect(desk.alerts.map(\.state) == [.suspect, .firing, .resolved, .firing])
        #expect(desk.alerts.map(\.episode) == [1, 1, 1, 2])
        #expect(desk.alerts.map(\.revision) == [1, 2, 3, 1])
        #expect(Set(desk.alerts.map(\.fingerprint)).count == 1)
        #expect(desk.alerts[2].endsAt != nil && desk.alerts[1].runbook == "runbooks/alert-data-drift.md")
    }

    @Test("A recovery must last; a relapse belongs to the same episode")
    func recovery() throws {
        var desk = try Desk { $0.resolveAfterMicroseconds = 2 * 86_400_000_000 }
        for (day, level) in [
            (1.0, MonitoringReport.Level.firing), (2, .ok), (3, .firing), (4, .ok), (5, .ok), (6, .ok),
        ] {
            try desk.report(level, day: day)
        }
        #expect(desk.alerts.map(\.state) == [.firing, .recovering, .firing, .recovering, .resolved])
        #expect(Set(desk.alerts.map(\.episode)) == [1])
    }

    @Test("Drift retrains once there are labels; the request names trigger, model and times; waiting is said once")
    func retrain() throws {
        var desk = try Desk()
        try desk.report(.firing, day: 1, labels: 0, features: ["a"])
        try desk.report(.firing, day: 2, labels: 50, features: ["a"])
        #expect(desk.requests.isEmpty)
        #expect(desk.decisions.map(\.action) == [.wait])
        #expect(desk.decisions[0].reasons.filter { !$0.isMet }.map(\.condition) == ["labels"])
        try desk.report(.firing, day: 3, labels: 120, features: ["a"])
        let request = try #require(desk.requests.first)
        #expect(request.trigger.features == ["a"] && request.modelVersion == "1" && request.labelsAvailable == 120)
        #expect(request.trainUntil.microseconds == World.start + 3 * 86_400_000_000)
        #expect(
            desk.decisions.last?.requestID == request.id && desk.decisions.last?.reasons.allSatisfy(\.isMet) == true)
        // One in flight.
        try desk.report(.firing, day: 30, labels: 500, features: ["a"])
        #expect(desk.requests.count == 1)
        #expect(desk.decisions.last?.reasons.first { !$0.isMet }?.condition == "inFlight")
    }

    @Test("A refused candidate doubles the cooldown; a promotion of the new version ends the episode")
    func backOff() throws {
        var desk = try Desk { $0.cooldownMicroseconds = 2 * 86_400_000_000 }
        try desk.report(.firing, day: 1, labels: 120)
        try desk.model(.registered, request: desk.requests.last?.id)
        try desk.model(.rejected, request: desk.requests.last?.id)
        try desk.report(.firing, day: 4, labels: 150)
        #expect(desk.requests.count == 1, "two days, doubled")
        try desk.report(.firing, day: 5.5, labels: 170)
        #expect(desk.requests.count == 2)
        #expect(desk.requests[1].attempt == 2 && desk.requests[1].id != desk.requests[0].id)
        try desk.model(.promoted, request: desk.requests.last?.id)
        try desk.report(.warmup, day: 6, version: "2")
        #expect(desk.alerts.last?.state == .resolved)
        // The next alarm is of the promoted version.
        try desk.report(.firing, day: 20, labels: 200, version: "2")
        #expect(desk.requests.last?.modelVersion == "2")
    }

    @Test("A request without an answer is given up, and counts as a failure")
    func giveUp() throws {
        var desk = try Desk {
            $0.requestMicrosecondsMax = 5 * 86_400_000_000
            $0.cooldownMicroseconds = 86_400_000_000
        }
        try desk.report(.firing, day: 1, labels: 120)
        try desk.report(.firing, day: 5, labels: 130)
        #expect(desk.requests.count == 1)
        try desk.report(.firing, day: 6.5, labels: 140)
        #expect(desk.requests.count == 2)
    }

    @Test("A version made from few labels is made again once they have trebled, from the start of the same regime")
    func refinement() throws {
        var desk = try Desk()
        func report(_ day: Double, _ labels: Int, version: String = "2") throws {
            try desk.report(
                .ok, alert: AlertCatalogue.performanceLoss, kind: .performance, day: day, labels: labels,
                version: version)
        }
        try desk.report(.firing, day: 1, labels: 120, features: ["a"])
        // The gate's events name the version, and not the request.
        try desk.model(.registered, request: desk.requests.last?.id)
        try desk.model(.approved, request: nil)
        try desk.model(.promoted, request: nil)
        // The alarm of the old version still fires: it has its own way to a retraining.
        try report(9, 500)
        #expect(desk.requests.count == 1)
        try desk.report(.warmup, day: 10, version: "2")
        try report(11, 239)
        try report(11.5, 9_000, version: "1")
        #expect(desk.requests.count == 1, "120 and 239 labels are not three times 120")
        try report(12, 240)
        let (first, second) = (desk.requests[0], try #require(desk.requests.last))
        #expect(desk.requests.count == 2 && second.attempt == 2 && second.id != first.id)
        #expect(second.labelsAvailable == 360 && second.modelVersion == "2" && second.trigger == first.trigger)
        #expect(second.trainFrom == first.trainFrom && second.trainUntil > first.trainUntil)
        #expect(desk.decisions.last?.requestID == second.id)

        // Refused: the next one needs three times as many again.
        try desk.model(.registered, request: second.id, version: "3")
        try desk.model(.rejected, request: nil, version: "3")
        try report(80, 959)
        #expect(desk.requests.count == 2)
        try report(81, 960)
        #expect(desk.requests.count == 3)
        try desk.model(.promoted, request: desk.requests.last?.id, version: "4")
        try desk.model(.rolledBack, request: nil, version: "1")
        try report(200, 99_999, version: "1")
        try report(201, 99_999, version: "4")
        #expect(desk.requests.count == 3)
    }

    @Test("Labels that became known up to the newest event count, although the watermark lags")
    func newestEvent() throws {
        var desk = try Desk()
        try desk.report(.firing, day: 3, labels: 120, newestDay: 4)
        let request = try #require(desk.requests.first)
        #expect(request.trainUntil.microseconds == World.start + 4 * 86_400_000_000)
        #expect(request.decidedAt.microseconds == World.start + 3 * 86_400_000_000)
    }

    @Test("Without a factor nothing is refined")
    func noRefinement() throws {
        var desk = try Desk { $0.refineFactor = 0 }
        try desk.report(.firing, day: 1, labels: 120)
        try desk.model(.promoted, request: desk.requests.last?.id)
        try desk.report(.warmup, day: 10, version: "2")
        try desk.report(
            .ok, alert: AlertCatalogue.performanceLoss, kind: .performance, day: 90, labels: 99_999, version: "2")
        #expect(desk.requests.count == 1)
    }

    @Test("Quality in doubt keeps from retraining; infrastructure and unnamed causes go to the administrator")
    func administrators() throws {
        var desk = try Desk { $0.retrainOn = [.drift] }
        try desk.report(.firing, alert: AlertCatalogue.dataQuality, kind: .quality, day: 1)
        try desk.report(.firing, day: 2, labels: 500)
        #expect(desk.requests.isEmpty)
        #expect(desk.decisions.last?.reasons.first { !$0.isMet }?.condition == "quality")
        // The quality alert explains the drift alert.
        #expect(desk.alerts.last { $0.name == AlertCatalogue.dataDrift }?.inhibitedBy == [AlertCatalogue.dataQuality])
        try desk.report(.firing, alert: AlertCatalogue.consumerLag, kind: .infrastructure, day: 3)
        try desk.report(.firing, alert: AlertCatalogue.performanceLoss, kind: .performance, day: 4, labels: 900)
        #expect(desk.requests.isEmpty)
        #expect(desk.decisions.filter { $0.action == .alertAdministrator }.count == 3)
        try desk.report(.ok, alert: AlertCatalogue.dataQuality, kind: .quality, day: 5)
        try desk.report(.firing, day: 6, labels: 500)
        #expect(desk.requests.count == 1)
    }

    @Test("A vision model is never retrained without a person")
    func vision() throws {
        var desk = try Desk { $0.modality = .vision }
        try desk.report(.firing, day: 1, labels: 10_000)
        try desk.report(.firing, day: 9, labels: 20_000)
        #expect(desk.requests.isEmpty && desk.reviews == 1)
        #expect(desk.decisions.map(\.action) == [.review])
    }

    @Test("People acknowledge and silence; damaged records are passed over")
    func people() throws {
        var desk = try Desk()
        try desk.report(.firing, day: 1)
        let fingerprint = try #require(desk.alerts.first).fingerprint
        let until = EventTime(microseconds: World.start)
        for (action, time) in [(AlertCommand.Action.acknowledge, nil), (.silence, until), (.unsilence, nil)] {
            let command = AlertCommand(
                id: action.rawValue, action: action, fingerprint: fingerprint, by: "ada", comment: "", at: until,
                until: time)
            try desk.send(2, try command.event(pipeline: "housing").encoded())
        }
        #expect(desk.alerts.suffix(3).map(\.acknowledgedBy) == ["ada", "ada", "ada"])
        #expect(desk.alerts.suffix(3).map(\.silencedUntil) == [nil, until, nil])
        try desk.send(0, Array("{".utf8))
        try desk.send(1, Array("[]".utf8))
        try desk.report(.ok, day: 2)
        #expect(desk.alerts.last?.state == .resolved)
    }

    @Test("A controller that goes on from its snapshot neither repeats nor forgets")
    func restart() throws {
        var desk = try Desk()
        try desk.report(.firing, day: 1, labels: 120)
        let snapshot = try JSONEncoder().encode(desk.controller.state)
        desk.controller = ReactionController(pipeline: try World.pipeline())
        try desk.controller.restore(try JSONDecoder().decode(ReactionController.State.self, from: snapshot))
        try desk.report(.firing, day: 2, labels: 130)
        #expect(desk.requests.count == 1 && desk.alerts.count == 1)
        try desk.report(.ok, day: 3)
        #expect(desk.alerts.last?.state == .resolved && desk.alerts.last?.episode == 1)
    }
}
