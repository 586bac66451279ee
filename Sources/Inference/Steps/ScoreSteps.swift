// ScoreSteps: from the raw scores of classical models to labels and final scores.

import Glibc
import Tensor

/// `post_transform` of ai.onnx.ml.
enum PostTransform: String, Sendable {
    case none = "NONE"
    case softmax = "SOFTMAX"
    case logistic = "LOGISTIC"
    case softmaxZero = "SOFTMAX_ZERO"
    case probit = "PROBIT"

    /// By the numbers of `TreeEnsemble` (ai.onnx.ml 5).
    static let numbered: [PostTransform] = [.none, .softmax, .logistic, .softmaxZero, .probit]

    /// Transforms `rows` rows of `width` scores in place.
    func apply(_ scores: UnsafeMutablePointer<Float>, rows: Int, width: Int) {
        switch self {
        case .none: break
        case .softmax: if width > 0 { VectorRows.softmax(scores, scores, rows: rows, columns: width) }
        case .logistic: VectorFunction.sigmoid.apply(scores, scores, count: rows * width)
        case .softmaxZero: for row in 0..<rows { Self.softmaxZero(scores + row * width, width) }
        case .probit: for index in 0..<rows * width { scores[index] = Self.probit(scores[index]) }
        }
    }

    /// Softmax over the scores that are not 0; a 0 stays 0.
    private static func softmaxZero(_ scores: UnsafeMutablePointer<Float>, _ width: Int) {
        var highest = -Float.infinity
        for index in 0..<width { highest = max(highest, scores[index]) }
        var sum: Float = 0
        for index in 0..<width {
            if abs(scores[index]) > 1e-7 {
                scores[index] = expf(scores[index] - highest)
                sum += scores[index]
            } else {
                scores[index] *= expf(-highest)
            }
        }
        for index in 0..<width { scores[index] /= sum }
    }

    /// Inverse of the normal distribution by Winitzki's approximation of the inverse error function
    /// (S. Winitzki, 2008), as ONNX Runtime computes it.
    static func probit(_ value: Float) -> Float {
        let x = 2 * value - 1
        let product = (1 - x) * (1 + x)
        guard product != 0 else { return 0 }
        let logarithm = logf(product)
        let v = 2 / (3.14159 as Float * 0.147) + 0.5 * logarithm
        let inner = -v + (v * v - 1 / (0.147 as Float) * logarithm).squareRoot()
        return 1.414_213_56 * (x < 0 ? -1 : 1) * inner.squareRoot()
    }
}

/// Labels and final scores of a classifier with several raw scores: the label is that of the largest.
struct ClassScoreStep: Step {
    let rows: RowCount
    let source: Int
    let scores: Int
    let label: Int
    let classes: Int
    let labels: [Int64]
    let transform: PostTransform

    var reads: [Int] { [source] }
    var writes: [Int] { [scores, label] }
    var overwrites: Int? { source }
    var summary: String { "argmax \(classes), \(transform.rawValue.lowercased()) scores" }

    func run(_ frame: Frame) {
        let x = frame.floats(source)
        let y = frame.floats(scores)
        let label = frame.integers(self.label)
        for row in 0..<rows.count(frame) {
            var best = 0
            for index in 1..<max(classes, 1) where x[row * classes + index] > x[row * classes + best] { best = index }
            label[row] = labels[best]
        }
        if x != y { y.update(from: x, count: rows.count(frame) * classes) }
        transform.apply(y, rows: rows.count(frame), width: classes)
    }
}

/// Labels and the scores of both classes from one raw score.
struct TwoClassStep: Step {
    enum Second: Sendable {
        /// `1 - s, s`
        case complement
        /// `-s, s`, each transformed where that is the logistic function.
        case negative
        /// One score alone.
        case none
    }

    let rows: RowCount
    let source: Int
    let scores: Int
    let label: Int
    let second: Second
    let transform: PostTransform
    let labels: [Int64]
    /// Raw score over which the label is the second.
    let threshold: Float

    var reads: [Int] { [source] }
    var writes: [Int] { [scores, label] }
    var summary: String { "two classes, \(transform.rawValue.lowercased()) scores" }

    func run(_ frame: Frame) {
        let x = frame.floats(source)
        let y = frame.floats(scores)
        let label = frame.integers(self.label)
        for row in 0..<rows.count(frame) {
            let score = x[row]
            label[row] = score > threshold ? labels[1] : labels[0]
            switch second {
            case .complement:
                y[2 * row] = 1 - score
                y[2 * row + 1] = score
            case .negative:
                y[2 * row] = -score
                y[2 * row + 1] = score
            case .none: y[row] = transform == .probit ? PostTransform.probit(score) : score
            }
        }
        if case .negative = second, transform == .logistic { transform.apply(y, rows: rows.count(frame), width: 2) }
    }
}

/// A post-transform alone.
struct TransformStep: Step {
    let rows: RowCount
    let source: Int
    let target: Int
    let width: Int
    let transform: PostTransform

    var reads: [Int] { [source] }
    var writes: [Int] { [target] }
    var overwrites: Int? { source }
    var summary: String { "\(transform.rawValue.lowercased()) scores" }

    func run(_ frame: Frame) {
        let x = frame.floats(source)
        let y = frame.floats(target)
        if x != y { y.update(from: x, count: rows.count(frame) * width) }
        transform.apply(y, rows: rows.count(frame), width: width)
    }
}
