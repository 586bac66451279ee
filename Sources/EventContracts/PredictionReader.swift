// PredictionReader: the few fields of `predictions` that a monitor needs, without decoding the rest.

/// What a prediction says, for joining with its label.
public struct ScoredEvent: Sendable, Equatable {
    public var eventID: EventID
    /// Microseconds since the Unix epoch.
    public var eventTime: Int64
    public var model: String
    public var modelVersion: String
    public var score: Float
    public var label: Int

    public init(eventID: EventID, eventTime: Int64, model: String, modelVersion: String, score: Float, label: Int) {
        self.eventID = eventID
        self.eventTime = eventTime
        self.model = model
        self.modelVersion = modelVersion
        self.score = score
        self.label = label
    }
}

/// Reads `predictions` records of format version 1: one flat JSON object, keys in any order.
public struct PredictionReader: Sendable {
    private var text: [UInt8] = []

    public init() {}

    /// - Throws: `malformedRecord` or `unsupportedFormatVersion`, with what is wrong.
    public mutating func read(_ bytes: RawSpan) throws(RecordFormatError) -> ScoredEvent {
        var fields = Fields()
        var position = try Self.skip(bytes, 0)
        try Self.expect(0x7b, bytes, &position)
        position = try Self.skip(bytes, position)
        var isFirst = true
        while position < bytes.byteCount, bytes.little(UInt8.self, at: position) != 0x7d {
            if !isFirst {
                try Self.expect(0x2c, bytes, &position)
                position = try Self.skip(bytes, position)
            }
            isFirst = false
            let key = try string(bytes, &position)
            position = try Self.skip(bytes, position)
            try Self.expect(0x3a, bytes, &position)
            position = try Self.skip(bytes, position)
            try value(of: key, bytes, &position, into: &fields)
            position = try Self.skip(bytes, position)
        }
        try Self.expect(0x7d, bytes, &position)
        return try fields.event()
    }

    private struct Fields {
        var version: Double?
        var eventID: EventID?
        var eventTime: Int64?
        var model: String?
        var modelVersion: String?
        var score: Double?
        var label: Double?

        func event() throws(RecordFormatError) -> ScoredEvent {
            guard version == 1 else {
                throw RecordFormatError(
                    .unsupportedFormatVersion, "this reader knows format version 1 of predictions: upgrade it")
            }
            guard let eventID, let eventTime, let model, let modelVersion, let score, let label,
                let whole = Int(exactly: label)
            else {
                throw RecordFormatError(
                    .malformedRecord,
                    "event_id, event_time, model, model_version, score or label is missing or not of its form")
            }
            return ScoredEvent(
                eventID: eventID, eventTime: eventTime, model: model, modelVersion: modelVersion, score: Float(score),
                label: whole)
        }
    }

    private mutating func value(
        of key: [UInt8], _ bytes: RawSpan, _ position: inout Int, into fields: inout Fields
    ) throws(RecordFormatError) {
        guard position < bytes.byteCount else { throw Self.ended }
        if bytes.little(UInt8.self, at: position) == 0x22 {
            let text = try string(bytes, &position)
            switch String(decoding: key, as: UTF8.self) {
            case "event_id": fields.eventID = EventID(reading: text.span.bytes)
            case "event_time": fields.eventTime = try? RFC3339.parse(text.span.bytes)
            case "model": fields.model = String(decoding: text, as: UTF8.self)
            case "model_version": fields.modelVersion = String(decoding: text, as: UTF8.self)
            default: break
            }
            return
        }
        let start = position
        while position < bytes.byteCount {
            let byte = bytes.little(UInt8.self, at: position)
            if byte == 0x2c || byte == 0x7d || byte <= 0x20 { break }
            guard byte != 0x7b, byte != 0x5b else {
                throw RecordFormatError(
                    .malformedRecord, "a prediction is a flat object, byte \(position) begins another")
            }
            position += 1
        }
        guard key.count <= 5 else { return }
        let name = String(decoding: key, as: UTF8.self)
        guard name == "v" || name == "score" || name == "label" else { return }
        let number = bytes.extracting(start..<position).withUnsafeBytes { unsafe String(decoding: $0, as: UTF8.self) }
        switch name {
        case "v": fields.version = Double(number)
        case "score": fields.score = Double(number)
        default: fields.label = Double(number)
        }
    }

    /// Reads a string; only the escapes of one character are resolved, others stay as they are: no field that is wanted
    /// holds any.
    private mutating func string(_ bytes: RawSpan, _ position: inout Int) throws(RecordFormatError) -> [UInt8] {
        try Self.expect(0x22, bytes, &position)
        text.removeAll(keepingCapacity: true)
        while position < bytes.byteCount {
            let byte = bytes.little(UInt8.self, at: position)
            position += 1
            if byte == 0x22 { return text }
            if byte == 0x5c, position < bytes.byteCount {
                text.append(bytes.little(UInt8.self, at: position))
                position += 1
            } else {
                text.append(byte)
            }
        }
        throw Self.ended
    }

    private static var ended: RecordFormatError { RecordFormatError(.malformedRecord, "the JSON ends too early") }

    private static func expect(
        _ byte: UInt8, _ bytes: RawSpan, _ position: inout Int
    ) throws(RecordFormatError) {
        guard position < bytes.byteCount else { throw ended }
        guard bytes.little(UInt8.self, at: position) == byte else {
            throw RecordFormatError(
                .malformedRecord, "byte \(position) is not \"\(Character(UnicodeScalar(byte)))\", as JSON wants it")
        }
        position += 1
    }

    private static func skip(_ bytes: RawSpan, _ start: Int) throws(RecordFormatError) -> Int {
        var position = start
        while position < bytes.byteCount, bytes.little(UInt8.self, at: position) <= 0x20 { position += 1 }
        return position
    }
}
