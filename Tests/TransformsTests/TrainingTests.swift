// TrainingTests: gradients, reproducibility, time split and the exported model.

import Foundation
import Inference
import PipelineContract
import Tensor
import Testing
import Transforms

@testable import Training

@Suite("Training")
struct TrainingTests {
    /// Two noisy rings: a dense network can tell them apart, a logistic model cannot.
    private func rings(_ count: Int, seed: UInt64) -> LabelledRows {
        var random = Random(seed)
        var features: [Float] = []
        var labels: [UInt8] = []
        for _ in 0..<count {
            let label = UInt8.random(in: 0...1, using: &random)
            let angle = Double.random(in: 0..<2 * .pi, using: &random)
            let radius = (label == 0 ? 0.6 : 1.4) + Double.random(in: -0.5...0.5, using: &random)
            features += [
                Float(radius * cos(angle)), Float(radius * sin(angle)), Float.random(in: -1...1, using: &random),
            ]
            labels.append(label)
        }
        return LabelledRows(featureCount: 3, features: features, labels: labels)
    }

    /// The definition of the loss, in Float64 and without any matrix product.
    private func loss(_ network: DenseNetwork, _ rows: LabelledRows, l2: Double, at change: (Int, Int, Double))
        -> Double
    {
        var parameters = network.layers.map { ($0.weights.map(Double.init), $0.biases.map(Double.init)) }
        let (layer, index, amount) = change
        if index < parameters[layer].0.count {
            parameters[layer].0[index] += amount
        } else {
            parameters[layer].1[index - parameters[layer].0.count] += amount
        }
        var total = 0.0
        for row in 0..<rows.count {
            var values = rows.features[row * rows.featureCount..<(row + 1) * rows.featureCount].map(Double.init)
            for (number, (weights, biases)) in parameters.enumerated() {
                values = biases.indices.map { output in
                    let sum = values.indices.reduce(biases[output]) {
                        $0 + values[$1] * weights[$1 * biases.count + output]
                    }
                    return number < parameters.count - 1 ? max(sum, 0) : sum
                }
            }
            total += log(1 + exp(values[0])) - Double(rows.labels[row]) * values[0]
        }
        let penalty = parameters.flatMap { $0.0 }.reduce(0) { $0 + $1 * $1 }
        return total / Double(rows.count) + l2 / 2 * penalty
    }

    @Test("The gradient agrees with finite differences", arguments: [[], [5], [6, 4]])
    func gradient(hidden: [Int]) {
        var generator = SeededGenerator(seed: 11)
        let network = DenseNetwork(inputs: 3, hidden: hidden, using: &generator)
        let rows = rings(9, seed: 5)
        var gradient = LossGradient(of: network, rowsMax: 16)
        let value = gradient.compute(
            network, rows: rows.features, labels: rows.labels.map(Float.init), count: rows.count,
            regularisation: .init(l2: 0.05), using: &generator)
        #expect(abs(value - loss(network, rows, l2: 0, at: (0, 0, 0))) < 1e-6)
        let step = 1e-6
        for (layer, slopes) in gradient.layers.enumerated() {
            for (index, slope) in (slopes.weights + slopes.biases).enumerated() {
                let difference =
                    (loss(network, rows, l2: 0.05, at: (layer, index, step))
                        - loss(network, rows, l2: 0.05, at: (layer, index, -step))) / (2 * step)
                #expect(abs(Double(slope) - difference) < 2e-6, "layer \(layer), parameter \(index)")
            }
        }
    }

    @Test("The seeded generator is xoshiro256**")
    func generator() {
        var generator = SeededGenerator(seed: 42)
        let expected: [UInt64] = [
            0x15780b2e0c2ec716, 0x6104d9866d113a7e, 0xae17533239e499a1, 0xecb8ad4703b360a1,
        ]
        #expect((0..<4).map { _ in generator.next() } == expected)
        var order = Array(0..<100)
        generator.shuffle(&order)
        #expect(order != Array(0..<100) && order.sorted() == Array(0..<100))
        #expect((0..<1_000).allSatisfy { _ in (0..<7).contains(generator.integer(below: 7)) })
    }

    @Test("The same seed gives the same bits, another seed others; dropout included")
    func reproducible() throws {
        let (training, validation) = (rings(120, seed: 1), rings(60, seed: 2))
        func train(_ seed: UInt64) throws -> DenseNetwork {
            let settings = TrainingSettings(hidden: [8], l2: 1e-3, dropout: 0.2, epochsMax: 4, seed: seed)
            return try NetworkTrainer.train(settings, training: training, validation: validation).network
        }
        let first = try train(3)
        #expect(try train(3) == first)
        #expect(try train(4) != first)
    }

