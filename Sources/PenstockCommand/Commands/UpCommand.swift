// UpCommand: `penstock up` starts a deployment on this machine, `penstock down` stops it.

import ArgumentParser
import Foundation
import LocalDeployment
import PipelineContract

struct UpOptions: ParsableArguments {
    @OptionGroup var data: DataOption

    @Option(
        help: ArgumentHelp("Pipeline to serve (default: PENSTOCK_PIPELINE, else topics/housing).", valueName: "path"))
    var pipeline: String?

    @Option(
        help: ArgumentHelp(
            "Folder of transform.json and model.onnx (default: PENSTOCK_ARTIFACTS, else as pipeline.yaml says).",
            valueName: "dir"))
    var artifacts: String?

    @Option(help: ArgumentHelp("Use these Kafka brokers instead of the embedded one.", valueName: "host:port,…"))
    var bootstrapServers: String?

    @Option(
        help: ArgumentHelp(
            "Use this PostgreSQL instead of a private one; better given as PENSTOCK_POSTGRES, which others cannot see.",
            valueName: "url"))
    var postgres: String?

    @Option(help: "Instances of each consumer.")
    var instances = 1

    @Flag(help: "Leave out the monitors, the reaction controller and the notifier.")
    var noMonitors = false

    @Option(
        help: "Delivery profile of the consumers: exact or latency (default: exact; latency with --in-memory-mock).")
    var profile: String?

    @Flag(
        help: "Run ingest, transform and inference in one process, whatever the pipeline's key `stages` says.")
    var fused = false

    @Option(help: "Log level of the consumers: trace, debug, info, notice, warning, error.")
    var logLevel = "info"

    @Option(
        help: ArgumentHelp(
            "Setting for every consumer, as kafka.<name>=<value>; may be repeated.", valueName: "setting"))
    var set: [String] = []

    @Option(help: ArgumentHelp("Partitions of the embedded broker's topics, for benchmarks.", visibility: .hidden))
    var partitions: Int?

    @Flag(help: "Use librdkafka's mock cluster as the broker: memory only, a few MiB a partition, new at each start.")
    var inMemoryMock = false

    @Flag(
        help: "Load model.json and its ONNX file, readable on the disk, instead of the sealed model. For development.")
    var unsealedModel = false

    func configuration() throws -> (DeploymentConfiguration, Pipeline) {
        guard (1...64).contains(instances) else { throw CommandFailure.usage("--instances: choose 1 to 64") }
        let environment = ProcessInfo.processInfo.environment
        func chosen(_ option: String?, _ variable: String) -> String? {
            option ?? environment[variable].flatMap { $0.isEmpty ? nil : $0 }
        }
        let path = PipelineLocator.absolute(
            try chosen(pipeline, "PENSTOCK_PIPELINE") ?? PipelineLocator.standard())
        let contract = try PipelineLoader.load(path: path)
        let artifacts = Artifacts(pipeline: contract, override: chosen(artifacts, "PENSTOCK_ARTIFACTS"))
        try artifacts.require(pipelinePath: path, isSealed: !unsealedModel)
        let programs = Programs.directory
        let servers = chosen(bootstrapServers, "PENSTOCK_BOOTSTRAP_SERVERS")
        let broker: any BrokerProvider =
            if let servers {
                ExternalBrokerProvider(servers: servers)
            } else {
                EmbeddedBrokers.provider(
                    isMock: inMemoryMock, executable: "\(programs)/embedded-broker", contract: contract,
                    partitions: partitions)
            }
        var configuration = DeploymentConfiguration(
            data: data.directory, programs: programs, pipeline: path, artifacts: artifacts.directory, broker: broker,
            postgres: chosen(postgres, "PENSTOCK_POSTGRES"))
        configuration.instances = instances
        configuration.hasMonitors = !noMonitors
        if let profile = chosen(profile, "PENSTOCK_PROFILE") {
            guard ["exact", "latency"].contains(profile) else {
                throw CommandFailure.usage("--profile: choose exact or latency")
            }
            configuration.profile = profile
        }
        configuration.fusion = fused ? .fromIngest : contract.fusion
        configuration.logLevel = logLevel
        configuration.settings = set
        if !unsealedModel {
            configuration.sealing = try LocalSealing.configuration(
                data: data.directory, container: artifacts.container)
        }
        return (configuration, contract)
    }
}

