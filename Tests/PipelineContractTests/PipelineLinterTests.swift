// PipelineLinterTests: each mistake in pipeline.yaml is explained with its line and mend.

import EventContracts
import Foundation
import PipelineContract
import Testing

@Suite("The linter explains mistakes in pipeline.yaml")
struct PipelineLinterTests {
    /// A line that the housing pipeline can do without.
    private static let reactionsPlace =
        "reactions:\n  retrain: { on: [performance, drift], labels: 336, refine: 3, cooldown: 7d, giveUp: 180d }\n"
        + "  promote: { decision: automatic, rows: 40, logLossGain: 0.0, aucLoss: 0.005, latencyRatio: 2.0 }"
    private static let monitorsPlace = "batch: { records: 2048, bytes: 4MiB, deadline: 5ms }"

    static let mistakes: [Mistake] = [
        // Shape.
        Mistake("clockSkew: 5m", "clockskew: 5m", .unknownKey, mend: "`clockSkew`"),
        Mistake("  clockSkew: 5m", "  speed: 5", .unknownKey, mend: "known keys are"),
        Mistake("pipeline: housing\n", "", .missingKey, at: "version: 1", mend: "pipeline: housing"),
        Mistake("  table: housing_predictions\n", "", .missingKey, at: "  schema: penstock", mend: "table:"),
        Mistake(
            "inputs: { partitions: 4, retention", "inputs: { partitions: \"4\", retention", .wrongType,
            mend: "quotation marks"),
        Mistake("impute: median", "impute: [median]", .badValue, mend: "mean, median, reject or a number"),
        Mistake("impute: median", "impute: medain", .badValue, mend: "`median`"),
        Mistake(
            "{ records: 2048, bytes: 4MiB, deadline: 5ms }", "fast", .wrongType, at: "batch:", mend: "records: 2048"),
        Mistake("clockSkew: 5m", "clockSkew:", .wrongType, mend: "remove the key"),
        Mistake("version: 1", "version: 2", .unsupportedVersion, mend: "version: 1"),
        Mistake("threshold: 0.5", "threshold: high", .wrongType, mend: "threshold: 0.5"),
        Mistake("threshold: 0.5", "threshold: 1.5", .outOfRange, mend: "0.0 to 1.0"),
        Mistake("depth: 8", "depth: 8.5", .wrongType, mend: "depth: 8"),
        Mistake("formats: [json, cloudevents]", "formats: json", .wrongType, mend: "[json, cloudevents]"),
        Mistake("formats: [json, cloudevents]", "formats: [json, cloudevent]", .badValue, mend: "`cloudevents`"),
        Mistake("formats: [json, cloudevents]", "formats: [json, json]", .badValue, mend: "remove one"),
        Mistake("unknownFields: reject", "unknownFields: drop", .badValue, mend: "reject or ignore"),
        // Quantities.
        Mistake("clockSkew: 5m", "clockSkew: 5", .badDuration, mend: "5m"),
        Mistake("clockSkew: 5m", "clockSkew: 5min", .badDuration, mend: "us, ms, s, m, h, d or w"),
        Mistake("retention: none", "retention: never", .badDuration, mend: "`none`"),
        Mistake("bytes: 64KiB", "bytes: 64K", .badSize, mend: "64KiB"),
        Mistake("deadline: 5ms", "deadline: 5h", .outOfRange, mend: "60s"),
        // Topics.
        Mistake("inputs: { partitions: 4,", "inputs: { partitions: 0,", .outOfRange, mend: "1 to 100000"),
        Mistake("pipeline: housing", "pipeline: hous ing", .badTopicName, mend: "letters"),
        Mistake("pipeline: housing", "pipeline: housing.", .badTopicName, mend: "single full stops"),
        Mistake("prefix: penstock", "prefix: pen_stock", .ambiguousTopicName, mend: "`pen-stock`", .warning),
        Mistake(
            "pipeline: housing", "pipeline: " + String(repeating: "h", count: 240), .badTopicName,
            mend: "by 17 characters"),
        Mistake("duplicates: { partitions: 1", "duplicates: { partitions: 0", .outOfRange, mend: "1 to 100000"),
        Mistake("features: { partitions: 4", "features: { partitions: 8", .notCoPartitioned, mend: "partitions: 4"),
        Mistake(
            "inputs: { partitions: 4, retention: 7d", "inputs: { partitions: 4, retention: 12h", .retentionTooShort,
            mend: "at least as long as the window"),
        // Input.
        Mistake("eventTime: timestamp", "eventTime: timestmp", .unknownField, mend: "`timestamp`"),
        Mistake("eventTime: timestamp", "eventTime: MedInc", .badEventTimeField, mend: "date-time"),
        Mistake("identity: { id: id,", "identity: { id: Latitude,", .badIdentityField, mend: "type string"),
        Mistake("identity: { id: id, source: /housing/plain }", "identity: { id: id }", .missingKey, mend: "source:"),
        Mistake("unknownFields: reject", "unknownFields: ignore", .noEffect, mend: "additionalProperties", .warning),
        Mistake(
            "schemas/housing-event.schema.json", "schemas/house.schema.json", .fileUnreadable, mend: "correct the path"),
        // Features.
        Mistake("name: MedInc,", "name: MedIncome,", .unknownField, mend: "`field:`"),
        Mistake("name: HouseAge,", "name: HouseAg,", .unknownField, mend: "`HouseAge`"),
        Mistake(
            "name: MedInc,", "name: MedInc, field: timestamp,", .fieldNotNumeric, mend: "number, integer or boolean"),
        Mistake("name: HouseAge,", "name: MedInc, field: HouseAge,", .duplicateFeature, mend: "another name"),
        Mistake("lower: 0.001, upper: 0.999", "lower: 0.999, upper: 0.001", .quantileOrder, mend: "swap"),
        Mistake("upper: 0.999", "upper: 99.9", .outOfRange, mend: "0.0 to 1.0"),
        Mistake("policy: none }", "policy: none, lower: 0.1 }", .noEffect, mend: "clip, flag or reject", .warning),
        Mistake("policy: clip", "policy: clop", .badValue, mend: "`clip`"),
        Mistake("scale: minmax", "scale: min-max", .badValue, mend: "`minmax`"),
        Mistake("impute: median", "impute: -3", .outOfRange, mend: "within the field's limits", .warning),
        // Batch and sink.
        Mistake("bytes: 4MiB", "bytes: 4KiB", .batchLimit, mend: "65536B"),
        Mistake("records: 2048", "records: 0", .outOfRange, mend: "1 to"),
        Mistake("bytes: 64KiB", "bytes: 2MiB", .batchLimit, mend: "max.message.bytes", .warning),
        Mistake(
            "table: housing_predictions", "table: Housing-Predictions", .badIdentifier, mend: "housing_predictions"),
        Mistake("table: housing_predictions", "table: duplicates", .badIdentifier, mend: "my_predictions"),
        Mistake("table: housing_predictions", "table: order", .badIdentifier, mend: "order_events"),
        Mistake("  schema: penstock", "  schema: pg_penstock", .badIdentifier, mend: "another name"),
        Mistake(
            "table: housing_predictions", "table: " + String(repeating: "h", count: 60), .badIdentifier,
            mend: "at most 48"),
        Mistake("retention: none", "retention: 2d", .retentionTooShort, mend: "at least 31d"),
        Mistake("partition: month", "partition: year", .badValue, mend: "day, week or month"),
        // Monitors and reactions.
        Mistake("duplicates: { partitions: 1", "labels: { partitions: 2", .notCoPartitioned, mend: "partitions: 4"),
        Mistake("duplicates: { partitions: 1", "monitoring: { partitions: 2", .outOfRange, mend: "1 to 1"),
        // Stages in one process.
        Mistake(monitorsPlace, "stages: [transform, infr]", .badValue, mend: "`infer`"),
        Mistake(monitorsPlace, "stages: [ingest, infer]", .badValue, mend: "[transform, infer]"),
        Mistake(monitorsPlace, "stages: transform", .wrongType, mend: "[transform, infer]"),
        Mistake(
            monitorsPlace, "stages: [transform, infer]\nmonitors: { quality: { imputedShare: 0.5 } }", .badValue,
            at: "stages:", mend: "remove `stages`", .warning),
        Mistake(monitorsPlace, "monitors: { drfit: {} }", .unknownKey, mend: "`drift`"),
        Mistake(
            monitorsPlace, "monitors: { drift: { averageRunLength: 1.5 } }", .wrongType,
            mend: "averageRunLength: 1000000"),
        Mistake(
            monitorsPlace, "monitors: { drift: { averageRunLength: 10000000 } }", .outOfRange, mend: "at least 100000",
            .warning),
        Mistake(monitorsPlace, "monitors: { performance: { labelHorizon: 30 } }", .badDuration, mend: "5m"),
        Mistake(monitorsPlace, "monitors: { quality: { imputedShare: 5 } }", .outOfRange, mend: "0.0 to 1.0"),
        Mistake(monitorsPlace, "monitors: { infrastructure: { heartbeat: 1s } }", .outOfRange, mend: "2s to 1h"),
        Mistake(reactionsPlace, "reactions: { modality: image }", .badValue, mend: "tabular or vision"),
        Mistake(reactionsPlace, "reactions: { retrain: { on: drift } }", .wrongType, mend: "[performance, drift]"),
        Mistake(reactionsPlace, "reactions: { retrain: { on: [dirft] } }", .badValue, mend: "`drift`"),
        Mistake(reactionsPlace, "reactions: { retrain: { refine: 1 } }", .outOfRange, mend: "0 for never"),
        Mistake(
            reactionsPlace, "reactions: { retrain: { cooldown: 90d } }", .outOfRange, mend: "at least the cooldown"),
        Mistake(
            reactionsPlace, "reactions: { modality: vision, retrain: { on: [drift] } }", .noEffect, mend: "`on: []`",
            .warning),
        Mistake(reactionsPlace, "reactions: { promote: { decision: yes } }", .badValue, mend: "automatic or manual"),
        Mistake(reactionsPlace, "reactions: { promote: { aucLoss: -1 } }", .outOfRange, mend: "0.0 to 1.0"),
        Mistake(reactionsPlace, "reactions: { severities: { Drift: info } }", .unknownKey, mend: "known keys are"),
        Mistake(
            reactionsPlace, "reactions: { severities: { DataDrift: high } }", .badValue,
            mend: "info, warning or critical"),
        // Syntax.
        Mistake("  clockSkew: 5m", "\tclockSkew: 5m", .yamlSyntax, mend: "spaces"),
        Mistake("threshold: 0.5", "threshold: 0.5: 1", .yamlSyntax, mend: "quote the value"),
        Mistake("clockSkew: 5m", "eventTime: ts", .duplicateKey, mend: "remove one of the two"),
        Mistake("bytes: 64KiB, depth: 8", "bytes: 64KiB, depth: 8, depth: 9", .duplicateKey, mend: "remove one"),
    ]

