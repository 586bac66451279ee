// AlertPayloads: alerts in the forms of Alertmanager's webhook (version 4) and of its API (version 2).

public import EventContracts

/// Labels and annotations of an alert, as receivers see them. Values never stand in labels: labels are the identity.
public struct NotifiedAlert: Sendable, Codable, Equatable {
    public var labels: [String: String]
    public var annotations: [String: String]
    /// Wall clock: receivers compare them with their own.
    public var startsAt: EventTime
    public var endsAt: EventTime?
    public var fingerprint: String
    public var isResolved: Bool

    public init(_ record: AlertRecord, startsAt: EventTime, endsAt: EventTime?) {
        var labels = record.labels
        labels["alertname"] = record.name
        labels["severity"] = record.severity.rawValue
        labels["kind"] = record.kind.rawValue
        labels["pipeline"] = record.pipeline
        self.labels = labels
        fingerprint = AlertFingerprint.text(labels)
        var annotations = [
            "summary": record.summary, "runbook_url": record.runbook, "alert_id": record.id,
            "event_time": record.startsAt.description,
        ]
        if let value = record.report.value { annotations["value"] = "\(value)" }
        if let threshold = record.report.threshold { annotations["threshold"] = "\(threshold)" }
        if let change = record.report.changeTime { annotations["change_time"] = change.description }
        if let model = record.report.model {
            annotations["model"] = "\(model) \(record.report.modelVersion ?? "")"
        }
        let features = record.report.features.prefix(5).map(\.name)
        if !features.isEmpty { annotations["features"] = features.joined(separator: ", ") }
        self.annotations = annotations
        self.startsAt = startsAt
        self.endsAt = endsAt
        isResolved = record.state == .resolved
    }
}

/// Alertmanager's webhook payload, version 4, one group per alert.
struct WebhookPayload: Encodable {
    struct Alert: Encodable {
        var status: String
        var labels: [String: String]
        var annotations: [String: String]
        var startsAt: String
        var endsAt: String
        var generatorURL: String
        var fingerprint: String
    }

    var version = "4"
    var groupKey: String
    var truncatedAlerts = 0
    var status: String
    var receiver: String
    var notification_reason: String
    var groupLabels: [String: String]
    var commonLabels: [String: String]
    var commonAnnotations: [String: String]
    var externalURL = ""
    var alerts: [Alert]

    /// Alertmanager's way of saying that an alert has not ended.
    static let noEnd = "0001-01-01T00:00:00Z"

    init(_ alert: NotifiedAlert, receiver: String) {
        let name = alert.labels["alertname"] ?? ""
        status = alert.isResolved ? "resolved" : "firing"
        groupKey = "{}:{alertname=\"\(name)\", fingerprint=\"\(alert.fingerprint)\"}"
        self.receiver = receiver
        notification_reason = alert.isResolved ? "all alerts resolved" : "first notification"
        groupLabels = ["alertname": name]
        commonLabels = alert.labels
        commonAnnotations = alert.annotations
        alerts = [
            Alert(
                status: status, labels: alert.labels, annotations: alert.annotations,
                startsAt: alert.startsAt.description, endsAt: alert.endsAt?.description ?? Self.noEnd,
                generatorURL: "", fingerprint: alert.fingerprint)
        ]
    }
}

/// One alert of `POST /api/v2/alerts`.
struct AlertmanagerAlert: Encodable {
    var labels: [String: String]
    var annotations: [String: String]
    var startsAt: String
    var endsAt: String
    var generatorURL: String?

    /// - Parameter until: end of a firing alert unless it is sent again.
    init(_ alert: NotifiedAlert, until: EventTime) {
        labels = alert.labels
        annotations = alert.annotations
        startsAt = alert.startsAt.description
        endsAt = (alert.endsAt ?? until).description
    }
}

public enum AlertPayload {
    public static func webhook(_ alert: NotifiedAlert, receiver: String) throws(RecordFormatError) -> [UInt8] {
        try RecordJSON.encode(WebhookPayload(alert, receiver: receiver))
    }

    public static func alertmanager(_ alerts: [NotifiedAlert], until: EventTime) throws(RecordFormatError) -> [UInt8] {
        try RecordJSON.encode(alerts.map { AlertmanagerAlert($0, until: until) })
    }
}
