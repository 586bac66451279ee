// TransformProcessorTests: records in, records out.

import EventContracts
import PipelineContract
import StageRuntime
import Testing
import TransformStage

@testable import Transforms

@Suite("The transform stage")
struct TransformProcessorTests {
    private let pipeline: Pipeline
    private let transform: FeatureTransform
    private let context = ProcessingContext(nowMicroseconds: 77_000_000, clusterID: "test")

    init() throws {
        pipeline = TransformsTests.pipeline([
            .column("a", impute: .constant(2), scale: .minmax),
            .column("b", impute: .reject, policy: .reject, bounds: 0...1),
            .column("c", impute: .median, policy: .flag, bounds: 0...1),
        ])
        let table = try TransformsTests.table([("a", [0, 4]), ("b", [-1, 1]), ("c", [0, 10])], for: pipeline)
        transform = try FeatureTransform(
            try TransformFitter.fit(table, for: pipeline).transform, schema: pipeline.input.schema)
    }

    private func prefix(_ offset: Int64, contract: UInt64? = nil, kind: RecordPrefix.Kind = .event) -> RecordPrefix {
        RecordPrefix(
            kind: kind, eventID: EventID(high: 1, low: UInt64(offset)), eventTime: 10, publishTime: 20,
            ingestTime: 30, stageTime: 30, inputOffset: offset, inputPartition: 3, payloadHash: 99,
            contractHash: contract ?? pipeline.input.schema.contractHash,
            trace: TraceContext(traceHigh: 1, traceLow: 2, span: 3, isSampled: true), isIdentifiedByPublisher: true)
    }

    /// Numeric fields of the schema: time, a, b, c, n, on.
    private func event(_ prefix: RecordPrefix, _ values: [Double?]) -> [UInt8] {
        let encoder = EventRecordEncoder(numericCount: 6, textCount: 1)
        let all = [0] + values + [nil, nil]
        var body: [UInt8] = []
        let numeric = all.map { $0 ?? 0 }
        let validity: [UInt8] = all.map { $0 == nil ? 0 : 1 }
        let (source, id) = (Array("/s".utf8), Array("id-1".utf8))
        encoder.appendBody(numeric: numeric.span, validity: validity.span, to: &body)
        encoder.appendText(id.span.bytes, to: &body)
        var record: [UInt8] = []
        encoder.append(
            prefix: prefix, source: source.span.bytes, id: id.span.bytes, body: body.span.bytes, to: &record)
        return record
    }

    private func batch(_ values: [[UInt8]?]) -> RecordBatch {
        var batch = RecordBatch()
        for (offset, value) in values.enumerated() {
            let origin = RecordBatch.Origin(topicIndex: 0, partition: 0, offset: Int64(offset))
            if let value {
                batch.append(origin: origin, timestampMilliseconds: 5, key: nil, value: value.span.bytes)
            } else {
                batch.append(origin: origin, timestampMilliseconds: 5, key: nil, value: nil)
            }
        }
        batch.seal()
        return batch
    }

    @Test("Features carry the event's prefix and identity, with kind, stage time and contract replaced")
    func features() throws {
        var processor = TransformProcessor(schema: pipeline.input.schema, transform: transform)
        var output = processor.makeOutput()
        let input = batch([event(prefix(0), [1, 0.5, 3]), event(prefix(1), [nil, -1, 11])])
        processor.process(input, context: context, into: &output)
        #expect(output.firstWithoutSingleOutcome(count: 2) == nil && output.deadLetters.isEmpty)

        let records = batch(
            output.emissions.map { Array(output.arena[$0.value.start..<$0.value.start + $0.value.length]) })
        let decoder = FeatureRecordDecoder(featureCount: 3, contractHash: transform.contractHash)
        var columns = decoder.makeColumns()
        var malformed: [MalformedRow] = []
        decoder.decode(records, into: &columns, malformed: &malformed)
        #expect(malformed.isEmpty)
        #expect(columns.values == [0.25, 0.5, 3, 0.5, -1, 11])
        #expect(columns.imputed == [0, 0, 0, 1, 0, 0])
        #expect(columns.outliers == [0, 0, 0, 0, 0, 1])
        for row in 0..<2 {
            var expected = prefix(Int64(row))
            expected.kind = .features
            expected.stageTime = 77_000_000
            expected.contractHash = transform.contractHash
            #expect(columns.prefixes[row] == expected)
            #expect(records.bytes(columns.identities[row].source) == Array("/s".utf8))
            #expect(records.bytes(columns.identities[row].id) == Array("id-1".utf8))
        }
    }

    @Test("Every record that has no features is a dead letter with its code")
    func deadLetters() throws {
        var processor = TransformProcessor(schema: pipeline.input.schema, transform: transform)
        var output = processor.makeOutput()
        let input = batch([
            event(prefix(0), [1, nil, 3]), event(prefix(1), [1, 5, 3]), event(prefix(2, contract: 1), [1, 0, 3]),
            event(prefix(3, kind: .features), [1, 0, 3]), nil, Array("junk".utf8),
            Array(event(prefix(6), [1, 0, 3]).dropLast()), event(prefix(7), [1, 0, 3]),
            event(prefix(8), [1e300, 0, 3]),
        ])
        // A second batch must not see anything of the first.
        for _ in 0..<2 {
            output.removeAll()
            processor.process(input, context: context, into: &output)
            #expect(output.firstWithoutSingleOutcome(count: 9) == nil)
            #expect(output.emissions.map(\.source) == [7])
            let codes = Dictionary(uniqueKeysWithValues: output.deadLetters.map { ($0.source, $0.code) })
            #expect(
                codes == [
                    0: .missingFeature, 1: .outlierRejected, 2: .contractMismatch, 3: .malformedRecord, 4: .emptyValue,
                    5: .malformedRecord, 6: .malformedRecord, 8: .notFinite,
                ])
        }
        let message = try #require(output.deadLetters.first { $0.source == 1 }?.message)
        #expect(message.contains("feature 'b': the value 5.0 lies outside the fitted bounds -1.0 ... 1.0"))
    }

    @Test("An absent transform is one line with the mend")
    func absentTransform() {
        let found = message { _ = try TransformProcessor(pipeline: pipeline) }
        #expect(
            found == "cannot read /nowhere/artifacts/transform.json: No such file or directory; "
                + "run `penstock fit /nowhere` to write it")
    }
}
