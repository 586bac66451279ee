// RetrainingTests: joining labels with features, comparing two models, and training a candidate.

import EventContracts
import Retraining
import Testing
import Training

@Suite("Joining features and labels")
struct TrainingJoinTests {
    private func id(_ number: UInt64) -> EventID { EventID(high: number << 16 | 0x8000, low: 1 << 63) }

    private func label(_ number: UInt64, _ value: Int32, published: Int64 = 0, known: Int64 = 0) -> [UInt8] {
        var bytes: [UInt8] = []
        LabelRecord(
            eventID: id(number), label: value, labelTime: known, publishTime: published, ingestTime: 0, inputOffset: 0,
            inputPartition: 0
        ).append(to: &bytes)
        return bytes
    }

    private func features(_ numbers: [UInt64], contract: UInt64 = 7) -> RecordBatch {
        var batch = RecordBatch()
        for (index, number) in numbers.enumerated() {
            let prefix = RecordPrefix(
                kind: .features, eventID: id(number), eventTime: Int64(number) * 10, publishTime: 0, ingestTime: 0,
                stageTime: 0, inputOffset: 0, inputPartition: 0, payloadHash: 0, contractHash: contract, trace: nil,
                isIdentifiedByPublisher: true)
            var bytes: [UInt8] = []
            let nothing: [UInt8] = []
            let (values, flags) = ([Float(number), -Float(number)], [UInt8](repeating: 0, count: 2))
            FeatureRecordEncoder(featureCount: 2).append(
                prefix: prefix, source: nothing.span.bytes, id: nothing.span.bytes, values: values.span,
                imputed: flags.span, outliers: flags.span, to: &bytes)
            batch.append(
                origin: .init(topicIndex: 0, partition: 0, offset: Int64(index)), timestampMilliseconds: 0, key: nil,
                value: bytes.span.bytes)
        }
        batch.seal()
        return batch
    }

    private func join(until: Int64 = 1_000, rowsMax: Int = 100, _ labels: [[UInt8]], _ numbers: [UInt64]) -> JoinedRows
    {
        var limits = TrainingJoin.Limits()
        limits.rowsMax = rowsMax
        var join = TrainingJoin(featureCount: 2, contractHash: 7, until: until, limits: limits)
        for label in labels { join.takeLabel(label) }
        join.takeFeatures(features(numbers))
        return join.finish()
    }

    @Test("Rows come in the order of event time, whatever the order of labels and features")
    func order() {
        let rows = join([label(3, 1), label(1, 0), label(2, 1)], [2, 3, 9, 1])
        #expect(rows.labels == [0, 1, 1] && rows.eventTimes == [10, 20, 30])
        #expect(rows.features == [1, -1, 2, -2, 3, -3])
    }

    @Test("The label published last counts, and a features record that comes twice counts once")
    func corrections() {
        let rows = join([label(1, 1, published: 5), label(1, 0, published: 4), label(1, 1, published: 5)], [1, 1])
        #expect(rows.labels == [1])
    }

    @Test("What is known or happens after the decision does not exist yet")
    func horizon() {
        let rows = join(until: 20, [label(1, 0, known: 21), label(2, 1, known: 20), label(3, 1)], [1, 2, 3])
        #expect(rows.eventTimes == [20])
    }

    @Test("Beyond the bound the oldest rows are left out")
    func bound() {
        let rows = join(rowsMax: 2, (1...5).map { label($0, 1) }, [5, 4, 3, 2, 1])
        #expect(rows.eventTimes == [40, 50])
    }

    @Test("Damaged and foreign records are counted and left out")
    func skipped() {
        var join = TrainingJoin(featureCount: 2, contractHash: 7, until: 100)
        join.takeLabel([1, 2, 3])
        join.takeLabel(label(1, 2))
        join.takeLabel(label(2, 1, known: 101))
        join.takeFeatures(features([1, 2]))
        join.takeFeatures(features([3], contract: 8))
        #expect(join.finish().count == 0)
        let expected = join.skipped
        #expect(expected.malformedLabels == 1 && expected.otherClasses == 1 && expected.lateLabels == 1)
        #expect(expected.malformedFeatures == 1)
    }
}