    @Test("A mistake is explained with its line and mend", arguments: mistakes)
    func mistake(_ mistake: Mistake) throws {
        try mistake.check(inSchema: false)
    }

    @Test("The housing pipeline has no mistakes")
    func housingIsClean() throws {
        let path = PipelineFixture.housing.path
        #expect(PipelineLinter.lint(path: path) == [])
        let pipeline = try PipelineLoader.load(path: path)
        #expect(pipeline.topics.inputs == "penstock.housing.inputs")
        #expect(pipeline.topicSettings.count == 22)
        #expect(Set(pipeline.topicSettings.map(\.topic)) == Set(pipeline.topics.all))
        #expect(pipeline.topicSettings[0].retentionMilliseconds == 604_800_000)
        let kafka = Dictionary(
            uniqueKeysWithValues: pipeline.topicSettings.map { setting in
                (setting.topic, Dictionary(uniqueKeysWithValues: setting.kafkaSettings.map { ($0.name, $0.value) }))
            })
        #expect(kafka[pipeline.topics.inputs]?["retention.ms"] == "604800000")
        #expect(kafka[pipeline.topics.inputs]?["message.timestamp.type"] == "CreateTime")
        #expect(kafka["\(pipeline.topics.inputs).dlq"]?["message.timestamp.type"] == "LogAppendTime")
        for topic in pipeline.topics.compacted { #expect(kafka[topic]?["cleanup.policy"] == "compact") }
        #expect(pipeline.input.schema.fields.count == 10)
        #expect(pipeline.input.schema.numericFields.count == 9)
        #expect(pipeline.input.bytesMax == 65_536)
        #expect(pipeline.input.clockSkewMilliseconds == 300_000)
        #expect(pipeline.input.duplicateWindowMilliseconds == 86_400_000)
        #expect(pipeline.input.identity == PlainIdentity(idField: "id", source: "/housing/plain"))
        #expect(pipeline.features.columns.map(\.name).first == "MedInc")
        #expect(pipeline.features.columns.count == 8)
        #expect(pipeline.features.transformPath == "\(path)/artifacts/transform.json")
        #expect(pipeline.model.manifestPath == "\(path)/artifacts/model.json")
        #expect(pipeline.batching == MicroBatching(recordsMax: 2_048, bytesMax: 4_194_304, deadlineMicroseconds: 5_000))
        #expect(pipeline.sink.retentionMilliseconds == nil)
        #expect(pipeline.sink.partitionSpan == .month)
    }

    @Test("All mistakes of a file are reported in one run, in the order of its text")
    func allAtOnce() throws {
        let fixture = try PipelineFixture()
        for (original, replacement) in [
            ("prefix:", "prefx:"), ("retention: 7d", "retention: 7 days"), ("depth: 8", "depth: 0"),
            ("name: AveRooms", "name: AveRoms"), ("policy: clip", "policy: cut"), ("deadline: 5ms", "deadline: 5"),
            ("table: housing_predictions", "table: 1st"), ("clockSkew: 5m", "clockSkew: 5m\n  clockSkew: 6m"),
        ] {
            let range = try #require(fixture.yaml.range(of: original))
            fixture.yaml.replaceSubrange(range, with: replacement)
        }
        fixture.schema = fixture.schema.replacingOccurrences(of: "\"minLength\"", with: "\"minLenght\"")
        let diagnostics = try fixture.lint()
        let codes = Set(diagnostics.map(\.code))
        #expect(
            codes == [
                .unknownKey, .badDuration, .outOfRange, .badValue, .badIdentifier, .duplicateKey, .unsupportedKeyword,
            ])
        let lines = diagnostics.filter { $0.file == fixture.pipelinePath }.map(\.line)
        #expect(lines == lines.sorted())
        let error = #expect(throws: PipelineError.self) { try PipelineLoader.load(path: fixture.pipelinePath) }
        #expect(error?.diagnostics == diagnostics)
    }

