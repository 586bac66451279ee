// PredictionDecoder: `predictions` JSON straight into rows of the binary COPY.

import EventContracts
import Postgres

/// Decodes records of format version 1 (docs/formats.md). Every key must be there once; the order is free.
struct PredictionDecoder {
    private static let keys: [StaticString] = [
        "v", "event_id", "source", "id", "entity", "event_time", "published_at", "ingested_at", "transformed_at",
        "predicted_at", "model", "model_version", "contract", "score", "label", "imputed", "outliers", "payload",
        "input_partition", "input_offset", "traceparent",
    ]

    private enum Key: Int {
        case v, eventID, source, id, entity, eventTime, publishedAt, ingestedAt, transformedAt, predictedAt, model
        case modelVersion, contract, score, label, imputed, outliers, payload, inputPartition, inputOffset, traceparent
    }

    /// Reads what Penstock writes; `reader` everything else, and finds the words for what is wrong.
    private var canonical = CanonicalPrediction()
    private var reader = FlatJSON()
    private var values = [FlatJSON.Value?](repeating: nil, count: keys.count)

    /// Appends the record as a row, or says why it is none.
    mutating func decode(_ bytes: RawSpan, source: Int, into rows: inout SinkRows) throws(FlatJSON.Fault) {
        guard canonical.read(bytes) else { return try decodeJSON(bytes, source: source, into: &rows) }
        rows.appendRow(
            SinkRows.Key(
                source: source, eventID: canonical.eventID, payloadHash: canonical.payloadHash,
                inputPartition: canonical.inputPartition, inputOffset: canonical.inputOffset)
        ) { row in
            func write(_ range: Range<Int>?) {
                guard let range else { return row.writeNull() }
                row.write(bytes: bytes.extracting(range))
            }
            row.write(uuid: PostgresUUID(high: canonical.eventID.high, low: canonical.eventID.low))
            write(canonical.source)
            write(canonical.id)
            write(canonical.entity)
            row.write(timestamp: canonical.eventTime)
            row.write(timestamp: canonical.publishTime)
            row.write(timestamp: canonical.ingestTime)
            row.write(timestamp: canonical.transformTime)
            row.write(timestamp: canonical.predictTime)
            write(canonical.model)
            write(canonical.modelVersion)
            write(canonical.contract)
            row.write(canonical.score)
            row.write(canonical.label)
            row.write(canonical.imputed)
            row.write(canonical.outliers)
            write(canonical.payload)
            row.write(canonical.inputPartition)
            row.write(canonical.inputOffset)
            write(canonical.traceparent)
        }
    }

    /// Reads a record of any order and spelling, strictly.
    mutating func decodeJSON(_ bytes: RawSpan, source: Int, into rows: inout SinkRows) throws(FlatJSON.Fault) {
        for index in values.indices { values[index] = nil }
        // Moved out while the reader is at work, and back in: a copy would cost an allocation per record.
        var values: [FlatJSON.Value?] = []
        swap(&values, &self.values)
        defer { if self.values.isEmpty { swap(&values, &self.values) } }
        // Canonical records have the keys in order, so the next one is tried first.
        var expected = 0
        try reader.read(bytes) { (reader, key, value) throws(FlatJSON.Fault) in
            let found =
                expected < Self.keys.count && reader.matches(key, Self.keys[expected])
                ? expected : Self.keys.firstIndex { reader.matches(key, $0) }
            guard let found else {
                throw FlatJSON.Fault(
                    code: .unknownField,
                    message: "unknown key \"\(String(decoding: reader.strings[key].prefix(64), as: UTF8.self))\"")
            }
            guard values[found] == nil else {
                throw FlatJSON.Fault(code: .duplicateKey, message: "the key \"\(Self.keys[found])\" stands twice")
            }
            values[found] = value
            expected = found + 1
        }
        swap(&values, &self.values)
        guard try integer(.v, bytes) == 1 else {
            throw FlatJSON.Fault(
                code: .unsupportedFormatVersion, message: "this sink knows format version 1 of predictions: upgrade it")
        }
        try append(bytes, source: source, to: &rows)
    }

    private func append(_ bytes: RawSpan, source: Int, to rows: inout SinkRows) throws(FlatJSON.Fault) {
        // Everything is read before the first column is written: a fault must not leave half a row.
        let eventID = try eventID()
        let times = (
            try time(.eventTime), try time(.publishedAt), try time(.ingestedAt), try time(.transformedAt),
            try time(.predictedAt)
        )
        let publisher = try optionalText(.source)
        let id = try optionalText(.id)
        let entity = try optionalText(.entity)
        let model = try text(.model)
        let modelVersion = try text(.modelVersion)
        let contract = try hash(.contract)
        let score = try score(bytes)
        let label = try narrow(Int32.self, .label, bytes)
        let imputed = try narrow(Int32.self, .imputed, bytes)
        let outliers = try narrow(Int32.self, .outliers, bytes)
        let payload = try hash(.payload)
        let partition = try narrow(Int32.self, .inputPartition, bytes)
        let offset = try integer(.inputOffset, bytes)
        let trace = try optionalText(.traceparent)

        rows.appendRow(
            SinkRows.Key(
                source: source, eventID: eventID, payloadHash: payload.value, inputPartition: partition,
                inputOffset: offset)
        ) { writer in
            func write(_ range: Range<Int>?) {
                guard let range else { return writer.writeNull() }
                writer.write(bytes: reader.strings.span.bytes.extracting(range))
            }
            writer.write(uuid: PostgresUUID(high: eventID.high, low: eventID.low))
            write(publisher)
            write(id)
            write(entity)
            writer.write(timestamp: times.0)
            writer.write(timestamp: times.1)
            writer.write(timestamp: times.2)
            writer.write(timestamp: times.3)
            writer.write(timestamp: times.4)
            write(model)
            write(modelVersion)
            write(contract.text)
            writer.write(score)
            writer.write(label)
            writer.write(imputed)
            writer.write(outliers)
            write(payload.text)
            writer.write(partition)
            writer.write(offset)
            write(trace)
        }
    }

