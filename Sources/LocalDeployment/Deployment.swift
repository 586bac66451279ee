// Deployment: the processes of a local deployment, and how they find one another.

import FoundationEssentials
import Glibc
public import PipelineContract

/// What a local deployment consists of.
public struct DeploymentConfiguration: Sendable {
    public var data: DataDirectory
    /// Folder of the executables.
    public var programs: String
    /// Absolute path of pipeline.yaml or of its folder.
    public var pipeline: String
    public var artifacts: String
    public var broker: any BrokerProvider
    /// URL of a PostgreSQL that somebody else runs; nil for a private one. May hold a password.
    public var postgres: String?
    /// Instances of each consumer.
    public var instances = 1
    /// Whether the monitors, the reaction controller, the notifier, and what retrains and promotes models run too.
    public var hasMonitors = true
    /// Delivery profile of the consumers: `exact` or `latency`.
    public var profile: String
    /// Stages that share a process.
    public var fusion = StageFusion.none
    /// Of all programs; `PENSTOCK_LOG_LEVEL` unless set.
    public var logLevel = getenv("PENSTOCK_LOG_LEVEL").map { String(cString: $0) } ?? "info"
    /// The key broker through which the sealed model is opened; nil loads the model unsealed.
    public var sealing: SealingConfiguration?
    /// Further `--set` options of the consumers.
    public var settings: [String] = []

    public init(
        data: DataDirectory, programs: String, pipeline: String, artifacts: String, broker: any BrokerProvider,
        postgres: String?
    ) {
        self.data = data
        self.programs = programs
        self.pipeline = pipeline
        self.artifacts = artifacts
        self.broker = broker
        self.postgres = postgres
        profile = broker.hasTransactions ? "exact" : "latency"
    }
}

/// Builds the children of a deployment.
public struct Deployment {
    /// Names of the processes.
    public static let broker = "embedded-broker"
    public static let postgres = "postgresql"
    public static let stages = ["ingest-consumer", "transform-consumer", "inference-consumer", "prediction-sink"]
    public static let sink = "prediction-sink"
    /// One instance each: what keeps the model in step with the world.
    public static let loop = ["label-ingest", "retraining-consumer", "promotion-gate"]
    /// The consumer that can take the stages before it into its own process.
    public static let fused = "inference-consumer"
    /// One instance of each: they keep one history of the whole pipeline.
    public static let monitors = [
        "drift-monitor", "infrastructure-monitor", "reaction-controller", "alert-notifier",
    ]
    /// The monitor that asks PostgreSQL how it is.
    static let infrastructureMonitor = "infrastructure-monitor"

    /// Files in which the PostgreSQL host tells its URLs. They hold passwords and are readable by their owner alone.
    public enum URLFile: String, Sendable, CaseIterable {
        /// For commands: reads all tables and owns them.
        case owner = "owner.url"
        /// For people and programs that read predictions.
        case reader = "reader.url"
        /// For the sink: what it needs and no more.
        case sink = "sink.url"

        public func path(in data: DataDirectory) -> String { "\(data.run)/\(rawValue)" }
    }

    public let configuration: DeploymentConfiguration
    /// Binds the sink's stored offsets to a new, empty cluster. Called with the owner's URL and the
    /// broker's address before the sink first meets
    /// a broker that has forgotten its records.
    private let resetOffsets: (_ ownerURL: String, _ servers: String) throws -> Void
    /// The arguments of the PostgreSQL host's process.
    private let postgresHost: Launch
    /// The broker's address to which the sink's offsets are bound.
    private final class Binding { var servers: String? }
    private let binding = Binding()

    public init(
        configuration: DeploymentConfiguration, postgresHost: Launch,
        resetOffsets: @escaping (_ ownerURL: String, _ servers: String) throws -> Void
    ) {
        self.configuration = configuration
        self.postgresHost = postgresHost
        self.resetOffsets = resetOffsets
    }

    private var data: DataDirectory { configuration.data }

