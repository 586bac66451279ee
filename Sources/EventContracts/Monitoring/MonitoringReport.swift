// MonitoringReport: what a monitor says of one signal, on `<p>.monitoring`. Layout: docs/formats.md.

/// The measure of one signal at one watermark. The reaction controller makes alerts of reports; a monitor raises none.
public struct MonitoringReport: Sendable, Codable, Equatable {
    /// What is watched. Raw values are part of the public contract.
    public enum Kind: String, Sendable, Codable, CaseIterable {
        case drift, quality, performance, infrastructure
    }

    /// How a signal stands by its own detector.
    public enum Level: String, Sendable, Codable, CaseIterable {
        /// Not yet enough records, or no reference to compare with.
        case warmup
        case ok
        /// A tenth of the evidence that an alarm needs.
        case suspect
        case firing
    }

    /// One figure beside the signal's own.
    public struct Metric: Sendable, Codable, Equatable {
        public var name: String
        public var value: Double
        /// Bounds of the 95 % interval, where there is one.
        public var lower: Double?
        public var upper: Double?
        /// The value that the same figure stays below in 95 % of windows without drift.
        public var nullQuantile: Double?
        /// Records behind the figure.
        public var count: Int?

        public init(
            _ name: String, _ value: Double, lower: Double? = nil, upper: Double? = nil, nullQuantile: Double? = nil,
            count: Int? = nil
        ) {
            self.name = name
            self.value = value
            self.lower = lower
            self.upper = upper
            self.nullQuantile = nullQuantile
            self.count = count
        }
    }

    /// What was found out about one feature.
    public struct Feature: Sendable, Codable, Equatable {
        public var name: String
        /// Natural logarithm of the feature's evidence.
        public var logEvidence: Double
        /// Whether fresh evidence after the alarm names this feature, false discoveries limited to 10 % (e-BH).
        public var isAtFault: Bool
        public var metrics: [Metric]

        public init(name: String, logEvidence: Double, isAtFault: Bool, metrics: [Metric]) {
            self.name = name
            self.logEvidence = logEvidence
            self.isAtFault = isAtFault
            self.metrics = metrics
        }
    }

    /// The stretch of records behind the report.
    public struct Window: Sendable, Codable, Equatable {
        public var from: EventTime
        public var to: EventTime
        public var records: Int

        public init(from: EventTime, to: EventTime, records: Int) {
            self.from = from
            self.to = to
            self.records = records
        }
    }

    public var v = 1
    public var pipeline: String
    public var kind: Kind
    /// Name of the alert that this signal may raise, for instance `DataDrift`.
    public var alert: String
    /// What tells this signal from others of the same alert; never a value.
    public var labels: [String: String]
    public var level: Level
    /// The signal's statistic, and the threshold at which it fires.
    public var value: Double?
    public var threshold: Double?
    /// The rate of false alarms that the threshold stands for, as `1 per 1000000 events`.
    public var nullRate: String?
    public var window: Window?
    public var watermark: EventTime
    /// Latest event time among the records seen; partitions that lag keep the watermark behind it.
    public var newestEvent: EventTime?
    /// When the change most likely began.
    public var changeTime: EventTime?
    public var model: String?
    public var modelVersion: String?
    /// Identity of the reference profile.
    public var reference: String?
    public var features: [Feature]
    public var metrics: [Metric]
    /// Labels that were joined with predictions since the change; without a change, those of the version.
    public var labelsAvailable: Int?
    /// Share of the predictions whose label should be here and is.
    public var labelCoverage: Double?
    /// One sentence for a person.
    public var summary: String

    public init(
        pipeline: String, kind: Kind, alert: String, labels: [String: String] = [:], level: Level,
        watermark: EventTime, summary: String
    ) {
        self.pipeline = pipeline
        self.kind = kind
        self.alert = alert
        self.labels = labels
        self.level = level
        self.watermark = watermark
        self.summary = summary
        features = []
        metrics = []
    }

    /// `type` of the CloudEvent that carries it.
    public static func type(of kind: Kind) -> String { "dev.penstock.monitoring.\(kind.rawValue)" }
    public static let types = Set(Kind.allCases.map { type(of: $0) })

    /// Identity of the signal: 16 hex digits over the alert's name and labels, values left out.
    public var fingerprint: String { AlertFingerprint.text(alert: alert, labels: labels) }

    /// The record's CloudEvent.
    /// - Parameters:
    ///   - program: the monitor that speaks.
    ///   - sequence: what tells this report from others of the same signal, the same when the report is made again.
    public func event(program: String, sequence: String) -> CloudEvent<MonitoringReport> {
        CloudEvent(
            id: RecordIdentity.id([pipeline, program, fingerprint, sequence]),
            source: "/penstock/\(pipeline)/\(program)", type: Self.type(of: kind), subject: alert, time: watermark,
            data: self)
    }
}

/// The identity of an alert, as Alertmanager computes it: 64-bit FNV-1a over the sorted labels, each name and value
/// followed by the byte 255.
public enum AlertFingerprint {
    public static func text(alert: String, labels: [String: String]) -> String {
        text(labels.merging(["alertname": alert]) { _, new in new })
    }

    public static func text(_ labels: [String: String]) -> String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        func add(_ byte: UInt8) { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        for (name, value) in labels.sorted(by: { $0.key < $1.key }) {
            name.utf8.forEach(add)
            add(255)
            value.utf8.forEach(add)
            add(255)
        }
        return Hexadecimal.text(hash)
    }
}
