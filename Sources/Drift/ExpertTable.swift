// ExpertTable: likelihood ratios of the experts on a feature's bins.

import Glibc

/// What each expert bets on a bin: the ratio of its own probability of the bin to the reference's. Under the reference
/// the mean of each expert's ratio is 1, so that a bet gains nothing in the long run unless the distribution changed.
///
/// Experts 0...12 tilt the distribution as a shift or a scaling of a normal variable with the same ranks would (13
/// tilts, 2 % mixed with the reference so that no bet ruins its expert); 13 bets on missing values, 14 on values outside
/// the reference's range. Expert 15 learns from the stream and has no table (`DriftDetector`).
public struct ExpertTable: Sendable, Equatable {
    public static let count = 16
    public static let missingExpert = 13
    public static let rangeExpert = 14
    public static let adaptiveExpert = 15

    static let shifts = [0.15, -0.15, 0.3, -0.3, 0.6, -0.6, 1.2, -1.2]
    static let scales = [0.6, 0.8, 1.25, 1.6, 2.5]
    /// Share of the reference in each tilt.
    static let uniformShare = 0.02
    /// Probability mass that the experts 13 and 14 move to their bins.
    static let movedMass = 0.05

    /// Prior weights; they add up to 1.
    public static let weights: SIMD16<Double> = {
        var weights = SIMD16<Double>(repeating: 0.76 / 13)
        weights[missingExpert] = 0.02
        weights[rangeExpert] = 0.02
        weights[adaptiveExpert] = 0.2
        return weights
    }()

    /// One row of 16 ratios per bin, already raised to the power. Lane 15 is 0.
    public var ratios: [SIMD16<Double>]
    public var power: Double

    /// - Parameters:
    ///   - power: 1 for independent records; `(1 - φ) / (1 + φ)` for autocorrelated ones (docs/drift.md).
    ///   - tolerance: total-variation distance around the reference within which no expert shall gain.
    public init(_ bins: FeatureBins, power: Double, tolerance: Double) {
        self.power = power
        let probabilities = bins.probabilities
        var columns = Self.tilts(bins)
        columns.append(Self.moving([FeatureBins.missing], probabilities))
        columns.append(Self.moving([FeatureBins.belowRange, FeatureBins.aboveRange], probabilities))
        for index in columns.indices {
            columns[index] = Self.tolerant(columns[index], probabilities, tolerance: tolerance)
        }
        ratios = (0..<FeatureBins.count).map { bin in
            var row = SIMD16<Double>(repeating: 0)
            for (expert, column) in columns.enumerated() { row[expert] = pow(column[bin], power) }
            return row
        }
    }

    /// The 13 tilts by bin. Values outside the range count as the outermost bins, missing ones say nothing.
    static func tilts(_ bins: FeatureBins) -> [[Double]] {
        let regular = bins.regularCount
        let present = 1 - bins.probabilities[FeatureBins.missing]
        var masses = Array(bins.probabilities[..<regular]).map { $0 / present }
        masses[0] += bins.probabilities[FeatureBins.belowRange] / present
        masses[regular - 1] += bins.probabilities[FeatureBins.aboveRange] / present
        var bounds = [-Double.infinity]
        var sum = 0.0
        for mass in masses.dropLast() {
            sum += mass
            bounds.append(SpecialFunctions.normalQuantile(sum))
        }
        bounds.append(.infinity)
        let distributions: [(Double) -> Double] =
            shifts.map { shift in { SpecialFunctions.normalCDF($0 - shift) } }
            + scales.map { scale in { SpecialFunctions.normalCDF($0 / scale) } }
        return distributions.map { distribution in
            var column = [Double](repeating: 1, count: FeatureBins.count)
            for bin in 0..<regular {
                let mass = distribution(bounds[bin + 1]) - distribution(bounds[bin])
                column[bin] = uniformShare + (1 - uniformShare) * mass / masses[bin]
            }
            column[FeatureBins.belowRange] = column[0]
            column[FeatureBins.aboveRange] = column[regular - 1]
            return column
        }
    }

    /// An expert that moves 5 % of the mass to `bins`.
    private static func moving(_ bins: [Int], _ probabilities: [Double]) -> [Double] {
        let mass = bins.reduce(0) { $0 + probabilities[$1] }
        let raised = mass + movedMass * (1 - mass)
        return (0..<FeatureBins.count).map { bins.contains($0) ? raised / mass : (1 - raised) / (1 - mass) }
    }

    /// Divides so that the mean ratio is at most 1 for every distribution within `tolerance` of the reference: moving mass
    /// ε raises the mean by at most ε times the range of the ratios, which are cut first to keep that range small.
    static func tolerant(_ column: [Double], _ probabilities: [Double], tolerance: Double) -> [Double] {
        guard tolerance > 0 else { return column }
        let cut = column.map { min($0, 4) }
        let used = zip(cut, probabilities).filter { $0.1 > 0 }.map(\.0)
        let mean = zip(cut, probabilities).reduce(0) { $0 + $1.0 * $1.1 }
        let range = (used.max() ?? 1) - (used.min() ?? 1)
        return cut.map { $0 / (mean + tolerance * range) }
    }
}
