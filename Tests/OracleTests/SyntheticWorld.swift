// SyntheticWorld: a pipeline in memory whose snapshot is right, to plant violations in.

import Foundation

@testable import Oracle

/// Housing events and damaged ones, and the topics and tables that a faultless pipeline makes of them.
struct SyntheticWorld {
    static let repository = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    static let clusterID = "cluster-1"
    /// 2021-06-01T12:00:00Z in milliseconds.
    static let noon: Int64 = 1_622_548_800_000

    let facts: PipelineFacts
    let transform: TransformDocument
    let model: ScoreModel
    var world: World

    static func housing() throws -> PipelineFacts {
        try PipelineFacts(path: repository.appending(path: "topics/housing").path)
    }

    /// Latitude is flagged, AveOccup refused, MedInc clipped outside of its bounds; Population must not be missing.
    static func makeTransform() throws -> TransformDocument {
        let features = TinyModel.features.map { name -> String in
            let impute = name == "Population" ? #"{"strategy":"reject"}"# : #"{"strategy":"median","value":2.0}"#
            let policy = ["Latitude": "flag", "AveOccup": "reject", "MedInc": "clip"][name]
            let outliers =
                policy.map {
                    #"{"policy":"\#($0)","lower":0.5,"upper":40.0,"lower_quantile":0.001,"upper_quantile":0.999}"#
                } ?? #"{"policy":"none"}"#
            return #"{"name":"\#(name)","field":"\#(name)","impute":\#(impute),"outliers":\#(outliers),"#
                + #""scale":{"kind":"standard","offset":3.5,"divisor":\#(name == "Population" ? 1000.0 : 10.0)}}"#
        }
        let text =
            #"{"version":1,"event_schema":"62e8e82163bafdc7","contract":"","features":[\#(features.joined(separator: ","))]}"#
        var document = try JSONDecoder().decode(TransformDocument.self, from: Data(text.utf8))
        document.contract = document.recomputedContract
        return document
    }

    /// One event's JSON.
    static func event(_ id: String, second: Int = 0, changes: [String: String] = [:]) -> String {
        var fields = [
            ("id", "\"\(id)\""),
            ("timestamp", String(format: "\"2021-06-01T11:%02d:%02dZ\"", second / 60, second % 60)),
            ("MedInc", "3.25"), ("HouseAge", "41"), ("AveRooms", "6.5"), ("AveBedrms", "1.0625"),
            ("Population", "322"), ("AveOccup", "2.5"), ("Latitude", "37.875"), ("Longitude", "-122.25"),
        ]
        for (name, value) in changes.sorted(by: { $0.key < $1.key }) {
            if let index = fields.firstIndex(where: { $0.0 == name }) {
                fields[index].1 = value
            } else {
                fields.append((name, value))
            }
        }
        return "{" + fields.filter { !$0.1.isEmpty }.map { "\"\($0.0)\":\($0.1)" }.joined(separator: ",") + "}"
    }

    /// - Parameter records: per partition, in order.
    init(records: [[LogRecord]]? = nil) throws {
        facts = try Self.housing()
        transform = try Self.makeTransform()
        model = try TinyModel.score(contract: transform.contract)
        let partitions = records ?? Self.standardRecords()
        let inputs = Self.log(partitions)
        world = World(
            clusterID: Self.clusterID, inputs: inputs, events: TopicLog(), features: TopicLog(),
            predictions: TopicLog(), duplicates: TopicLog(), deadLetters: [:], rows: [], tableDuplicates: [],
            sinkOffsets: [:])
        try run(partitionCount: partitions.count)
    }

    static func log(_ partitions: [[LogRecord]]) -> TopicLog {
        let counts = partitions.enumerated().map { (Int32($0.offset), Int64($0.element.count)) }
        return TopicLog(
            records: partitions.flatMap(\.self), starts: Dictionary(uniqueKeysWithValues: counts.map { ($0.0, 0) }),
            ends: Dictionary(uniqueKeysWithValues: counts))
    }

