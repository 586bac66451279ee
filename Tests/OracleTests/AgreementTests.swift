// AgreementTests: the consumers' own logic and the oracle, on the same random records.

import EventContracts
import Foundation
import Inference
import InferenceStage
import IngestStage
import Observability
import PipelineContract
import StageRuntime
import Testing
import TransformStage
import Transforms

@testable import Oracle

@Suite("The consumers and the oracle agree")
struct AgreementTests {
    private static let inputs = "penstock.housing.inputs"

    @Test("On random events, envelopes and damages, for every record", arguments: [1, 2, 3])
    func randomRecords(seed: UInt64) throws {
        var records = RecordGenerator(seed: seed)
        let partitions = (0..<2).map { partition in (0..<700).map { records.next(partition: partition, offset: $0) } }
        let folder = FileManager.default.temporaryDirectory.appending(path: "penstock-oracle-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let consumers = try Consumers(folder: folder)
        let world = try consumers.run(SyntheticWorld.log(partitions))
        let report = try consumers.verifier().verify(world)
        #expect(report.isContent, "\(report.text)\n\(Self.shown(report, world))")
        #expect(report.rows > 100 && report.duplicates > 10 && report.deadLettersByCode.count > 12, "\(report.text)")
    }

    /// The input records of the first violations, for whoever has to look into them.
    private static func shown(_ report: OracleReport, _ world: World) -> String {
        report.violations.prefix(5).compactMap { violation in
            guard let partition = violation.partition, let offset = violation.offset else { return nil }
            let record = world.inputs.records.first { $0.origin == Origin(partition: partition, offset: offset) }
            let headers = record?.headers.map {
                "\(String(decoding: $0.name, as: UTF8.self))=\(String(decoding: $0.value ?? [], as: UTF8.self))"
            }
            return "\(String(decoding: record?.value ?? [], as: UTF8.self)) \(headers ?? [])"
        }.joined(separator: "\n")
    }
}

/// The stages' processors, one after the other, in memory. The sink is taken to be right: a row per event id.
struct Consumers {
    private let pipeline: Pipeline
    private let folder: URL
    private let contract: UInt64

    init(folder: URL) throws {
        self.folder = folder
        let housing = SyntheticWorld.repository.appending(path: "topics/housing")
        pipeline = try PipelineLoader.load(path: housing.path)
        let table = try ReferenceTable(
            path: housing.appending(path: "data/reference.csv").path, schema: pipeline.input.schema,
            features: pipeline.features)
        let fitted = try TransformFitter.fit(table, for: pipeline).transform
        try fitted.save(to: folder.appending(path: "transform.json").path)
        contract = fitted.contractHash
        let onnx = Self.network()
        let manifest = ModelManifest(
            name: pipeline.model.name, version: "7", contract: contract, features: TinyModel.features,
            onnx: "model.onnx",
            onnxBytes: onnx, outputs: .init(score: "probabilities", label: "label"))
        try Data(onnx).write(to: folder.appending(path: "model.onnx"))
        try Data(manifest.encoded()).write(to: folder.appending(path: "model.json"))
    }

    /// 8 -> 3 (ReLU) -> 2 (softmax), as `penstock train` lays networks out.
    private static func network() -> [UInt8] {
        var writer = ONNXWriter(graphName: "agreement")
        writer.addInput("features", shape: [.free("N"), .fixed(8)])
        writer.addInitializer("w0", dims: [8, 3], floats: (0..<24).map { Float($0 % 7 - 3) / 10 })
        writer.addInitializer("b0", dims: [3], floats: [0.1, -0.2, 0.3])
        writer.addInitializer("w1", dims: [3, 2], floats: (0..<6).map { Float($0 % 5 - 2) / 4 })
        writer.addInitializer("b1", dims: [2], floats: [0.05, -0.05])
        writer.addNode("Gemm", ["features", "w0", "b0"], ["sums"])
        writer.addNode("Relu", ["sums"], ["hidden"])
        writer.addNode("Gemm", ["hidden", "w1", "b1"], ["logits"])
        writer.addNode("Softmax", ["logits"], ["probabilities"], attributes: [("axis", .int(1))])
        writer.addNode("ArgMax", ["logits"], ["label"], attributes: [("axis", .int(1)), ("keepdims", .int(0))])
        writer.addOutput("probabilities", shape: [.free("N"), .fixed(2)])
        writer.addOutput("label", type: .int64, shape: [.free("N")])
        return writer.encoded()
    }

