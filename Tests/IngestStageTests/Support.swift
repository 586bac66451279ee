// Support: hand-made contracts and records, and the outcome of a batch by record.

import EventContracts
import IngestStage
import PipelineContract
import StageRuntime
import Testing

/// 2021-06-01T00:00:00Z, the Kafka timestamp of records unless they say otherwise.
let publishMilliseconds: Int64 = 1_622_505_600_000

let context = ProcessingContext(nowMicroseconds: 1_622_505_601_000_000, clusterID: "cluster-1")

func schema() -> EventSchema {
    EventSchema(fields: [
        .init(name: "id", type: .string, isRequired: true, lengthMin: 1, lengthMax: 8),
        .init(name: "timestamp", type: .timestamp, isRequired: false, isNullable: true),
        .init(name: "x", type: .number, isRequired: true, minimum: -10, maximum: 10),
        .init(
            name: "y", type: .number, isRequired: false, isNullable: true, minimum: 0, maximum: 1,
            isMinimumExclusive: true, isMaximumExclusive: true),
        .init(name: "n", type: .integer, isRequired: false),
        .init(name: "flag", type: .boolean, isRequired: false),
        .init(name: "kind", type: .string, isRequired: false, enumeration: ["a", "b"]),
        .init(name: "code", type: .string, isRequired: false, pattern: "^[A-Z]{2}[0-9]+$"),
    ])
}

func contract(_ change: (inout InputContract) -> Void = { _ in }) -> InputContract {
    var input = InputContract(
        schema: schema(), formats: [.json, .cloudevents], eventTimeField: "timestamp",
        identity: PlainIdentity(idField: "id", source: "/test/plain"), isKeyRequired: true, unknownFields: .reject,
        bytesMax: 1_024, depthMax: 4, clockSkewMilliseconds: 300_000, duplicateWindowRecords: 100,
        duplicateWindowMilliseconds: 3_600_000)
    change(&input)
    return input
}

func processor(_ change: (inout InputContract) -> Void = { _ in }) throws -> IngestProcessor {
    try IngestProcessor(input: contract(change), topic: "penstock.test.inputs")
}

struct InputRecord {
    var value: [UInt8]?
    var key: [UInt8]? = Array("k".utf8)
    var headers: [(name: String, value: [UInt8]?)] = []
    var partition: Int32 = 0
    var timestamp = publishMilliseconds

    init(_ value: String?) { self.value = value.map { Array($0.utf8) } }

    func with(_ change: (inout InputRecord) -> Void) -> InputRecord {
        var copy = self
        change(&copy)
        return copy
    }

    func header(_ name: String, _ value: String) -> InputRecord {
        with { $0.headers.append((name, Array(value.utf8))) }
    }

    /// A CloudEvent in binary mode, with the attributes given (nil leaves one out).
    static func binary(
        _ value: String?, id: String? = "e1", source: String? = "/s", time: String? = "2021-05-31T23:59:00Z",
        version: String? = "1.0", type: String? = "test.event"
    ) -> InputRecord {
        var record = InputRecord(value).header("content-type", "application/json")
        let attributes = [("specversion", version), ("id", id), ("source", source), ("type", type), ("time", time)]
        for case (let name, let value?) in attributes { record = record.header("ce_\(name)", value) }
        return record
    }

    static func structured(_ value: String) -> InputRecord {
        InputRecord(value).header("content-type", "application/cloudevents+json; charset=UTF-8")
    }
}

func batch(_ records: [InputRecord], firstOffset: Int64 = 0) -> RecordBatch {
    var batch = RecordBatch()
    for (index, record) in records.enumerated() {
        let origin = RecordBatch.Origin(
            topicIndex: 0, partition: record.partition, offset: firstOffset + Int64(index))
        append(record, origin, to: &batch)
        for header in record.headers {
            let name = Array(header.name.utf8)
            if let value = header.value {
                batch.appendHeader(name: name.span.bytes, value: value.span.bytes)
            } else {
                batch.appendHeader(name: name.span.bytes, value: nil)
            }
        }
    }
    batch.seal()
    return batch
}

