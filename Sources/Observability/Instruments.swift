// Instruments: counter, gauge and histogram, each safe from any thread and cheap enough for once per batch.

import Synchronization

/// A number that only grows.
public final class Counter: Sendable {
    private let total = Atomic<UInt64>(0)

    public func add(_ count: Int) {
        precondition(count >= 0, "a counter never falls")
        total.wrappingAdd(UInt64(count), ordering: .relaxed)
    }

    public var value: UInt64 { total.load(ordering: .relaxed) }
}

/// A number that goes up and down.
public final class Gauge: Sendable {
    private let bits = Atomic<UInt64>(0)

    public func set(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }

    public func set(_ value: Int) { set(Double(value)) }

    public var value: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }
}

/// Counts of values by fixed upper bounds.
public final class Histogram: Sendable {
    /// A consistent copy of a histogram's figures.
    public struct Snapshot: Sendable {
        /// Values in each bucket (not cumulative); the last one has no upper bound.
        public var counts: [UInt64]
        public var sum: Double
        public var count: UInt64 { counts.reduce(0, +) }
    }

    /// Upper bounds in ascending order, each inclusive.
    public let bounds: [Double]
    private let state: Mutex<Snapshot>

    init(bounds: [Double]) {
        self.bounds = bounds
        state = Mutex(Snapshot(counts: Array(repeating: 0, count: bounds.count + 1), sum: 0))
    }

    /// Records `count` values of this size. NaN is not a size and is left out.
    public func observe(_ value: Double, count: Int = 1) {
        guard !value.isNaN, count > 0 else { return }
        let bucket = bounds.firstIndex { value <= $0 } ?? bounds.count
        state.withLock { state in
            state.counts[bucket] += UInt64(count)
            state.sum += value * Double(count)
        }
    }

    /// Records a duration in seconds.
    public func observe(_ duration: Duration) { observe(duration / .seconds(1)) }

    public var snapshot: Snapshot { state.withLock { $0 } }
}