    static func record(
        _ partition: Int32, _ offset: Int64, _ value: String?, key: String? = "k", headers: [LogHeader] = []
    ) -> LogRecord {
        LogRecord(
            origin: Origin(partition: partition, offset: offset), timestampMilliseconds: noon + offset,
            key: key.map { Array($0.utf8) }, value: value.map { Array($0.utf8) }, headers: headers)
    }

    /// Two partitions: 12 good events each (one CloudEvent), two repeats, a conflict, and seven damaged records.
    static func standardRecords() -> [[LogRecord]] {
        (0..<2).map { partition in
            let number = Int32(partition)
            var values: [(String?, String?, [LogHeader])] = (0..<11).map { index in
                (
                    event("p\(partition)-\(index)", second: index * 7), "key-\(index % 3)",
                    [LogHeader("x-note", "\(index)")]
                )
            }
            let cloud = [
                LogHeader("ce_specversion", "1.0"), LogHeader("ce_id", "c-\(partition)"),
                LogHeader("ce_source", "/sensors/1"), LogHeader("ce_type", "housing"),
                LogHeader("ce_time", "2021-06-01T11:30:00.5Z"), LogHeader("content-type", "application/json"),
            ]
            values += [
                (event("ignored", second: 90), "cloud", cloud),
                (event("p\(partition)-0", second: 0), "key-0", []),
                (event("p\(partition)-1", second: 7), "key-1", []),
                (event("p\(partition)-2", second: 14, changes: ["MedInc": "9"]), "key-2", []),
                (event("bad-1", changes: ["Latitude": "91"]), "key-0", [LogHeader("x-note", "b")]),
                (event("bad-2", changes: ["Longitude": ""]), "key-0", []),
                ("{\"id\":", "key-0", []), (nil, "key-0", []),
                (event("bad-3", changes: ["AveOccup": "99"]), "key-1", []),
                (event("bad-4", changes: ["Population": "null"]), "key-1", []),
                (event("bad-5", changes: ["timestamp": "\"2021-06-01T13:00:00Z\""]), "key-2", []),
                (event("gap-\(partition)", second: 100, changes: ["MedInc": "null", "Latitude": "45"]), "key-2", []),
            ]
            return values.enumerated().map { offset, value in
                record(number, Int64(offset), value.0, key: value.1, headers: value.2)
            }
        }
    }

    // MARK: - The faultless pipeline

    private mutating func run(partitionCount: Int) throws {
        let expectations = try Expectations(
            inputs: world.inputs, facts: facts, clusterID: Self.clusterID, transform: transform, model: model)
        var predictions: [[LogRecord]] = Array(repeating: [], count: partitionCount)
        var letters: [SourceTopic: [LogRecord]] = [:]
        var duplicates: [LogRecord] = []
        var firsts: [EventIdentifier: Int64] = [:]
        for origin in expectations.origins {
            guard let expectation = expectations.byOrigin[origin] else { continue }
            let record = expectation.record
            let outcome =
                expectation.allowed.sorted { "\($0)" < "\($1)" }.first { $0 == .row } ?? expectation.allowed.first
            switch outcome {
            case .row:
                let facts = Self.facts(expectation, model)
                firsts[facts.eventID] = origin.offset
                world.rows.append(facts)
                let partition = Int(origin.partition)
                predictions[partition].append(
                    LogRecord(
                        origin: Origin(partition: origin.partition, offset: Int64(predictions[partition].count)),
                        timestampMilliseconds: Self.noon, key: record.key, value: Array(Self.json(facts).utf8)))
            case .duplicate:
                guard let event = expectation.event, let first = firsts[event.eventID] else { continue }
                let notice =
                    #"{"v":1,"event_id":"\#(event.eventID)","source":null,"id":null,"#
                    + #""input_partition":\#(origin.partition),"input_offset":\#(origin.offset),"first_offset":\#(first)}"#
                duplicates.append(Self.record(0, Int64(duplicates.count), notice, key: nil))
            case .deadLetter(let topic, let code):
                letters[topic, default: []].append(
                    letter(for: record, topic, code, offset: Int64(letters[topic]?.count ?? 0)))
            case nil:
                continue
            }
        }
        world.predictions = Self.log(predictions)
        world.duplicates = Self.log([duplicates])
        world.deadLetters = letters.mapValues { Self.log([$0]) }
        world.sinkOffsets = world.predictions.ends
    }

