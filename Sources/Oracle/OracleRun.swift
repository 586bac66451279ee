// OracleRun: the whole check of a pipeline: read, compute, compare.

import Kafka
import Postgres

/// What the oracle is told.
public struct OracleOptions: Sendable {
    /// Path of pipeline.yaml or of its folder.
    public var pipeline: String
    public var bootstrapServers: String
    /// May hold a password.
    public var postgresURL: String
    /// Folder of transform.json and model.json; nil takes the paths of pipeline.yaml.
    public var artifacts: String?
    public var sinkGroup: String?
    /// What the names of the stages' groups begin with, before `.ingest` and so on; nil takes `<prefix>.<pipeline>`.
    public var groupPrefix: String?
    /// Whether ingest, transform and inference share a process, whatever the pipeline declares.
    public var isFused = false
    /// Whether the profile `exact` is promised.
    public var isExact = true
    /// librdkafka settings of the readers.
    public var kafkaSettings: [(name: String, value: String)] = []
    public var timeout: Duration = .seconds(60)

    public init(pipeline: String, bootstrapServers: String, postgresURL: String) {
        self.pipeline = pipeline
        self.bootstrapServers = bootstrapServers
        self.postgresURL = postgresURL
    }
}

public enum OracleRun {
    /// Checks a pipeline that has come to rest: nothing is being published, and the consumers have caught up or are
    /// stopped.
    /// - Throws: `OracleError` when something cannot be read; the pipeline is then not judged.
    public static func check(_ options: OracleOptions) throws -> OracleReport {
        do {
            let facts = try PipelineFacts(path: options.pipeline)
            let transform = try TransformDocument.read(path: path(facts.transformPath, in: options.artifacts))
            let model = try ScoreModel.read(
                manifestPath: path(facts.manifestPath, in: options.artifacts), threshold: facts.threshold)
            return try Verifier(facts: facts, transform: transform, model: model).verify(try world(facts, options))
        } catch let error as KafkaError {
            throw OracleError("Kafka: \(error.message)")
        } catch let error as PostgresError {
            throw OracleError("\(error)")
        }
    }

    private static func path(_ path: String, in folder: String?) -> String {
        guard let folder, let name = path.split(separator: "/").last else { return path }
        return "\(folder)/\(name)"
    }

    private static func world(_ facts: PipelineFacts, _ options: OracleOptions) throws -> World {
        let reader = LogReader(
            bootstrapServers: options.bootstrapServers, settings: options.kafkaSettings, timeout: options.timeout)
        func log(_ suffix: String, isOptional: Bool = false) throws -> TopicLog {
            try reader.read("\(facts.root).\(suffix)", isOptional: isOptional)
        }
        let inputs = try log("inputs")
        let letters = try SourceTopic.allCases.map { ($0, try log("\($0.rawValue).dlq", isOptional: true)) }
        let tables = try TableReader(url: options.postgresURL, facts: facts).read(group: options.sinkGroup)
        var world = World(
            clusterID: try reader.clusterID(), inputs: inputs, events: try log("events"),
            features: try log("features"), predictions: try log("predictions"),
            duplicates: try log("duplicates", isOptional: true),
            deadLetters: Dictionary(uniqueKeysWithValues: letters), rows: tables.rows,
            tableDuplicates: tables.duplicates, sinkOffsets: tables.offsets)
        let absorbed = options.isFused ? ["ingest", "transform"] : facts.absorbedStages
        world.absorbedStages = absorbed
        world.isExact = options.isExact
        let groups = options.groupPrefix ?? facts.root
        var readers: [(SourceTopic, String)] = [(.inputs, "ingest")]
        // The topics between fused stages have no reader.
        if !absorbed.contains("ingest") { readers.append((.events, "transform")) }
        if !absorbed.contains("transform") { readers.append((.features, "inference")) }
        world.internalTopics = Set(readers.map(\.0)).subtracting([.inputs])
        for (topic, stage) in readers {
            world.groupOffsets[topic] = try reader.committed(
                group: "\(groups).\(stage)", topic: "\(facts.root).\(topic.rawValue)")
        }
        guard try reader.ends(of: facts.inputs) == inputs.ends else {
            throw OracleError("\(facts.inputs) grew while it was read: stop publishing first")
        }
        return world
    }
}
