// Support: pipelines, files and batches for the tests of this target.

import EventContracts
import Foundation
import PipelineContract
import Testing
import Transforms

/// A folder of its own for one test, removed with its owner.
final class Folder {
    let path: String

    init() throws {
        path = FileManager.default.temporaryDirectory.appendingPathComponent("transforms-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ name: String) -> String { "\(path)/\(name)" }

    @discardableResult
    func write(_ text: String, to name: String) throws -> String {
        try Data(text.utf8).write(to: URL(fileURLWithPath: file(name)))
        return file(name)
    }

    func text(_ name: String) throws -> String { try String(contentsOfFile: file(name), encoding: .utf8) }
}

extension FeatureSettings.Column {
    static func column(
        _ name: String, field: String? = nil, impute: Impute = .median, scale: Scale = .none,
        policy: OutlierPolicy = .none, bounds: ClosedRange<Double> = 0...1
    ) -> Self {
        Self(
            name: name, field: field ?? name, impute: impute, scale: scale, outlierPolicy: policy,
            lowerQuantile: bounds.lowerBound, upperQuantile: bounds.upperBound)
    }
}

/// A pipeline with the numeric fields a, b, c, the integer n, the flag on, a time and an id.
func pipeline(
    _ columns: [FeatureSettings.Column], name: String = "test", directory: String = "/nowhere",
    fields: [EventSchema.Field] = standardFields
) -> Pipeline {
    Pipeline(
        name: name, prefix: "penstock", topics: PipelineTopics(prefix: "penstock", pipeline: name),
        directory: directory, topicSettings: [],
        input: InputContract(
            schema: EventSchema(fields: fields), formats: [.json], eventTimeField: "time", identity: nil,
            isKeyRequired: false, unknownFields: .reject, bytesMax: 65_536, depthMax: 8, clockSkewMilliseconds: 300_000,
            duplicateWindowRecords: 1_000, duplicateWindowMilliseconds: 86_400_000),
        features: FeatureSettings(columns: columns, transformPath: "\(directory)/artifacts/transform.json"),
        model: ModelReference(
            name: "\(name)-model", manifestPath: "\(directory)/artifacts/model.json", decisionThreshold: 0.5),
        batching: MicroBatching(recordsMax: 100, bytesMax: 1 << 20, deadlineMicroseconds: 5_000),
        sink: SinkSettings(
            schema: "penstock", table: "test", partitionSpan: .month, partitionsAhead: 1, retentionMilliseconds: nil))
}

let standardFields: [EventSchema.Field] = [
    .init(name: "id", type: .string, isRequired: true),
    .init(name: "time", type: .timestamp, isRequired: true),
    .init(name: "a", type: .number, isRequired: false, isNullable: true),
    .init(name: "b", type: .number, isRequired: false, isNullable: true, minimum: -1_000, maximum: 1_000),
    .init(name: "c", type: .number, isRequired: false, isNullable: true),
    .init(name: "n", type: .integer, isRequired: false, isNullable: true),
    .init(name: "on", type: .boolean, isRequired: false, isNullable: true),
]

/// A table with the given columns; nil is an empty cell.
func table(_ columns: [(String, [Double?])], for pipeline: Pipeline) throws -> ReferenceTable {
    let folder = try Folder()
    let rows = (columns.first?.1.count ?? 0)
    var text = columns.map(\.0).joined(separator: ",") + "\n"
    for row in 0..<rows { text += columns.map { $0.1[row].map { "\($0)" } ?? "" }.joined(separator: ",") + "\n" }
    // A file of empty cells in one column would be empty lines; a constant column keeps them apart.
    text = text.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
        .enumerated().map { $0.offset == 0 ? "\($0.element),pad" : "\($0.element),1" }.joined(separator: "\n")
    return try ReferenceTable(
        path: try folder.write(text, to: "reference.csv"), schema: pipeline.input.schema, features: pipeline.features)
}

/// The housing pipeline of this repository.
func housing() throws -> Pipeline {
    let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    return try PipelineLoader.load(path: root.appendingPathComponent("topics/housing").path)
}

/// The error's message, or an empty text after recording that nothing was thrown.
func message(of body: () throws -> Void, sourceLocation: SourceLocation = #_sourceLocation) -> String {
    do {
        try body()
        Issue.record("nothing was thrown", sourceLocation: sourceLocation)
        return ""
    } catch {
        return "\(error)"
    }
}

/// SplitMix64, for data that depends on the seed alone.
struct Random: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