    func verifier() throws -> Verifier {
        let facts = try SyntheticWorld.housing()
        return try Verifier(
            facts: facts, transform: TransformDocument.read(path: folder.appending(path: "transform.json").path),
            model: ScoreModel.read(
                manifestPath: folder.appending(path: "model.json").path, threshold: facts.threshold))
    }

    func run(_ inputs: TopicLog, clusterID: String = SyntheticWorld.clusterID) throws -> World {
        var ingest = try IngestProcessor(input: pipeline.input, topic: pipeline.topics.inputs)
        var transform = try TransformProcessor(
            pipeline: pipeline, transformPath: folder.appending(path: "transform.json").path)
        let source = try UnsealedFileSource(manifestPath: folder.appending(path: "model.json").path) { _ in }
        var inference = try InferenceProcessor.load(
            source, for: pipeline, contractHash: contract, registry: MetricsRegistry())
        var letters: [SourceTopic: TopicLog] = [:]
        let (ingested, inputLetters) = try stage(&ingest, .inputs, inputs, clusterID)
        letters[.inputs] = inputLetters
        let (features, eventLetters) = try stage(&transform, .events, ingested[0], clusterID)
        letters[.events] = eventLetters
        let (predictions, featureLetters) = try stage(&inference, .features, features[0], clusterID)
        letters[.features] = featureLetters
        let (rows, duplicates) = store(predictions[0])
        return World(
            clusterID: clusterID, inputs: inputs, events: ingested[0], features: features[0],
            predictions: predictions[0], duplicates: ingested[1], deadLetters: letters, rows: rows,
            tableDuplicates: duplicates, sinkOffsets: predictions[0].ends)
    }

    private func store(_ predictions: TopicLog) -> (rows: [PredictionFacts], duplicates: [TableDuplicate]) {
        var rows: [PredictionFacts] = []
        var duplicates: [TableDuplicate] = []
        var known: Set<EventIdentifier> = []
        for record in predictions.records {
            guard let json = try? StrictJSON.parse(record.value ?? []), let facts = PredictionFacts(json: json) else {
                continue
            }
            if known.insert(facts.eventID).inserted {
                rows.append(facts)
            } else {
                duplicates.append(TableDuplicate(eventID: facts.eventID, origin: facts.origin))
            }
        }
        return (rows, duplicates)
    }

    /// Runs one stage over its input topic in batches of 64; gives its two output topics and its dead letters.
    private func stage<P: StageProcessor>(
        _ processor: inout P, _ topic: SourceTopic, _ log: TopicLog, _ clusterID: String
    ) throws -> (outputs: [TopicLog], letters: TopicLog) where P.Output == OutputBatch {
        let writer = DeadLetterWriter(group: "g", instance: "i", module: "M", stage: .valueConverter)
        let context = ProcessingContext(
            nowMicroseconds: SyntheticWorld.noon * 1_000, clusterID: clusterID)
        let name = "\(pipeline.topics.root).\(topic.rawValue)"
        var outputs: [[LogRecord]] = [[], []]
        var letters: [LogRecord] = []
        for start in stride(from: 0, to: log.records.count, by: 64) {
            let records = Array(log.records[start..<min(start + 64, log.records.count)])
            let batch = Self.batch(records)
            var output = processor.makeOutput()
            try processor.process(batch, context: context, into: &output)
            #expect(output.firstWithoutSingleOutcome(count: batch.count) == nil)
            for emission in output.emissions + output.duplicates {
                let bytes = output.arena[emission.value.start..<emission.value.start + emission.value.length]
                outputs[emission.topicIndex].append(
                    LogRecord(
                        origin: Origin(partition: records[emission.source].origin.partition, offset: 0),
                        timestampMilliseconds: SyntheticWorld.noon, key: records[emission.source].key,
                        value: Array(bytes)))
            }
            for letter in output.deadLetters {
                let record = writer.record(letter, of: batch, inputTopics: [name], nowMicroseconds: 0)
                letters.append(
                    LogRecord(
                        origin: Origin(partition: 0, offset: 0), timestampMilliseconds: 0, key: record.key,
                        value: record.value,
                        headers: record.headers.map { LogHeader(name: $0.name, value: $0.value) }))
            }
        }
        return (outputs.map(Self.numbered), Self.numbered(letters))
    }