    @Test("A dense network learns what a logistic model cannot, and stops early")
    func learns() throws {
        let (training, validation, test) = (rings(600, seed: 1), rings(200, seed: 2), rings(300, seed: 3))
        func auc(_ hidden: [Int]) throws -> (Double, TrainedNetwork) {
            let settings = TrainingSettings(
                hidden: hidden, l2: 1e-4, learningRate: 0.01, batchRows: 32, epochsMax: 60, patienceEpochs: 12, seed: 1)
            var reported: [Epoch] = []
            let trained = try NetworkTrainer.train(settings, training: training, validation: validation) {
                reported.append($0)
            }
            #expect(reported == trained.epochs)
            let best = trained.epochs.min { $0.validationLoss < $1.validationLoss }
            #expect(best?.number == trained.bestEpoch)
            #expect(trained.epochs.count <= trained.bestEpoch + 12)
            let scores = trained.network.probabilities(test.features, count: test.count)
            return (ModelMetrics.rocAUC(scores: scores, labels: test.labels) ?? 0, trained)
        }
        let (dense, trained) = try auc([16])
        #expect(dense > 0.9)
        #expect(try auc([]).0 < 0.65)
        #expect((trained.epochs.last?.learningRate ?? 1) < 0.01)
    }

    @Test("A loss that is no number ends the training with one line")
    func diverged() {
        var rows = rings(40, seed: 1)
        rows.features[0] = .infinity
        let settings = TrainingSettings(hidden: [4], l2: 0, epochsMax: 3)
        let found = message { _ = try NetworkTrainer.train(settings, training: rows, validation: rings(9, seed: 2)) }
        #expect(found == "the loss is no longer a number in epoch 1: choose a smaller learning rate")
    }

    @Test("A trained network holds no weight so small that a processor computes with it slowly")
    func vanished() throws {
        var generator = SeededGenerator(seed: 5)
        var network = DenseNetwork(inputs: 3, hidden: [4], using: &generator)
        let kept = network.layers[0].weights[1]
        network.layers[0].weights[0] = .leastNonzeroMagnitude
        network.layers[1].weights[2] = -1e-30
        let rows = rings(40, seed: 9)
        let trained = try NetworkTrainer.train(
            TrainingSettings(hidden: [4], l2: 0, learningRate: 1e-30, epochsMax: 1), training: rows, validation: rows,
            base: network)
        #expect(trained.bestEpoch == 0)
        #expect(trained.network.layers[0].weights[0] == 0 && trained.network.layers[1].weights[2] == 0)
        #expect(trained.network.layers[0].weights[1] == kept)
    }

    @Test("Our inference engine gives the trainer's own probabilities", arguments: [[], [16], [128, 64]])
    func exported(hidden: [Int]) throws {
        var generator = SeededGenerator(seed: 5)
        let network = DenseNetwork(inputs: 3, hidden: hidden, using: &generator)
        let rows = rings(1_500, seed: 9)
        let onnx = ModelExport.onnx(network, graphName: "rings")
        let session = try InferenceSession(onnx.span.bytes)
        #expect(session.inputWidth == 3)
        let outputs = session.run(rows.features, count: rows.count)
        let probabilities = try #require(outputs.column(named: "probabilities"))
        let labels = try #require(outputs.column(named: "label"))
        #expect(probabilities.width == 2 && labels.integers.count == rows.count)
        for (row, expected) in network.probabilities(rows.features, count: rows.count).enumerated() {
            #expect(abs(Double(probabilities.floats[2 * row + 1]) - expected) < 1e-6)
            #expect(abs(Double(probabilities.floats[2 * row]) - (1 - expected)) < 1e-6)
            if abs(expected - 0.5) > 1e-6 { #expect(labels.integers[row] == (expected > 0.5 ? 1 : 0)) }
        }
    }

    @Test("Sets of the time split are apart in time, whatever the order of the rows")
    func timeSplit() throws {
        var generator = SeededGenerator(seed: 1)
        var times = (0..<1_000).map { Int64($0 / 7) }
        generator.shuffle(&times)
        let split = try TimeSplit(times: times)
        #expect((split.train + split.validation + split.test).sorted() == Array(0..<1_000))
        func range(_ rows: [Int]) -> (Int64, Int64) {
            (rows.map { times[$0] }.min() ?? 0, rows.map { times[$0] }.max() ?? 0)
        }
        #expect(range(split.train).1 < range(split.validation).0)
        #expect(range(split.validation).1 < range(split.test).0)
        #expect(abs(split.train.count - 600) < 7 && abs(split.validation.count - 200) < 14)
        #expect(message { _ = try TimeSplit(times: [1, 2, 3]) }.contains("3 rows are too few"))
        let same = message { _ = try TimeSplit(times: [Int64](repeating: 5, count: 50)) }
        #expect(same.contains("give the rows their own event times"))
    }
}