    /// Broker and PostgreSQL, unless somebody else runs them, and every consumer.
    public func children() throws(DeploymentError) -> [ManagedChild] {
        var children: [ManagedChild] = []
        let hasBroker = try configuration.broker.launch(data: data) != nil
        if hasBroker { children.append(brokerChild) }
        if configuration.postgres == nil { children.append(postgresChild) }
        if let sealing = configuration.sealing { children.append(keyBrokerChild(sealing)) }
        for (rank, stage) in Self.stages.enumerated() where !isAbsorbed(stage) {
            var after = hasBroker ? [Self.broker] : []
            if stage == Self.sink, configuration.postgres == nil { after.append(Self.postgres) }
            if Self.modelReaders.contains(stage), configuration.sealing != nil { after.append(Self.keyBroker) }
            for instance in 1...max(1, configuration.instances) {
                children.append(stageChild(stage, instance: instance, after: after, rank: rank))
            }
        }
        guard configuration.hasMonitors else { return children }
        for name in Self.loop {
            let keys = Self.modelReaders.contains(name) && configuration.sealing != nil ? [Self.keyBroker] : []
            children.append(stageChild(name, instance: nil, after: (hasBroker ? [Self.broker] : []) + keys, rank: 0))
        }
        for monitor in Self.monitors {
            var after = hasBroker ? [Self.broker] : []
            if monitor == Self.infrastructureMonitor, configuration.postgres == nil { after.append(Self.postgres) }
            // They stop last, so that they see what the stages still wrote.
            children.append(stageChild(monitor, instance: nil, after: after, rank: Self.stages.count))
        }
        return children
    }

    private func isAbsorbed(_ program: String) -> Bool {
        configuration.fusion.absorbedStages.contains { program == "\($0)-consumer" }
    }

    /// Addresses that become known once children run.
    public func describe(_ state: inout DeploymentState) {
        state.bootstrapServers = configuration.broker.bootstrapServers(data: data)
        state.postgres = (configuration.postgres ?? url(.owner)).map(Self.withoutPassword)
    }

    private var brokerChild: ManagedChild {
        let data = data
        let broker = configuration.broker
        return ManagedChild(
            plan: ChildPlan(
                name: Self.broker, restartsDependents: !broker.isDurable, stopRank: Self.stages.count + 1,
                stopMilliseconds: 3_000),
            launch: {
                guard let launch = try broker.launch(data: data) else {
                    throw DeploymentError(.spawn, "the broker is not ours to start")
                }
                return launch
            },
            isReady: { broker.bootstrapServers(data: data) != nil })
    }

    private var postgresChild: ManagedChild {
        let data = data
        let host = postgresHost
        return ManagedChild(
            plan: ChildPlan(name: Self.postgres, stopRank: Self.stages.count + 2, stopMilliseconds: 25_000),
            launch: {
                for file in URLFile.allCases { unlink(file.path(in: data)) }
                return host
            },
            isReady: { access(URLFile.sink.path(in: data), R_OK) == 0 })
    }

    private func stageChild(_ stage: String, instance: Int?, after: [String], rank: Int) -> ManagedChild {
        let name = instance.flatMap { configuration.instances > 1 ? "\(stage)-\($0)" : nil } ?? stage
        let portFile = "\(data.run)/\(name).port"
        let port: () -> Int? = {
            guard let bytes = FileManager.default.contents(atPath: portFile) else { return nil }
            return Int(String(decoding: bytes, as: UTF8.self).filter { !$0.isWhitespace })
        }
        return ManagedChild(
            plan: ChildPlan(
                name: name, after: after, stopRank: rank, stopMilliseconds: stage == Self.sink ? 15_000 : 10_000),
            launch: {
                unlink(portFile)
                return try launch(stage, name: name, portFile: portFile)
            },
            isReady: { port().map { HealthProbe.isReady(port: $0) } ?? false },
            healthPort: port)
    }

