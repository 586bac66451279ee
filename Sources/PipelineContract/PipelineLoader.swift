// PipelineLoader: reads pipeline.yaml and the schema it names; PipelineLinter: what is wrong with them.

import EventContracts
import Foundation

/// Reads a pipeline's contract.
public enum PipelineLoader {
    /// Bytes of pipeline.yaml or a schema; a larger file is not one.
    public static let fileBytesMax = 4 << 20

    /// - Parameter path: of pipeline.yaml, or of the folder that holds it.
    /// - Throws: every mistake found, each with file, line and mend. Warnings alone do not keep a pipeline from loading.
    public static func load(path: String) throws(PipelineError) -> Pipeline {
        let (pipeline, diagnostics) = read(path: path)
        guard let pipeline else { throw PipelineError(diagnostics: diagnostics) }
        return pipeline
    }

    /// The pipeline, unless there are errors, and all diagnostics: those of pipeline.yaml first, then the schema's.
    static func read(path: String) -> (pipeline: Pipeline?, diagnostics: [Diagnostic]) {
        var isDirectory: ObjCBool = false
        let isFolder = FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) && isDirectory.boolValue
        let file = isFolder ? Self.path("pipeline.yaml", in: path) : path
        let findings = Findings(file: file)
        var schemaFindings: Findings?
        var pipeline: Pipeline?
        if let text = text(of: file, findings: findings, at: .start, referrer: nil),
            let root = YAMLReader.read(text, findings: findings)
        {
            let parent = (file as NSString).deletingLastPathComponent
            let reader = PipelineReader(findings: findings, directory: parent.isEmpty ? "." : parent)
            pipeline = reader.pipeline(root)
            schemaFindings = reader.schemaFindings
        }
        let diagnostics = findings.sorted + (schemaFindings?.sorted ?? [])
        return (diagnostics.contains { $0.severity == .error } ? nil : pipeline, diagnostics)
    }

    /// A path of the file, relative to its folder unless absolute.
    static func path(_ relative: String, in directory: String) -> String {
        if relative.hasPrefix("/") || directory == "." { return relative }
        return directory.hasSuffix("/") ? directory + relative : "\(directory)/\(relative)"
    }

    /// Text of a file; on failure a diagnostic at `position` of the file that refers to it.
    static func text(of file: String, findings: Findings, at position: Position, referrer key: String?) -> String? {
        let subject = key.map { "the file \(file) named by `\($0)`" } ?? "the file"
        var isDirectory: ObjCBool = false
        guard FileManager.default.fileExists(atPath: file, isDirectory: &isDirectory) else {
            let mend =
                key == nil ? "check the path" : "correct the path (it is relative to pipeline.yaml), or add the file"
            findings.error(.fileUnreadable, at: position, "\(subject) does not exist", mend: mend)
            return nil
        }
        guard !isDirectory.boolValue, let data = FileManager.default.contents(atPath: file) else {
            let problem = isDirectory.boolValue ? "is a folder" : "cannot be read"
            let mend = isDirectory.boolValue ? "name a file in it" : "allow reading it (chmod u+r)"
            findings.error(.fileUnreadable, at: position, "\(subject) \(problem)", mend: mend)
            return nil
        }
        guard data.count <= fileBytesMax else {
            findings.error(
                .fileUnreadable, at: position, "\(subject) has \(data.count) bytes",
                mend: "name a file of at most \(fileBytesMax) bytes")
            return nil
        }
        guard let text = String(validating: data, as: UTF8.self) else {
            findings.error(.notUTF8, at: position, "\(subject) is not UTF-8 text", mend: "save it as UTF-8")
            return nil
        }
        // A byte order mark is allowed and says nothing.
        return text.unicodeScalars.first == "\u{FEFF}" ? String(text.unicodeScalars.dropFirst()) : text
    }
}

/// Finds what is wrong with a pipeline's files.
public enum PipelineLinter {
    /// All mistakes and warnings; empty for a clean pipeline. Nothing is thrown: a file that cannot be read is a mistake.
    /// - Parameter path: of pipeline.yaml, or of the folder that holds it.
    public static func lint(path: String) -> [Diagnostic] {
        PipelineLoader.read(path: path).diagnostics
    }
}

/// Reads the tree of pipeline.yaml.
private final class PipelineReader {
    private static let keys = [
        "version", "pipeline", "prefix", "topics", "input", "features", "model", "batch", "stages", "sink",
        "monitors", "reactions",
    ]
    static let example = "version: 1, pipeline: name, topics: …, as in topics/housing/pipeline.yaml"
    /// Kafka's default `max.message.bytes`.
    private static let messageBytesDefault = 1_000_000

