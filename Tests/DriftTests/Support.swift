// Support: fixtures, and random numbers that are the same in every run.

import Drift
import Foundation

enum Fixture {
    static func load<T: Decodable>(_ type: T.Type, _ name: String) throws -> T {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Fixtures/\(name)")
        return try JSONDecoder().decode(type, from: Data(contentsOf: file))
    }
}

/// SplitMix64 and Box-Muller.
struct Noise {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func bits() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    mutating func uniform() -> Double { (Double(bits() >> 11) + 0.5) / 9_007_199_254_740_992 }

    mutating func normal() -> Double { (-2 * log(uniform())).squareRoot() * cos(2 * .pi * uniform()) }
}

/// A reference of independent normal features, and rows of the same or a changed distribution.
struct NormalStream {
    let features: Int
    var noise: Noise

    init(features: Int, seed: UInt64) {
        self.features = features
        noise = Noise(seed: seed)
    }

    mutating func row(shift: Double = 0, scale: Double = 1, shifted: Int = 1) -> [Float] {
        (0..<features).map { Float($0 < shifted ? noise.normal() * scale + shift : noise.normal()) }
    }

    mutating func profile(rows: Int, missing: Double = 0) throws -> ReferenceProfile {
        var builder = ProfileBuilder(names: (0..<features).map { "f\($0)" })
        let none = [UInt8](repeating: 0, count: features)
        for _ in 0..<rows {
            let flags = (0..<features).map { _ in UInt8(noise.uniform() < missing ? 1 : 0) }
            builder.add(row().span, imputed: flags.span, outlying: none.span)
        }
        return try builder.profile(pipeline: "test", contract: "00", rowsMin: 100)
    }
}

extension DriftDetector {
    mutating func take(_ row: [Float]) -> Alarm? {
        take(row.span, missing: [UInt8](repeating: 0, count: row.count).span)
    }
}
