// embedded-broker: a Kafka broker for one machine. At present librdkafka's mock cluster: memory only.

import ArgumentParser
import Foundation
import Kafka

@main
struct Program: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "embedded-broker",
        abstract: "Serves the Kafka protocol on 127.0.0.1, keeping its records in memory.",
        discussion: """
            The address for clients (bootstrap.servers) goes to the address file once the broker accepts clients. Each
            start is a new, empty cluster. A partition keeps at most 5 MiB or 100,000 records.

            Example: embedded-broker --address-file /tmp/address --topic penstock.housing.inputs:4
            """)

    @Option(help: ArgumentHelp("File to write the address to.", valueName: "path"))
    var addressFile: String

    @Option(help: ArgumentHelp("Topic to make, with its partitions; may be repeated.", valueName: "name:partitions"))
    var topic: [Topic] = []

    @Flag(help: "End when standard input ends, that is when the process that started this one ends.")
    var exitWithParent = false

    struct Topic: ExpressibleByArgument {
        var name: String
        var partitions: Int

        init?(argument: String) {
            guard let colon = argument.lastIndex(of: ":"), colon > argument.startIndex,
                let partitions = Int(argument[argument.index(after: colon)...]), (1...1_000).contains(partitions)
            else { return nil }
            name = String(argument[..<colon])
            self.partitions = partitions
        }
    }

    mutating func run() throws {
        // Blocked before librdkafka makes its threads, which inherit it: only `sigwait` below takes them.
        var signals = sigset_t()
        sigemptyset(&signals)
        for number in [SIGTERM, SIGINT, SIGHUP] { sigaddset(&signals, number) }
        pthread_sigmask(SIG_BLOCK, &signals, nil)
        signal(SIGPIPE, SIG_IGN)
        do {
            let cluster = try MockCluster()
            for topic in topic { try cluster.createTopic(topic.name, partitions: topic.partitions) }
            try write("\(cluster.bootstrapServers)\n", to: addressFile)
            if exitWithParent { endWithParent() }
            var number: Int32 = 0
            while sigwait(&signals, &number) != 0 {}
            // The mock cluster must live until here.
            withExtendedLifetime(cluster) {}
        } catch {
            FileHandle.standardError.write(Data("embedded-broker: \(error)\n".utf8))
            throw ExitCode(1)
        }
    }

    /// Written beside and renamed, so that a reader sees a whole address or none.
    private func write(_ text: String, to path: String) throws {
        let temporary = "\(path).new"
        guard FileManager.default.createFile(atPath: temporary, contents: Data(text.utf8)), rename(temporary, path) == 0
        else {
            throw ValidationError(
                "cannot write the address file \(path): \(String(cString: strerror(errno))); name a writable place")
        }
    }

    private func endWithParent() {
        let thread = Thread {
            var byte: UInt8 = 0
            while true {
                let count = read(0, &byte, 1)
                if count > 0 || (count < 0 && errno == EINTR) { continue }
                kill(getpid(), SIGTERM)
                return
            }
        }
        thread.stackSize = 128 << 10
        thread.start()
    }
}
