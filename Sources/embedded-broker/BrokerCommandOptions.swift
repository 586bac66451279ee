// BrokerCommandOptions: the options of the command, checked.

import ArgumentParser
import EmbeddedBroker
import EmbeddedLog

/// A topic to make at the start.
struct TopicOption: ExpressibleByArgument {
    var name: String
    var partitions: Int?
    var settings: [String: String] = [:]

    /// `NAME`, `NAME:PARTITIONS` or `NAME:PARTITIONS:SETTING=VALUE[,…]`.
    init?(argument: String) {
        let parts = argument.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
        guard let name = parts.first, !name.isEmpty else { return nil }
        self.name = String(name)
        guard parts.count >= 2 else { return }
        guard let partitions = Int(parts[1]), (1...10_000).contains(partitions) else { return nil }
        self.partitions = partitions
        guard parts.count == 3 else { return }
        for setting in parts[2].split(separator: ",", omittingEmptySubsequences: false) {
            guard let mark = setting.firstIndex(of: "="), mark > setting.startIndex else { return nil }
            settings[String(setting[..<mark])] = String(setting[setting.index(after: mark)...])
        }
    }
}

/// `none`, `group` or `interval:MILLISECONDS`.
struct FsyncOption: ExpressibleByArgument {
    var policy: FlushPolicy

    init(policy: FlushPolicy) { self.policy = policy }

    init?(argument: String) {
        let parts = argument.split(separator: ":")
        switch (parts.first, parts.count) {
        case ("none", 1): policy = .none
        case ("group", 1): policy = .groupCommit
        case ("interval", 2):
            guard let milliseconds = Int(parts[1]), (1...3_600_000).contains(milliseconds) else { return nil }
            policy = .interval(milliseconds: milliseconds)
        default: return nil
        }
    }

    var defaultValueDescription: String {
        switch policy {
        case .none: "none"
        case .groupCommit: "group"
        case .interval(let milliseconds): "interval:\(milliseconds)"
        }
    }
}

/// `HOST:PORT`.
struct ListenOption: ExpressibleByArgument {
    var host: String
    var port: Int

    init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    init?(argument: String) {
        guard let colon = argument.lastIndex(of: ":"), let port = Int(argument[argument.index(after: colon)...]),
            (0...65_535).contains(port)
        else { return nil }
        var host = argument[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        guard !host.isEmpty else { return nil }
        self.host = String(host)
        self.port = port
    }

    var defaultValueDescription: String { "\(host):\(port)" }
}

struct BrokerCommandOptions: ParsableArguments {
    @Option(name: .long, help: "File that gets the bootstrap servers once they listen; written in one piece.")
    var addressFile: String

    @Option(name: .long, help: "Data directory of the log; made if it is missing, locked while the broker runs.")
    var data: String?

    @Option(name: .long, help: ArgumentHelp("Where to listen; port 0 takes a free one.", valueName: "host:port"))
    var listen = ListenOption(host: "127.0.0.1", port: 0)

    @Option(name: .long, help: "Host name that clients are told to connect to.")
    var advertisedHost: String?

    @Option(
        name: .customLong("topic"),
        help: ArgumentHelp(
            "Topic to make at the start, with its partitions and settings (cleanup.policy=compact).",
            valueName: "name[:partitions[:setting=value,…]]"))
    var topics: [TopicOption] = []

    @Option(name: .long, help: "Partitions of topics made without a number.")
    var defaultPartitions: Int = 4

    @Option(name: .long, help: "When records are forced to the disk: none, group (before each answer), interval:MS.")
    var fsync = FsyncOption(policy: .none)

    @Option(name: .long, help: "Whether a topic is made when a client asks for it.")
    var autoCreate = true

    @Option(name: .long, help: "Hours that topics keep records unless their settings say otherwise; -1 for ever.")
    var retention: Int = 168

    @Option(name: .long, help: "Port of /livez, /readyz and /metrics on 127.0.0.1; 0 takes a free one.")
    var healthPort: Int?

    @Flag(name: .long, help: "Stop when the process that started this one ends.")
    var exitWithParent = false

    @Flag(name: .long, help: "Serve librdkafka's mock cluster instead: memory only, a few MiB a partition.")
    var inMemoryMock = false

    @Option(name: .long, help: "Number of brokers of the mock cluster.")
    var brokers: Int = 1

    @Option(name: .long, help: ArgumentHelp("File with faults for tests, one a line.", visibility: .hidden))
    var faults: String?

    func validate() throws {
        guard (1...10_000).contains(defaultPartitions) else {
            throw ValidationError("--default-partitions must be 1 to 10000, not \(defaultPartitions).")
        }
        guard (1...16).contains(brokers) else { throw ValidationError("--brokers must be 1 to 16, not \(brokers).") }
        guard retention == -1 || (1...1_000_000).contains(retention) else {
            throw ValidationError("--retention must be -1 or 1 to 1000000 hours, not \(retention).")
        }
        let names = topics.map(\.name)
        guard Set(names).count == names.count else { throw ValidationError("A --topic is named twice: \(names).") }
        guard inMemoryMock || data != nil else {
            throw ValidationError("--data is missing: the directory that keeps the log (or --in-memory-mock).")
        }
    }

    func brokerOptions() throws -> BrokerOptions {
        guard let data else { throw ValidationError("--data is missing.") }
        var options = BrokerOptions(directory: data)
        options.host = listen.host
        options.port = listen.port
        options.advertisedHost = advertisedHost
        options.defaultPartitions = defaultPartitions
        options.autoCreatesTopics = autoCreate
        options.store.flushPolicy = fsync.policy
        let milliseconds = retention == -1 ? -1 : Int64(retention) * 3_600_000
        options.store.topicDefaults["retention.ms"] = "\(milliseconds)"
        return options
    }
}
