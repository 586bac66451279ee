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
        bytes.append(ascii: #"{"v":1,"event_id":""#)
        prefix.eventID.appendText(to: &bytes)
        bytes.append(0x22)
        Self.appendIdentity(source: source, id: id, to: &bytes)
        bytes.append(ascii: #","entity":"#)
        Self.append(entity: entity, to: &bytes)
        Self.append(time: prefix.eventTime, #","event_time":""#, to: &bytes)
        Self.append(time: prefix.publishTime, #","published_at":""#, to: &bytes)
        Self.append(time: prefix.ingestTime, #","ingested_at":""#, to: &bytes)
        Self.append(time: prefix.stageTime, #","transformed_at":""#, to: &bytes)
        Self.append(time: predictedAt, #","predicted_at":""#, to: &bytes)
        bytes.append(contentsOf: modelPart)
        bytes.appendHexadecimal(prefix.contractHash)
        bytes.append(ascii: #"","score":"#)
        bytes.appendShortest(prediction.score)
        bytes.append(ascii: #","label":"#)
        bytes.appendDecimal(prediction.label)
        bytes.append(ascii: #","imputed":"#)
        bytes.appendDecimal(prediction.imputed)
        bytes.append(ascii: #","outliers":"#)
        bytes.appendDecimal(prediction.outliers)
        bytes.append(ascii: #","payload":""#)
        bytes.appendHexadecimal(prefix.payloadHash)
        bytes.append(ascii: #"","input_partition":"#)
        bytes.appendDecimal(prefix.inputPartition)
        bytes.append(ascii: #","input_offset":"#)
        bytes.appendDecimal(prefix.inputOffset)
        bytes.append(ascii: #","traceparent":"#)
        Self.append(trace: prefix.trace, to: &bytes)
        bytes.append(0x7d)
    }

    static func appendIdentity(source: RawSpan, id: RawSpan, to bytes: inout [UInt8]) {
        let isKnown = id.byteCount > 0
        bytes.append(ascii: #","source":"#)
        bytes.appendJSONString(orNull: isKnown ? source : nil)
        bytes.append(ascii: #","id":"#)
        bytes.appendJSONString(orNull: isKnown ? id : nil)
    }

    private static func append(time: Int64, _ name: StaticString, to bytes: inout [UInt8]) {
        bytes.append(ascii: name)
        RFC3339.append(time, to: &bytes)
        bytes.append(0x22)
    }

    private static func append(entity: RawSpan?, to bytes: inout [UInt8]) {
        guard let entity, entity.isUTF8, !entity.hasZeroByte else { return bytes.append(ascii: "null") }
        bytes.appendJSONString(entity)
    }

    private static func append(trace: TraceContext?, to bytes: inout [UInt8]) {
        guard let trace else { return bytes.append(ascii: "null") }
        bytes.append(0x22)
        trace.appendText(to: &bytes)
        bytes.append(0x22)
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
