// ModelMetricsTests: metrics against scikit-learn and against their definition.

import Testing
import Training

@Suite("Model metrics")
struct ModelMetricsTests {
    private let scores = [0.1, 0.4, 0.35, 0.8, 0.8, 0.65, 0.2, 0.5, 0.8, 0.05]
    private let labels: [UInt8] = [0, 0, 1, 1, 0, 1, 0, 1, 1, 0]

    @Test("They agree with scikit-learn 1.9")
    func agreement() {
        let metrics = ModelMetrics(scores: scores, labels: labels, threshold: 0.5)
        var expected = ModelMetrics.Confusion()
        (expected.truePositives, expected.falsePositives) = (4, 1)
        (expected.trueNegatives, expected.falseNegatives) = (4, 1)
        #expect(metrics.rocAUC == 0.8)
        #expect(abs(metrics.logLoss - 0.5120100221339174) < 1e-15)
        #expect(abs(metrics.brier - 0.17275) < 1e-15)
        #expect(abs(metrics.calibrationError - 0.265) < 1e-15)
        #expect(metrics.accuracy == 0.8 && metrics.positives == 5)
        #expect(metrics.confusion == expected)
    }

    @Test("AUC is the share of ordered pairs, ties half, for any scores", arguments: UInt64(1)...30)
    func pairs(seed: UInt64) {
        var random = Random(seed)
        let count = Int.random(in: 2...60, using: &random)
        // Few different scores make many ties.
        let scores = (0..<count).map { _ in Double(Int.random(in: 0...8, using: &random)) / 8 }
        let labels = (0..<count).map { _ in UInt8.random(in: 0...1, using: &random) }
        var twice = 0
        var pairs = 0
        for i in 0..<count where labels[i] == 1 {
            for j in 0..<count where labels[j] == 0 {
                pairs += 1
                twice += scores[i] > scores[j] ? 2 : scores[i] == scores[j] ? 1 : 0
            }
        }
        let auc = ModelMetrics.rocAUC(scores: scores, labels: labels)
        #expect(auc == (pairs == 0 ? nil : Double(twice) / (2 * Double(pairs))))
    }

    @Test("One class has no AUC, a perfect order has 1, the reverse 0")
    func extremes() {
        #expect(ModelMetrics.rocAUC(scores: [0.1, 0.9], labels: [1, 1]) == nil)
        #expect(ModelMetrics.rocAUC(scores: [], labels: []) == nil)
        #expect(ModelMetrics.rocAUC(scores: [0.1, 0.9], labels: [0, 1]) == 1)
        #expect(ModelMetrics.rocAUC(scores: [0.1, 0.9], labels: [1, 0]) == 0)
        #expect(ModelMetrics.logLoss(scores: [0, 1], labels: [1, 0]).isFinite)
    }
}
