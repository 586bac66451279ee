// EnvelopeReader: finds form, attributes and event of every record of a batch.

import EventContracts
import JSONColumns
import PipelineContract

/// Reads the envelopes of a batch. One instance serves one thread; its arrays keep their capacity.
struct EnvelopeReader {
    private enum Column {
        // The text columns of `structuredSchema`, in its order.
        static let specversion = 0
        static let id = 1
        static let source = 2
        static let type = 3
        static let time = 4
        static let contentType = 5
        static let data = 6
        static let base64 = 7
        static let traceparent = 8
    }

    /// The headers that matter; slices of the batch's arena, null where absent.
    private struct Headers {
        var contentType = RecordBatch.Slice.null
        var specversion = RecordBatch.Slice.null
        var id = RecordBatch.Slice.null
        var source = RecordBatch.Slice.null
        var type = RecordBatch.Slice.null
        var time = RecordBatch.Slice.null
        var traceparent = RecordBatch.Slice.null
        var traceExtension = RecordBatch.Slice.null
        var hasCloudEvents = false
    }

    private let formats: Set<InputContract.Format>
    private let isKeyRequired: Bool
    private let decoder: JSONColumnDecoder
    private var structuredRows: [Int] = []
    private var structuredValues: [JSONSlice] = []
    private(set) var envelopes: [Envelope] = []
    private(set) var attributes = AttributeBytes()

    init(_ input: InputContract) throws(JSONColumnsError) {
        formats = input.formats
        isKeyRequired = input.isKeyRequired
        decoder = try JSONColumnDecoder(Self.structuredSchema(input))
    }

    private static func structuredSchema(_ input: InputContract) -> JSONSchema {
        let texts = ["specversion", "id", "source", "type", "time", "datacontenttype"]
        let fields =
            texts.map { JSONSchema.Field($0, .string, isNullable: true) } + [
                JSONSchema.Field("data", .raw), JSONSchema.Field("data_base64", .raw),
                JSONSchema.Field("traceparent", .string, isNullable: true),
            ]
        // The envelope is one level more than the event that the contract's limit is for.
        return JSONSchema(
            fields: fields, unknownFields: .cloudEventsExtensions, bytesMax: input.bytesMax,
            depthMax: min(input.depthMax + 1, JSONSchema.depthLimit))
    }

    /// Keeps a copy of an attribute until the next batch.
    mutating func append(_ attribute: RawSpan) -> JSONSlice { attributes.append(attribute) }

    /// Fills `envelopes`, one per record, in order.
    mutating func read(_ batch: RecordBatch) throws(JSONColumnsError) {
        envelopes.removeAll(keepingCapacity: true)
        structuredRows.removeAll(keepingCapacity: true)
        structuredValues.removeAll(keepingCapacity: true)
        attributes.removeAll()
        for record in 0..<batch.count {
            let value = batch.values[record]
            var envelope = Envelope(
                record: record, form: .plain, data: JSONSlice(start: value.start, length: value.length))
            do {
                try readHead(of: batch, into: &envelope)
            } catch {
                envelope.rejection = error
            }
            if envelope.form == .structured, envelope.rejection == nil {
                structuredRows.append(record)
                structuredValues.append(envelope.data)
            }
            envelopes.append(envelope)
        }
        guard !structuredRows.isEmpty else { return }
        try decoder.decode(structuredValues, of: batch.arena.span.bytes)
        for (row, record) in structuredRows.enumerated() {
            do {
                envelopes[record] = try readStructured(row, of: batch, envelopes[record])
            } catch {
                envelopes[record].rejection = error
            }
        }
    }

    private mutating func readHead(of batch: RecordBatch, into envelope: inout Envelope) throws(Rejection) {
        guard envelope.data.length > 0 else {
            let what = envelope.data.isNull ? "null (a tombstone)" : "empty"
            throw Rejection(.emptyValue, "the value is \(what): send a JSON object")
        }
        let key = batch.keys[envelope.record]
        guard !isKeyRequired || key.length > 0 else {
            throw Rejection(
                .missingAttribute,
                "the record has no key: send the entity's id as the key, or set input.key: optional in pipeline.yaml")
        }
        let headers = Self.headers(of: envelope.record, in: batch)
        envelope.form = try form(headers, batch)
        envelope.trace = Self.trace(headers.traceparent, batch) ?? Self.trace(headers.traceExtension, batch)
        if envelope.form == .binary { try readBinary(headers, batch, into: &envelope) }
    }

    private func form(_ headers: Headers, _ batch: RecordBatch) throws(Rejection) -> EnvelopeForm {
        let form = try batch.withBytes(headers.contentType) { (text: RawSpan?) throws(Rejection) -> EnvelopeForm in
            // Nearly every publisher spells it so; anything else is read with care, off the usual path.
            guard let text, !text.equals("application/json") else { return headers.hasCloudEvents ? .binary : .plain }
            if text.equals("application/cloudevents+json; charset=UTF-8") { return .structured }
            if text.equals("application/cloudevents+json") { return .structured }
            switch MediaType(text) {
            case .json: return headers.hasCloudEvents ? .binary : .plain
            case .cloudEventsJSON: return .structured
            case .other:
                throw Rejection(
                    .unsupportedContentType,
                    """
                    the content type is \(text.quoted): send application/json or application/cloudevents+json in UTF-8, \
                    one event per record
                    """)
            }
        }
        let format: InputContract.Format = form == .plain ? .json : .cloudevents
        guard formats.contains(format) else {
            throw Rejection(
                .unsupportedContentType,
                "the record is \(form == .plain ? "plain JSON" : "a CloudEvent"), which input.formats does not list: "
                    + "send the other format, or add \(format.rawValue) to it")
        }
        return form
    }

