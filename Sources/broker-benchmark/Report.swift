// Report: what was measured, as text and JSON.

import FoundationEssentials
import Glibc
import Kafka

struct Report: Encodable {
    /// CPU of one process during a phase.
    struct Cost: Encodable {
        var cpuSeconds: Double
        /// CPU seconds per second.
        var cores: Double
        var cpuSecondsPerMillion: Double
        var busiestThread: String
        /// 1.0: this thread is what limits.
        var busiestThreadCores: Double
    }

    struct Throughput: Encodable {
        var records: Int
        var seconds: Double
        var recordsPerSecond: Double
        var broker: Cost
        var client: Cost
    }

    /// Milliseconds from the moment a record was due to be sent until the consumer had it.
    struct Latency: Encodable {
        var recordsPerSecond: Int
        var records: Int
        var p50: Double
        var p99: Double
        var p999: Double
        var max: Double
        var broker: Cost
        var client: Cost
    }

    struct Restart: Encodable {
        var logBytes: Int64
        /// SIGTERM to exit.
        var stopSeconds: Double
        /// Start to listening after a clean stop.
        var cleanSeconds: Double
        /// The same after SIGKILL, with the log in the page cache.
        var killedSeconds: Double
        /// The same with the log on the disk only.
        var killedColdSeconds: Double
        var killedSecondsPerGigabyte: Double
        var killedColdSecondsPerGigabyte: Double
    }

    struct Run: Encodable {
        var fsync: String
        var produce: Throughput?
        var fetch: Throughput?
        var logBytes: Int64 = 0
        var brokerPeakResidentBytes: Int64 = 0
        var latency: Latency?
        var restart: Restart?

        init(fsync: String) { self.fsync = fsync }
    }

    var processor: String
    var processors: Int
    /// One-minute load average before the run: other work on the machine.
    var loadBefore: Double
    var librdkafka: String
    var build: String
    var recordBytes: Int
    var recordsPerBatch: Int
    var partitions: Int
    var consumers: Int
    var isIdempotent: Bool
    var runs: [Run] = []

    init(options: BenchmarkOptions) {
        let model = ProcessUsage.text("/proc/cpuinfo").split(separator: "\n").first { $0.hasPrefix("model name") }
        processor = model?.split(separator: ":", maxSplits: 1).last.map { $0.drop { $0 == " " } }.map(String.init) ?? ""
        processors = Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))
        loadBefore = ProcessUsage.text("/proc/loadavg").split(separator: " ").first.flatMap { Double($0) } ?? 0
        librdkafka = KafkaConfiguration.libraryVersion
        #if DEBUG
            build = "debug"
        #else
            build = "release"
        #endif
        recordBytes = options.size
        recordsPerBatch = options.batch
        partitions = options.partitions
        consumers = options.consumers
        isIdempotent = options.idempotent
    }

    var text: String {
        var lines = [
            "\(processor), \(processors) processors, load before \(decimal(loadBefore)), librdkafka \(librdkafka), "
                + "\(build) build",
            "\(recordBytes)-byte records, batches of \(recordsPerBatch), \(partitions) partitions, "
                + "\(consumers) consumers, acks=all"
                + (isIdempotent ? ", idempotent" : ""),
        ]
        for run in runs { lines += text(of: run) }
        return lines.joined(separator: "\n")
    }

    private func text(of run: Run) -> [String] {
        var lines = ["", "fsync \(run.fsync)"]
        for (name, phase) in [("in ", run.produce), ("out", run.fetch)] {
            guard let phase else { continue }
            lines.append(
                "  \(name) \(Int(phase.recordsPerSecond)) records/s (\(phase.records) in \(decimal(phase.seconds)) s); "
                    + "broker \(text(phase.broker)); client \(text(phase.client))")
        }
        if let latency = run.latency {
            lines.append(
                "  produce to fetch at \(latency.recordsPerSecond)/s: p50 \(decimal(latency.p50)), "
                    + "p99 \(decimal(latency.p99)), p99.9 \(decimal(latency.p999)), max \(decimal(latency.max)) ms")
        }
        if run.logBytes > 0 {
            lines.append(
                "  log \(run.logBytes >> 20) MiB; broker's peak resident \(run.brokerPeakResidentBytes >> 20) MiB")
        }
        if let restart = run.restart {
            lines.append(
                "  stop \(decimal(restart.stopSeconds)) s; start \(decimal(restart.cleanSeconds)) s after a stop, "
                    + "\(decimal(restart.killedSeconds)) s after a kill "
                    + "(\(decimal(restart.killedSecondsPerGigabyte)) s/GB), \(decimal(restart.killedColdSeconds)) s "
                    + "with a cold cache (\(decimal(restart.killedColdSecondsPerGigabyte)) s/GB)")
        }
        return lines
    }

    private func text(_ cost: Cost) -> String {
        "\(decimal(cost.cpuSecondsPerMillion)) CPU s/M, \(decimal(cost.cores)) cores "
            + "(\(cost.busiestThread) \(decimal(cost.busiestThreadCores)))"
    }

    private func decimal(_ value: Double) -> String {
        let hundredths = Int((value * 100).rounded())
        let fraction = "\(hundredths % 100)"
        return "\(hundredths / 100).\(fraction.count < 2 ? "0" : "")\(fraction)"
    }
}
