// Scoring: a model's outputs as one score and one label per row.

/// Reads scores and labels from the outputs of a session, as the manifest describes them.
public struct Scoring: Sendable {
    public let threshold: Double
    private let outputs: ModelManifest.Outputs

    /// - Parameter threshold: score at or above which a binary classifier says its positive class.
    public init(_ outputs: ModelManifest.Outputs, threshold: Double) {
        self.outputs = outputs
        self.threshold = threshold
    }

    /// Calls `body` with row, score and label of every row, in order.
    ///
    /// Binary: the score is the positive class's probability and the label follows from the threshold. Otherwise the
    /// score is the largest probability and the label the model's own, or the index of the largest probability.
    public func forEach(_ result: InferenceOutputs, _ body: (Int, Float, Int) throws -> Void) rethrows {
        guard let scores = result.column(named: outputs.score) else { return }
        let labels = outputs.label.flatMap { result.column(named: $0) }
        for row in 0..<result.rowCount {
            let start = row * scores.width
            if let positive = outputs.positiveClass {
                let score = scores.floats[scores.width == 1 ? start : start + positive]
                try body(row, score, Double(score) >= threshold ? positive : 1 - positive)
                continue
            }
            var best = start
            // A NaN must reach the caller, so it beats every number.
            for index in start..<start + scores.width {
                let value = scores.floats[index]
                if value > scores.floats[best] || value.isNaN { best = index }
            }
            try body(row, scores.floats[best], labels.map { Int($0.integers[row]) } ?? best - start)
        }
    }
}