    @Test("A key given three times is reported twice, and the rest is still checked")
    func keyThreeTimes() throws {
        let fixture = try PipelineFixture()
        fixture.yaml = fixture.yaml.replacingOccurrences(
            of: "  clockSkew: 5m\n", with: "  clockSkew: 5m\n  clockSkew: 6m\n  \"clockSkew\": 7m\n")
        fixture.yaml = fixture.yaml.replacingOccurrences(of: "deadline: 5ms", with: "deadline: 5")
        let diagnostics = try fixture.lint()
        #expect(diagnostics.map(\.code) == [.duplicateKey, .duplicateKey, .badDuration])
        let first = try fixture.line(of: "clockSkew: 5m", inSchema: false)
        #expect(diagnostics.map(\.line).prefix(2) == [first + 1, first + 2])
    }

    @Test("A warning does not keep the pipeline from loading")
    func warningsAlone() throws {
        let fixture = try PipelineFixture()
        fixture.yaml = fixture.yaml.replacingOccurrences(of: "prefix: penstock", with: "prefix: pen_stock")
        try fixture.write()
        let pipeline = try PipelineLoader.load(path: fixture.pipelinePath)
        #expect(pipeline.prefix == "pen_stock")
        #expect(LintReport(path: fixture.pipelinePath).exitStatus == 0)
    }

