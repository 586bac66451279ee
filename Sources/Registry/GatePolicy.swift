// GatePolicy: whether a candidate may replace the version in production.

import EventContracts

/// Limits of the promotion gate. Differences are candidate against production on the same, most recent labelled rows;
/// positive is better (`ModelEvent.Comparison`).
public struct GatePolicy: Sendable, Equatable {
    /// A decision needs so many test rows.
    public var rowsMin = 40
    /// The whole confidence interval of the paired log-loss difference lies above this.
    public var logLossGainMin = 0.0
    /// The AUC is at most this much below production's.
    public var aucLossMax = 0.005
    /// Median time of a batch, candidate over production, when it is above `latencyFloorMicroseconds`.
    public var latencyRatioMax = 2.0
    public var latencyFloorMicroseconds = 500.0
    /// False: a candidate that passes waits for a signed approval.
    public var isAutomatic = true

    public init() {}

    /// One check with its limits, as a person reads it.
    public struct Check: Sendable, Equatable {
        public var name: String
        public var passed: Bool
        public var text: String

        public init(name: String, passed: Bool, text: String) {
            self.name = name
            self.passed = passed
            self.text = text
        }
    }

    /// All checks of a candidate, the failed ones among them.
    ///
    /// - Parameter contract: of the pipeline's fitted features.
    public func checks(_ candidate: ModelVersion, production: ModelVersion?, contract: String) -> [Check] {
        var checks = [
            Check(
                name: "contract", passed: candidate.contract == contract,
                text: "feature contract \(candidate.contract), the pipeline's is \(contract)")
        ]
        guard let production else { return checks }
        guard let comparison = candidate.comparison else {
            checks.append(Check(name: "comparison", passed: false, text: "it was not compared with production"))
            return checks
        }
        checks += [
            Check(
                name: "opponent", passed: comparison.productionVersion == production.version,
                text: "compared with \(comparison.productionVersion), \(production.version) is in production"),
            Check(
                name: "rows", passed: comparison.rows >= rowsMin,
                text: "compared on \(comparison.rows) rows, \(rowsMin) are needed"),
            Check(
                name: "log_loss", passed: comparison.logLoss.lower > logLossGainMin,
                text: "log-loss better by \(Self.text(comparison.logLoss)), all of it must be above "
                    + Self.digits(logLossGainMin)),
            aucCheck(comparison), latencyCheck(comparison),
        ]
        return checks
    }

    private func aucCheck(_ comparison: ModelEvent.Comparison) -> Check {
        guard let auc = comparison.rocAUC else {
            return Check(name: "roc_auc", passed: false, text: "the test rows have only one class")
        }
        return Check(
            name: "roc_auc", passed: auc.estimate >= -aucLossMax,
            text: "AUC better by \(Self.text(auc)), at worst -\(Self.digits(aucLossMax)) is allowed")
    }

    private func latencyCheck(_ comparison: ModelEvent.Comparison) -> Check {
        let (own, other) = (comparison.candidateMicroseconds, comparison.productionMicroseconds)
        return Check(
            name: "latency", passed: own <= latencyFloorMicroseconds || own <= latencyRatioMax * other,
            text: "\(Int(own)) µs for \(comparison.latencyRows) rows, production takes \(Int(other)) µs; allowed is a "
                + "factor of \(Self.digits(latencyRatioMax))")
    }

    static func text(_ difference: ModelEvent.Comparison.Difference) -> String {
        "\(digits(difference.estimate)) (\(digits(difference.lower)) to \(digits(difference.upper)))"
    }

    /// Four decimals, by integers, so that it is the same everywhere.
    static func digits(_ value: Double) -> String {
        guard value.isFinite, abs(value) < 1e12 else { return "\(value)" }
        let scaled = Int((abs(value) * 10_000).rounded())
        let fraction = String(scaled % 10_000)
        let sign = value < 0 && scaled > 0 ? "-" : ""
        return "\(sign)\(scaled / 10_000).\(String(repeating: "0", count: 4 - fraction.count))\(fraction)"
    }
}
