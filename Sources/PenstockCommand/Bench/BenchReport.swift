// BenchReport: what `penstock bench` measured, as text and JSON.

/// Percentiles, milliseconds.
struct LatencySummary: Encodable, Equatable {
    var hop: String
    var count: Int
    var p50: Double
    var p90: Double
    var p99: Double
    var p999: Double
    var max: Double

    /// - Parameter microseconds: in any order; nil when there are none.
    init?(hop: String, microseconds: [Int64]) {
        guard !microseconds.isEmpty else { return nil }
        let sorted = microseconds.sorted()
        /// Nearest rank.
        func percentile(_ share: Double) -> Double {
            let rank = Int((share * Double(sorted.count)).rounded(.up))
            return Double(sorted[Swift.min(Swift.max(rank, 1), sorted.count) - 1]) / 1_000
        }
        self.hop = hop
        count = sorted.count
        (p50, p90, p99, p999) = (percentile(0.5), percentile(0.9), percentile(0.99), percentile(0.999))
        max = percentile(1)
    }

    static func table(_ rows: [LatencySummary]) -> String {
        var table = Table(
            .left("hop"), .right("p50"), .right("p90"), .right("p99"), .right("p99.9"), .right("max"))
        for row in rows {
            table.add(
                cells: [row.hop] + [row.p50, row.p90, row.p99, row.p999, row.max].map { Numbers.decimal($0, 2) })
        }
        return table.text
    }
}

struct BenchReport: Encodable {
    struct Cost: Encodable {
        var process: String
        /// User and system time.
        var cpuSecondsPerMillion: Double
        /// Of a process with children (PostgreSQL): the largest one's.
        var peakResidentBytes: Int64
    }

    struct Throughput: Encodable {
        var events: Int
        var window: Int
        /// From the first publication until the last row was stored.
        var seconds: Double
        var eventsPerSecond: Double
        var rows: Int
        var costs: [Cost]
        /// Of ingest, transform and inference: from the input topic to the prediction.
        var threeHopCPUSecondsPerMillion: Double
        var totalCPUSecondsPerMillion: Double
    }

    struct Latency: Encodable {
        var rate: Double
        var events: Int
        var costs: [Cost]
        var hops: [LatencySummary]
        /// How late the publisher itself was against the schedule; part of the latencies, as it should be.
        var publisherLateness: LatencySummary?
    }

    /// Consuming and producing with the same client, and nothing in between: what no stage can undercut.
    struct Baseline: Encodable {
        var records: Int
        var seconds: Double
        var recordsPerSecond: Double
        var cpuSecondsPerMillion: Double
    }

    /// One profile on one stack.
    struct Run: Encodable {
        var profile: String
        var throughput: Throughput?
        var latencies: [Latency]
        var baseline: Baseline?
    }

    var machine: MachineFacts
    var pipeline: String
    var format: String
    var partitions: Int
    var instances: Int
    var settings: [String]
    var runs: [Run]

    func show() {
        Console.heading("Machine")
        Console.print(machine.text)
        Console.print(
            "pipeline \(pipeline), \(format), \(partitions) partitions, "
                + "\(instances) of each consumer, ordered keys"
                + (settings.isEmpty ? "" : ", \(settings.joined(separator: " "))"))
        for run in runs { show(run) }
    }

    private func show(_ run: Run) {
        if let throughput = run.throughput {
            Console.heading("Profile \(run.profile): throughput, as fast as the path takes events")
            Console.print(
                "\(Numbers.grouped(Int(throughput.eventsPerSecond))) events a second: "
                    + "\(Numbers.grouped(throughput.events)) from the first publication to the last of "
                    + "\(Numbers.grouped(throughput.rows)) rows in \(Numbers.decimal(throughput.seconds, 2)) s; "
                    + "at most \(Numbers.grouped(throughput.window)) on the way")
            Console.print(
                "CPU seconds per million events: \(Numbers.decimal(throughput.threeHopCPUSecondsPerMillion, 2)) for the "
                    + "three Kafka hops, \(Numbers.decimal(throughput.totalCPUSecondsPerMillion, 2)) in all")
            Self.show(throughput.costs)
        }
        if let baseline = run.baseline {
            Console.print(
                "Pass-through baseline (consume and produce, no work): "
                    + "\(Numbers.grouped(Int(baseline.recordsPerSecond))) records a second, "
                    + "\(Numbers.decimal(baseline.cpuSecondsPerMillion, 2)) CPU seconds per million in this process")
        }
        for latency in run.latencies {
            Console.heading(
                "Profile \(run.profile): latency at \(Numbers.decimal(latency.rate, 0)) events a second, milliseconds")
            Console.print(
                "\(Numbers.grouped(latency.events)) events, open loop: each counts from the moment it was due")
            Console.print(LatencySummary.table(latency.hops + (latency.publisherLateness.map { [$0] } ?? [])))
            Self.show(latency.costs)
        }
    }

    private static func show(_ costs: [Cost]) {
        var table = Table(.left("process"), .right("CPU s per million"), .right("peak resident"))
        for cost in costs {
            table.add(
                cost.process, Numbers.decimal(cost.cpuSecondsPerMillion, 2), Numbers.bytes(cost.peakResidentBytes))
        }
        Console.print(table.text)
    }
}
