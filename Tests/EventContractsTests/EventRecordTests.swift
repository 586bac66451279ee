// EventRecordTests: `events` records to columns and back, whole and damaged.

import EventContracts
import Testing

private struct Row: Equatable {
    var prefix: RecordPrefix
    var source: String
    var id: String
    var numbers: [Double?]
    var texts: [String?]

    static func random(numericCount: Int, textCount: Int, using random: inout SeededRandom) -> Row {
        Row(
            prefix: .random(.event, contractHash: 7, using: &random), source: random.text(max: 12),
            id: random.text(max: 12),
            numbers: (0..<numericCount).map { _ in
                Bool.random(using: &random) ? Double.random(in: -1e9...1e9, using: &random) : nil
            },
            texts: (0..<textCount).map { _ in Bool.random(using: &random) ? random.text(max: 20) : nil })
    }

    func encoded() -> [UInt8] {
        let encoder = EventRecordEncoder(numericCount: numbers.count, textCount: texts.count)
        var body: [UInt8] = []
        // A missing number must not leak into the record, whatever the column holds.
        let column = numbers.map { $0 ?? 99 }
        let validity: [UInt8] = numbers.map { $0 == nil ? 0 : 1 }
        encoder.appendBody(numeric: column.span, validity: validity.span, to: &body)
        for text in texts { appendText(text, with: encoder, to: &body) }
        let sourceBytes = Array(source.utf8)
        let idBytes = Array(id.utf8)
        var bytes: [UInt8] = []
        encoder.append(
            prefix: prefix, source: sourceBytes.span.bytes, id: idBytes.span.bytes, body: body.span.bytes, to: &bytes)
        return bytes
    }

    private func appendText(_ text: String?, with encoder: EventRecordEncoder, to body: inout [UInt8]) {
        guard let text else { return encoder.appendText(nil, to: &body) }
        let bytes = Array(text.utf8)
        encoder.appendText(bytes.span.bytes, to: &body)
    }
}

extension EventColumns {
    fileprivate func row(_ row: Int, of batch: RecordBatch) -> Row {
        Row(
            prefix: prefixes[row], source: text(batch.bytes(identities[row].source)) ?? "",
            id: text(batch.bytes(identities[row].id)) ?? "",
            numbers: (0..<numericCount).map { column in
                validity[row * numericCount + column] == 1 ? numeric[row * numericCount + column] : nil
            },
            texts: (0..<textCount).map { text(batch.bytes(texts[row * textCount + $0])) })
    }
}

@Suite("Events records")
struct EventRecordTests {
    @Test(
        "Random rows survive the way into bytes and back", arguments: [(0, 0), (1, 0), (0, 1), (8, 2), (9, 3), (30, 1)])
    func roundTrip(numericCount: Int, textCount: Int) {
        var random = SeededRandom(seed: 1)
        let rows = (0..<50).map { _ in
            Row.random(numericCount: numericCount, textCount: textCount, using: &random)
        }
        let batch = batch(of: rows.map { $0.encoded() })
        let decoder = EventRecordDecoder(numericCount: numericCount, textCount: textCount, contractHash: 7)
        var columns = decoder.makeColumns()
        var malformed: [MalformedRow] = []
        decoder.decode(batch, into: &columns, malformed: &malformed)
        #expect(malformed.isEmpty)
        #expect(columns.sources == Array(rows.indices))
        #expect(rows.indices.map { columns.row($0, of: batch) } == rows)
    }

    @Test("A record cut at any byte is malformed, and its neighbours are not harmed")
    func truncation() {
        var random = SeededRandom(seed: 2)
        let row = Row.random(numericCount: 9, textCount: 2, using: &random)
        let whole = row.encoded()
        let decoder = EventRecordDecoder(numericCount: 9, textCount: 2, contractHash: 7)
        var columns = decoder.makeColumns()
        for length in 0..<whole.count {
            columns.removeAll()
            var malformed: [MalformedRow] = []
            let batch = batch(of: [whole, Array(whole.prefix(length)), whole])
            decoder.decode(batch, into: &columns, malformed: &malformed)
            #expect(malformed.map(\.source) == [1])
            #expect(malformed.first?.error.code == .malformedRecord)
            #expect(columns.sources == [0, 2])
            #expect(columns.row(1, of: batch) == row)
        }
    }

    @Test("Random damage never traps, and what is accepted reads back as the same bytes")
    func damage() {
        var random = SeededRandom(seed: 3)
        let decoder = EventRecordDecoder(numericCount: 5, textCount: 2, contractHash: 7)
        for _ in 0..<2_000 {
            var bytes = Row.random(numericCount: 5, textCount: 2, using: &random).encoded()
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                bytes[Int.random(in: 112..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            let batch = batch(of: [bytes])
            var columns = decoder.makeColumns()
            var malformed: [MalformedRow] = []
            decoder.decode(batch, into: &columns, malformed: &malformed)
            #expect(columns.rowCount + malformed.count == 1)
            if columns.rowCount == 1 { #expect(columns.row(0, of: batch).encoded() == bytes) }
        }
    }

    @Test("Bytes after the end, a tombstone, another contract, version or kind: each is named")
    func codes() {
        var random = SeededRandom(seed: 4)
        let whole = Row.random(numericCount: 2, textCount: 1, using: &random).encoded()
        var version = whole
        version[0] = 2
        var kind = whole
        kind[1] = 2
        let decoder = EventRecordDecoder(numericCount: 2, textCount: 1, contractHash: 7)
        var columns = decoder.makeColumns()
        var malformed: [MalformedRow] = []
        decoder.decode(batch(of: [whole + [0], nil, version, kind]), into: &columns, malformed: &malformed)
        #expect(
            malformed.map(\.error.code) == [
                .malformedRecord, .emptyValue, .unsupportedFormatVersion, .malformedRecord,
            ])
        malformed.removeAll()
        EventRecordDecoder(numericCount: 2, textCount: 1, contractHash: 8)
            .decode(batch(of: [whole]), into: &columns, malformed: &malformed)
        #expect(malformed.map(\.error.code) == [.contractMismatch])
        #expect(malformed.first?.error.message.contains("0000000000000007") == true)
    }

    @Test("A record has the documented layout, byte for byte")
    func layout() {
        let prefix = RecordPrefix(
            kind: .event, eventID: EventID(high: 0x0102_0304_0506_8708, low: 0x8a0b_0c0d_0e0f_1011), eventTime: 1,
            publishTime: 2, ingestTime: 3, stageTime: 4, inputOffset: 5, inputPartition: 6, payloadHash: 7,
            contractHash: 0x1122_3344_5566_7788, trace: nil, isIdentifiedByPublisher: true)
        let row = Row(prefix: prefix, source: "/s", id: "i", numbers: [1, nil], texts: ["t", nil])
        var expected: [UInt8] = [1, 1, 4, 0, 112, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0x87, 8, 0x8a, 11, 12, 13, 14, 15, 16, 17]
        for value in 1...5 as ClosedRange<UInt8> { expected += [value, 0, 0, 0, 0, 0, 0, 0] }
        expected += [6, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]
        expected += [UInt8](repeating: 0, count: 24)
        expected += [2, 0, 0x2f, 0x73, 1, 0, 0x69]
        expected += [2, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0x74, 0xff, 0xff]
        #expect(row.encoded() == expected)
    }
}
