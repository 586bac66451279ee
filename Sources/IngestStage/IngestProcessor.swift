// IngestProcessor: input records of any accepted form into `events` records, dead letters and duplicate notices.

import Cryptography
public import EventContracts
import JSONColumns
public import PipelineContract
public import StageRuntime

/// The stage `ingest`: reads JSON and CloudEvents, checks them against the event schema, gives each event its id, and
/// recognises repeats.
///
/// Output topic 0 takes the `events`, 1 the duplicate notices. The outcome of a record follows from the input log alone
/// (and from the time of day only in the record's own time stamps), so that a record that is read again after a crash
/// has the same outcome.
public struct IngestProcessor: StageProcessor {
    public static let eventsTopicIndex = 0
    public static let duplicatesTopicIndex = 1

    /// One record on its way: what the body does not hold.
    private struct Row {
        var record: Int
        var source: JSONSlice
        var id: JSONSlice
        var eventTime: Int64
        var publishTime: Int64
        var payloadHash: UInt64
        var eventID = EventID(high: 0, low: 0)
        /// Digest of source and id, when the event id stems from them.
        var identity: SHA256Digest?
    }

    private let input: InputContract
    private let topic: String
    private let topicBytes: [UInt8]
    private let schema: CompiledSchema
    private let encoder: EventRecordEncoder
    private let decoder: JSONColumnDecoder
    private let plainSource: [UInt8]
    /// How messages name the field of the identity of plain JSON.
    private let identityName: String
    private var plainSourceSlice = JSONSlice(start: 0, length: 0)
    private var clusterID: [UInt8] = []
    private var reader: EnvelopeReader
    private var windows: [Int32: DuplicateWindow] = [:]
    // Scratch of one batch and of one row, kept for the next.
    private var values: [JSONSlice] = []
    private var numbers: [Double]
    private var validity: [UInt8]
    private var texts: [JSONSlice]
    private var body: [UInt8] = []

    /// - Parameters:
    ///   - input: `Pipeline.input`.
    ///   - topic: the input topic's full name, `Pipeline.topics.inputs`.
    /// - Throws: `IngestConfigurationError` when the contract asks for what this stage cannot do.
    public init(input: InputContract, topic: String) throws(IngestConfigurationError) {
        try Self.check(input)
        self.input = input
        self.topic = topic
        topicBytes = Array(topic.utf8)
        schema = try CompiledSchema(input)
        encoder = EventRecordEncoder(numericCount: schema.numericCount, textCount: schema.textCount)
        identityName = "\"\(input.identity?.idField ?? "")\" (the identity)"
        plainSource = Array((input.identity?.source ?? "").utf8)
        do {
            decoder = try JSONColumnDecoder(schema.json)
            reader = try EnvelopeReader(input)
        } catch {
            throw IngestConfigurationError(message: "\(error)")
        }
        numbers = Array(repeating: 0, count: schema.numericCount)
        validity = Array(repeating: 0, count: schema.numericCount)
        texts = Array(repeating: JSONSlice(start: 0, length: -1), count: schema.textCount)
    }

    private static func check(_ input: InputContract) throws(IngestConfigurationError) {
        if let identity = input.identity {
            do {
                try Attribute.check(Array(identity.source.utf8).span.bytes, "input.identity.source")
            } catch {
                throw IngestConfigurationError(message: error.message)
            }
        }
        guard (1...JSONSchema.depthLimit - 1).contains(input.depthMax) else {
            throw IngestConfigurationError(
                message: "input.limits.depth is \(input.depthMax), it must be 1 to \(JSONSchema.depthLimit - 1)")
        }
        guard (1...(1 << 30)).contains(input.bytesMax) else {
            throw IngestConfigurationError(
                message: "input.limits.bytes is \(input.bytesMax), it must be 1 byte to 1 GiB")
        }
        guard DuplicateWindow.recordsRange.contains(input.duplicateWindowRecords),
            input.duplicateWindowMilliseconds >= 0
        else {
            throw IngestConfigurationError(
                message: "input.duplicateWindow must have 0 to \(DuplicateWindow.recordsRange.upperBound) records")
        }
    }

    /// The duplicate window. Twice its age is read back, because the timestamps that publishers set need not rise.
    public var rewind: Rewind? {
        let (age, overflow) = input.duplicateWindowMilliseconds.multipliedReportingOverflow(by: 2)
        return Rewind(
            recordsMax: Int64(input.duplicateWindowRecords), ageMillisecondsMax: overflow ? Int64.max / 2 : age)
    }

