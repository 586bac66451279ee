// SpecialFunctions: distribution functions that the detectors and their null quantiles need.

import Glibc

/// Distribution functions in double precision.
public enum SpecialFunctions {
    /// Standard normal distribution function.
    public static func normalCDF(_ x: Double) -> Double { 0.5 * erfc(-x / 2.0.squareRoot()) }

    /// Upper tail of the standard normal distribution.
    public static func normalSF(_ x: Double) -> Double { 0.5 * erfc(x / 2.0.squareRoot()) }

    /// Quantile of the standard normal distribution, for 0 < p < 1; -inf and +inf at the ends.
    /// Acklam's rational approximation, then one step of Halley's method: accurate to rounding.
    public static func normalQuantile(_ p: Double) -> Double {
        guard p > 0 else { return -.infinity }
        guard p < 1 else { return .infinity }
        if p > 0.5 { return -normalQuantile(1 - p) }
        let a = [
            -3.969683028665376e+01, 2.209460984245205e+02, -2.759285104469687e+02, 1.383577518672690e+02,
            -3.066479806614716e+01, 2.506628277459239e+00,
        ]
        let b = [
            -5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02, 6.680131188771972e+01,
            -1.328068155288572e+01,
        ]
        let c = [
            -7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00, -2.549732539343734e+00,
            4.374664141464968e+00, 2.938163982698783e+00,
        ]
        let d = [7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00, 3.754408661907416e+00]
        func polynomial(_ coefficients: [Double], _ x: Double) -> Double { coefficients.reduce(0) { $0 * x + $1 } }
        var x: Double
        if p < 0.02425 {
            let q = (-2 * log(p)).squareRoot()
            x = polynomial(c, q) / (polynomial(d, q) * q + 1)
        } else {
            let q = p - 0.5
            let r = q * q
            x = polynomial(a, r) * q / (polynomial(b, r) * r + 1)
        }
        let error = normalCDF(x) - p
        let step = error * (2 * Double.pi).squareRoot() * exp(x * x / 2)
        x -= step / (1 + x * step / 2)
        return x
    }

    /// Upper tail of Kolmogorov's distribution, `2 Σ (-1)^(k-1) exp(-2 k² x²)`: the limit of `sqrt(n) D`.
    public static func kolmogorovSF(_ x: Double) -> Double {
        guard x > 0 else { return 1 }
        if x < 1.18 {
            // The theta function's other expansion converges at once for small x.
            let y = exp(-1.23370055013616983 / (x * x))
            let sum = y + pow(y, 9) + pow(y, 25) + pow(y, 49)
            return 1 - 2.25675833419102515 * (-log(y)).squareRoot() * sum
        }
        var sum = 0.0
        for k in 1...20 {
            let term = exp(-2 * Double(k * k) * x * x)
            sum += k.isMultiple(of: 2) ? -term : term
            if term < 1e-18 { break }
        }
        return min(1, max(0, 2 * sum))
    }

    /// The value that Kolmogorov's distribution exceeds with probability `p`.
    public static func kolmogorovQuantile(exceededWith p: Double) -> Double {
        bisect(from: 0.01, to: 6) { kolmogorovSF($0) > p }
    }

    /// Upper tail of the chi-squared distribution.
    public static func chiSquaredSF(_ x: Double, degrees: Int) -> Double {
        guard x > 0 else { return 1 }
        return 1 - regularizedGammaP(Double(degrees) / 2, x / 2)
    }

    /// The value that the chi-squared distribution exceeds with probability `p`.
    public static func chiSquaredQuantile(exceededWith p: Double, degrees: Int) -> Double {
        let k = Double(degrees)
        return bisect(from: 0, to: k + 20 * (2 * k).squareRoot() + 100) { chiSquaredSF($0, degrees: degrees) > p }
    }

    /// Regularised lower incomplete gamma function P(a, x) (DLMF 8.7.1 and 8.9.2).
    static func regularizedGammaP(_ a: Double, _ x: Double) -> Double {
        guard x > 0 else { return 0 }
        let scale = exp(-x + a * log(x) - lgamma(a))
        if x < a + 1 {
            var term = 1 / a
            var sum = term
            var n = a
            for _ in 0..<1_000 {
                n += 1
                term *= x / n
                sum += term
                if abs(term) < abs(sum) * 1e-16 { break }
            }
            return sum * scale
        }
        // Lentz's continued fraction of the upper function.
        let tiny = 1e-300
        var b = x + 1 - a
        var c = 1 / tiny
        var d = 1 / b
        var h = d
        for i in 1..<1_000 {
            let an = -Double(i) * (Double(i) - a)
            b += 2
            d = an * d + b
            if abs(d) < tiny { d = tiny }
            c = b + an / c
            if abs(c) < tiny { c = tiny }
            d = 1 / d
            let delta = d * c
            h *= delta
            if abs(delta - 1) < 1e-16 { break }
        }
        return 1 - scale * h
    }

    /// Where `isBelow` turns false, to rounding.
    private static func bisect(from lower: Double, to upper: Double, _ isBelow: (Double) -> Bool) -> Double {
        var (low, high) = (lower, upper)
        for _ in 0..<200 where high - low > 1e-14 * max(1, high) {
            let middle = (low + high) / 2
            if isBelow(middle) { low = middle } else { high = middle }
        }
        return (low + high) / 2
    }
}
