// RetrainingRequest: the records of `<p>.retraining`. Layout: docs/formats.md.

/// A request to fine-tune the serving model. Decided once per id; a repeat has the same id.
public struct RetrainingRequest: Sendable, Codable, Equatable {
    /// Why the controller looked at the matter.
    public struct Trigger: Sendable, Codable, Equatable {
        /// `<fingerprint>-<episode>` of the alert.
        public var alertID: String
        public var alert: String
        public var features: [String]
        public var changeTime: EventTime?

        public init(alertID: String, alert: String, features: [String], changeTime: EventTime?) {
            self.alertID = alertID
            self.alert = alert
            self.features = features
            self.changeTime = changeTime
        }
    }

    public var v = 1
    public var id: String
    public var pipeline: String
    /// One sentence for a person.
    public var reason: String
    /// Watermark (event) time of the decision.
    public var decidedAt: EventTime
    public var trigger: Trigger
    /// The model that serves, to be fine-tuned.
    public var model: String
    public var modelVersion: String
    /// Joined labels without which a candidate shall not be trained.
    public var labelsMin: Int
    /// Joined labels that the drift monitor had seen at the decision.
    public var labelsAvailable: Int
    /// Events from this time on belong to the new regime; nil when it is not known.
    public var trainFrom: EventTime?
    /// Events up to this time may be used: the watermark of the decision.
    public var trainUntil: EventTime
    /// 1 for the first request of an episode; higher after refused candidates.
    public var attempt: Int

    public init(
        id: String, pipeline: String, reason: String, decidedAt: EventTime, trigger: Trigger, model: String,
        modelVersion: String, labelsMin: Int, labelsAvailable: Int, trainFrom: EventTime?, trainUntil: EventTime,
        attempt: Int
    ) {
        self.id = id
        self.pipeline = pipeline
        self.reason = reason
        self.decidedAt = decidedAt
        self.trigger = trigger
        self.model = model
        self.modelVersion = modelVersion
        self.labelsMin = labelsMin
        self.labelsAvailable = labelsAvailable
        self.trainFrom = trainFrom
        self.trainUntil = trainUntil
        self.attempt = attempt
    }

    public static let type = "dev.penstock.retraining.requested"

    /// The id of the nth request of an alert's episode.
    public static func id(pipeline: String, alertID: String, attempt: Int) -> String {
        RecordIdentity.id([pipeline, "retraining", alertID, String(attempt)])
    }

    public func event() -> CloudEvent<RetrainingRequest> {
        CloudEvent(
            id: id, source: "/penstock/\(pipeline)/reaction-controller", type: Self.type, subject: model,
            time: decidedAt, data: self)
    }

    /// Reads a record of `<p>.retraining`; nil for a record of another type.
    public static func decode(_ bytes: [UInt8]) throws(RecordFormatError) -> RetrainingRequest? {
        let event = try CloudEvent<RetrainingRequest>.decode(bytes, types: [type])
        return event?.data
    }
}