private func append(_ record: InputRecord, _ origin: RecordBatch.Origin, to batch: inout RecordBatch) {
    // A span cannot stand in an optional that outlives its branch.
    switch (record.key, record.value) {
    case (let key?, let value?):
        batch.append(
            origin: origin, timestampMilliseconds: record.timestamp, key: key.span.bytes, value: value.span.bytes)
    case (nil, let value?):
        batch.append(origin: origin, timestampMilliseconds: record.timestamp, key: nil, value: value.span.bytes)
    case (let key?, nil):
        batch.append(origin: origin, timestampMilliseconds: record.timestamp, key: key.span.bytes, value: nil)
    case (nil, nil):
        batch.append(origin: origin, timestampMilliseconds: record.timestamp, key: nil, value: nil)
    }
}

struct Event: Equatable {
    var prefix: RecordPrefix
    var source: String
    var id: String
    /// By field name; missing fields are left out.
    var numbers: [String: Double]
    var texts: [String: String]
}

enum Outcome: Equatable {
    case event(Event)
    case duplicate(String)
    case dead(ErrorCode, String)

    var code: ErrorCode? {
        if case .dead(let code, _) = self { return code }
        return nil
    }

    var event: Event? {
        if case .event(let event) = self { return event }
        return nil
    }

    /// For comparisons: `new`, `duplicate` or the code.
    var kind: String {
        switch self {
        case .event: "new"
        case .duplicate: "duplicate"
        case .dead(let code, _): code.rawValue
        }
    }
}

/// Processes one batch and gives the outcome of each record.
func outcomes(
    _ records: [InputRecord], by processor: inout IngestProcessor, firstOffset: Int64 = 0
) throws -> [Outcome] {
    var output = processor.makeOutput()
    try processor.process(batch(records, firstOffset: firstOffset), context: context, into: &output)
    #expect(output.firstWithoutSingleOutcome(count: records.count) == nil)
    var result: [Int: Outcome] = [:]
    for letter in output.deadLetters { result[letter.source] = .dead(letter.code, letter.message) }
    for notice in output.duplicates {
        #expect(notice.topicIndex == IngestProcessor.duplicatesTopicIndex)
        let value = output.arena[notice.value.start..<notice.value.start + notice.value.length]
        result[notice.source] = .duplicate(String(decoding: value, as: UTF8.self))
    }
    for emission in output.emissions {
        #expect(emission.topicIndex == IngestProcessor.eventsTopicIndex)
        let value = output.arena[emission.value.start..<emission.value.start + emission.value.length]
        result[emission.source] = .event(try decoded(Array(value)))
    }
    return try records.indices.map { try #require(result[$0]) }
}

func outcome(_ record: InputRecord, by processor: IngestProcessor) throws -> Outcome {
    var processor = processor
    return try #require(outcomes([record], by: &processor).first)
}

private func decoded(_ bytes: [UInt8]) throws -> Event {
    let schema = schema()
    var batch = RecordBatch()
    let origin = RecordBatch.Origin(topicIndex: 0, partition: 0, offset: 0)
    batch.append(origin: origin, timestampMilliseconds: 0, key: nil, value: bytes.span.bytes)
    batch.seal()
    let decoder = EventRecordDecoder(
        numericCount: schema.numericFields.count, textCount: schema.textFields.count, contractHash: schema.contractHash)
    var columns = decoder.makeColumns()
    var malformed: [MalformedRow] = []
    decoder.decode(batch, into: &columns, malformed: &malformed)
    #expect(malformed.isEmpty)
    func text(_ slice: RecordBatch.Slice) -> String? { batch.bytes(slice).map { String(decoding: $0, as: UTF8.self) } }
    var event = Event(
        prefix: try #require(columns.prefixes.first), source: text(columns.identities[0].source) ?? "",
        id: text(columns.identities[0].id) ?? "", numbers: [:], texts: [:])
    for (index, field) in schema.numericFields.enumerated() where columns.validity[index] == 1 {
        event.numbers[field.name] = columns.numeric[index]
    }
    for (index, field) in schema.textFields.enumerated() { event.texts[field.name] = text(columns.texts[index]) }
    return event
}
