// LabelProcessor: label inputs of any accepted form into `labels` records and dead letters.

public import EventContracts
import JSONColumns
public import PipelineContract
public import StageRuntime

/// The part of the stage `ingest` that reads `<p>.label-inputs`: finds the event that a label is for and checks the
/// label. Output topic 0 takes the `labels`. A label that comes again corrects the earlier one, so nothing here is a
/// duplicate, and no state is kept.
public struct LabelProcessor: StageProcessor {
    private enum Column {
        // Text columns of `schema`, in its order, and the numeric one.
        static let eventID = 0
        static let source = 1
        static let id = 2
        static let eventTime = 3
        static let labelTime = 4
        static let label = 0
    }

    /// Field of the label among the fields of `schema`.
    private static let labelField = 5
    /// Longest and deepest label; one holds six short fields.
    private static let bytesMax = 64 << 10
    private static let depthMax = 4

    /// `source` of events in plain JSON, when the pipeline declares their identity.
    private let plainSource: [UInt8]?
    private let decoder: JSONColumnDecoder
    private var reader: EnvelopeReader
    private var values: [JSONSlice] = []

    /// - Parameter input: `Pipeline.input`: the accepted formats, and the source of plain JSON.
    public init(input: InputContract) throws(IngestConfigurationError) {
        plainSource = input.identity.map { Array($0.source.utf8) }
        var envelopes = input
        envelopes.isKeyRequired = false
        envelopes.bytesMax = Self.bytesMax
        envelopes.depthMax = Self.depthMax
        let texts = ["event_id", "source", "id", "event_time", "label_time"]
        let schema = JSONSchema(
            fields: texts.map { JSONSchema.Field($0, .string) } + [
                JSONSchema.Field("label", .integer, isRequired: true)
            ],
            unknownFields: .reject, bytesMax: Self.bytesMax, depthMax: Self.depthMax)
        do {
            decoder = try JSONColumnDecoder(schema)
            reader = try EnvelopeReader(envelopes)
        } catch {
            throw IngestConfigurationError(message: "\(error)")
        }
    }

    public mutating func process(
        _ batch: RecordBatch, context: ProcessingContext, into output: inout OutputBatch
    ) throws {
        try reader.read(batch)
        values.removeAll(keepingCapacity: true)
        for envelope in reader.envelopes {
            values.append(envelope.rejection == nil ? envelope.data : JSONSlice(start: 0, length: -1))
        }
        try decoder.decode(values, of: batch.arena.span.bytes)
        let columns = decoder.columns
        for envelope in reader.envelopes {
            do throws(Rejection) {
                if let rejection = envelope.rejection { throw rejection }
                let label = try label(envelope, of: batch, columns, context)
                output.emit(source: envelope.record) { label.append(to: &$0) }
            } catch {
                output.deadLetter(source: envelope.record, error.code, error.message)
            }
        }
    }

    private func label(
        _ envelope: Envelope, of batch: RecordBatch, _ columns: JSONColumns, _ context: ProcessingContext
    ) throws(Rejection) -> LabelRecord {
        let row = envelope.record
        if let fault = columns.fault(row) {
            let document = batch.arena.span.bytes.extracting(envelope.data.range)
            throw Rejection(ErrorCode(fault.code), fault.message(in: document, schema: decoder.schema))
        }
        let value = columns.numbers[row * columns.numericCount + Column.label]
        guard columns.presence(row, field: Self.labelField) == .present, let label = Int32(exactly: value), label >= 0
        else {
            throw Rejection(
                .outOfRange, "the field \"label\" is \(value), it must be a class from 0 to \(Int32.max): correct it")
        }
        let milliseconds = batch.timestampsMilliseconds[row]
        guard milliseconds >= 0, milliseconds <= RFC3339.microsecondsMax / 1_000 else {
            throw Rejection(
                .badTime, "the record's Kafka timestamp is \(milliseconds) ms: send milliseconds since 1970")
        }
        let known = try time(Column.labelTime, "label_time", row, columns)
        let origin = batch.origins[row]
        return LabelRecord(
            eventID: try eventID(row, columns), label: label,
            labelTime: known ?? envelope.time ?? milliseconds * 1_000, publishTime: milliseconds * 1_000,
            ingestTime: context.nowMicroseconds, inputOffset: origin.offset, inputPartition: origin.partition)
    }

    /// The event's id as it was given, or from source, id and event time as ingest makes it.
    private func eventID(_ row: Int, _ columns: JSONColumns) throws(Rejection) -> EventID {
        let bytes = columns.textBytes.span.bytes
        let (given, id) = (columns.text(row, column: Column.eventID), columns.text(row, column: Column.id))
        let source = columns.text(row, column: Column.source)
        if !given.isNull {
            guard id.isNull, source.isNull else {
                throw Rejection(
                    .unknownField, "the label names its event by event_id and by source or id: leave one of them out")
            }
            guard let eventID = EventID(reading: bytes.extracting(given.range)) else {
                throw Rejection(
                    .patternMismatch,
                    "the field \"event_id\" is \(bytes.extracting(given.range).quoted), which is no UUID: send the event "
                        + "id of the prediction")
            }
            return eventID
        }
        guard !id.isNull, let eventTime = try time(Column.eventTime, "event_time", row, columns) else {
            throw Rejection(
                .missingField, "the label does not say which event it is for: send event_id, or id and event_time")
        }
        try Attribute.check(bytes.extracting(id.range), "id")
        if !source.isNull {
            try Attribute.check(bytes.extracting(source.range), "source")
            return EventIdentity.eventID(
                publisher: EventIdentity.publisherDigest(
                    source: bytes.extracting(source.range), id: bytes.extracting(id.range)), eventTime: eventTime)
        }
        guard let plainSource else {
            throw Rejection(
                .missingField,
                "the label has no source, and the pipeline declares no input.identity: send the event's source")
        }
        return EventIdentity.eventID(
            publisher: EventIdentity.publisherDigest(
                source: plainSource.span.bytes, id: bytes.extracting(id.range)), eventTime: eventTime)
    }

    private func time(
        _ column: Int, _ name: String, _ row: Int, _ columns: JSONColumns
    ) throws(Rejection) -> Int64? {
        let text = columns.text(row, column: column)
        guard !text.isNull else { return nil }
        return try IngestStage.time(columns.textBytes.span.bytes.extracting(text.range), "the field \"\(name)\"")
    }
}
