// StageConfiguration: command line and environment, read once and validated.

import EventContracts
import Glibc
public import Kafka
public import Logging
public import PipelineContract
public import StageRuntime

/// What is particular to one of the consumers.
public struct StageDefinition: Sendable {
    /// `ingest`, `transform`, `inference` or `sink`: in metrics, logs and the default group.
    public var stage: String
    /// Name of the program.
    public var program: String
    public var inputTopics: @Sendable (Pipeline) -> [String]
    /// Only the input stage reads record headers.
    public var readsHeaders: Bool
    /// Whether the stage's outcome is records: its producer is transactional in the profile `exact`. The sink's is not, whose
    /// rows and offsets share a transaction of PostgreSQL.
    public var writesTopics: Bool

    public init(
        stage: String, program: String, readsHeaders: Bool = false, writesTopics: Bool = true,
        inputTopics: @escaping @Sendable (Pipeline) -> [String]
    ) {
        self.stage = stage
        self.program = program
        self.readsHeaders = readsHeaders
        self.writesTopics = writesTopics
        self.inputTopics = inputTopics
    }
}

/// The validated configuration of a consumer process.
public struct StageConfiguration: Sendable {
    public var pipeline: Pipeline
    public var settings: StageSettings
    public var producer: KafkaConfiguration
    public var profile: DeliveryProfile
    public var bootstrapServers: String
    public var healthAddress: String
    public var healthPort: Int
    public var healthPortFile: String?
    public var logLevel: Logger.Level
    public var exitsWithParent: Bool

    /// Reads options and environment.
    ///
    /// - Throws: `StageFailure` with exit code 2 that names the option and the way to mend it.
    public init(
        _ definition: StageDefinition, options: StageOptions, environment: [String: String]
    ) throws(StageFailure) {
        let source = OptionSource(environment: environment)
        let path = try source.required("pipeline", options.pipeline)
        let servers = try source.required("bootstrap-servers", options.bootstrapServers)
        var pipeline = try Self.load(path)
        if let artifacts = source.value("artifacts", options.artifacts) { pipeline.useArtifacts(in: artifacts) }
        self.pipeline = pipeline
        if pipeline.fusion.absorbedStages.contains(definition.stage),
            definition.program == "\(definition.stage)-consumer"
        {
            throw StageFailure(
                exitCode: 2,
                "pipeline.yaml runs the stage \(definition.stage) within inference-consumer (key `stages`): start that one, "
                    + "or remove the key")
        }
        profile = try source.choice("profile", options.profile) ?? .exact

        let group = source.value("group", options.group) ?? "\(pipeline.topics.root).\(definition.stage)"
        let instance = try Self.instance(source, options, profile: profile, group: group)
        var consumer = try Self.checked {
            () throws(KafkaError) in
            try KafkaConfiguration.consumerDefaults(bootstrapServers: servers, group: group, clientID: instance)
        }
        var producer = try Self.checked {
            () throws(KafkaError) in
            try KafkaConfiguration.producerDefaults(bootstrapServers: servers, clientID: instance)
        }
        if profile == .exact {
            let slot = "\(group).\(instance)"
            try Self.checked {
                () throws(KafkaError) in
                try consumer.makeStaticMember(slot)
                if definition.writesTopics { try producer.makeTransactional(slot) }
            }
        }
        for (scope, name, value) in try source.kafkaSettings(options.settings) {
            try Self.checked {
                () throws(KafkaError) in
                if scope != .producer { try consumer.set(name, value) }
                if scope != .consumer { try producer.set(name, value) }
            }
        }
        self.producer = producer
        bootstrapServers = servers

        let batching = pipeline.batching
        settings = StageSettings(
            stage: definition.stage, group: group, instance: instance, inputTopics: definition.inputTopics(pipeline),
            readsHeaders: definition.readsHeaders, consumer: consumer,
            batch: BatchLimits(
                recordsMax: batching.recordsMax, bytesMax: batching.bytesMax,
                deadlineMicroseconds: batching.deadlineMicroseconds))
        settings.start = try source.choice("start", options.start) ?? .earliest
        settings.lostRangePolicy = try source.choice("on-lost-range", options.onLostRange) ?? .proceed
        if let seconds = try source.integer("start-timeout", options.startTimeout, in: 1...3_600) {
            settings.startMillisecondsMax = seconds * 1_000
        }
        for name in options.plantedFaults {
            guard let fault = RuntimeFault(rawValue: name) else {
                throw StageFailure(exitCode: 2, "--plant-fault: unknown fault \(name)")
            }
            settings.faults.insert(fault)
        }
        if let text = options.plantedKill {
            guard let plan = KillPlan(text) else {
                throw StageFailure(exitCode: 2, "--plant-kill: \(text) is not POINT:N")
            }
            settings.kills = plan
        }
        settings.poison = options.plantedPoison.map { Array($0.utf8) }

        healthAddress = source.value("health-address", options.healthAddress) ?? "127.0.0.1"
        healthPort = try source.integer("health-port", options.healthPort, in: 0...65_535) ?? 0
        healthPortFile = source.value("health-port-file", options.healthPortFile)
        logLevel = try source.choice("log-level", options.logLevel) ?? .info
        exitsWithParent = options.exitWithParent || source.value("exit-with-parent", nil) == "1"
    }

    /// Folder of the registered versions, beside the model that the pipeline names.
    public var modelFolder: String {
        let folder = pipeline.model.manifestPath.split(separator: "/", omittingEmptySubsequences: false).dropLast()
        return folder.isEmpty ? "models" : "\(folder.joined(separator: "/"))/models"
    }

    private static func load(_ path: String) throws(StageFailure) -> Pipeline {
        do {
            return try PipelineLoader.load(path: path)
        } catch {
            throw StageFailure(exitCode: 2, error.summary)
        }
    }

    private static func checked<R>(_ body: () throws(KafkaError) -> R) throws(StageFailure) -> R {
        do {
            return try body()
        } catch {
            throw StageFailure(exitCode: 2, "\(error)")
        }
    }

    /// The given name; else in `exact` a slot that survives restarts, in `latency` one of this process's own.
    private static func instance(
        _ source: OptionSource, _ options: StageOptions, profile: DeliveryProfile, group: String
    ) throws(StageFailure) -> String {
        if let given = source.value("instance", options.instance) { return given }
        guard profile == .exact else { return "\(InstanceSlot.hostName)-\(getpid())" }
        return try InstanceSlot.claim(
            group: group, folder: source.value("slot-directory", options.slotDirectory))
    }
}

extension Logger.Level: OptionChoice {}
extension DeliveryProfile: OptionChoice {}
extension StageSettings.PipelineStart: OptionChoice {}
extension StageSettings.LostRangePolicy: OptionChoice {}