@Suite("Paired comparison")
struct PairedComparisonTests {
    private let labels: [UInt8] = [1, 1, 1, 0, 0, 0]
    private let good = [0.9, 0.8, 0.6, 0.4, 0.3, 0.2]
    private let poor = [0.6, 0.4, 0.5, 0.5, 0.3, 0.7]

    // scores, AUC difference and its DeLong variance checked against the definition: all pairs counted one by one.
    @Test("The AUC's difference and interval agree with counting all pairs")
    func delong() throws {
        let difference = try #require(PairedComparison.rocAUC(candidate: good, production: poor, labels: labels))
        func psi(_ x: Double, _ y: Double) -> Double { x > y ? 1 : x == y ? 0.5 : 0 }
        func components(_ s: [Double]) -> ([Double], [Double]) {
            (
                (0..<3).map { i in (3..<6).map { psi(s[i], s[$0]) }.reduce(0, +) / 3 },
                (3..<6).map { j in (0..<3).map { psi(s[$0], s[j]) }.reduce(0, +) / 3 }
            )
        }
        let (a, b) = (components(good), components(poor))
        let d10 = zip(a.0, b.0).map { $0 - $1 }
        let d01 = zip(a.1, b.1).map { $0 - $1 }
        func variance(_ v: [Double]) -> Double {
            let m = v.reduce(0, +) / 3
            return v.map { ($0 - m) * ($0 - m) }.reduce(0, +) / 2
        }
        let half = 1.6448536269514722 * (variance(d10) / 3 + variance(d01) / 3).squareRoot()
        let estimate = d10.reduce(0, +) / 3
        #expect(abs(difference.estimate - estimate) < 1e-12)
        #expect(abs(difference.lower - (estimate - half)) < 1e-12)
        #expect(abs(difference.upper - (estimate + half)) < 1e-12)
    }

    @Test("A model against itself differs by nothing, with an interval of no width")
    func itself() throws {
        let auc = try #require(PairedComparison.rocAUC(candidate: poor, production: poor, labels: labels))
        let loss = PairedComparison.logLoss(candidate: poor, production: poor, labels: labels)
        for difference in [auc, loss] {
            #expect(difference == .init(estimate: 0, lower: 0, upper: 0))
        }
    }

    @Test("One class alone has no AUC")
    func oneClass() {
        #expect(PairedComparison.rocAUC(candidate: [0.1, 0.2], production: [0.1, 0.2], labels: [1, 1]) == nil)
    }

    @Test("Under no difference the interval excludes 0 about as often as its confidence says")
    func coverage() {
        var generator = SeededGenerator(seed: 3)
        var misses = 0
        let trials = 600
        for _ in 0..<trials {
            let labels = (0..<80).map { _ in UInt8(generator.integer(below: 2)) }
            func scores() -> [Double] { labels.map { 0.25 + 0.3 * Double($0) + 0.2 * Double(generator.uniform()) } }
            let difference = PairedComparison.logLoss(candidate: scores(), production: scores(), labels: labels)
            if difference.lower > 0 || difference.upper < 0 { misses += 1 }
        }
        // 10 % of 600, give or take four standard deviations.
        #expect((60 - 30...60 + 30).contains(misses))
    }
}

@Suite("Training a candidate")
struct CandidateTrainerTests {
    /// Two features; the label follows the first one, and after the change the second one.
    private func rows(_ count: Int, change: Int, seed: UInt64 = 5) -> JoinedRows {
        var generator = SeededGenerator(seed: seed)
        var rows = JoinedRows(featureCount: 2)
        for row in 0..<count {
            let values = [2 * generator.uniform() - 1, 2 * generator.uniform() - 1]
            let noise = 0.4 * (generator.uniform() - 0.5)
            rows.features += values
            rows.labels.append((row < change ? values[0] : values[1]) + noise > 0 ? 1 : 0)
            rows.eventTimes.append(Int64(row) * 1_000)
        }
        return rows
    }

