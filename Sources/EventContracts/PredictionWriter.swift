// PredictionWriter: the JSON of `predictions` and `duplicates`. Layout: docs/formats.md.

/// What the model said of one event.
public struct Prediction: Sendable {
    /// Probability of class 1 (binary), else of the predicted class; must be finite.
    public var score: Float
    public var label: Int
    /// Numbers of imputed and of outlying features.
    public var imputed: Int
    public var outliers: Int

    public init(score: Float, label: Int, imputed: Int, outliers: Int) {
        self.score = score
        self.label = label
        self.imputed = imputed
        self.outliers = outliers
    }
}

/// Writes `predictions` records of one model. Made once per model: its constant parts are text already.
public struct PredictionWriter: Sendable {
    /// `,"model":…,"model_version":…,"contract":"`.
    private let modelPart: [UInt8]

    public init(model: String, modelVersion: String) {
        var part: [UInt8] = []
        part.append(ascii: #","model":"#)
        part.appendJSONString(Array(model.utf8).span.bytes)
        part.append(ascii: #","model_version":"#)
        part.appendJSONString(Array(modelVersion.utf8).span.bytes)
        part.append(ascii: #","contract":""#)
        modelPart = part
    }

    /// Appends one prediction.
    /// - Parameters:
    ///   - prefix: of the `features` record; gives ids, times, contract, place and trace.
    ///   - source, id: the publisher's identity (valid UTF-8); an empty id stands for none and is written as null.
    ///   - entity: the Kafka key; written as null when it is not UTF-8 or holds U+0000.
    ///   - predictedAt: microseconds since the Unix epoch.
    public func append(
        _ prediction: Prediction, prefix: RecordPrefix, source: RawSpan, id: RawSpan, entity: RawSpan?,
        predictedAt: Int64, to bytes: inout [UInt8]
    ) {
        let texts = source.byteCount + id.byteCount + (entity?.byteCount ?? 0)
        bytes.append(atMost: Self.fixedBytesMax + modelPart.count + 6 * texts) { text in
            text.put(#"{"v":1,"event_id":""#)
            text.put(prefix.eventID)
            text.put(0x22)
            Self.put(source: source, id: id, to: &text)
            text.put(#","entity":"#)
            Self.put(entity: entity, to: &text)
            text.put(#","event_time":""#)
            text.put(time: prefix.eventTime)
            text.put(#"","published_at":""#)
            text.put(time: prefix.publishTime)
            text.put(#"","ingested_at":""#)
            text.put(time: prefix.ingestTime)
            text.put(#"","transformed_at":""#)
            text.put(time: prefix.stageTime)
            text.put(#"","predicted_at":""#)
            text.put(time: predictedAt)
            text.put(0x22)
            text.put(modelPart.span.bytes)
            text.putHexadecimal(prefix.contractHash)
            text.put(#"","score":"#)
            text.putShortest(prediction.score)
            text.put(#","label":"#)
            text.putDecimal(Int64(prediction.label))
            text.put(#","imputed":"#)
            text.putDecimal(Int64(prediction.imputed))
            text.put(#","outliers":"#)
            text.putDecimal(Int64(prediction.outliers))
            text.put(#","payload":""#)
            text.putHexadecimal(prefix.payloadHash)
            text.put(#"","input_partition":"#)
            text.putDecimal(Int64(prefix.inputPartition))
            text.put(#","input_offset":"#)
            text.putDecimal(prefix.inputOffset)
            text.put(#","traceparent":"#)
            Self.put(trace: prefix.trace, to: &text)
            text.put(0x7d)
        }
    }

    /// The names, the numbers at their longest and all that has one length: 340, 5 x 27, 36, 2 x 16, 15, 5 x 20 and 57 bytes.
    private static let fixedBytesMax = 768

    private static func put(source: RawSpan, id: RawSpan, to text: inout ByteCursor) {
        guard id.byteCount > 0 else { return text.put(#","source":null,"id":null"#) }
        text.put(#","source":"#)
        text.putJSON(source)
        text.put(#","id":"#)
        text.putJSON(id)
    }

    private static func put(entity: RawSpan?, to text: inout ByteCursor) {
        guard let entity, entity.isUTF8, !entity.hasZeroByte else { return text.put("null") }
        text.putJSON(entity)
    }

    private static func put(trace: TraceContext?, to text: inout ByteCursor) {
        guard let trace else { return text.put("null") }
        text.put(0x22)
        text.put(trace)
        text.put(0x22)
    }

    static func appendIdentity(source: RawSpan, id: RawSpan, to bytes: inout [UInt8]) {
        let isKnown = id.byteCount > 0
        bytes.append(ascii: #","source":"#)
        bytes.appendJSONString(orNull: isKnown ? source : nil)
        bytes.append(ascii: #","id":"#)
        bytes.appendJSONString(orNull: isKnown ? id : nil)
    }
}

/// A record of `duplicates`: the record at `inputOffset` repeats the one at `firstOffset` of the same partition.
public struct DuplicateNotice: Sendable {
    public var eventID: EventID
    public var inputPartition: Int32
    public var inputOffset: Int64
    public var firstOffset: Int64

    public init(eventID: EventID, inputPartition: Int32, inputOffset: Int64, firstOffset: Int64) {
        self.eventID = eventID
        self.inputPartition = inputPartition
        self.inputOffset = inputOffset
        self.firstOffset = firstOffset
    }

    /// Appends the JSON; `source` and `id` are the publisher's identity, valid UTF-8.
    public func append(source: RawSpan, id: RawSpan, to bytes: inout [UInt8]) {
        bytes.append(ascii: #"{"v":1,"event_id":""#)
        eventID.appendText(to: &bytes)
        bytes.append(0x22)
        PredictionWriter.appendIdentity(source: source, id: id, to: &bytes)
        bytes.append(ascii: #","input_partition":"#)
        bytes.appendDecimal(inputPartition)
        bytes.append(ascii: #","input_offset":"#)
        bytes.appendDecimal(inputOffset)
        bytes.append(ascii: #","first_offset":"#)
        bytes.appendDecimal(firstOffset)
        bytes.append(0x7d)
    }
}

extension RawSpan {
    fileprivate var hasZeroByte: Bool {
        for index in 0..<byteCount where little(UInt8.self, at: index) == 0 { return true }
        return false
    }
}
