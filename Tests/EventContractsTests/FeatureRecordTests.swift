// FeatureRecordTests: `features` records to columns and back, whole and damaged.

import EventContracts
import Testing

@Suite("Features records")
struct FeatureRecordTests {
    private func encoded(_ count: Int, _ prefix: RecordPrefix, _ values: [Float], using random: inout SeededRandom) -> (
        bytes: [UInt8], imputed: [UInt8], outliers: [UInt8]
    ) {
        let imputed = (0..<count).map { _ in UInt8.random(in: 0...1, using: &random) }
        let outliers = (0..<count).map { _ in UInt8.random(in: 0...1, using: &random) }
        var bytes: [UInt8] = []
        FeatureRecordEncoder(featureCount: count).append(
            prefix: prefix, source: Array("/s".utf8).span.bytes, id: Array("é".utf8).span.bytes, values: values.span,
            imputed: imputed.span, outliers: outliers.span, to: &bytes)
        return (bytes, imputed, outliers)
    }

    @Test("Random rows survive the way into bytes and back", arguments: [0, 1, 8, 9, 30])
    func roundTrip(count: Int) {
        var random = SeededRandom(seed: 5)
        let decoder = FeatureRecordDecoder(featureCount: count, contractHash: 9)
        var columns = decoder.makeColumns()
        for _ in 0..<50 {
            let prefix = RecordPrefix.random(.features, contractHash: 9, using: &random)
            let values = (0..<count).map { _ in Float.random(in: -1e6...1e6, using: &random) }
            let record = encoded(count, prefix, values, using: &random)
            let batch = batch(of: [record.bytes])
            var malformed: [MalformedRow] = []
            columns.removeAll()
            decoder.decode(batch, into: &columns, malformed: &malformed)
            #expect(malformed.isEmpty)
            #expect(columns.prefixes == [prefix])
            #expect(columns.values == values)
            #expect(columns.imputed == record.imputed)
            #expect(columns.outliers == record.outliers)
            #expect(text(batch.bytes(columns.identities[0].id)) == "é")
        }
    }

    @Test("A record cut at any byte is malformed, and its neighbours are not harmed")
    func truncation() {
        var random = SeededRandom(seed: 6)
        let prefix = RecordPrefix.random(.features, contractHash: 9, using: &random)
        let whole = encoded(9, prefix, [Float](repeating: 1, count: 9), using: &random).bytes
        let decoder = FeatureRecordDecoder(featureCount: 9, contractHash: 9)
        for length in 0..<whole.count {
            var columns = decoder.makeColumns()
            var malformed: [MalformedRow] = []
            decoder.decode(
                batch(of: [whole, Array(whole.prefix(length)), whole]), into: &columns, malformed: &malformed)
            #expect(malformed.map(\.source) == [1])
            #expect(columns.sources == [0, 2])
            #expect(columns.values.count == 18)
        }
    }

    @Test("A value that is not finite, another contract and bytes after the end are malformed")
    func codes() {
        var random = SeededRandom(seed: 7)
        let prefix = RecordPrefix.random(.features, contractHash: 9, using: &random)
        let good = encoded(2, prefix, [1, 2], using: &random).bytes
        let bad = encoded(2, prefix, [1, .nan], using: &random).bytes
        let other = RecordPrefix.random(.features, contractHash: 10, using: &random)
        let mismatch = encoded(2, other, [1, 2], using: &random).bytes
        let decoder = FeatureRecordDecoder(featureCount: 2, contractHash: 9)
        var columns = decoder.makeColumns()
        var malformed: [MalformedRow] = []
        decoder.decode(batch(of: [bad, mismatch, good + [1], good]), into: &columns, malformed: &malformed)
        #expect(malformed.map(\.error.code) == [.malformedRecord, .contractMismatch, .malformedRecord])
        #expect(columns.sources == [3])
    }
}