    public mutating func rebuild(_ batch: RecordBatch, context: ProcessingContext) throws {
        try decode(batch, context)
        let columns = decoder.columns
        for envelope in reader.envelopes where envelope.rejection == nil {
            if let row = try? finish(envelope, of: batch, columns) { _ = admit(row, of: batch) }
        }
    }

    public mutating func process(
        _ batch: RecordBatch, context: ProcessingContext, into output: inout OutputBatch
    ) throws {
        try decode(batch, context)
        let columns = decoder.columns
        for envelope in reader.envelopes {
            if let rejection = envelope.rejection {
                output.deadLetter(source: envelope.record, rejection.code, rejection.message)
                continue
            }
            do {
                let row = try finish(envelope, of: batch, columns)
                // Not as an argument of `emit`: that would hold a copy of `self` over the change, and with it copy the window.
                let verdict = admit(row, of: batch)
                emit(row, verdict, envelope.trace, batch, context, into: &output)
            } catch {
                output.deadLetter(source: envelope.record, error.code, error.message)
            }
        }
    }

    public mutating func forget(_ partitions: [TopicPartition]) {
        for partition in partitions where partition.topic == topic { windows[partition.partition] = nil }
    }

    /// Reads envelopes and events of the batch into columns; row r of the columns is record r.
    private mutating func decode(_ batch: RecordBatch, _ context: ProcessingContext) throws(JSONColumnsError) {
        clusterID = Array(context.clusterID.utf8)
        try reader.read(batch)
        let source = plainSource
        plainSourceSlice = reader.append(source.span.bytes)
        values.removeAll(keepingCapacity: true)
        for envelope in reader.envelopes {
            values.append(envelope.rejection == nil ? envelope.data : JSONSlice(start: 0, length: -1))
        }
        try decoder.decode(values, of: batch.arena.span.bytes)
    }

    /// Checks one event and makes its identity; leaves its encoded body in `body`.
    private mutating func finish(
        _ envelope: Envelope, of batch: RecordBatch, _ columns: JSONColumns
    ) throws(Rejection) -> Row {
        if let fault = columns.fault(envelope.record) {
            let document = batch.arena.span.bytes.extracting(envelope.data.range)
            let place = envelope.form == .structured ? "in the attribute data: " : ""
            throw Rejection(ErrorCode(fault.code), place + fault.message(in: document, schema: schema.json))
        }
        let declared = try schema.read(
            envelope.record, of: columns, numbers: &numbers, validity: &validity, texts: &texts)
        let publishTime = try publishTime(of: envelope.record, in: batch)
        let eventTime = declared ?? envelope.time ?? publishTime
        try checkSkew(eventTime: eventTime, publishTime: publishTime)
        Self.encode(numbers, validity, texts, columns, with: encoder, into: &body)
        var row = Row(
            record: envelope.record, source: JSONSlice(start: 0, length: 0), id: JSONSlice(start: 0, length: 0),
            eventTime: eventTime, publishTime: publishTime,
            payloadHash: EventIdentity.payloadHash(eventTime: eventTime, body: body.span.bytes))
        try identify(&row, envelope, columns)
        // With the Kafka timestamp for its time, an id would give another event id with each repeat: then the position
        // counts.
        if row.id.length > 0, declared != nil || envelope.time != nil {
            let bytes = reader.attributes.bytes.span.bytes
            let digest = EventIdentity.publisherDigest(
                source: bytes.extracting(row.source.range), id: bytes.extracting(row.id.range))
            row.identity = digest
            row.eventID = EventIdentity.eventID(publisher: digest, eventTime: eventTime)
        } else {
            row.eventID = positionID(of: row, in: batch)
        }
        return row
    }

    private func publishTime(of record: Int, in batch: RecordBatch) throws(Rejection) -> Int64 {
        let milliseconds = batch.timestampsMilliseconds[record]
        guard milliseconds >= 0, milliseconds <= RFC3339.microsecondsMax / 1_000 else {
            throw Rejection(
                .badTime,
                "the record's Kafka timestamp is \(milliseconds) ms: send milliseconds since 1970, before the year 10000"
            )
        }
        return milliseconds * 1_000
    }

    private func checkSkew(eventTime: Int64, publishTime: Int64) throws(Rejection) {
        let skew = input.clockSkewMilliseconds
        guard eventTime / 1_000 - publishTime / 1_000 > skew else { return }
        throw Rejection(
            .clockSkew,
            """
            the event time \(RFC3339.text(eventTime)) is more than \(skew) ms after the publish time \
            \(RFC3339.text(publishTime)): set the publisher's clock, or raise input.clockSkew
            """)
    }

