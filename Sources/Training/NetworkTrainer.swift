// NetworkTrainer: trains one network with early stopping.

import Tensor

/// Labelled rows of features.
public struct LabelledRows: Sendable {
    public var featureCount: Int
    /// Row-major, `labels.count * featureCount` floats.
    public var features: [Float]
    /// 0 or 1.
    public var labels: [UInt8]

    public init(featureCount: Int, features: [Float], labels: [UInt8]) {
        precondition(features.count == labels.count * featureCount, "as many rows of features as labels")
        self.featureCount = featureCount
        self.features = features
        self.labels = labels
    }

    public var count: Int { labels.count }

    /// The named rows, in that order.
    public func selecting(_ indices: [Int]) -> LabelledRows {
        LabelledRows(
            featureCount: featureCount,
            features: indices.flatMap { features[$0 * featureCount..<($0 + 1) * featureCount] },
            labels: indices.map { labels[$0] })
    }
}

/// How a network is trained.
public struct TrainingSettings: Sendable, Equatable {
    /// Sizes of the hidden layers; none gives logistic regression.
    public var hidden: [Int]
    /// Weight of the penalty `l2 / 2 * sum(w^2)`.
    public var l2: Float
    /// Share of hidden units switched off at random while training, 0 ..< 1.
    public var dropout: Float
    /// Adam's step at the start. It is halved after `plateauEpochs` epochs without a better validation loss.
    public var learningRate: Float
    public var batchRows: Int
    public var epochsMax: Int
    public var plateauEpochs: Int
    /// Training ends after so many epochs without a better validation loss; the best network is kept.
    public var patienceEpochs: Int
    public var seed: UInt64

    public init(
        hidden: [Int], l2: Float, dropout: Float = 0, learningRate: Float = 1e-3, batchRows: Int = 64,
        epochsMax: Int = 200, plateauEpochs: Int = 5, patienceEpochs: Int = 20, seed: UInt64 = 1
    ) {
        precondition(l2 >= 0 && dropout >= 0 && dropout < 1 && learningRate > 0, "settings out of range")
        precondition(
            batchRows > 0 && epochsMax > 0 && plateauEpochs > 0 && patienceEpochs > 0, "settings must be positive")
        self.hidden = hidden
        self.l2 = l2
        self.dropout = dropout
        self.learningRate = learningRate
        self.batchRows = batchRows
        self.epochsMax = epochsMax
        self.plateauEpochs = plateauEpochs
        self.patienceEpochs = patienceEpochs
        self.seed = seed
    }
}

/// What one epoch brought.
public struct Epoch: Sendable, Equatable {
    /// Counted from 1.
    public var number: Int
    /// Mean cross-entropy of the training rows while they were learned, and of the validation rows after.
    public var trainingLoss: Double
    public var validationLoss: Double
    public var learningRate: Float
    public var isBest: Bool
}

/// The network of the best epoch, and all epochs.
public struct TrainedNetwork: Sendable {
    public var network: DenseNetwork
    public var epochs: [Epoch]
    public var bestEpoch: Int
}

/// Trains a network by Adam on shuffled micro-batches. The same rows, settings and machine give the same bits: the
/// generator is seeded, and the matrix products run on one thread.
public enum NetworkTrainer {
    private static let learningRateFactor: Float = 0.5
    private static let learningRateMin: Float = 1e-6

    /// - Parameters:
    ///   - base: a network to go on from, of the same features; its own hidden layers count, not the settings'. It is the
    ///     best network as long as no epoch has a better validation loss (`bestEpoch` 0). Nil starts from new weights.
    ///   - progress: called after every epoch.
    public static func train(
        _ settings: TrainingSettings, training: LabelledRows, validation: LabelledRows, base: DenseNetwork? = nil,
        progress: (Epoch) -> Void = { _ in }
    ) throws(TrainingError) -> TrainedNetwork {
        precondition(training.count > 0 && validation.count > 0, "no rows")
        precondition(training.featureCount == validation.featureCount, "rows of different features")
        BLAS.setThreads(1)
        var generator = SeededGenerator(seed: settings.seed)
        var network =
            base ?? DenseNetwork(inputs: training.featureCount, hidden: settings.hidden, using: &generator)
        precondition(network.inputs == training.featureCount, "a base of other features")
        var batches = MicroBatches(training, settings: settings, network: network)
        var optimizer = AdamOptimizer(of: network)
        var learningRate = settings.learningRate
        var best = (network: network, loss: Double.infinity, epoch: 0)
        if base != nil {
            let scores = network.probabilities(validation.features, count: validation.count)
            best.loss = ModelMetrics.logLoss(scores: scores, labels: validation.labels)
        }
        var epochs: [Epoch] = []
        for number in 1...settings.epochsMax {
            let loss = batches.learn(&network, with: &optimizer, learningRate: learningRate, using: &generator)
            let probabilities = network.probabilities(validation.features, count: validation.count)
            let validationLoss = ModelMetrics.logLoss(scores: probabilities, labels: validation.labels)
            guard loss.isFinite && validationLoss.isFinite else {
                throw TrainingError(
                    .diverged, "the loss is no longer a number in epoch \(number): choose a smaller learning rate")
            }
            let isBest = validationLoss < best.loss
            if isBest { best = (network, validationLoss, number) }
            let epoch = Epoch(
                number: number, trainingLoss: loss, validationLoss: validationLoss, learningRate: learningRate,
                isBest: isBest)
            epochs.append(epoch)
            progress(epoch)
            let waited = number - best.epoch
            if waited >= settings.patienceEpochs { break }
            if waited > 0 && waited % settings.plateauEpochs == 0 {
                learningRate = max(learningRate * learningRateFactor, learningRateMin)
            }
        }
        best.network.dropVanishedWeights()
        return TrainedNetwork(network: best.network, epochs: epochs, bestEpoch: best.epoch)
    }
}

/// Goes through the rows once per epoch, in a new order.
private struct MicroBatches {
    private let rows: LabelledRows
    private let size: Int
    private let regularisation: LossGradient.Regularisation
    private var order: [Int]
    private var gradient: LossGradient
    private var features: [Float]
    private var labels: [Float]

    init(_ rows: LabelledRows, settings: TrainingSettings, network: DenseNetwork) {
        self.rows = rows
        size = min(settings.batchRows, rows.count)
        regularisation = .init(l2: settings.l2, dropout: settings.hidden.isEmpty ? 0 : settings.dropout)
        order = Array(0..<rows.count)
        gradient = LossGradient(of: network, rowsMax: size)
        features = [Float](repeating: 0, count: size * rows.featureCount)
        labels = [Float](repeating: 0, count: size)
    }

    /// Returns the mean loss of the rows.
    mutating func learn(
        _ network: inout DenseNetwork, with optimizer: inout AdamOptimizer, learningRate: Float,
        using generator: inout SeededGenerator
    ) -> Double {
        generator.shuffle(&order)
        var total = 0.0
        var start = 0
        while start < order.count {
            let count = min(size, order.count - start)
            gather(start, count)
            let loss = gradient.compute(
                network, rows: features, labels: labels, count: count, regularisation: regularisation, using: &generator
            )
            optimizer.step(&network.layers, gradient: gradient.layers, learningRate: learningRate)
            total += loss * Double(count)
            start += count
        }
        return total / Double(order.count)
    }

    private mutating func gather(_ start: Int, _ count: Int) {
        let width = rows.featureCount
        for position in 0..<count {
            let row = order[start + position]
            for column in 0..<width { features[position * width + column] = rows.features[row * width + column] }
            labels[position] = Float(rows.labels[row])
        }
    }
}
