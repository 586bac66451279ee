// Operators+SVM: support vector machines of ai.onnx.ml.

import Glibc
import Tensor

/// Kernel function of a support vector machine.
enum SVMKernel: String, Sendable {
    case linear = "LINEAR"
    case polynomial = "POLY"
    case radial = "RBF"
    case sigmoid = "SIGMOID"
}

/// A machine's parameters in memory of the allocator.
struct SVMParameters: Sendable {
    var kernel: SVMKernel
    var gamma: Float
    var offset: Float
    var degree: Float
    var features: Int
    var vectorCount: Int
    var vectors: ModelArray<Float>
    var coefficients: ModelArray<Float>
    var rho: ModelArray<Float>

    /// Kernel of one row with one support vector.
    @inline(__always)
    func kernel(_ row: UnsafePointer<Float>, _ vector: Int) -> Float {
        let other = vectors.pointer + vector * features
        var sum: Float = 0
        if kernel == .radial {
            for index in 0..<features {
                let difference = row[index] - other[index]
                sum += difference * difference
            }
            return expf(-gamma * sum)
        }
        for index in 0..<features { sum += row[index] * other[index] }
        switch kernel {
        case .linear: return sum
        case .polynomial: return powf(gamma * sum + offset, degree)
        default: return tanhf(gamma * sum + offset)
        }
    }
}

extension Operators {
    private static func parameters(_ planner: Planner, _ node: PlanNode, vectorCount: Int, features: Int) throws
        -> SVMParameters
    {
        let name = try node.string("kernel_type", default: "LINEAR")
        guard let kernel = SVMKernel(rawValue: name) else { throw node.error(.unsupported, "kernel '\(name)'") }
        let numbers = try planner.floats(node, "kernel_params")
        guard let coefficients = try planner.floats(node, "coefficients"), let rho = try planner.floats(node, "rho"),
            coefficients.count > 0, rho.count > 0
        else { throw node.error(.invalidGraph, "'coefficients' or 'rho' is missing") }
        let vectors = try planner.floats(node, "support_vectors") ?? ModelArray([], planner.allocator)
        guard vectorCount <= planner.limits.tensorElementsMax, vectors.count == vectorCount * features else {
            throw node.error(
                .invalidGraph, "\(vectors.count) numbers for \(vectorCount) vectors of \(features) features")
        }
        func number(_ index: Int) -> Float { numbers.map { index < $0.count ? $0[index] : 0 } ?? 0 }
        return SVMParameters(
            kernel: kernel, gamma: number(0), offset: number(1), degree: number(2), features: features,
            vectorCount: vectorCount, vectors: vectors, coefficients: coefficients, rho: rho)
    }

    static func svmRegressor(_ planner: Planner, _ node: PlanNode) throws {
        let value = try rows(planner, node)
        let supports = try node.int("n_supports", default: 0)
        let features = value.shape.dims[1]
        let parameters = try parameters(planner, node, vectorCount: max(supports, 0), features: features)
        guard parameters.coefficients.count == (supports > 0 ? supports : features) else {
            throw node.error(.invalidGraph, "'coefficients' has \(parameters.coefficients.count) numbers")
        }
        guard try transform(node) == .none else { throw node.error(.unsupported, "a post_transform") }
        let target = try planner.makeValue(node, rowShape(value, 1), .float)
        planner.append(
            SVMRegressorStep(
                rows: RowCount(value.shape), source: value.id, target: target.id, parameters: parameters,
                isOneClass: try node.int("one_class", default: 0) != 0))
        try planner.bind(node, 0, .runtime(target))
    }