    private func base(_ rows: JoinedRows, change: Int) throws -> DenseNetwork {
        let all = LabelledRows(featureCount: 2, features: rows.features, labels: rows.labels)
        let cut = change * 4 / 5
        return try NetworkTrainer.train(
            TrainingSettings(hidden: [16], l2: 1e-3, learningRate: 1e-2, epochsMax: 40),
            training: all.selecting(Array(0..<cut)), validation: all.selecting(Array(cut..<change))
        ).network
    }

    @Test("After a change the candidate is much better, the interval says so, and a repeat gives the same bits")
    func afterChange() throws {
        let rows = rows(1_000, change: 700)
        let base = try base(rows, change: 700)
        func train(_ seed: UInt64) throws -> TrainedCandidate {
            try CandidateTrainer.train(
                rows, regimeStart: 700_000, labelsMin: 100, base: base, seed: seed, threshold: 0.5)
        }
        let result = try train(9)
        #expect(result.production.rows == 90 && result.candidate.rows == 90)
        #expect((result.candidate.rocAUC ?? 0) > 0.9 && (result.production.rocAUC ?? 1) < 0.75)
        #expect(result.logLoss.lower > 0)
        #expect(result.testTimes == 910_000...999_000 && result.trainingTimes == 700_000...909_000)
        #expect(try train(9).network == result.network)
        #expect(try train(10).network != result.network)
    }

    @Test("Without a change the interval does not claim a gain")
    func withoutChange() throws {
        let rows = rows(1_000, change: 1_000)
        let base = try base(rows, change: 1_000)
        let result = try CandidateTrainer.train(
            rows, regimeStart: 700_000, labelsMin: 100, base: base, seed: 1, threshold: 0.5)
        #expect(result.logLoss.lower <= 0.005 && abs(result.rocAUC?.estimate ?? 1) < 0.02)
    }

    @Test("Too few rows and rows of one class are refused with what is missing")
    func refusals() throws {
        var rows = rows(300, change: 200)
        let base = try base(rows, change: 200)
        func message(_ labelsMin: Int) -> String {
            do {
                _ = try CandidateTrainer.train(
                    rows, regimeStart: 200_000, labelsMin: labelsMin, base: base, seed: 1, threshold: 0.5)
                return ""
            } catch {
                return error.message
            }
        }
        #expect(message(101) == "100 labelled rows of the new regime are there, 101 are needed: wait for more labels")
        for row in 270..<300 { rows.labels[row] = 1 }
        #expect(message(100).contains("test rows of the new regime have only one class"))
    }

    @Test("Days of one class before the test rows do not keep a regime from being learned")
    func blocks() throws {
        var rows = rows(300, change: 200)
        let base = try base(rows, change: 200)
        // The last fifth of the 70 rows before the test rows would be the validation rows.
        for row in 250..<270 { rows.labels[row] = 1 }
        let result = try CandidateTrainer.train(
            rows, regimeStart: 200_000, labelsMin: 100, base: base, seed: 1, threshold: 0.5)
        #expect(result.candidate.rows == 30 && result.testTimes == 270_000...299_000)
        #expect(result.trainingTimes.upperBound < result.testTimes.lowerBound)
    }

    @Test("A network that was written as ONNX comes back bit for bit")
    func onnx() throws {
        let network = try base(rows(300, change: 300), change: 300)
        let bytes = ModelExport.onnx(network, graphName: "m")
        let back = try DenseNetwork(onnx: bytes.span.bytes, place: "m.onnx")
        #expect(back == network)
        #expect(throws: TrainingError.self) {
            let damaged = Array(bytes.dropLast(bytes.count / 2))
            return try DenseNetwork(onnx: damaged.span.bytes, place: "m.onnx")
        }
    }
}