    /// The dead letter, and for `events` the internal record before it.
    private mutating func letter(for record: LogRecord, _ topic: SourceTopic, _ code: String, offset: Int64)
        -> LogRecord
    {
        var original = record
        if topic == .events {
            var value = [UInt8](repeating: 7, count: 130)
            value.replaceSubrange(56..<64, with: Bytes.little(UInt64(bitPattern: record.origin.offset)))
            let partition = UInt32(bitPattern: record.origin.partition)
            value.replaceSubrange(64..<68, with: Bytes.little(UInt64(partition)).prefix(4))
            original = LogRecord(
                origin: Origin(partition: 0, offset: Int64(world.events.records.count)),
                timestampMilliseconds: Self.noon, key: record.key, value: value)
            world.events = TopicLog(records: world.events.records + [original], starts: [0: 0], ends: [0: 100])
        }
        return Self.letter(of: original, topic: "\(facts.root).\(topic.rawValue)", code: code, offset: offset)
    }

    static func letter(of original: LogRecord, topic: String, code: String, offset: Int64) -> LogRecord {
        let added = [
            ("__connect.errors.topic", topic), ("__connect.errors.partition", "\(original.origin.partition)"),
            ("__connect.errors.offset", "\(original.origin.offset)"),
            ("__connect.errors.exception.class.name", "penstock.\(code)"), ("x-error-code", code),
            ("x-original-timestamp", "\(original.timestampMilliseconds)"),
        ].filter { !original.hasHeader($0.0) }
        return LogRecord(
            origin: Origin(partition: 0, offset: offset), timestampMilliseconds: noon, key: original.key,
            value: original.value, headers: original.headers + added.map { LogHeader($0.0, $0.1) })
    }

    private static func facts(_ expectation: Expectation, _ model: ScoreModel) -> PredictionFacts {
        let event = expectation.event
        return PredictionFacts(
            eventID: event?.eventID ?? EventIdentifier(high: 0, low: 0), source: event?.identity?.source,
            id: event?.identity?.id, entity: event?.entity, eventTime: event?.eventTime ?? 0,
            publishedAt: expectation.record.timestampMilliseconds * 1_000, model: model.name,
            modelVersion: model.version, contract: model.contract,
            score: Double(Float(expectation.score)) + 3e-5, label: expectation.label, imputed: expectation.imputed,
            outliers: expectation.outliers, payload: event?.payloadHash ?? "", origin: expectation.record.origin)
    }

    static func json(_ facts: PredictionFacts) -> String {
        func text(_ value: String?) -> String { value.map { "\"\($0)\"" } ?? "null" }
        func time(_ microseconds: Int64) -> String {
            let date = Date(timeIntervalSince1970: Double(microseconds / 1_000_000))
            let seconds = date.ISO8601Format().dropLast()
            return "\"\(seconds).\(String(format: "%06d", Int(microseconds % 1_000_000)))Z\""
        }
        return #"{"v":1,"event_id":"\#(facts.eventID)","source":\#(text(facts.source)),"id":\#(text(facts.id)),"#
            + #""entity":\#(text(facts.entity)),"event_time":\#(time(facts.eventTime)),"#
            + #""published_at":\#(time(facts.publishedAt)),"model":"\#(facts.model)","#
            + #""model_version":"\#(facts.modelVersion)","contract":"\#(facts.contract)","score":\#(facts.score),"#
            + #""label":\#(facts.label),"imputed":\#(facts.imputed),"outliers":\#(facts.outliers),"#
            + #""payload":"\#(facts.payload)","input_partition":\#(facts.origin.partition),"#
            + #""input_offset":\#(facts.origin.offset),"traceparent":null}"#
    }

    func verify() throws -> OracleReport {
        try Verifier(facts: facts, transform: transform, model: model).verify(world)
    }
}
