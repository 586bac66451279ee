// LabelRecordTests: label records byte for byte, and which of two labels counts.

import EventContracts
import Testing

@Suite("Label records")
struct LabelRecordTests {
    private let label = LabelRecord(
        eventID: EventID(high: 0x0102_0304_0506_8708, low: 0x8a0b_0c0d_0e0f_1011), label: 1, labelTime: 5,
        publishTime: 6, ingestTime: 7, inputOffset: 8, inputPartition: 9)

    private func bytes(_ label: LabelRecord) -> [UInt8] {
        var bytes: [UInt8] = []
        label.append(to: &bytes)
        return bytes
    }

    private func read(_ bytes: [UInt8]) throws(RecordFormatError) -> LabelRecord {
        try LabelRecord(reading: bytes.span.bytes)
    }

    private func eventID(_ text: String) -> EventID? {
        let bytes = Array(text.utf8)
        return EventID(reading: bytes.span.bytes)
    }

    @Test("A label has 64 bytes, as docs/formats.md says")
    func layout() {
        func word(_ value: UInt8) -> [UInt8] { [value, 0, 0, 0, 0, 0, 0, 0] }
        let expected: [UInt8] =
            [1, 3, 0, 0, 64, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0x87, 8, 0x8a, 11, 12, 13, 14, 15, 16, 17] + word(5) + word(6)
            + word(7) + word(8) + [9, 0, 0, 0, 1, 0, 0, 0]
        #expect(bytes(label) == expected)
    }

    @Test("A label reads back as it was written")
    func roundTrip() throws {
        #expect(try read(bytes(label)) == label)
    }

    @Test(
        "What is not exactly one label is refused",
        arguments: [(0, UInt8(2)), (1, 2), (4, 65), (63, 0x80)])
    func refused(place: Int, value: UInt8) {
        var damaged = bytes(label)
        damaged[place] = value
        #expect(throws: RecordFormatError.self) { try read(damaged) }
        #expect(throws: RecordFormatError.self) { try read([]) }
        #expect(throws: RecordFormatError.self) { try read(Array(bytes(label).dropLast())) }
        #expect(throws: RecordFormatError.self) { try read(bytes(label) + [0]) }
    }

    @Test("The label that was published later counts, in whatever order the two are read")
    func correction() {
        var later = label
        later.publishTime += 1
        later.inputPartition = 0
        #expect(later.corrects(label) && !label.corrects(later))
        var next = label
        next.inputOffset += 1
        #expect(next.corrects(label) && !label.corrects(next) && !label.corrects(label))
    }

    @Test("An event id reads back from its text, in either case, and from nothing else")
    func eventIDText() {
        let id = label.eventID
        for text in [id.description, id.description.uppercased()] {
            #expect(eventID(text) == id)
        }
        let text = id.description
        let wrongTexts = [
            "", String(text.dropLast()), text + "0", text.replacing("-", with: "_"), "g" + text.dropFirst(),
        ]
        for wrong in wrongTexts {
            #expect(eventID(wrong) == nil)
        }
    }
}

@Suite("Model events")
struct ModelEventTests {
    private func event() -> ModelEvent {
        ModelEvent(
            type: .registered, id: "registered/r-1", model: "m", version: "v2", serial: 2,
            time: "2021-06-01T00:00:00.000000Z", actor: "retraining-consumer", reason: "drift", request: "r-1",
            file: .init(
                location: "models/m-2.smc", sha256: String(repeating: "a", count: 64), bytes: 9, isSealed: true),
            parent: .init(version: "v1", serial: 1, sha256: String(repeating: "b", count: 64)))
    }

    @Test("A model event is one line of JSON with sorted keys and reads back as it was written")
    func roundTrip() throws {
        let text = String(decoding: event().encoded(), as: UTF8.self)
        #expect(text.hasPrefix(#"{"actor":"retraining-consumer","file":{"bytes":9,"location":"models/m-2.smc","#))
        #expect(text.contains(#""sealed":true"#) && !text.contains("\n") && !text.contains("null"))
        #expect(try ModelEvent.decode(Array(text.utf8)) == event())
    }

    @Test("A field at fault is named")
    func faults() {
        let text = String(decoding: event().encoded(), as: UTF8.self)
        func message(_ text: String) -> String {
            do {
                _ = try ModelEvent.decode(Array(text.utf8))
                return ""
            } catch {
                return error.message
            }
        }
        #expect(message(text.replacing(#""model":"m","#, with: "")).contains("'model' is missing"))
        #expect(message(text.replacing(#""type":"registered""#, with: #""type":"sold""#)).contains("'type'"))
        #expect(message(text.replacing(#""v":1"#, with: #""v":2"#)).contains("format version 2"))
        #expect(message("{").contains("not valid JSON"))
    }

    @Test("A signature covers everything but itself")
    func signedBytes() {
        var signed = event()
        signed.signature = .init(keyID: "k", value: "AA==")
        #expect(signed.signedBytes == event().signedBytes)
        var other = event()
        other.serial = 3
        #expect(other.signedBytes != event().signedBytes)
    }
}
