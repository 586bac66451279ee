// AlertRecord, ReactionDecision, ControlCommand: the records of `<p>.alerts` and `<p>.control`. Layout: docs/formats.md.

/// One alert as it stands after a change. `<p>.alerts` holds every change, `<p>.alerts-current` the latest by fingerprint.
public struct AlertRecord: Sendable, Codable, Equatable {
    public enum State: String, Sendable, Codable, CaseIterable {
        case suspect, firing, recovering, resolved
    }
    public enum Severity: String, Sendable, Codable, CaseIterable { case info, warning, critical }

    public var v = 1
    /// 16 hex digits over the name and the labels.
    public var fingerprint: String
    /// Counts the episodes of this fingerprint from 1. One episode is one alert: it is updated in place.
    public var episode: Int
    /// Counts the changes of this episode from 1.
    public var revision: Int
    public var name: String
    public var pipeline: String
    public var kind: MonitoringReport.Kind
    public var state: State
    public var severity: Severity
    public var labels: [String: String]
    public var summary: String
    /// Page to open, relative to the repository.
    public var runbook: String
    /// Watermark times: the report that fired first, this change, the resolution.
    public var startsAt: EventTime
    public var changedAt: EventTime
    public var endsAt: EventTime?
    /// The report that led to this change.
    public var report: MonitoringReport
    /// The strongest value of the episode.
    public var peak: Double?
    public var acknowledgedBy: String?
    /// Notifications are held back until this time, by wall clock.
    public var silencedUntil: EventTime?
    /// Names of firing alerts that explain this one; while there are any, nobody is notified.
    public var inhibitedBy: [String]

    public init(
        fingerprint: String, episode: Int, revision: Int, name: String, pipeline: String, kind: MonitoringReport.Kind,
        state: State, severity: Severity, labels: [String: String], summary: String, runbook: String,
        startsAt: EventTime, changedAt: EventTime, endsAt: EventTime?, report: MonitoringReport
    ) {
        self.fingerprint = fingerprint
        self.episode = episode
        self.revision = revision
        self.name = name
        self.pipeline = pipeline
        self.kind = kind
        self.state = state
        self.severity = severity
        self.labels = labels
        self.summary = summary
        self.runbook = runbook
        self.startsAt = startsAt
        self.changedAt = changedAt
        self.endsAt = endsAt
        self.report = report
        inhibitedBy = []
    }

    /// `<fingerprint>-<episode>`.
    public var id: String { "\(fingerprint)-\(episode)" }

    public static let type = "dev.penstock.alert.changed"

    public func event() -> CloudEvent<AlertRecord> {
        CloudEvent(
            id: RecordIdentity.id([pipeline, "alert", id, String(revision)]),
            source: "/penstock/\(pipeline)/reaction-controller", type: Self.type, subject: name, time: changedAt,
            data: self)
    }
}

/// What the reaction controller decided, with its reasons; also when it decided to do nothing.
public struct ReactionDecision: Sendable, Codable, Equatable {
    public enum Action: String, Sendable, Codable, CaseIterable {
        /// A request on `<p>.retraining`.
        case retrain
        /// Nothing yet, for the reasons given; looked at again with the next report.
        case wait
        /// An administrator is told; nothing is retrained.
        case alertAdministrator
        /// An entry on `<p>.review`: a person decides.
        case review
    }

    /// One condition of the policy and how it stood.
    public struct Reason: Sendable, Codable, Equatable {
        /// For instance `labels`, `cooldown`, `inFlight`, `backOff`.
        public var condition: String
        public var isMet: Bool
        public var detail: String

        public init(_ condition: String, isMet: Bool, _ detail: String) {
            self.condition = condition
            self.isMet = isMet
            self.detail = detail
        }
    }

    public var v = 1
    public var id: String
    public var pipeline: String
    public var alertID: String
    public var alert: String
    public var action: Action
    public var decidedAt: EventTime
    public var reasons: [Reason]
    /// Of the `RetrainingRequest`, when there is one.
    public var requestID: String?

    public init(
        id: String, pipeline: String, alertID: String, alert: String, action: Action, decidedAt: EventTime,
        reasons: [Reason], requestID: String?
    ) {
        self.id = id
        self.pipeline = pipeline
        self.alertID = alertID
        self.alert = alert
        self.action = action
        self.decidedAt = decidedAt
        self.reasons = reasons
        self.requestID = requestID
    }

    public static let type = "dev.penstock.reaction.decided"

    public func event() -> CloudEvent<ReactionDecision> {
        CloudEvent(
            id: id, source: "/penstock/\(pipeline)/reaction-controller", type: Self.type, subject: alert,
            time: decidedAt, data: self)
    }
}

/// What a person tells the reaction controller on `<p>.control`. Readers pass over kinds that are not theirs.
public struct AlertCommand: Sendable, Codable, Equatable {
    public enum Action: String, Sendable, Codable, CaseIterable { case acknowledge, silence, unsilence }

    public var v = 1
    public var id: String
    public var action: Action
    public var fingerprint: String
    /// Who says so, and why.
    public var by: String
    public var comment: String
    /// Wall clock.
    public var at: EventTime
    /// End of a silence, wall clock.
    public var until: EventTime?

    public init(
        id: String, action: Action, fingerprint: String, by: String, comment: String, at: EventTime, until: EventTime?
    ) {
        self.id = id
        self.action = action
        self.fingerprint = fingerprint
        self.by = by
        self.comment = comment
        self.at = at
        self.until = until
    }

    public static let type = "dev.penstock.control.alert"

    public func event(pipeline: String) -> CloudEvent<AlertCommand> {
        CloudEvent(
            id: id, source: "/penstock/\(pipeline)/penstock", type: Self.type, subject: fingerprint, time: at,
            data: self)
    }
}
