// MonitorSettings, ReactionSettings: the sections `monitors` and `reactions` of a pipeline, every default filled in.

public import EventContracts

/// What the monitors watch, and where they fire. All times but the infrastructure's are watermark (event) time.
public struct MonitorSettings: Sendable, Equatable {
    public struct Drift: Sendable, Equatable {
        /// Path of the reference profile (written by `penstock fit`).
        public var referencePath = "artifacts/reference.json"
        /// Mean events between false alarms, at least: the detector's threshold.
        public var averageRunLength = 1_000_000
        /// Shifts of a feature's distribution below this total-variation distance never fire.
        public var tolerance = 0.0
        /// A window of PSI and KS closes by records or by age, whichever comes first.
        public var windowRecords = 1_000
        public var windowMicroseconds: Int64 = 30 * 86_400_000_000
        /// Events after an alarm within which no new alarm may come for the signal to be well again.
        public var recoveryRecords = 2_000
        /// Records that a reference must have; fewer are refused.
        public var referenceRecordsMin = 1_000

        public init() {}
    }

    public struct Quality: Sendable, Equatable {
        /// Share of imputed values of a feature in a window above the reference's, at which the signal fires.
        public var imputedShareMax = 0.05
        /// The same for values outside the reference's range. Off by default: a stream that moves on brings new values, and
        /// the drift detector bets on them already.
        public var outOfRangeShareMax = 1.0

        public init() {}
    }

    public struct Performance: Sendable, Equatable {
        /// A prediction whose label has not come by then is counted as missing.
        public var labelHorizonMicroseconds: Int64 = 30 * 86_400_000_000
        /// Loss of accuracy against the baseline that is tolerated.
        public var accuracyLossMax = 0.02
        public var averageRunLength = 100_000
        /// Labels of a model version from which its baseline is taken.
        public var baselineLabels = 1_000
        /// Labels in a window of the reported figures.
        public var windowLabels = 500

        public init() {}
    }

    public struct Infrastructure: Sendable, Equatable {
        /// A process that is silent for longer is down.
        public var heartbeatMicroseconds: Int64 = 5_000_000
        /// A consumer that is further behind fires.
        public var lagMicroseconds: Int64 = 60_000_000
        public var lagRecords = 100_000
        /// Dead letters in all records of the last minute.
        public var deadLetterShareMax = 0.05
        public var postgresMicroseconds: Int64 = 1_000_000
        public var intervalMicroseconds: Int64 = 1_000_000

        public init() {}
    }

    public var drift = Drift()
    public var quality = Quality()
    public var performance = Performance()
    public var infrastructure = Infrastructure()

    public init() {}
}

/// What follows from the monitors' reports.
public struct ReactionSettings: Sendable, Equatable {
    public enum Modality: String, Sendable, CaseIterable {
        case tabular
        /// Never retrained automatically: an entry for review instead.
        case vision
    }
    public enum Cause: String, Sendable, CaseIterable {
        /// Confirmed loss of performance.
        case performance
        /// Drift, once labels are there.
        case drift
    }

    /// What a candidate must show before it may serve.
    public struct Promotion: Sendable, Equatable {
        public enum Decision: String, Sendable, CaseIterable {
            /// What passes is promoted.
            case automatic
            /// What passes waits for a signed approval.
            case manual
        }

        public var decision = Decision.automatic
        /// Test rows that a comparison needs.
        public var rowsMin = 40
        /// The whole confidence interval of the paired log-loss difference lies above this.
        public var logLossGainMin = 0.0
        /// The AUC is at most this much below production's.
        public var aucLossMax = 0.005
        /// Time of a batch, candidate over production.
        public var latencyRatioMax = 2.0

        public init() {}
    }

    public var promotion = Promotion()
    public var modality = Modality.tabular
    /// What may lead to a retraining; empty for none.
    public var retrainOn: Set<Cause> = [.performance, .drift]
    /// Labels since the change that a retraining needs.
    public var labelsMin = 168
    /// A promoted candidate is trained again when the labels of its regime have grown by this factor; 0 for never.
    public var refineFactor = 3
    /// Time between two requests, at least.
    public var cooldownMicroseconds: Int64 = 7 * 86_400_000_000
    /// After a refused candidate the cooldown doubles, up to this.
    public var backOffMicrosecondsMax: Int64 = 60 * 86_400_000_000
    /// A request without an answer on `<p>.models` is given up after this time.
    public var requestMicrosecondsMax: Int64 = 30 * 86_400_000_000
    /// Time that a signal must be well for its alert to be resolved. Of infrastructure alerts it is wall-clock time.
    public var resolveAfterMicroseconds: Int64 = 0
    public var infrastructureResolveAfterMicroseconds: Int64 = 5_000_000
    /// Severity by alert name, where it differs from the alert's own.
    public var severities: [String: AlertRecord.Severity] = [:]

    public init() {}
}
