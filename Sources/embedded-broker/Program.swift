// embedded-broker: a Kafka broker in a process of its own, for one machine without a cluster.

import ArgumentParser
import Glibc
import Kafka
import Logging
import Observability
import ProcessControl

@main
struct Program: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "embedded-broker",
        abstract: "Serves the Kafka protocol on loopback, in memory.",
        discussion: """
            Stands in for a Kafka cluster on one machine: librdkafka's mock cluster in its own process. Each partition \
            keeps at most 5 MiB or 100,000 records; everything is gone when the process ends. Consumers need nothing \
            but the address.

            Example: embedded-broker --address-file run/kafka.address --topic penstock.housing.inputs:4
            """)

    /// A topic to make at the start.
    struct TopicOption: ExpressibleByArgument {
        var name: String
        var partitions: Int?

        /// `NAME` or `NAME:PARTITIONS`.
        init?(argument: String) {
            let parts = argument.split(separator: ":", omittingEmptySubsequences: false)
            guard let name = parts.first, !name.isEmpty, parts.count <= 2 else { return nil }
            self.name = String(name)
            guard parts.count == 2 else { return }
            guard let partitions = Int(parts[1]), (1...10_000).contains(partitions) else { return nil }
            self.partitions = partitions
        }
    }

    @Option(name: .long, help: "File that gets the bootstrap servers once they listen; written in one piece.")
    var addressFile: String

    @Option(
        name: .customLong("topic"),
        help: ArgumentHelp("Topic to make at the start, with its partitions.", valueName: "name[:partitions]"))
    var topics: [TopicOption] = []

    @Option(name: .long, help: "Partitions of a --topic given without a number. (Topics made by use have 4.)")
    var defaultPartitions: Int = 4

    @Option(name: .long, help: "Number of brokers.")
    var brokers: Int = 1

    @Flag(name: .long, help: "Stop when the process that started this one ends.")
    var exitWithParent = false

    func validate() throws {
        guard (1...10_000).contains(defaultPartitions) else {
            throw ValidationError("--default-partitions must be 1 to 10000, not \(defaultPartitions).")
        }
        guard (1...16).contains(brokers) else { throw ValidationError("--brokers must be 1 to 16, not \(brokers).") }
        let names = topics.map(\.name)
        guard Set(names).count == names.count else { throw ValidationError("A --topic is named twice: \(names).") }
    }

    /// Wrong use ends with 2, as everywhere in Penstock.
    static func main() {
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch {
            let code = exitCode(for: error)
            guard code == .validationFailure else { exit(withError: error) }
            var standardError = StandardError()
            print(fullMessage(for: error), to: &standardError)
            Glibc.exit(2)
        }
    }

    mutating func run() throws {
        // Before any other thread exists, so that the signals reach only `wait`.
        let signals = TerminationSignals()
        ProcessControl.ignoreBrokenPipe()
        StructuredLogHandler.bootstrap(component: "embedded-broker", level: .info)
        let logger = Logger(label: "embedded-broker")
        if exitWithParent, !ProcessControl.exitWithParent() { return }
        do {
            let cluster = try MockCluster(brokerCount: brokers)
            for topic in topics {
                try cluster.createTopic(topic.name, partitions: topic.partitions ?? defaultPartitions)
            }
            try AtomicFile.write(cluster.bootstrapServers, to: addressFile)
            logger.info(
                "Broker listens",
                metadata: [
                    LogKey.bootstrapServers: "\(cluster.bootstrapServers)", LogKey.path: "\(addressFile)",
                    LogKey.processID: .stringConvertible(getpid()),
                ])
            let signal = signals.wait()
            logger.info("Broker stops", metadata: [LogKey.signal: .stringConvertible(signal)])
            // Keeps the cluster until here.
            withExtendedLifetime(cluster) {}
        } catch {
            logger.error("Broker failed", metadata: [LogKey.error: "\(error)"])
            throw ExitCode.failure
        }
    }
}

/// Standard error as a text stream.
private struct StandardError: TextOutputStream {
    mutating func write(_ text: String) { StructuredLogHandler.writeToStandardError(Array(text.utf8)) }
}