    private static func headers(of record: Int, in batch: RecordBatch) -> Headers {
        var headers = Headers()
        // Of two headers with one name the later one counts, as in Kafka's own clients.
        for position in 0..<batch.headerCount(of: record) {
            let header = batch.header(position, of: record)
            batch.withBytes(header.name) { name in
                guard let name else { return }
                if name.hasPrefix("ce_") { headers.hasCloudEvents = true }
                if name.equals("content-type") || name.equals("Content-Type") { headers.contentType = header.value }
                if name.equals("ce_specversion") { headers.specversion = header.value }
                if name.equals("ce_id") { headers.id = header.value }
                if name.equals("ce_source") { headers.source = header.value }
                if name.equals("ce_type") { headers.type = header.value }
                if name.equals("ce_time") { headers.time = header.value }
                if name.equals("traceparent") { headers.traceparent = header.value }
                if name.equals("ce_traceparent") { headers.traceExtension = header.value }
            }
        }
        return headers
    }

    private static func trace(_ slice: RecordBatch.Slice, _ batch: RecordBatch) -> TraceContext? {
        batch.withBytes(slice) { text in
            guard let text else { return nil }
            return TraceContext(traceparent: text)
        }
    }

    private mutating func readBinary(
        _ headers: Headers, _ batch: RecordBatch, into envelope: inout Envelope
    ) throws(Rejection) {
        try batch.withBytes(headers.specversion) { (text) throws(Rejection) in
            try Attribute.checkVersion(text, "ce_specversion")
        }
        envelope.id = try copy(headers.id, batch, "ce_id")
        envelope.source = try copy(headers.source, batch, "ce_source")
        try batch.withBytes(headers.type) { (text) throws(Rejection) in try Attribute.check(text, "ce_type") }
        envelope.time = try batch.withBytes(headers.time) { (text) throws(Rejection) -> Int64? in
            guard let text else { return nil }
            return try time(text, "the attribute ce_time")
        }
    }

    private mutating func copy(
        _ slice: RecordBatch.Slice, _ batch: RecordBatch, _ name: String
    ) throws(Rejection) -> JSONSlice {
        try batch.withBytes(slice) { (text) throws(Rejection) in
            try Attribute.check(text, name)
            guard let text else { return JSONSlice(start: 0, length: -1) }
            return attributes.append(text)
        }
    }

    private mutating func readStructured(
        _ row: Int, of batch: RecordBatch, _ head: Envelope
    ) throws(Rejection) -> Envelope {
        var envelope = head
        let columns = decoder.columns
        if let fault = columns.fault(row) {
            let document = batch.arena.span.bytes.extracting(envelope.data.range)
            throw Rejection(
                ErrorCode(fault.code),
                "in the CloudEvents envelope: \(fault.message(in: document, schema: decoder.schema))")
        }
        let texts = columns.textBytes.span.bytes
        func slice(_ column: Int) -> JSONSlice { columns.text(row, column: column) }
        func check(_ column: Int, _ name: String, _ rule: (RawSpan?, String) throws(Rejection) -> Void)
            throws(Rejection)
        {
            let slice = slice(column)
            if slice.isNull { try rule(nil, name) } else { try rule(texts.extracting(slice.range), name) }
        }
        try check(Column.specversion, "specversion", Attribute.checkVersion)
        try check(Column.id, "id", Attribute.check)
        try check(Column.source, "source", Attribute.check)
        try check(Column.type, "type", Attribute.check)
        envelope.id = attributes.append(texts.extracting(slice(Column.id).range))
        envelope.source = attributes.append(texts.extracting(slice(Column.source).range))
        if !slice(Column.time).isNull {
            envelope.time = try time(texts.extracting(slice(Column.time).range), "the attribute time")
        }
        if !slice(Column.traceparent).isNull, envelope.trace == nil {
            envelope.trace = TraceContext(traceparent: texts.extracting(slice(Column.traceparent).range))
        }
        try checkData(base64: slice(Column.base64), data: slice(Column.data))
        if !slice(Column.contentType).isNull {
            let text = texts.extracting(slice(Column.contentType).range)
            guard MediaType(text) == .json else {
                throw Rejection(
                    .unsupportedContentType, "the attribute datacontenttype is \(text.quoted): send application/json")
            }
        }
        envelope.data = slice(Column.data)
        return envelope
    }

    private func checkData(base64: JSONSlice, data: JSONSlice) throws(Rejection) {
        guard base64.isNull else {
            throw Rejection(
                .unsupportedContentType, "the event stands in data_base64: send it as a JSON object in data")
        }
        guard !data.isNull else {
            throw Rejection(.missingAttribute, "the attribute data is missing: send the event as a JSON object in data")
        }
    }
}