struct UpCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "up",
        abstract: "Start broker, PostgreSQL and all consumers on this machine.",
        discussion: """
            Returns when every process is ready; they go on in the background until 'penstock down'. Logs, addresses and
            state are in the data directory, and so are PostgreSQL's tables and the embedded broker's topics: they are
            there again after 'down' and 'up'.

            Example: penstock up --pipeline topics/housing
            Example: penstock up --bootstrap-servers kafka-1:9092 --instances 2
            """)

    /// Longest wait for all processes to be ready.
    static let startSecondsMax = 90.0

    @OptionGroup var options: UpOptions
    @OptionGroup var output: OutputOption

    @Flag(help: "Stay in the foreground and stop everything on Ctrl-C.")
    var foreground = false

    @Flag(help: "Run in the background (the default).")
    var detach = false

    @Flag(help: ArgumentHelp("Stop when standard input ends.", visibility: .hidden))
    var exitWithParent = false

    mutating func run() throws {
        guard !(foreground && detach) else { throw CommandFailure.usage("choose one of --foreground and --detach") }
        if foreground {
            try serve()
        } else {
            try startInBackground()
        }
    }

    private func serve() throws {
        Supervisor.blockSignals()
        let (configuration, _) = try options.configuration()
        let data = configuration.data
        try data.prepare()
        let lock = try data.lock()
        if exitWithParent { Lifeline.watchStandardInput() }
        try StackDatabase.removeAddresses(data: data)
        let deployment = Deployment(
            configuration: configuration, postgresHost: try StackDatabase.host(configuration),
            resetOffsets: {
                try StackDatabase.resetOffsets(ownerURL: $0, servers: $1, pipelinePath: configuration.pipeline)
            })
        let supervisor = try Supervisor(
            data: data, children: try deployment.children(), initial: DeploymentState(configuration: configuration),
            describe: { deployment.describe(&$0) },
            report: { Console.note("\(Timestamp.now()) penstock: \($0)") })
        try supervisor.run()
        _ = consume lock
    }

    private func startInBackground() throws {
        // Everything that can be wrong with options, contract and folder is said here, not in a log.
        let (configuration, _) = try options.configuration()
        let data = configuration.data
        try data.prepare()
        do { let _ = try data.lock() }
        let stack = try BackgroundStack.start(configuration, exitsWithParent: false)
        let state = try stack.waitUntilReady(seconds: Self.startSecondsMax) { state in
            Progress.wait(for: state)
        }
        if output.isJSON { return try Console.print(json: state) }
        Console.print("Everything runs: \(state.processes.count) processes, data in \(data.path).")
        Console.print("  brokers     \(state.bootstrapServers ?? "-")")
        Console.print("  PostgreSQL  \(state.postgres ?? "-")")
        if !state.isBrokerDurable {
            Console.print(
                "  note        the embedded broker keeps its topics in memory: this is a new, empty cluster; "
                    + "rows of earlier runs stay")
        }
        // The folder that commands look in by themselves needs no mention.
        let isStandard = data == DataDirectory(explicit: nil, environment: ProcessInfo.processInfo.environment)
        let folder = isStandard ? "" : " --data \(DataDirectory.quoted(data.path))"
        Console.print("  next        penstock status\(folder)")
        Console.print("              penstock publish \(DataDirectory.quoted(state.pipeline)) FILE\(folder)")
    }
}

struct DownCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "down",
        abstract: "Stop what 'penstock up' started, in order.",
        discussion: """
            Consumers finish their micro-batch, commit and leave; then the broker stops, PostgreSQL last.

            Example: penstock down
            """)

    static let stopSecondsMax = 90.0

    @OptionGroup var data: DataOption
    @OptionGroup var output: OutputOption

    mutating func run() throws {
        let directory = data.directory
        let state = try DeploymentState.ofRunning(directory)
        SpawnedProcess.signal(state.pid, SIGTERM)
        let clock = ContinuousClock()
        let deadline = clock.now + .seconds(Self.stopSecondsMax)
        while state.isSupervisorAlive {
            guard clock.now < deadline else {
                throw CommandFailure(
                    "the supervisor (pid \(state.pid)) has not stopped after \(Int(Self.stopSecondsMax)) s; "
                        + "see \(directory.log(of: "supervisor"))")
            }
            Pause.milliseconds(100)
        }
        if output.isJSON {
            struct Stopped: Encodable { var stopped: Int }
            return try Console.print(json: Stopped(stopped: state.processes.count))
        }
        Console.print("Stopped \(state.processes.count) processes.")
    }
}