    @Test(
        "Stages that share a process are declared in the order of the path",
        arguments: [
            ("[infer]", StageFusion.none, [String]()), ("[transform, infer]", .fromTransform, ["transform"]),
            ("[ingest, transform, infer]", .fromIngest, ["ingest", "transform"]),
        ])
    func stages(declared: String, fusion: StageFusion, absorbed: [String]) throws {
        let fixture = try PipelineFixture()
        fixture.yaml += "\nstages: \(declared)\n"
        try fixture.write()
        let pipeline = try PipelineLoader.load(path: fixture.pipelinePath)
        #expect(pipeline.fusion == fusion)
        #expect(pipeline.fusion.absorbedStages == absorbed)
    }

    @Test("Defaults fill in what is left out")
    func defaults() throws {
        let fixture = try PipelineFixture()
        fixture.yaml = """
            version: 1
            pipeline: small
            topics:
              inputs: { partitions: 2 }
              events: { partitions: 2 }
              features: { partitions: 2 }
              predictions: { partitions: 2, retention: none }
            input: { schema: schemas/housing-event.schema.json }
            features:
              transform: /elsewhere/transform.json
              columns: [{ name: income, field: MedInc, impute: 1.5 }]
            model: { name: m, manifest: m.json }
            sink: { table: t }
            """
        try fixture.write()
        let pipeline = try PipelineLoader.load(path: fixture.pipelinePath)
        #expect(pipeline.prefix == "penstock")
        #expect(pipeline.topicSettings.first { $0.topic == pipeline.topics.predictions }?.retentionMilliseconds == -1)
        #expect(pipeline.topicSettings.first { $0.topic == pipeline.topics.duplicates }?.partitions == 1)
        #expect(pipeline.input.formats == [.json, .cloudevents])
        #expect(pipeline.input.eventTimeField == nil)
        #expect(pipeline.input.isKeyRequired)
        #expect(pipeline.features.transformPath == "/elsewhere/transform.json")
        #expect(pipeline.features.columns[0].impute == .constant(1.5))
        #expect(pipeline.features.columns[0].scale == .none)
        #expect(pipeline.batching.recordsMax == 2_048)
        #expect(pipeline.fusion == .none)
        #expect(pipeline.sink.schema == "penstock")
    }

