// SessionBenchmark: how fast a session is at several batch sizes.

import Dispatch
import Glibc
import Synchronization
import Tensor

/// Times a session on rotating rows: with one repeated row caches and branch predictors flatter the figures.
public struct SessionBenchmark: Codable, Sendable {
    public struct Result: Codable, Sendable {
        public var batch: Int
        public var calls: Int
        /// Time of one call, less that of reading the clock.
        public var medianMicroseconds: Double
        public var p99Microseconds: Double
        /// From the median, of all threads together.
        public var rowsPerSecond: Double
    }

    public static let defaultBatchSizes = [1, 32, 256, 1_024]
    private static let callsMax = 200_000
    private static let callsMin = 20

    /// Instruction set of the engine's kernels.
    public var vectorLevel: String
    /// Kernel family of OpenBLAS, which the trainer uses.
    public var coreType: String
    public var threads: Int
    public var clockNanoseconds: Double
    public var results: [Result]

    /// - Parameters:
    ///   - rows: real rows to rotate through, `inputWidth` floats each; nil: random ones.
    ///   - threads: that run the same session at once.
    ///   - duration: spent on each batch size, warm-up not counted.
    ///   - seed: of the random rows.
    public static func run(
        _ session: InferenceSession, batchSizes: [Int] = defaultBatchSizes, rows: [Float]? = nil, threads: Int = 1,
        duration: Duration = .seconds(1), seed: UInt64 = 1
    ) -> SessionBenchmark {
        let width = max(session.inputWidth, 1)
        let poolRows = 4 * max(batchSizes.max() ?? 1, 1_024)
        var generator = SplitMix64(state: seed)
        let pool: [Float]
        if let rows, rows.count >= width {
            let whole = rows.count / width * width
            pool = (0..<poolRows * width).map { rows[$0 % whole] }
        } else {
            pool = (0..<poolRows * width).map { _ in Float(generator.normal()) }
        }
        let clock = clockCost()
        let results = batchSizes.filter { $0 > 0 }.map { batch in
            let all = Mutex<[Double]>([])
            DispatchQueue.concurrentPerform(iterations: max(threads, 1)) { thread in
                let times = measure(
                    session, batch, pool, poolRows: poolRows, width: width, start: thread * 61 * batch, duration)
                all.withLock { $0 += times }
            }
            let times = all.withLock { $0.sorted() }.map { max($0 - clock, 0) }
            let median = times[times.count / 2] / 1_000
            return Result(
                batch: batch, calls: times.count, medianMicroseconds: median,
                p99Microseconds: times[min(times.count - 1, times.count * 99 / 100)] / 1_000,
                rowsPerSecond: median > 0 ? Double(batch * max(threads, 1)) * 1e6 / median : 0)
        }
        return SessionBenchmark(
            vectorLevel: "\(VectorKernels.level)", coreType: BLAS.coreType, threads: threads, clockNanoseconds: clock,
            results: results)
    }

    /// Nanoseconds of each call.
    private static func measure(
        _ session: InferenceSession, _ batch: Int, _ pool: [Float], poolRows: Int, width: Int, start: Int,
        _ duration: Duration
    ) -> [Double] {
        var outputs = InferenceOutputs()
        var times: [Double] = []
        times.reserveCapacity(callsMax)
        let span = pool.span
        var row = start % max(poolRows - batch, 1)
        let limit = now() + UInt64(duration / .nanoseconds(1))
        var warmUp = 3
        while times.count < callsMax && (times.count < callsMin || now() < limit) {
            if row + batch > poolRows { row = 0 }
            let rows = span.extracting(row * width..<(row + batch) * width)
            let before = now()
            session.run(rows, count: batch, into: &outputs)
            let after = now()
            row += batch
            if warmUp > 0 { warmUp -= 1 } else { times.append(Double(after - before)) }
        }
        return times
    }

    private static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    /// Nanoseconds between two readings of the clock.
    private static func clockCost() -> Double {
        let costs = (0..<10_001).map { _ in
            let before = now()
            return now() - before
        }
        return Double(costs.sorted()[costs.count / 2])
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