    static func svmClassifier(_ planner: Planner, _ node: PlanNode) throws {
        let value = try rows(planner, node)
        let transform = try transform(node)
        let (labels, type) = try classLabels(planner, node)
        let classes = labels.count
        let features = value.shape.dims[1]
        let perClass = try planner.intList(node, "vectors_per_class") ?? []
        let vectors = perClass.reduce(0) { $0 &+ max($1, 0) }
        let parameters = try parameters(planner, node, vectorCount: vectors, features: features)
        let label = try planner.makeValue(node, rowShape(value, nil), type)
        guard vectors > 0 else {
            guard parameters.coefficients.count == classes * features, classes > 0 else {
                throw node.error(.invalidGraph, "'coefficients' has \(parameters.coefficients.count) numbers")
            }
            let shared = parameters.rho[0]
            let draft = try dense(
                planner, node, value, inputs: features, outputs: classes, weights: parameters.coefficients.pointer,
                owner: parameters.coefficients, inputStride: 1, outputStride: features)
            try draft.add(planner) { _ in shared }
            let scores = try planner.makeValue(node, rowShape(value, classes), .float)
            planner.append(
                ClassScoreStep(
                    rows: RowCount(value.shape), source: draft.target, scores: scores.id, label: label.id,
                    classes: classes, labels: labels,
                    transform: transform))
            try planner.bind(node, 0, .runtime(label))
            return try planner.bind(node, 1, .runtime(scores))
        }
        let pairs = classes * (classes - 1) / 2
        let a = try planner.floats(node, "prob_a")
        let b = try planner.floats(node, "prob_b")
        guard perClass.count == classes, perClass.allSatisfy({ $0 >= 0 }), classes >= 2, classes < 1_024,
            parameters.coefficients.count >= (classes - 1) * vectors, parameters.rho.count >= pairs,
            a?.count == b?.count, a.map({ $0.count == 0 || $0.count >= pairs }) ?? true
        else { throw node.error(.invalidGraph, "the numbers of classes, vectors and coefficients do not fit") }
        let hasProbabilities = (a?.count ?? 0) > 0
        let width = hasProbabilities ? classes : classes > 2 ? pairs : 2
        let scores = try planner.makeValue(node, rowShape(value, width), .float)
        // Kernels, pair scores, and a matrix with two vectors for the probabilities.
        let scratch = try planner.makeValue(
            node, Shape([vectors + pairs + 2 * classes * classes + 2 * classes]), .float)
        planner.append(
            SVMClassifierStep(
                rows: RowCount(value.shape), source: value.id, scores: scores.id, label: label.id, scratch: scratch.id,
                parameters: parameters,
                perClass: perClass, labels: labels,
                probabilities: hasProbabilities ? a.flatMap { a in b.map { (a, $0) } } : nil,
                width: width, transform: transform,
                isPositive: parameters.coefficients.allSatisfy { $0 >= 0 }))
        try planner.bind(node, 0, .runtime(label))
        try planner.bind(node, 1, .runtime(scores))
    }
}

struct SVMRegressorStep: Step {
    let rows: RowCount
    let source: Int
    let target: Int
    let parameters: SVMParameters
    let isOneClass: Bool

    var reads: [Int] { [source] }
    var writes: [Int] { [target] }
    var summary: String { "svm regression, \(parameters.vectorCount) vectors" }

    func run(_ frame: Frame) {
        let x = frame.floats(source)
        let y = frame.floats(target)
        for row in 0..<rows.count(frame) {
            let start = x + row * parameters.features
            var sum: Float = 0
            if parameters.vectorCount == 0 {
                for index in 0..<parameters.features { sum += start[index] * parameters.coefficients[index] }
            } else {
                for vector in 0..<parameters.vectorCount {
                    sum += parameters.kernel(start, vector) * parameters.coefficients[vector]
                }
            }
            sum += parameters.rho[0]
            y[row] = isOneClass ? (sum > 0 ? 1 : -1) : sum
        }
    }
}

/// One-against-one classification as libsvm does it (Chang, Lin, 2011), with its pairwise coupling for probabilities
/// (Wu, Lin, Weng, 2004, algorithm 2).
struct SVMClassifierStep: Step {
    let rows: RowCount
    let source: Int
    let scores: Int
    let label: Int
    let scratch: Int
    let parameters: SVMParameters
    let perClass: [Int]
    let labels: [Int64]
    let probabilities: (a: ModelArray<Float>, b: ModelArray<Float>)?
    let width: Int
    let transform: PostTransform
    let isPositive: Bool

    var reads: [Int] { [source] }
    var writes: [Int] { [scores, label, scratch] }
    var summary: String { "svm classification, \(parameters.vectorCount) vectors, \(labels.count) classes" }

