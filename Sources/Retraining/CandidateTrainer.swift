// CandidateTrainer: from labelled rows and the network in production to a candidate and what it is worth.

public import EventContracts
public import Training

/// How a candidate is trained.
public struct RetrainingSettings: Sendable {
    /// Share of the new regime's rows, the most recent ones, on which candidate and production are compared.
    public var testShare = 0.3
    /// Share of the rows before those that choose the epoch and the variant.
    public var validationShare = 0.2
    /// Newest rows of the old regime that are learned along, so that what still holds is not forgotten.
    public var rehearsalRowsMax = 4_000
    /// Newest rows of the new regime that are used at all.
    public var regimeRowsMax = 20_000
    public var learningRate: Float = 3e-3
    public var l2: Float = 1e-3
    public var batchRows = 32
    public var epochsMax = 200
    /// Rows of the new regime below which nothing is trained, whatever the request allows.
    public var rowsMin = 60

    public init() {}
}

/// A candidate and the comparison with production, on rows that neither training nor the choice of the epoch has seen.
public struct TrainedCandidate: Sendable {
    public var network: DenseNetwork
    /// Such as `fine-tuned, rehearsal of 2122 rows, epoch 12`.
    public var algorithm: String
    public var seed: UInt64
    /// Rows learned, rehearsal included, and the times of the new regime's rows among them.
    public var trainingRows: Int
    public var trainingTimes: ClosedRange<Int64>
    public var testTimes: ClosedRange<Int64>
    public var candidate: ModelMetrics
    public var production: ModelMetrics
    public var rocAUC: ModelEvent.Comparison.Difference?
    public var logLoss: ModelEvent.Comparison.Difference
}

/// Fine-tunes the network in production. The same rows, base, seed and machine give the same candidate.
public enum CandidateTrainer {
    /// - Parameters:
    ///   - rows: in the order of event time.
    ///   - regimeStart: event time from which rows belong to the new regime; nil takes all rows as one regime.
    ///   - labelsMin: rows of the new regime that the request asks for.
    ///   - threshold: decision threshold of the pipeline, for the accuracies.
    /// - Throws: `unsuitableData` when rows or classes are missing; one sentence.
    public static func train(
        _ rows: JoinedRows, regimeStart: Int64?, labelsMin: Int, base: DenseNetwork, seed: UInt64, threshold: Double,
        settings: RetrainingSettings = RetrainingSettings()
    ) throws(TrainingError) -> TrainedCandidate {
        guard base.inputs == rows.featureCount else {
            throw TrainingError(
                .unsuitableModel,
                "the model in production takes \(base.inputs) features, the topic has \(rows.featureCount): train it again"
            )
        }
        let split = try RegimeSplit(rows, regimeStart: regimeStart, labelsMin: labelsMin, settings: settings)
        let all = LabelledRows(featureCount: rows.featureCount, features: rows.features, labels: rows.labels)
        let (validation, test) = (all.selecting(split.validation), all.selecting(split.test))
        var best: (trained: TrainedNetwork, rehearsal: Int, loss: Double)?
        for rehearsal in split.rehearsal.isEmpty ? [[]] : [split.rehearsal, []] {
            let training = all.selecting(rehearsal + split.train)
            let trained = try NetworkTrainer.train(
                TrainingSettings(
                    hidden: base.hidden, l2: settings.l2, learningRate: settings.learningRate,
                    batchRows: settings.batchRows, epochsMax: settings.epochsMax, seed: seed),
                training: training, validation: validation, base: base)
            let scores = trained.network.probabilities(validation.features, count: validation.count)
            let loss = ModelMetrics.logLoss(scores: scores, labels: validation.labels)
            if best.map({ loss < $0.loss }) ?? true { best = (trained, rehearsal.count, loss) }
        }
        guard let best else { throw TrainingError(.unsuitableData, "nothing was trained") }
        let network = best.trained.network
        let own = network.probabilities(test.features, count: test.count)
        let other = base.probabilities(test.features, count: test.count)
        func times(_ part: [Int]) -> ClosedRange<Int64> {
            let first = part.first.map { rows.eventTimes[$0] } ?? 0
            return first...max(first, part.last.map { rows.eventTimes[$0] } ?? first)
        }
        return TrainedCandidate(
            network: network,
            algorithm: "fine-tuned, rehearsal of \(best.rehearsal) rows, epoch \(best.trained.bestEpoch)", seed: seed,
            trainingRows: best.rehearsal + split.train.count, trainingTimes: times(split.train + split.validation),
            testTimes: times(split.test),
            candidate: ModelMetrics(scores: own, labels: test.labels, threshold: threshold),
            production: ModelMetrics(scores: other, labels: test.labels, threshold: threshold),
            rocAUC: PairedComparison.rocAUC(candidate: own, production: other, labels: test.labels),
            logLoss: PairedComparison.logLoss(candidate: own, production: other, labels: test.labels))
    }
}

/// Indices of the rows for each purpose, apart in time but for the rehearsal, which is older than all of them.
struct RegimeSplit {
    var rehearsal: [Int]
    var train: [Int]
    var validation: [Int]
    var test: [Int]

    init(
        _ rows: JoinedRows, regimeStart: Int64?, labelsMin: Int, settings: RetrainingSettings
    ) throws(TrainingError) {
        let first = regimeStart.map { start in
            rows.eventTimes.firstIndex { $0 >= start } ?? rows.count
        }
        let regime = Array(max(first ?? 0, rows.count - settings.regimeRowsMax)..<rows.count)
        let needed = max(labelsMin, settings.rowsMin)
        guard regime.count >= needed else {
            throw TrainingError(
                .unsuitableData,
                "\(regime.count) labelled rows of the new regime are there, \(needed) are needed: wait for more labels")
        }
        let start = regime.first ?? 0
        rehearsal = Array(max(0, start - settings.rehearsalRowsMax)..<start)
        let testCount = Int((Double(regime.count) * settings.testShare).rounded())
        let rest = regime.count - testCount
        let validationCount = Int((Double(rest) * settings.validationShare).rounded())
        train = Array(regime.prefix(rest - validationCount))
        validation = Array(regime[(rest - validationCount)..<rest])
        test = Array(regime.suffix(testCount))
        func hasBothClasses(_ part: [Int]) -> Bool {
            part.contains { rows.labels[$0] == 0 } && part.contains { rows.labels[$0] == 1 }
        }
        // A stream that comes in blocks can have one class for days: then the validation rows are spread over the time
        // before the test rows. Only the choice of the epoch and of the rehearsal depends on them.
        if !hasBothClasses(validation) || !hasBothClasses(train), validationCount > 0 {
            let step = max(2, rest / validationCount)
            validation = (0..<rest).filter { $0 % step == step - 1 }.map { regime[$0] }
            train = (0..<rest).filter { $0 % step != step - 1 }.map { regime[$0] }
        }
        for (part, name) in [(train, "training"), (validation, "validation"), (test, "test")] {
            guard hasBothClasses(part) else {
                throw TrainingError(
                    .unsuitableData,
                    "the \(part.count) \(name) rows of the new regime have only one class: wait for more labels")
            }
        }
    }
}
