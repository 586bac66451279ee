// AlertCatalogue: every alert that is ever raised, with its severity and its page.

/// One kind of alert.
public struct AlertDefinition: Sendable, Equatable {
    /// The label `alertname`.
    public var name: String
    public var kind: MonitoringReport.Kind
    public var severity: AlertRecord.Severity
    /// Page below the repository's root.
    public var runbook: String
    /// Alerts that explain this one: while one of them fires, nobody is told of this.
    public var inhibitors: [String]
}

/// The alerts by name. A test holds that each has its page in `runbooks/`, and each page of an alert its entry here.
public enum AlertCatalogue {
    public static let dataDrift = "DataDrift"
    public static let referenceUnusable = "ReferenceUnusable"
    public static let dataQuality = "DataQuality"
    public static let performanceLoss = "PerformanceLoss"
    public static let labelsMissing = "LabelsMissing"
    public static let processDown = "ProcessDown"
    public static let consumerLag = "ConsumerLag"
    public static let deadLetterRate = "DeadLetterRate"
    public static let postgresUnavailable = "PostgresUnavailable"

    public static let all: [AlertDefinition] = [
        definition(
            dataDrift, .drift, .warning, "data-drift", inhibitors: [dataQuality, processDown, postgresUnavailable]),
        definition(referenceUnusable, .drift, .info, "reference-unusable"),
        definition(dataQuality, .quality, .warning, "data-quality", inhibitors: [processDown]),
        definition(performanceLoss, .performance, .critical, "performance-loss", inhibitors: [processDown]),
        definition(labelsMissing, .performance, .info, "labels-missing", inhibitors: [processDown]),
        definition(processDown, .infrastructure, .critical, "process-down"),
        definition(consumerLag, .infrastructure, .warning, "consumer-lag", inhibitors: [processDown]),
        definition(deadLetterRate, .infrastructure, .warning, "dead-letter-rate"),
        definition(postgresUnavailable, .infrastructure, .critical, "postgres-unavailable"),
    ]

    public static let names = all.map(\.name)

    public static func definition(of name: String) -> AlertDefinition? { all.first { $0.name == name } }

    private static func definition(
        _ name: String, _ kind: MonitoringReport.Kind, _ severity: AlertRecord.Severity, _ page: String,
        inhibitors: [String] = []
    ) -> AlertDefinition {
        AlertDefinition(
            name: name, kind: kind, severity: severity, runbook: "runbooks/alert-\(page).md", inhibitors: inhibitors)
    }
}
