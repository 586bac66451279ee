// LabelJoin: joins predictions with labels by event id, whichever comes first, until the labels' horizon.

import EventContracts

/// What of a prediction is kept until its label comes.
struct PendingPrediction: Equatable {
    var eventTime: Int64
    /// `VersionPerformance.identifier`.
    var version: Int
    var score: Float
    var predicted: Int
    /// Read again after a restart: it was counted before.
    var isRebuilt: Bool
}

/// A prediction whose label came.
struct JoinedLabel: Equatable {
    var prediction: PendingPrediction
    var label: Int
}

/// The join's memory. It is not part of a snapshot: after a restart it is rebuilt from the topics, from where the horizon
/// begins. A pair of which both were read before the snapshot has been counted already.
struct LabelJoin {
    /// Predictions, and labels, that wait at the same time; beyond it the oldest are given up.
    static let waitingMax = 1_000_000

    private struct WaitingLabel {
        var label: Int
        var labelTime: Int64
        var isRebuilt: Bool
    }

    private var predictions: [EventID: PendingPrediction] = [:]
    private var labels: [EventID: WaitingLabel] = [:]
    private var nextSweep: Int64 = .min

    var waitingCount: Int { predictions.count }

    /// Takes a prediction; a label that came before it gives a pair.
    mutating func take(_ eventID: EventID, _ prediction: PendingPrediction) -> JoinedLabel? {
        if let label = labels.removeValue(forKey: eventID) {
            // Nil when both were read again: the pair was counted before the restart.
            return prediction.isRebuilt && label.isRebuilt
                ? nil : JoinedLabel(prediction: prediction, label: label.label)
        }
        // A prediction that comes twice keeps its first version: the sink does the same.
        if predictions[eventID] == nil, predictions.count < Self.waitingMax { predictions[eventID] = prediction }
        return nil
    }

    /// Takes a label; a prediction that waits for it gives a pair.
    mutating func take(_ eventID: EventID, label: Int, labelTime: Int64, isRebuilt: Bool) -> JoinedLabel? {
        if let prediction = predictions.removeValue(forKey: eventID) {
            return prediction.isRebuilt && isRebuilt ? nil : JoinedLabel(prediction: prediction, label: label)
        }
        if labels.count < Self.waitingMax {
            labels[eventID] = WaitingLabel(label: label, labelTime: labelTime, isRebuilt: isRebuilt)
        }
        return nil
    }

    /// Gives up what is older than the horizon. Returns the predictions whose label did not come, those counted before a
    /// restart left out. Looks through the memory sixteen times per horizon only.
    mutating func expire(watermark: Int64, horizon: Int64) -> [PendingPrediction] {
        guard watermark >= nextSweep else { return [] }
        nextSweep = watermark + horizon / 16
        let limit = watermark - horizon
        let old = predictions.filter { $0.value.eventTime < limit }
        for key in old.keys { predictions[key] = nil }
        labels = labels.filter { $0.value.labelTime >= limit }
        return old.values.filter { !$0.isRebuilt }
    }
}
