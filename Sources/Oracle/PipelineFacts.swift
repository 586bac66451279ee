// PipelineFacts: what the oracle must know of a pipeline, by its own short reading of pipeline.yaml and the schema.

import Foundation
import Yams

/// One field of the JSON Schema, in the order of the file.
public struct FieldRule: Sendable {
    public enum Kind: Sendable { case number, integer, boolean, text, time }

    public var name: String
    public var kind: Kind
    public var isRequired: Bool
    public var isNullable: Bool
    public var minimum: Double?
    public var maximum: Double?
    public var exclusiveMinimum: Double?
    public var exclusiveMaximum: Double?
    public var lengths: ClosedRange<Int>
    public var choices: [String]?
    public var pattern: String?

    public init(name: String, kind: Kind, isRequired: Bool = true, isNullable: Bool = false) {
        self.name = name
        self.kind = kind
        self.isRequired = isRequired
        self.isNullable = isNullable
        lengths = 0...Int.max
    }

    /// - Parameter value: the field's object in `properties`.
    init?(name: String, schema value: JSONValue, isRequired: Bool) {
        let types = (value["type"]?.elements ?? value["type"].map { [$0] } ?? []).compactMap(\.text)
        let isTime = value["format"]?.text == "date-time"
        switch types.first(where: { $0 != "null" }) {
        case "number": kind = .number
        case "integer": kind = .integer
        case "boolean": kind = .boolean
        case "string": kind = isTime ? .time : .text
        default: return nil
        }
        self.name = name
        self.isRequired = isRequired
        isNullable = types.contains("null")
        minimum = value["minimum"]?.double
        maximum = value["maximum"]?.double
        exclusiveMinimum = value["exclusiveMinimum"]?.double
        exclusiveMaximum = value["exclusiveMaximum"]?.double
        let shortest = value["minLength"]?.integer.map { Int($0) } ?? 0
        lengths = shortest...max(shortest, value["maxLength"]?.integer.map { Int($0) } ?? Int.max)
        choices = value["enum"]?.elements?.compactMap(\.text)
        pattern = value["pattern"]?.text
    }
}

public struct PipelineFacts: Sendable {
    /// `<prefix>.<pipeline>`.
    public var root: String
    public var fields: [FieldRule]
    public var acceptsJSON = true
    public var acceptsCloudEvents = true
    public var eventTimeField: String?
    /// Plain JSON: the field with the publisher's id, and the constant source.
    public var identity: (field: String, source: String)?
    public var isKeyRequired = true
    public var refusesUnknownFields = true
    public var bytesMax = 65_536
    public var depthMax = 8
    public var clockSkewMilliseconds: Int64 = 300_000
    public var windowRecords: Int64 = 100_000
    public var windowMilliseconds: Int64 = 86_400_000
    public var threshold = 0.5
    public var transformPath = "artifacts/transform.json"
    public var manifestPath = "artifacts/model.json"
    public var sinkSchema = "penstock"
    public var sinkTable = ""
    /// Stages that run in the process of a later one, so that the topic between them stays empty: of `ingest`, `transform`.
    public var absorbedStages: Set<String> = []

    public var inputs: String { "\(root).inputs" }

    public init(root: String, fields: [FieldRule]) {
        self.root = root
        self.fields = fields
    }

