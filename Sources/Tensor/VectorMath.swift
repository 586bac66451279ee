// VectorMath: exp, sigmoid and tanh on sixteen lanes, without calls into libm.

/// Sixteen-lane approximations, accurate to a few units in the last place. Written with plain products and sums: on the
/// x86-64 baseline a fused multiply-add would be a library call per lane. NaN stays NaN.
enum VectorMath {
    typealias Lanes = SIMD16<Float>

    /// e^x after Cephes' `expf` (https://www.netlib.org/cephes): range reduction by ln 2 in two parts, then a polynomial
    /// of degree 5. Results below the smallest normal number become 0.
    @inline(__always)
    static func exp(_ x: Lanes) -> Lanes {
        let bounded = x.clamped(lowerBound: Lanes(repeating: -87.33654), upperBound: Lanes(repeating: 88.72284))
        // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits.
        let magic = Lanes(repeating: 12_582_912)
        let shifted = bounded * 1.442_695_04 + magic
        let power = shifted - magic
        let r = bounded - power * 0.693_359_375 + power * 2.121_944_4e-4
        var p = r * 1.987_569_15e-4 + 1.398_199_95e-3
        p = p * r + 8.333_451_9e-3
        p = p * r + 4.166_579_6e-2
        p = p * r + 1.666_666_55e-1
        p = p * r + 5.000_000_1e-1
        p = p * r * r + r + 1
        // 2^n in two factors, because n reaches 128.
        let n = unsafe unsafeBitCast(shifted, to: SIMD16<Int32>.self) &- 0x4b40_0000
        let half = n &>> 1
        let low = unsafe unsafeBitCast((half &+ 127) &<< 23, to: Lanes.self)
        let high = unsafe unsafeBitCast((n &- half &+ 127) &<< 23, to: Lanes.self)
        return (p * low * high)
            .replacing(with: .infinity, where: x .> 88.72284)
            .replacing(with: 0, where: x .< -87.33654)
            .replacing(with: x, where: x .!= x)
    }

    /// 1 / (1 + e^-x)
    @inline(__always)
    static func sigmoid(_ x: Lanes) -> Lanes { 1 / (exp(-x) + 1) }

    /// Cephes' `tanhf`: an odd polynomial near 0, `1 - 2 / (e^2|x| + 1)` with the sign of x beyond.
    @inline(__always)
    static func tanh(_ x: Lanes) -> Lanes {
        let magnitude = x.replacing(with: -x, where: x .< 0)
        let far = 1 - 2 / (exp(magnitude + magnitude) + 1)
        let z = x * x
        var p = z * -5.704_988_7e-3 + 2.063_908_9e-2
        p = p * z - 5.373_971_6e-2
        p = p * z + 1.333_144_2e-1
        p = p * z - 3.333_328_2e-1
        let near = p * z * x + x
        return near.replacing(with: far.replacing(with: -far, where: x .< 0), where: magnitude .> 0.625)
            .replacing(with: x, where: x .!= x)
    }
}

extension SIMD16<Float> {
    /// As `SIMD.clamped`, but with operations that compile to vector code and leave NaN alone.
    @inline(__always)
    func clamped(lowerBound: Self, upperBound: Self) -> Self {
        replacing(with: lowerBound, where: self .< lowerBound).replacing(with: upperBound, where: self .> upperBound)
    }
}