    // MARK: - Typed values

    private func value(_ key: Key) throws(FlatJSON.Fault) -> FlatJSON.Value {
        guard let value = values[key.rawValue] else {
            throw FlatJSON.Fault(code: .missingField, message: "the key \"\(Self.keys[key.rawValue])\" is missing")
        }
        return value
    }

    private func wrong(_ key: Key, _ expected: String) -> FlatJSON.Fault {
        FlatJSON.Fault(code: .wrongType, message: "\"\(Self.keys[key.rawValue])\" must be \(expected)")
    }

    private func text(_ key: Key) throws(FlatJSON.Fault) -> Range<Int> {
        guard case .string(let range) = try value(key) else { throw wrong(key, "a string") }
        guard !reader.hadEscape(range) || !reader.strings[range].contains(0) else {
            throw wrong(key, "a string without U+0000")
        }
        return range
    }

    private func optionalText(_ key: Key) throws(FlatJSON.Fault) -> Range<Int>? {
        if case .null = try value(key) { return nil }
        return try text(key)
    }

    private func integer(_ key: Key, _ bytes: RawSpan) throws(FlatJSON.Fault) -> Int64 {
        guard case .number(let range) = try value(key), let number = Self.integer(bytes.extracting(range)) else {
            throw wrong(key, "an integer")
        }
        return number
    }

    /// The value of a sign and digits; nil for anything else, and beyond Int64.
    private static func integer(_ text: RawSpan) -> Int64? {
        let isNegative = text.byteCount > 0 && text.little(UInt8.self, at: 0) == 0x2d
        let start = isNegative ? 1 : 0
        guard text.byteCount > start else { return nil }
        var value: Int64 = 0
        for index in start..<text.byteCount {
            let digit = text.little(UInt8.self, at: index) &- 0x30
            guard digit <= 9 else { return nil }
            let (scaled, isTooLarge) = value.multipliedReportingOverflow(by: 10)
            // Downwards, because Int64 reaches further there.
            let (sum, isOver) = scaled.subtractingReportingOverflow(Int64(digit))
            guard !isTooLarge, !isOver else { return nil }
            value = sum
        }
        guard !isNegative else { return value }
        return value == .min ? nil : -value
    }

    private func narrow<T: FixedWidthInteger>(
        _ type: T.Type, _ key: Key, _ bytes: RawSpan
    ) throws(FlatJSON.Fault) -> T {
        guard let number = T(exactly: try integer(key, bytes)) else {
            throw FlatJSON.Fault(code: .outOfRange, message: "\"\(Self.keys[key.rawValue])\" is out of range")
        }
        return number
    }

    private func score(_ bytes: RawSpan) throws(FlatJSON.Fault) -> Float {
        guard case .number(let range) = try value(.score), let score = Float(ascii(range, bytes)) else {
            throw wrong(.score, "a number")
        }
        guard score.isFinite else {
            throw FlatJSON.Fault(code: .nonFinitePrediction, message: "\"score\" does not fit a Float32")
        }
        return score
    }

    private func time(_ key: Key) throws(FlatJSON.Fault) -> Int64 {
        let range = try text(key)
        do {
            return try RFC3339.parse(reader.strings.span.bytes.extracting(range))
        } catch {
            throw FlatJSON.Fault(code: .badTime, message: "\"\(Self.keys[key.rawValue])\": \(error)")
        }
    }

    private func hash(_ key: Key) throws(FlatJSON.Fault) -> (text: Range<Int>, value: UInt64) {
        let range = try text(key)
        guard range.count == 16, let value = Hexadecimal.parse(reader.strings.span.bytes.extracting(range)) else {
            throw wrong(key, "16 lower-case hexadecimal digits")
        }
        return (range, value)
    }

    private func eventID() throws(FlatJSON.Fault) -> EventID {
        let range = try text(.eventID)
        guard let id = EventID(canonical: reader.strings.span.bytes.extracting(range)) else {
            throw wrong(.eventID, "a UUID in its canonical form")
        }
        return id
    }

    private func ascii(_ range: Range<Int>, _ bytes: RawSpan) -> String {
        bytes.extracting(range).withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
    }
}
