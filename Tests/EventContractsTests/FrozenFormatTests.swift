// FrozenFormatTests: version 1 of each record format, byte for byte, and what readers say to a later version.

import EventContracts
import Foundation
import Testing

/// The files in `Fixtures/version-1` were made from docs/formats.md and not by this code. They never change: what the next
/// version writes gets a folder of its own, and readers keep these.
@Suite("Frozen formats")
struct FrozenFormatTests {
    private static let eventTime: Int64 = 1_622_541_600_123_456
    private static let source = Array("/housing/plain".utf8)
    private static let id = Array("a-1 é".utf8)

    private static func fixture(_ name: String) throws -> [UInt8] {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("Fixtures/version-1")
        let text = try String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8)
        guard name.hasSuffix(".hex") else { return Array(text.utf8.dropLast()) }
        let digits = Array(text.utf8.filter { $0 != UInt8(ascii: "\n") })
        return stride(from: 0, to: digits.count, by: 2).compactMap {
            UInt8(String(decoding: digits[$0..<$0 + 2], as: UTF8.self), radix: 16)
        }
    }

    private static var eventID: EventID { EventID(high: 0x0179_c771_e27b_8add, low: 0xa75d_79e5_94d7_dfd6) }

    private static func prefix(_ kind: RecordPrefix.Kind, contract: UInt64) -> RecordPrefix {
        RecordPrefix(
            kind: kind, eventID: eventID, eventTime: eventTime, publishTime: eventTime + 1_000_000,
            ingestTime: eventTime + 2_000_000, stageTime: eventTime + 3_000_000, inputOffset: 987_654_321,
            inputPartition: 3, payloadHash: 0x0123_4567_89ab_cdef, contractHash: contract,
            trace: TraceContext(
                traceHigh: 0x4bf9_2f35_77b3_4da6, traceLow: 0xa3ce_929d_0e0e_4736, span: 0x00f0_67aa_0ba9_02b7,
                isSampled: true),
            isIdentifiedByPublisher: true)
    }

    @Test("Records of events are written and read as version 1 has them")
    func events() throws {
        let encoder = EventRecordEncoder(numericCount: 3, textCount: 2)
        let (numbers, validity): ([Double], [UInt8]) = ([2.5, 99, -118.25], [1, 0, 1])
        var body: [UInt8] = []
        encoder.appendBody(numeric: numbers.span, validity: validity.span, to: &body)
        encoder.appendText(Array("San José".utf8).span.bytes, to: &body)
        encoder.appendText(nil, to: &body)
        var bytes: [UInt8] = []
        let prefix = Self.prefix(.event, contract: 0x0011_2233_4455_66ff)
        encoder.append(
            prefix: prefix, source: Self.source.span.bytes, id: Self.id.span.bytes, body: body.span.bytes, to: &bytes)
        let fixture = try Self.fixture("events.hex")
        #expect(bytes == fixture)

        let decoder = EventRecordDecoder(numericCount: 3, textCount: 2, contractHash: prefix.contractHash)
        var (columns, malformed) = (decoder.makeColumns(), [MalformedRow]())
        decoder.decode(batch(of: [fixture, [2] + fixture.dropFirst()]), into: &columns, malformed: &malformed)
        #expect(columns.prefixes == [prefix])
        #expect(columns.numeric == [2.5, 0, -118.25] && columns.validity == [1, 0, 1])
        Self.expectUpgradeAdvice(malformed)
    }

    @Test("Records of features are written and read as version 1 has them")
    func features() throws {
        let encoder = FeatureRecordEncoder(featureCount: 3)
        let (values, imputed, outliers): ([Float], [UInt8], [UInt8]) = ([0.5, -1.25, 3], [0, 1, 0], [0, 0, 1])
        var bytes: [UInt8] = []
        let prefix = Self.prefix(.features, contract: 0x8899_aabb_ccdd_eeff)
        encoder.append(
            prefix: prefix, source: Self.source.span.bytes, id: Self.id.span.bytes, values: values.span,
            imputed: imputed.span, outliers: outliers.span, to: &bytes)
        let fixture = try Self.fixture("features.hex")
        #expect(bytes == fixture)

        let decoder = FeatureRecordDecoder(featureCount: 3, contractHash: prefix.contractHash)
        var (columns, malformed) = (decoder.makeColumns(), [MalformedRow]())
        decoder.decode(batch(of: [fixture, [2] + fixture.dropFirst()]), into: &columns, malformed: &malformed)
        #expect(columns.prefixes == [prefix])
        #expect(columns.values == values && columns.imputed == imputed && columns.outliers == outliers)
        Self.expectUpgradeAdvice(malformed)
    }

    private static func expectUpgradeAdvice(_ malformed: [MalformedRow]) {
        #expect(malformed.map(\.source) == [1])
        #expect(malformed.first?.error.code == .unsupportedFormatVersion)
        #expect(malformed.first?.error.message.contains("version 2") == true)
    }

    @Test("Records of labels are written and read as version 1 has them")
    func labels() throws {
        let label = LabelRecord(
            eventID: Self.eventID, label: 1, labelTime: Self.eventTime, publishTime: Self.eventTime + 1_000_000,
            ingestTime: Self.eventTime + 2_000_000, inputOffset: 987_654_321, inputPartition: 3)
        var bytes: [UInt8] = []
        label.append(to: &bytes)
        let fixture = try Self.fixture("labels.hex")
        #expect(bytes == fixture)
        #expect(try LabelRecord(reading: fixture.span.bytes) == label)
        let later = [2] + fixture.dropFirst()
        let error = #expect(throws: RecordFormatError.self) { try LabelRecord(reading: later.span.bytes) }
        #expect(error?.code == .unsupportedFormatVersion)
    }

    @Test("Predictions and duplicate notices are written as version 1 has them")
    func predictions() throws {
        var bytes: [UInt8] = []
        PredictionWriter(model: "housing-dense", modelVersion: "7").append(
            Prediction(score: 0.25, label: 0, imputed: 1, outliers: 1),
            prefix: Self.prefix(.features, contract: 0x8899_aabb_ccdd_eeff), source: Self.source.span.bytes,
            id: Self.id.span.bytes, entity: Array("34.0:-118.25".utf8).span.bytes,
            predictedAt: Self.eventTime + 4_000_000, to: &bytes)
        let fixture = try Self.fixture("predictions.json")
        #expect(text(bytes) == text(fixture))

        bytes = []
        DuplicateNotice(
            eventID: Self.eventID, inputPartition: 3, inputOffset: 987_654_321, firstOffset: 987_654_300
        ).append(source: Self.source.span.bytes, id: Self.id.span.bytes, to: &bytes)
        #expect(text(bytes) == text(try Self.fixture("duplicates.json")))
    }

    @Test(
        "JSON records are read and written again as version 1 has them; a later version is refused",
        arguments: ["models", "telemetry", "retraining"])
    func documents(name: String) throws {
        func roundTrip(_ bytes: [UInt8]) throws -> [UInt8]? {
            switch name {
            case "models": try ModelEvent.decode(bytes).encoded()
            case "telemetry": try Heartbeat.decode(bytes).encoded()
            default: try CloudEvent<RetrainingRequest>.decode(bytes, types: [RetrainingRequest.type])?.encoded()
            }
        }
        let fixture = try Self.fixture("\(name).json")
        #expect(text(try roundTrip(fixture)) == text(fixture))
        let later = Array(String(decoding: fixture, as: UTF8.self).replacing(#""v":1"#, with: #""v":2"#).utf8)
        let error = #expect(throws: RecordFormatError.self) { try roundTrip(later) }
        #expect(error?.code == .unsupportedFormatVersion)
        #expect(error?.message.contains("version") == true)
    }
}