    /// The records with the offsets that a broker would have given them.
    private static func numbered(_ records: [LogRecord]) -> TopicLog {
        var ends: [Int32: Int64] = [0: 0, 1: 0]
        let placed = records.map { record in
            var copy = record
            copy.origin.offset = ends[record.origin.partition, default: 0]
            ends[record.origin.partition, default: 0] += 1
            return copy
        }
        return TopicLog(records: placed, starts: [0: 0, 1: 0], ends: ends)
    }

    private static func batch(_ records: [LogRecord]) -> RecordBatch {
        var batch = RecordBatch()
        for record in records {
            batch.append(
                origin: .init(topicIndex: 0, partition: record.origin.partition, offset: record.origin.offset),
                timestampMilliseconds: record.timestampMilliseconds, key: record.key?.span.bytes,
                value: record.value?.span.bytes)
            for header in record.headers {
                batch.appendHeader(name: header.name.span.bytes, value: header.value?.span.bytes)
            }
        }
        batch.seal()
        return batch
    }
}

/// Input records of every kind, seeded.
struct RecordGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next(partition: Int, offset: Int) -> LogRecord {
        let isDamaged = chance(4)
        var value = [UInt8](event(isDamaged: isDamaged).utf8)
        var headers = envelope(&value)
        if chance(12) { damage(&value) }
        if chance(25) { headers.append(LogHeader("x-note", "\(offset)")) }
        let keys: [[UInt8]?] = [Array("a".utf8), Array("b".utf8), Array("ü".utf8), [0xff, 0], []]
        return LogRecord(
            origin: Origin(partition: Int32(partition), offset: Int64(offset)),
            timestampMilliseconds: SyntheticWorld.noon + Int64(offset) + (chance(30) ? -90_000_000 : 0),
            key: chance(40) ? nil : chance(5) ? pick(keys) : Array("k\(pick(Array(0..<9)))".utf8),
            value: chance(60) ? nil : chance(60) ? [] : value, headers: headers)
    }

    private mutating func event(isDamaged: Bool) -> String {
        let numbers = ["1", "0.5", "-1", "39.25", "1e2", "-0", "0", "2.5E-3", "null", "99.999", "12345678901234567890"]
        let strange = [
            "1e999", "\"1\"", "true", "[1]", "{\"a\":1}", "01", "NaN", "-Infinity", "\"\\ud800\"", "", "1.",
            "[[[[[[[[[1]]]]]]]]]",
        ]
        let times = [
            "\"2021-06-01T11:00:00Z\"", "\"2021-06-01T11:00:00.123456789+00:30\"", "\"2021-06-01t10:59:59z\"",
            "\"2021-06-01T12:04:59Z\"", "\"2021-06-01T12:30:00Z\"", "\"2016-12-31T23:59:60Z\"",
            "\"1969-12-31T23:59:59.999Z\"",
        ]
        let badTimes = [
            "\"2021-06-31T00:00:00Z\"", "\"today\"", "1622548800", "null", "\"2021-06-01T25:00:00Z\"", "\"\"",
        ]
        let ids = (0..<60).map { "\"id-\($0)\"" }
        let badIDs = [
            "\"\"", "\"a\\u0000b\"", "\"\\u0085\"", "7", "null", "\"" + String(repeating: "é", count: 65) + "\"",
        ]
        var fields = [
            ("id", chance(3) ? pick(ids) : "\"n\(random())\""), ("timestamp", chance(2) ? times[0] : pick(times)),
            ("Latitude", pick(["37.5", "-90", "45"])), ("Longitude", pick(["-122.25", "180", "-0.0"])),
        ]
        for name in ["MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup"] where !chance(6) {
            fields.append((name, chance(30) ? pick(numbers) : pick(["3.5", "41", "6.25", "1.0625", "322", "2.5"])))
        }
        if isDamaged {
            let index = Int(random() % UInt64(fields.count))
            switch random() % 6 {
            case 0: fields.remove(at: index)
            case 1: fields.append((fields[index].0, fields[index].1))
            case 2: fields.append((pick(["extra", "Medinc", "ID", "é"]), pick(numbers + strange)))
            case 3: fields[0].1 = pick(badIDs)
            case 4: fields[1].1 = pick(badTimes)
            default: fields[index].1 = pick(strange + numbers)
            }
        }
        if chance(3) { fields.reverse() }
        let space = chance(5) ? " \n\t" : ""
        return "\(space){" + fields.map { "\"\($0.0)\"\(space):\($0.1)" }.joined(separator: ",\(space)") + "}\(space)"
    }

