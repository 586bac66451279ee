// StageOptions: the command line that every consumer shares; each option can come from the environment too.

public import ArgumentParser

/// Options of a consumer. What the command line leaves out is taken from `PENSTOCK_<OPTION>`; see `StageConfiguration`.
public struct StageOptions: ParsableArguments {
    @Option(help: "Folder or pipeline.yaml of the pipeline's contract. [PENSTOCK_PIPELINE]")
    public var pipeline: String?

    @Option(help: "Kafka brokers to start from: host:port, separated by commas. [PENSTOCK_BOOTSTRAP_SERVERS]")
    public var bootstrapServers: String?

    @Option(help: "Consumer group; <prefix>.<pipeline>.<stage> unless given. [PENSTOCK_GROUP]")
    public var group: String?

    @Option(
        help: """
            Slot of this process within the group, the same after each restart and unlike any other's; the lowest free \
            <host>-<n> unless given. [PENSTOCK_INSTANCE]
            """)
    public var instance: String?

    @Option(
        help: "Folder of the files that claim slots; /tmp/penstock-slots-<user> unless given. [PENSTOCK_SLOT_DIRECTORY]"
    )
    public var slotDirectory: String?

    @Option(help: "Folder with the fitted transform and the model, instead of the pipeline's. [PENSTOCK_ARTIFACTS]")
    public var artifacts: String?

    @Option(
        help: """
            Delivery profile: exact (each record once in every topic, by transactions; the default) or latency (once in \
            PostgreSQL, perhaps more often in topics after a crash). [PENSTOCK_PROFILE]
            """)
    public var profile: String?

    @Option(help: "Where a partition without a stored offset starts: earliest or latest. [PENSTOCK_START]")
    public var start: String?

    @Option(help: "When the log lost unprocessed records: continue (with an alarm) or stop. [PENSTOCK_ON_LOST_RANGE]")
    public var onLostRange: String?

    @Option(help: "Seconds to wait at start for brokers, topics and PostgreSQL, 1 to 3600. [PENSTOCK_START_TIMEOUT]")
    public var startTimeout: Int?

    @Option(help: "Address of /livez, /readyz and /metrics; 127.0.0.1 unless given. [PENSTOCK_HEALTH_ADDRESS]")
    public var healthAddress: String?

    @Option(help: "Port of the health pages; 0, the default, takes a free one. [PENSTOCK_HEALTH_PORT]")
    public var healthPort: Int?

    @Option(help: "File that gets the bound health port, written in one piece. [PENSTOCK_HEALTH_PORT_FILE]")
    public var healthPortFile: String?

    @Option(
        name: .customLong("set"),
        help: ArgumentHelp(
            """
            librdkafka setting: kafka.<name>=<value> for both clients, kafka.consumer.<name> or kafka.producer.<name> for \
            one. Repeat it. Secrets belong in the environment: PENSTOCK_KAFKA_SASL_PASSWORD sets sasl.password.
            """, valueName: "kafka.name=value"))
    public var settings: [String] = []

    @Option(help: "trace, debug, info, notice, warning, error or critical. [PENSTOCK_LOG_LEVEL]")
    public var logLevel: String?

    @Flag(help: "Stop when the process that started this one ends. [PENSTOCK_EXIT_WITH_PARENT=1]")
    public var exitWithParent = false

    @Option(name: .customLong("plant-fault"), help: .hidden)
    public var plantedFaults: [String] = []

    @Option(name: .customLong("plant-kill"), help: .hidden)
    public var plantedKill: String?

    @Option(name: .customLong("plant-poison"), help: .hidden)
    public var plantedPoison: String?

    public init() {}

    /// Folders that a consumer writes to: of its slot and of the file with its health port.
    public func writableFolders(environment: [String: String]) -> [String] {
        let source = OptionSource(environment: environment)
        let slots = InstanceSlot.folder(source.value("slot-directory", slotDirectory))
        let portFile = source.value("health-port-file", healthPortFile).map { path in
            guard let slash = path.lastIndex(of: "/") else { return "." }
            return slash == path.startIndex ? "/" : String(path[..<slash])
        }
        return [slots] + (portFile.map { [$0] } ?? [])
    }
}