    /// Reads what it needs and trusts the rest: `penstock lint` is there to find mistakes.
    public init(path: String) throws {
        var isFolder: ObjCBool = false
        _ = FileManager.default.fileExists(atPath: path, isDirectory: &isFolder)
        let file = isFolder.boolValue ? path + "/pipeline.yaml" : path
        let folder = URL(fileURLWithPath: file).deletingLastPathComponent()
        func absolute(_ relative: String) -> URL {
            relative.hasPrefix("/") ? URL(fileURLWithPath: relative) : folder.appendingPathComponent(relative)
        }
        let text = String(decoding: try Self.contents(of: URL(fileURLWithPath: file)), as: UTF8.self)
        let yaml: Node
        do {
            guard let node = try Yams.compose(yaml: text) else { throw OracleError("\(file) is empty") }
            yaml = node
        } catch {
            throw OracleError("\(file) is not valid YAML: \(error)")
        }
        guard let pipeline = yaml["pipeline"]?.string, let schema = yaml["input"]?["schema"]?.string else {
            throw OracleError("\(file) names no pipeline or no input.schema: run `penstock lint \(path)`")
        }
        self.init(
            root: "\(yaml["prefix"]?.string ?? "penstock").\(pipeline)", fields: try Self.fields(at: absolute(schema)))
        try read(input: yaml["input"])
        transformPath = absolute(yaml["features"]?["transform"]?.string ?? transformPath).path
        manifestPath = absolute(yaml["model"]?["manifest"]?.string ?? manifestPath).path
        threshold = yaml["model"]?["threshold"]?.float ?? threshold
        absorbedStages = Set(yaml["stages"]?.array(of: String.self) ?? []).subtracting(["infer"])
        sinkSchema = yaml["sink"]?["schema"]?.string ?? sinkSchema
        sinkTable = yaml["sink"]?["table"]?.string ?? sinkTable
    }

    private mutating func read(input: Node?) throws {
        guard let input else { return }
        if let formats = input["formats"]?.array(of: String.self), !formats.isEmpty {
            acceptsJSON = formats.contains("json")
            acceptsCloudEvents = formats.contains("cloudevents")
        }
        eventTimeField = input["eventTime"]?.string
        if let field = input["identity"]?["id"]?.string, let source = input["identity"]?["source"]?.string {
            identity = (field, source)
        }
        isKeyRequired = input["key"]?.string != "optional"
        refusesUnknownFields = input["unknownFields"]?.string != "ignore"
        bytesMax = Int(try Self.quantity(input["limits"]?["bytes"]) ?? Double(bytesMax))
        depthMax = input["limits"]?["depth"]?.int ?? depthMax
        clockSkewMilliseconds = Int64(try Self.quantity(input["clockSkew"]) ?? Double(clockSkewMilliseconds))
        windowRecords = Int64(input["duplicateWindow"]?["records"]?.int ?? Int(windowRecords))
        windowMilliseconds = Int64(try Self.quantity(input["duplicateWindow"]?["age"]) ?? Double(windowMilliseconds))
    }

    /// Milliseconds of a duration, bytes of a size.
    private static func quantity(_ node: Node?) throws -> Double? {
        guard let text = node?.string else { return nil }
        let units: [String: Double] = [
            "us": 0.001, "ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "B": 1,
            "KiB": 1_024, "MiB": 1_048_576, "GiB": 1_073_741_824, "kB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000,
        ]
        guard let match = text.wholeMatch(of: #/([0-9.]+) *([A-Za-z]+)/#)?.output, let number = Double(match.1),
            let unit = units[String(match.2)]
        else { throw OracleError("\"\(text)\" in pipeline.yaml is no duration or size: run `penstock lint`") }
        return (number * unit).rounded()
    }

    private static func fields(at url: URL) throws -> [FieldRule] {
        let schema: JSONValue
        do {
            schema = try StrictJSON.parse(Array(try contents(of: url)))
        } catch is JSONFault {
            throw OracleError("\(url.path) is not valid JSON: run `penstock lint`")
        }
        let required = Set((schema["required"]?.elements ?? []).compactMap(\.text))
        return try (schema["properties"]?.members ?? []).map { member in
            guard
                let rule = FieldRule(
                    name: member.key, schema: member.value, isRequired: required.contains(member.key))
            else { throw OracleError("\(url.path): the field \(member.key) has no known type: run `penstock lint`") }
            return rule
        }
    }

    /// The bytes of a file, or a message that names it.
    static func contents(of url: URL) throws -> Data {
        do {
            return try Data(contentsOf: url)
        } catch {
            throw OracleError("cannot read \(url.path): check the path and the rights")
        }
    }
}
