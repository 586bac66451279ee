// VersionPerformance: how well one version of the model does, by the labels that came.

import Drift
import EventContracts
import PipelineContract

/// Labels of one model version: its baseline, the detector of a loss, the window of the reported figures.
struct VersionPerformance: Codable, Equatable {
    /// Event times of the latest labels, to tell when a loss began and how many labels there are since.
    private static let timesMax = 1_024

    let version: String
    /// Stands for the version in waiting predictions.
    let identifier: Int
    private(set) var labels = 0
    private var baselineErrors = 0
    private(set) var detector: ErrorDetector?
    private(set) var window: [ScoredLabel] = []
    private(set) var windowFrom: Int64 = .max
    private(set) var windowTo: Int64 = .min
    private(set) var level = MonitoringReport.Level.warmup
    private(set) var alarms = 0
    private(set) var windows = 0
    private(set) var reports = 0
    private(set) var changeTime: Int64?
    /// The strongest evidence since the alarm.
    private(set) var peak = 0.0
    private(set) var labelsSinceChange = 0
    private var labelsSinceAlarm = 0
    private var times: [Int64] = []

    init(version: String, identifier: Int) {
        self.version = version
        self.identifier = identifier
    }

    /// What a label brought about.
    struct Outcome {
        /// The level changed, or the window is full.
        var isWorthReporting = false
        var closedWindow: ScoreMetrics?
    }

    var baselineErrorRate: Double? {
        detector == nil ? nil : Double(baselineErrors) / Double(max(1, baselineCount))
    }
    private var baselineCount = 0

    mutating func take(
        _ label: ScoredLabel, eventTime: Int64, settings: MonitorSettings.Performance
    ) -> Outcome {
        labels += 1
        times.append(eventTime)
        if times.count > 2 * Self.timesMax { times.removeFirst(Self.timesMax) }
        if let changeTime, eventTime >= changeTime { labelsSinceChange += 1 }
        window.append(label)
        windowFrom = min(windowFrom, eventTime)
        windowTo = max(windowTo, eventTime)
        var outcome = Outcome()
        outcome.isWorthReporting = watch(isError: label.predicted != label.label, settings: settings)
        if window.count >= settings.windowLabels {
            outcome.closedWindow = ScoreMetrics(window)
            outcome.isWorthReporting = true
            windows += 1
        }
        if outcome.isWorthReporting { reports += 1 }
        return outcome
    }

    /// The window was reported: begins the next one.
    mutating func beginWindow() {
        window.removeAll(keepingCapacity: true)
        windowFrom = .max
        windowTo = .min
    }

    /// Feeds the baseline or the detector. True when the level changed.
    private mutating func watch(isError: Bool, settings: MonitorSettings.Performance) -> Bool {
        guard var detector else {
            baselineCount += 1
            baselineErrors += isError ? 1 : 0
            guard baselineCount >= settings.baselineLabels else { return false }
            // The baseline is known to within its interval only: the tolerated rate starts at the interval's upper end.
            let baseline = BinomialInterval(successes: baselineErrors, of: baselineCount)
            self.detector = ErrorDetector(
                toleratedRate: baseline.upper + settings.accuracyLossMax,
                threshold: Double(settings.averageRunLength))
            level = .ok
            return true
        }
        let isAlarm = detector.take(isError: isError)
        let before = level
        if isAlarm {
            if level != .firing {
                alarms += 1
                labelsSinceChange = 0
                let back = detector.labels - detector.changeLabel
                let since = times.suffix(min(times.count, back + 1))
                changeTime = since.min()
                labelsSinceChange = since.count
                peak = 0
            }
            peak = max(peak, detector.value)
            level = .firing
            labelsSinceAlarm = 0
            detector.reset()
        } else if level == .firing {
            labelsSinceAlarm += 1
            if labelsSinceAlarm >= settings.windowLabels {
                level = .ok
                changeTime = nil
            }
        } else {
            // A tenth of the evidence makes it suspect, a hundredth well again: no flutter between the two.
            if detector.value >= detector.threshold / 10 { level = .suspect }
            if detector.value < detector.threshold / 100 { level = .ok }
        }
        self.detector = detector
        return level != before
    }
}
