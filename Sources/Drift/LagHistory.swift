// LagHistory: how a consumer group stands on one partition, from its latest commits.

/// Verdicts on a partition, by the rules that LinkedIn's Burrow documents.
public enum LagStatus: Int, Sendable, Codable, Comparable {
    case ok = 1
    /// The lag has not fallen within the window.
    case warn = 2
    /// No commit for longer than the window spans.
    case stop = 4
    /// Commits go on, but the offset stands still.
    case stall = 5
    /// The offset went back and has not come up again.
    case rewind = 6

    public static func < (lhs: LagStatus, rhs: LagStatus) -> Bool { lhs.rawValue < rhs.rawValue }
}

/// One commit, with the lag at that time.
public struct LagSample: Sendable, Codable, Equatable {
    public var offset: Int64
    /// Milliseconds since the Unix epoch.
    public var time: Int64
    /// Nil when the end of the log was not known.
    public var lag: Int64?

    public init(offset: Int64, time: Int64, lag: Int64?) {
        self.offset = offset
        self.time = time
        self.lag = lag
    }
}

public enum LagRules {
    /// Commits that a complete window holds.
    public static let window = 10

    /// - Parameters:
    ///   - samples: the latest commits, oldest first.
    ///   - ends: ends of the log, as they were known at the samples.
    ///   - now: milliseconds since the Unix epoch.
    public static func status(
        _ samples: [LagSample], currentLag: Int64, ends: [Int64], now: Int64, allowedLag: Int64 = 0,
        windowMin: Int = window
    ) -> LagStatus {
        guard samples.count >= windowMin, let first = samples.first, let last = samples.last else { return .ok }
        if currentLag <= allowedLag { return .ok }
        let reachedEnd = ends.contains { $0 <= last.offset }
        if now - last.time > last.time - first.time, !reachedEnd { return .stop }
        if isRewound(samples) { return .rewind }
        let lags = samples.compactMap(\.lag)
        guard lags.allSatisfy({ $0 > allowedLag }) else { return .ok }
        if samples.allSatisfy({ $0.offset == first.offset }) { return .stall }
        return zip(lags, lags.dropFirst()).contains { $0 > $1 } ? .ok : .warn
    }

    /// Whether an offset fell and never came back to where it was.
    private static func isRewound(_ samples: [LagSample]) -> Bool {
        for index in samples.indices.dropFirst() where samples[index].offset < samples[index - 1].offset {
            let before = samples[index - 1].offset
            if !samples[index...].contains(where: { $0.offset >= before }) { return true }
        }
        return false
    }
}

/// The commits and log ends of one partition of one group.
public struct LagHistory: Sendable, Codable, Equatable {
    /// Ends of the log that are kept to tell a lag in time.
    static let endsMax = 600

    private struct End: Codable, Equatable, Sendable {
        var time: Int64
        var offset: Int64
    }

    private var samples: [LagSample] = []
    private var ends: [End] = []
    public private(set) var lag: Int64 = 0
    private var committed: Int64 = 0

    public init() {}

    /// Takes what the brokers say now.
    /// - Parameters:
    ///   - committed: the group's next offset; nil when it has none, which counts as the log's beginning.
    ///   - now: milliseconds since the Unix epoch.
    public mutating func take(committed: Int64?, low: Int64, high: Int64, now: Int64) {
        let next = max(committed ?? low, low)
        self.committed = next
        lag = max(0, high - next)
        if next != samples.last?.offset || samples.isEmpty || lag == 0 {
            samples.append(LagSample(offset: next, time: now, lag: lag))
            if samples.count > LagRules.window { samples.removeFirst() }
        }
        if high != ends.last?.offset { ends.append(End(time: now, offset: high)) }
        // The older half is thinned out, so that a lag of hours can still be told.
        if ends.count > Self.endsMax {
            let half = ends.count / 2
            ends = ends[..<half].enumerated().filter { $0.offset.isMultiple(of: 2) }.map(\.element) + ends[half...]
        }
    }

    /// How long the first record not yet committed has been in the log, in milliseconds; at most the time of watching.
    public func lagMilliseconds(now: Int64) -> Int64 {
        guard lag > 0 else { return 0 }
        let arrival = ends.first { $0.offset > committed }?.time ?? ends.last?.time ?? now
        return max(0, now - arrival)
    }

    public func status(now: Int64) -> LagStatus {
        LagRules.status(samples, currentLag: lag, ends: ends.suffix(LagRules.window).map(\.offset), now: now)
    }
}
