// SessionBenchmark: how fast a session is at several batch sizes.

import Tensor

/// Times a session on rotating random rows: with one repeated row caches and branch predictors flatter the figures.
public struct SessionBenchmark: Codable, Sendable {
    public struct Result: Codable, Sendable {
        public var batch: Int
        public var calls: Int
        /// Time of one call.
        public var medianMicroseconds: Double
        public var p99Microseconds: Double
        /// From the median.
        public var rowsPerSecond: Double
    }

    public static let defaultBatchSizes = [1, 32, 256, 1_024]
    private static let callsMax = 200_000
    private static let callsMin = 20

    /// Kernel family of OpenBLAS, which decides much.
    public var coreType: String
    public var results: [Result]

    /// - Parameters:
    ///   - duration: spent on each batch size, warm-up not counted.
    ///   - seed: of the rows.
    public static func run(
        _ session: InferenceSession, batchSizes: [Int] = defaultBatchSizes, duration: Duration = .seconds(1),
        seed: UInt64 = 1
    ) -> SessionBenchmark {
        let width = session.inputWidth
        let poolRows = 4 * max(batchSizes.max() ?? 1, 1_024)
        var generator = SplitMix64(state: seed)
        let pool = (0..<poolRows * width).map { _ in Float(generator.normal()) }
        let clock = ContinuousClock()
        let results = batchSizes.filter { $0 > 0 }.map { batch in
            session.warmUp(batchSizes: [batch, batch, batch])
            var outputs = InferenceOutputs()
            var times: [Double] = []
            var row = 0
            let start = clock.now
            while times.count < callsMax && (times.count < callsMin || clock.now - start < duration) {
                if row + batch > poolRows { row = 0 }
                let before = clock.now
                session.run(pool.span.extracting(row * width..<(row + batch) * width), count: batch, into: &outputs)
                times.append((clock.now - before) / .microseconds(1))
                row += batch
            }
            times.sort()
            let median = times[times.count / 2]
            return Result(
                batch: batch, calls: times.count, medianMicroseconds: median,
                p99Microseconds: times[min(times.count - 1, times.count * 99 / 100)],
                rowsPerSecond: median > 0 ? Double(batch) * 1e6 / median : 0)
        }
        return SessionBenchmark(coreType: BLAS.coreType, results: results)
    }

    /// A table for a terminal.
    public var text: String {
        func padded(_ text: String) -> String { String(repeating: " ", count: max(0, 14 - text.count)) + text }
        func rounded(_ value: Double) -> String { "\((value * 100).rounded() / 100)" }
        var lines = ["OpenBLAS kernels: \(coreType), one thread"]
        lines.append(["batch", "median us", "p99 us", "rows/s"].map(padded).joined())
        for result in results {
            lines.append(
                [
                    "\(result.batch)", rounded(result.medianMicroseconds), rounded(result.p99Microseconds),
                    "\(Int(result.rowsPerSecond))",
                ].map(padded).joined())
        }
        return lines.joined(separator: "\n")
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, good enough for test rows.
struct SplitMix64 {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    /// Roughly normal: the sum of twelve uniform numbers less six.
    mutating func normal() -> Double {
        var sum = -6.0
        for _ in 0..<12 { sum += Double(next() >> 11) * 0x1p-53 }
        return sum
    }
}