    @Test("A missing, empty, binary or boundless file is one clear diagnostic")
    func unreadableFiles() throws {
        #expect(PipelineLinter.lint(path: "/nowhere/pipeline.yaml").map(\.code) == [.fileUnreadable])
        #expect(LintReport(path: "/nowhere/pipeline.yaml").exitStatus == 2)
        let fixture = try PipelineFixture()
        fixture.yaml = ""
        #expect(try fixture.lint().map(\.code) == [.yamlSyntax])
        fixture.yaml = "# nothing\n"
        #expect(try fixture.lint().allSatisfy { $0.severity == .error })
        fixture.yaml = "just text"
        #expect(try fixture.lint().map(\.code) == [.wrongType])
        fixture.yaml = "a: 1\n---\nb: 2\n"
        #expect(try fixture.lint().first?.mend.contains("---") == true)
        try Data([0x61, 0xff, 0xfe]).write(to: URL(filePath: fixture.pipelinePath))
        #expect(PipelineLinter.lint(path: fixture.pipelinePath).map(\.code) == [.notUTF8])
        fixture.yaml = "a: &a [x, x, x, x, x, x, x, x, x]\n"
        for (name, previous) in zip("bcdefgh", "abcdefg") {
            let references = Array(repeating: "*\(previous)", count: 9).joined(separator: ", ")
            fixture.yaml += "\(name): &\(name) [\(references)]\n"
        }
        #expect(try fixture.lint().first?.message.contains("aliases") == true)
        fixture.yaml = String(repeating: "[", count: 5_000)
        #expect(try fixture.lint().map(\.code) == [.yamlSyntax])
    }

    @Test("The report has a text and a JSON form")
    func report() throws {
        let fixture = try PipelineFixture()
        fixture.yaml = fixture.yaml.replacingOccurrences(of: "depth: 8", with: "depth: 0")
        try fixture.write()
        let report = LintReport(path: fixture.pipelinePath)
        #expect(report.exitStatus == 1)
        let line = try fixture.line(of: "depth: 0", inSchema: false)
        #expect(
            report.text.contains("\(fixture.pipelinePath):\(line):34: error: `input.limits.depth` is 0 [out-of-range]"))
        #expect(report.text.contains("    mend: write 1 to 64"))
        #expect(report.text.hasSuffix("1 error, 0 warnings"))
        let decoded = try JSONDecoder().decode(LintReport.self, from: Data(report.json().utf8))
        #expect(decoded.diagnostics == report.diagnostics)
    }
}