    /// Static, so that the row's columns are lent while the body is written.
    private static func encode(
        _ numbers: [Double], _ validity: [UInt8], _ texts: [JSONSlice], _ columns: JSONColumns,
        with encoder: EventRecordEncoder, into body: inout [UInt8]
    ) {
        body.removeAll(keepingCapacity: true)
        encoder.appendBody(numeric: numbers.span, validity: validity.span, to: &body)
        for text in texts {
            if text.isNull {
                encoder.appendText(nil, to: &body)
            } else {
                encoder.appendText(columns.textBytes.span.bytes.extracting(text.range), to: &body)
            }
        }
    }

    /// Finds the publisher's source and id, if there are any: CloudEvents attributes, or the declared field.
    private mutating func identify(
        _ row: inout Row, _ envelope: Envelope, _ columns: JSONColumns
    ) throws(Rejection) {
        switch envelope.form {
        case .binary, .structured:
            row.source = envelope.source
            row.id = envelope.id
        case .plain:
            guard let column = schema.identityColumn, !texts[column].isNull else { return }
            let id = columns.textBytes.span.bytes.extracting(texts[column].range)
            try Attribute.check(id, identityName)
            row.source = plainSourceSlice
            row.id = reader.append(id)
        }
    }

    private func positionID(of row: Row, in batch: RecordBatch) -> EventID {
        let origin = batch.origins[row.record]
        return EventIdentity.eventID(
            clusterID: clusterID, topic: topicBytes, partition: origin.partition, offset: origin.offset,
            timestampMilliseconds: batch.timestampsMilliseconds[row.record])
    }

    /// Lets a valid record into the duplicate window of its partition.
    private mutating func admit(_ row: Row, of batch: RecordBatch) -> DuplicateWindow.Verdict {
        guard let identity = row.identity else { return .new }
        let origin = batch.origins[row.record]
        let occurrence = DuplicateWindow.Occurrence(
            identity: identity, payloadHash: row.payloadHash, offset: origin.offset,
            publishedMilliseconds: batch.timestampsMilliseconds[row.record])
        // The default is built for the first record of a partition only.
        return windows[
            origin.partition,
            default: DuplicateWindow(
                recordsMax: input.duplicateWindowRecords, ageMillisecondsMax: input.duplicateWindowMilliseconds)
        ].admit(occurrence)
    }

    private func emit(
        _ row: Row, _ verdict: DuplicateWindow.Verdict, _ trace: TraceContext?, _ batch: RecordBatch,
        _ context: ProcessingContext, into output: inout OutputBatch
    ) {
        let origin = batch.origins[row.record]
        let bytes = reader.attributes.bytes.span.bytes
        let (source, id) = (row.source.range, row.id.range)
        switch verdict {
        case .new:
            let prefix = RecordPrefix(
                kind: .event, eventID: row.eventID, eventTime: row.eventTime, publishTime: row.publishTime,
                ingestTime: context.nowMicroseconds, stageTime: context.nowMicroseconds, inputOffset: origin.offset,
                inputPartition: origin.partition, payloadHash: row.payloadHash,
                contractHash: input.schema.contractHash, trace: trace,
                isIdentifiedByPublisher: row.identity != nil)
            output.emit(source: row.record, topicIndex: Self.eventsTopicIndex) { record in
                encoder.append(
                    prefix: prefix, source: reader.attributes.bytes.span.bytes.extracting(source),
                    id: reader.attributes.bytes.span.bytes.extracting(id), body: body.span.bytes, to: &record)
            }
        case .repeats(let offset):
            let notice = DuplicateNotice(
                eventID: row.eventID, inputPartition: origin.partition, inputOffset: origin.offset,
                firstOffset: offset)
            output.duplicate(source: row.record, topicIndex: Self.duplicatesTopicIndex) { record in
                notice.append(
                    source: reader.attributes.bytes.span.bytes.extracting(source),
                    id: reader.attributes.bytes.span.bytes.extracting(id), to: &record)
            }
        case .conflicts(let offset):
            output.deadLetter(
                source: row.record, .conflictingDuplicate,
                """
                the source \(bytes.extracting(source).quoted) and id \(bytes.extracting(id).quoted) came already at offset \
                \(offset) of this partition with another content or time: give a changed event an id of its own
                """)
        }
    }
}
