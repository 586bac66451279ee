// embedded-broker: a Kafka broker in a process of its own, for one machine without a cluster.

import ArgumentParser
import EmbeddedBroker
import FoundationEssentials
import Glibc
import Kafka
import Logging
import Observability
import ProcessControl

@main
struct Program: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "embedded-broker",
        abstract: "Serves a durable log over the Kafka protocol, on a single node.",
        discussion: """
            Stands in for a Kafka cluster on one machine: a durable log that any Kafka client can use, without \
            replication. Records, group offsets and transactions survive a restart and a killed process; with \
            --fsync group they survive a power loss too. Consumers need nothing but the address.

            Example: embedded-broker --data var/log --address-file run/kafka.address --topic penstock.housing.inputs:4
            """)

    @OptionGroup var options: BrokerCommandOptions

    /// Wrong use ends with 2, as everywhere in Penstock.
    static func main() async {
        do {
            guard var command = try parseAsRoot() as? Program else { throw CleanExit.helpRequest() }
            try await command.run()
        } catch {
            let code = exitCode(for: error)
            guard code == .validationFailure else { exit(withError: error) }
            var standardError = StandardError()
            print(fullMessage(for: error), to: &standardError)
            Glibc.exit(2)
        }
    }

    mutating func run() async throws {
        // Before any other thread exists, so that the signals reach only `wait`.
        let signals = TerminationSignals()
        ProcessControl.ignoreBrokenPipe()
        StructuredLogHandler.bootstrap(component: "embedded-broker", level: .info)
        let logger = Logger(label: "embedded-broker")
        if options.exitWithParent, !ProcessControl.exitWithParent() { return }
        do {
            if options.inMemoryMock {
                try runMock(signals, logger)
            } else {
                try await runLog(signals, logger)
            }
        } catch {
            logger.error("Broker failed", metadata: [LogKey.error: "\(error)"])
            throw ExitCode.failure
        }
    }

    /// The durable log.
    private func runLog(_ signals: TerminationSignals, _ logger: Logger) async throws {
        let broker = try await EmbeddedBroker.start(try options.brokerOptions(), logger: logger)
        do {
            for topic in options.topics {
                try await broker.createTopic(
                    topic.name, partitions: topic.partitions ?? options.defaultPartitions, settings: topic.settings)
            }
            if let path = options.faults { injectFaults(of: path, into: broker, logger) }
            try AtomicFile.write(broker.bootstrapServers, to: options.addressFile)
            try await serve(signals, logger, address: broker.bootstrapServers)
        } catch {
            await broker.stop()
            throw error
        }
        await broker.stop()
    }

    private func serve(_ signals: TerminationSignals, _ logger: Logger, address: String) async throws {
        var health: HealthServer?
        if let port = options.healthPort {
            let state = HealthState()
            state.markReady()
            health = try await HealthServer.start(port: port, health: state, metrics: MetricsRegistry())
        }
        logStart(logger, address)
        let signal = await Self.wait(for: signals)
        logger.info("Broker stops", metadata: [LogKey.signal: .stringConvertible(signal)])
        await health?.shutdown()
    }

    /// Waits on a thread of its own: the pool's threads must not block.
    private static func wait(for signals: TerminationSignals) async -> Int32 {
        await withCheckedContinuation { continuation in
            Threads.start(named: "signals") { continuation.resume(returning: signals.wait()) }
        }
    }

    private func logStart(_ logger: Logger, _ address: String) {
        logger.info(
            "Broker listens",
            metadata: [
                LogKey.bootstrapServers: "\(address)", LogKey.path: "\(options.addressFile)",
                LogKey.processID: .stringConvertible(getpid()),
            ])
    }

    private func injectFaults(of path: String, into broker: EmbeddedBroker, _ logger: Logger) {
        let text = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
        for line in broker.faults.add(controlText: text) {
            logger.warning("Fault not understood", metadata: [LogKey.setting: "\(line)"])
        }
    }

    /// librdkafka's mock cluster: memory only, for tests that want its error injection.
    private func runMock(_ signals: TerminationSignals, _ logger: Logger) throws {
        let cluster = try MockCluster(brokerCount: options.brokers)
        for topic in options.topics {
            try cluster.createTopic(topic.name, partitions: topic.partitions ?? options.defaultPartitions)
        }
        try AtomicFile.write(cluster.bootstrapServers, to: options.addressFile)
        logStart(logger, cluster.bootstrapServers)
        let signal = signals.wait()
        logger.info("Broker stops", metadata: [LogKey.signal: .stringConvertible(signal)])
        // Keeps the cluster until here.
        withExtendedLifetime(cluster) {}
    }
}

/// Standard error as a text stream.
private struct StandardError: TextOutputStream {
    mutating func write(_ text: String) { StructuredLogHandler.writeToStandardError(Array(text.utf8)) }
}
