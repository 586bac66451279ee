// broker-benchmark: what embedded-broker does with a librdkafka client on the same machine.

import ArgumentParser
import FoundationEssentials
import Glibc
import Kafka
import ProcessControl

@main
struct Program: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "broker-benchmark",
        abstract: "Measures embedded-broker with librdkafka as its client: throughput, latency, memory, restart.",
        discussion: """
            Starts embedded-broker with an empty data directory and is its only client, so that CPU time falls into two \
            processes. Records go in with acks=all in uncompressed batches, come out again as a whole, and the broker is \
            then stopped and killed to time its restarts. Build in release configuration.

            Example: broker-benchmark --records 7000000 --output json
            """)

    @OptionGroup var options: BenchmarkOptions

    /// Wrong use ends with 2, as everywhere in Penstock.
    static func main() {
        do {
            guard var command = try parseAsRoot() as? Program else { throw CleanExit.helpRequest() }
            try command.run()
        } catch {
            let code = exitCode(for: error)
            guard code == .validationFailure else { exit(withError: error) }
            let text = Array((fullMessage(for: error) + "\n").utf8)
            _ = Glibc.write(STDERR_FILENO, text, text.count)
            Glibc.exit(2)
        }
    }

    mutating func run() throws {
        ProcessControl.ignoreBrokenPipe()
        var report = Report(options: options)
        for policy in options.fsync {
            report.runs.append(try Self.measure(policy, options))
        }
        switch options.output {
        case .text: print(report.text)
        case .json:
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            print(String(decoding: try encoder.encode(report), as: UTF8.self))
        }
    }

    /// All figures of one flush policy, in a data directory of its own.
    private static func measure(_ policy: String, _ options: BenchmarkOptions) throws -> Report.Run {
        var broker = try BrokerUnderTest(executable: try options.brokerPath(), parent: options.data, fsync: policy)
        defer { broker.remove() }
        try broker.start(partitions: options.partitions)
        var run = Report.Run(fsync: policy)
        let load = Load(broker: broker, options: options)
        try load.warmUp()
        if options.records > 0 {
            run.produce = try load.produce()
            run.fetch = try load.fetch()
            run.logBytes = broker.logBytes
        }
        run.brokerPeakResidentBytes = broker.usage.peakResidentBytes
        if options.seconds > 0 { run.latency = try load.latency() }
        if options.records > 0, options.restarts { run.restart = try broker.measureRestarts() }
        return run
    }
}

enum OutputFormat: String, ExpressibleByArgument, CaseIterable { case text, json }

struct BenchmarkOptions: ParsableArguments {
    @Option(name: .long, help: "Records to send and read back; 0 leaves the throughput out.")
    var records = 7_000_000

    @Option(name: .long, help: "Bytes of each record's value.")
    var size = 300

    @Option(name: .long, help: "Records in a batch.")
    var batch = 100

    @Option(name: .long, help: "Partitions of the topic.")
    var partitions = 4

    @Option(name: .long, help: "Consumers that share the partitions when the log is read back, each with a thread.")
    var consumers = 2

    @Option(name: .long, help: "Flush policies to measure, each with an empty log: none, group, interval:MS.")
    var fsync = ["none", "group"]

    @Flag(name: .long, help: "Send as an idempotent producer.")
    var idempotent = false

    @Option(name: .long, help: "Records a second in the latency measurement.")
    var rate = 1_000

    @Option(name: .long, help: "Length of the latency measurement; 0 leaves it out.")
    var seconds = 10

    @Flag(name: .long, inversion: .prefixedNo, help: "Time restarts after a stop and after a kill.")
    var restarts = true

    @Option(
        name: .long,
        help: "Directory that gets the data directory, which is removed at the end; on the disk to measure.")
    var data = "/var/tmp"

    @Option(name: .long, help: "The broker's executable; default: the one beside this program.")
    var broker: String?

    @Option(name: .long, help: "text or json.")
    var output = OutputFormat.text

    func validate() throws {
        guard (0...1_000_000_000).contains(records) else {
            throw ValidationError("--records must be 0 to 1000000000, not \(records).")
        }
        guard (16...1_000_000).contains(size) else {
            throw ValidationError("--size must be 16 to 1000000 bytes, not \(size).")
        }
        guard (1...100_000).contains(batch), (batch * (size + 32)) < 1_000_000 else {
            throw ValidationError("--batch times --size must stay under the 1 MB that a batch may hold.")
        }
        guard (1...1_000).contains(partitions) else {
            throw ValidationError("--partitions must be 1 to 1000, not \(partitions).")
        }
        guard (1...partitions).contains(consumers) else {
            throw ValidationError("--consumers must be 1 to the number of partitions, not \(consumers).")
        }
        guard (1...100_000).contains(rate), (0...3_600).contains(seconds) else {
            throw ValidationError("--rate must be 1 to 100000 a second, --seconds 0 to 3600.")
        }
    }

    func brokerPath() throws -> String {
        if let broker { return broker }
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let length = readlink("/proc/self/exe", &buffer, buffer.count)
        let own = String(decoding: buffer.prefix(max(0, length)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let path =
            own.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
            + "/embedded-broker"
        guard access(path, X_OK) == 0 else {
            throw ValidationError("\(path) is missing: build it, or name it with --broker.")
        }
        return path
    }
}