    private func launch(_ stage: String, name: String, portFile: String) throws -> Launch {
        guard let servers = configuration.broker.bootstrapServers(data: data) else {
            throw DeploymentError(.spawn, "the broker has not told its address yet")
        }
        var arguments = [
            "--pipeline", configuration.pipeline, "--artifacts", configuration.artifacts, "--bootstrap-servers",
            servers,
            "--instance", name, "--health-port", "0", "--health-port-file", portFile, "--profile",
            configuration.profile, "--log-level", configuration.logLevel, "--exit-with-parent",
        ]
        arguments += (configuration.broker.consumerSettings + configuration.settings).flatMap { ["--set", $0] }
        arguments += try sealingArguments(stage)
        if stage == Self.fused { arguments += ["--stages", configuration.fusion.rawValue] }
        var environment = ["OPENBLAS_NUM_THREADS": "1"]
        if stage == Self.sink {
            guard let url = configuration.postgres ?? url(.sink) else {
                throw DeploymentError(.spawn, "PostgreSQL has not told its address yet")
            }
            environment["PENSTOCK_POSTGRES"] = url
            try bindOffsets(to: servers)
        }
        if stage == Self.infrastructureMonitor, let url = configuration.postgres ?? url(.reader) {
            environment["PENSTOCK_POSTGRES"] = url
        }
        if stage == "label-ingest" { arguments.append("--labels") }
        let program = stage == "label-ingest" ? "ingest-consumer" : stage
        return Launch(
            executable: "\(configuration.programs)/\(program)", arguments: arguments, environment: environment)
    }

    /// A broker that forgets is a new cluster at each start: the offsets stored for the one before mean nothing now.
    private func bindOffsets(to servers: String) throws {
        guard !configuration.broker.isDurable, binding.servers != servers,
            let owner = configuration.postgres ?? url(.owner)
        else { return }
        try resetOffsets(owner, servers)
        binding.servers = servers
    }

    private func url(_ file: URLFile) -> String? { Self.url(file, data: data) }

    /// The URL in a file, or nil when there is none.
    public static func url(_ file: URLFile, data: DataDirectory) -> String? {
        guard let bytes = FileManager.default.contents(atPath: file.path(in: data)) else { return nil }
        let text = String(decoding: bytes, as: UTF8.self).filter { $0 != "\n" }
        return text.isEmpty ? nil : text
    }

    /// Writes a URL for the owner of the deployment alone, beside and renamed.
    public static func write(_ url: String, to file: URLFile, data: DataDirectory) throws(DeploymentError) {
        let path = file.path(in: data)
        let temporary = "\(path).new"
        unlink(temporary)
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw DeploymentError(.state, "cannot write \(temporary): \(String(cString: strerror(errno)))")
        }
        let bytes = Array("\(url)\n".utf8)
        let count = Glibc.write(descriptor, bytes, bytes.count)
        close(descriptor)
        guard count == bytes.count, rename(temporary, path) == 0 else {
            throw DeploymentError(.state, "cannot write \(path): \(String(cString: strerror(errno)))")
        }
    }

    /// A PostgreSQL URL without its password; anything else without its `password=` words.
    public static func withoutPassword(_ url: String) -> String {
        guard let scheme = url.firstRange(of: "://") else {
            return url.split(separator: " ").filter { !$0.hasPrefix("password=") }.joined(separator: " ")
        }
        var rest = url[scheme.upperBound...]
        var query = ""
        if let mark = rest.firstIndex(of: "?") {
            let kept = rest[rest.index(after: mark)...].split(separator: "&").filter { !$0.hasPrefix("password=") }
            query = kept.isEmpty ? "" : "?" + kept.joined(separator: "&")
            rest = rest[..<mark]
        }
        if let at = rest.lastIndex(of: "@"), let colon = rest[..<at].firstIndex(of: ":") {
            rest = rest[..<colon] + rest[at...]
        }
        return url[..<scheme.upperBound] + rest + query
    }
}