    private mutating func envelope(_ value: inout [UInt8]) -> [LogHeader] {
        let times = ["2021-06-01T11:11:11Z", "noon", "2021-06-01T11:11:11.5+01:00"]
        switch random() % 12 {
        case 0, 1:
            var headers = [
                LogHeader("ce_specversion", chance(12) ? pick(["0.3", "1.0.1", ""]) : "1.0"),
                LogHeader("ce_id", chance(12) ? pick(["", "a\u{1}", "é"]) : "c\(pick(Array(0..<40)))"),
                LogHeader("ce_source", chance(12) ? "" : "/s"), LogHeader("ce_type", "t"),
            ]
            if chance(3) { headers.append(LogHeader("ce_time", pick(times))) }
            if chance(10) { headers.remove(at: Int(random() % UInt64(headers.count))) }
            if chance(15) { headers.append(LogHeader(name: Array("ce_id".utf8), value: pick([nil, [0xff], [0x31]]))) }
            if chance(2) { headers.append(LogHeader("content-type", "application/json")) }
            return headers
        case 2, 3:
            var parts = [
                #""specversion":"1.0""#, #""id":"s\#(pick(Array(0..<40)))""#, #""source":"/t""#, #""type":"x""#,
                #""data":\#(String(decoding: value, as: UTF8.self))"#,
            ]
            if chance(3) { parts.append(#""time":"\#(pick(times))""#) }
            if chance(8) {
                parts.append(pick([#""ext1":1"#, #""Ext":1"#, #""ext":{}"#, #""subject":null"#, #""id":"z""#]))
            }
            if chance(10) {
                parts.append(
                    pick([
                        #""datacontenttype":"text/csv""#, #""datacontenttype":"application/json""#,
                        #""data_base64":"AA==""#, #""time":null"#, #""time":5"#,
                    ]))
            }
            if chance(8) { parts.remove(at: Int(random() % UInt64(parts.count))) }
            value = Array("{\(parts.joined(separator: ","))}".utf8)
            return [LogHeader("content-type", "application/cloudevents+json" + (chance(2) ? "; charset=UTF-8" : ""))]
        case 4:
            return [
                LogHeader(
                    pick(["content-type", "Content-Type"]),
                    pick([
                        "application/json", "text/plain", "application/vnd.x+json", "application/json;charset=latin1",
                        "application/cloudevents-batch+json", "", "Application/JSON ; charset=\"utf-8\"",
                    ]))
            ]
        default:
            return []
        }
    }

    private mutating func damage(_ value: inout [UInt8]) {
        guard !value.isEmpty else { return }
        let index = Int(random() % UInt64(value.count))
        switch random() % 5 {
        case 0: value.removeSubrange(index...)
        case 1: value[index] = UInt8(truncatingIfNeeded: random())
        case 2: value.insert(pick(Array("{}[]\",:\\ \u{1}é".utf8)), at: index)
        case 3: value += Array(repeating: 0x20, count: chance(2) ? 70_000 : 3)
        default: value.insert(contentsOf: [0xef, 0xbb, 0xbf], at: chance(2) ? 0 : index)
        }
    }

    /// True once in `count` times.
    private mutating func chance(_ count: UInt64) -> Bool { random() % count == 0 }

    private mutating func pick<T>(_ choices: [T]) -> T { choices[Int(random() % UInt64(choices.count))] }

    /// SplitMix64 (Steele, Lea and Flood).
    private mutating func random() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