    func run(_ frame: Frame) {
        let x = frame.floats(source)
        let y = frame.floats(scores)
        let label = frame.integers(self.label)
        let kernels = frame.floats(scratch)
        let pairScores = kernels + parameters.vectorCount
        let rest = pairScores + labels.count * (labels.count - 1) / 2
        for row in 0..<rows.count(frame) {
            let start = x + row * parameters.features
            for vector in 0..<parameters.vectorCount { kernels[vector] = parameters.kernel(start, vector) }
            let winner = vote(kernels, pairScores, rest)
            label[row] = labels[winner]
            write(pairScores, y + row * width, rest)
        }
        if width > 2 || probabilities != nil { transform.apply(y, rows: rows.count(frame), width: width) }
    }

    /// Decides each pair of classes; gives the class with most votes, the first of equals.
    private func vote(
        _ kernels: UnsafeMutablePointer<Float>, _ pairScores: UnsafeMutablePointer<Float>,
        _ votes: UnsafeMutablePointer<Float>
    ) -> Int {
        let classes = labels.count
        for index in 0..<classes { votes[index] = 0 }
        let coefficients = parameters.coefficients.pointer
        var pair = 0
        var startI = 0
        for i in 0..<classes - 1 {
            var startJ = startI + perClass[i]
            for j in i + 1..<classes {
                var sum = 0.0
                let rowJ = coefficients + parameters.vectorCount * (j - 1)
                for m in startI..<startI + perClass[i] { sum += Double(rowJ[m] * kernels[m]) }
                let rowI = coefficients + parameters.vectorCount * i
                for m in startJ..<startJ + perClass[j] { sum += Double(rowI[m] * kernels[m]) }
                sum += Double(parameters.rho[pair])
                pairScores[pair] = Float(sum)
                votes[sum > 0 ? i : j] += 1
                pair += 1
                startJ += perClass[j]
            }
            startI += perClass[i]
        }
        var best = 0
        for index in 1..<classes where votes[index] > votes[best] { best = index }
        return best
    }

    private func write(
        _ pairScores: UnsafeMutablePointer<Float>, _ y: UnsafeMutablePointer<Float>, _ rest: UnsafeMutablePointer<Float>
    ) {
        let classes = labels.count
        if let probabilities {
            let r = rest
            var pair = 0
            for i in 0..<classes - 1 {
                for j in i + 1..<classes {
                    let exponent = pairScores[pair] * probabilities.a[pair] + probabilities.b[pair]
                    let probability = min(max(1 - 1 / (1 + expf(-exponent)), 1e-7), 1 - 1e-7)
                    r[i * classes + j] = probability
                    r[j * classes + i] = 1 - probability
                    pair += 1
                }
            }
            couple(r, y, rest + classes * classes)
        } else if classes == 2 {
            y[0] = transform == .none ? -pairScores[0] : 1 - pairScores[0]
            y[1] = pairScores[0]
        } else {
            y.update(from: pairScores, count: width)
        }
    }

    private func couple(
        _ r: UnsafeMutablePointer<Float>, _ p: UnsafeMutablePointer<Float>, _ q: UnsafeMutablePointer<Float>
    ) {
        let k = labels.count
        let qp = q + k * k
        for t in 0..<k {
            p[t] = 1 / Float(k)
            q[t * k + t] = 0
            for j in 0..<k where j != t {
                q[t * k + t] += r[j * k + t] * r[j * k + t]
                q[t * k + j] = j < t ? q[j * k + t] : -r[j * k + t] * r[t * k + j]
            }
        }
        let epsilon = 0.005 / Float(k)
        for _ in 0..<max(100, k) {
            var pqp: Float = 0
            for t in 0..<k {
                qp[t] = 0
                for j in 0..<k { qp[t] += q[t * k + j] * p[j] }
                pqp += p[t] * qp[t]
            }
            var error: Float = 0
            for t in 0..<k { error = max(error, abs(qp[t] - pqp)) }
            if error < epsilon { break }
            for t in 0..<k {
                let step = (pqp - qp[t]) / q[t * k + t]
                p[t] += step
                pqp = (pqp + step * (step * q[t * k + t] + 2 * qp[t])) / (1 + step) / (1 + step)
                for j in 0..<k {
                    qp[j] = (qp[j] + step * q[t * k + j]) / (1 + step)
                    p[j] /= 1 + step
                }
            }
        }
    }
}