    private let findings: Findings
    private let directory: String
    private(set) var schemaFindings: Findings?

    init(findings: Findings, directory: String) {
        self.findings = findings
        self.directory = directory
    }

    func pipeline(_ root: LocatedNode) -> Pipeline? {
        guard let reader = MappingReader(root, path: "", keys: Self.keys, example: Self.example, findings: findings)
        else { return nil }
        checkVersion(reader)
        let topicsReader = TopicsReader(findings: findings)
        let name = reader.requiredString("pipeline", example: "housing")
        if let name { topicsReader.checkNamePart(name, key: "pipeline", at: reader.position(of: "pipeline")) }
        let prefix = reader.optionalString("prefix", example: "penstock") ?? "penstock"
        topicsReader.checkNamePart(prefix, key: "prefix", at: reader.position(of: "prefix"))
        let topics = PipelineTopics(prefix: prefix, pipeline: name ?? "")
        topicsReader.checkLength(topics, at: reader.position(of: "pipeline"))
        let topicSettings = topicsReader.settings(
            reader.required("topics", example: "{ inputs: \(TopicsReader.example), … }"))

        let inputReader = reader.required("input", example: InputReader.example)
            .flatMap { InputReader($0, findings: findings) }
        let compiled = inputReader.flatMap { schema($0) }
        let input = inputReader?.contract(compiled: compiled)
        if let inputReader, let input { check(input, inputReader, topicSettings) }
        let features = FeaturesReader(findings: findings, directory: directory)
            .settings(reader.required("features", example: FeaturesReader.example), schema: compiled?.schema)
        let sinkReader = SinkReader(findings: findings)
        let model = sinkReader.model(
            reader.required("model", example: "{ name: my-model, manifest: artifacts/model.json }"),
            directory: directory)
        let batching = sinkReader.batching(reader.value("batch"), inputBytesMax: input?.bytesMax ?? 0)
        let sink = sinkReader.settings(reader.required("sink", example: SinkReader.example))
        let monitorsReader = MonitorsReader(findings: findings, directory: directory)
        let monitors = monitorsReader.monitors(reader.value("monitors"))
        let reactions = monitorsReader.reactions(reader.value("reactions"))
        let stagesReader = StagesReader(findings: findings)
        let fusion = stagesReader.fusion(reader.value("stages"))
        if let fusion {
            stagesReader.check(
                fusion, reader.value("stages"), hasMonitors: reader.has("monitors") || reader.has("reactions"))
        }
        guard let name, let input, let features, let model, let batching, let sink, let monitors, let reactions,
            let fusion
        else { return nil }
        var pipeline = Pipeline(
            name: name, prefix: prefix, topics: topics, directory: directory,
            topicSettings: topicsReader.topicSettings(topicSettings, topics: topics), input: input, features: features,
            model: model, batching: batching, sink: sink, monitors: monitors, reactions: reactions)
        pipeline.fusion = fusion
        return pipeline
    }

    private func checkVersion(_ reader: MappingReader) {
        guard let found = reader.required("version", example: "1") else { return }
        guard found.integer != 1 else { return }
        findings.error(
            .unsupportedVersion, at: found.position,
            "`version` is \(found.kindDescription); this program reads version 1",
            mend: "write `version: 1`, or use the program that fits the file")
    }

    private func schema(_ input: InputReader) -> SchemaCompiler.Result? {
        guard let (relative, position) = input.schemaPath else { return nil }
        let file = PipelineLoader.path(relative, in: directory)
        guard
            let text = PipelineLoader.text(of: file, findings: findings, at: position, referrer: "input.schema")
        else { return nil }
        let found = Findings(file: file)
        schemaFindings = found
        return JSONReader.read(text, findings: found).flatMap { SchemaCompiler.compile($0, findings: found) }
    }

    private func check(_ input: InputContract, _ reader: InputReader, _ topics: [String: TopicsReader.Setting]) {
        if let inputs = topics["inputs"], let retention = inputs.retentionMilliseconds,
            retention < input.duplicateWindowMilliseconds
        {
            findings.error(
                .retentionTooShort, at: inputs.retentionPosition,
                "`topics.inputs.retention` is shorter than `input.duplicateWindow.age` (line "
                    + "\(reader.windowAgePosition.line)): after a restart, repeats would no longer be recognised",
                mend: "keep the inputs at least as long as the window, or shorten the window")
        }
        if input.bytesMax > Self.messageBytesDefault {
            findings.warning(
                .batchLimit, at: reader.bytesPosition,
                "`input.limits.bytes` is more than a Kafka topic takes by default (max.message.bytes, 1000000)",
                mend: "raise max.message.bytes of the topics too, or lower the limit")
        }
    }
}
