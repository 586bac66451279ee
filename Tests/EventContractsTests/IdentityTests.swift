// IdentityTests: event ids and payload hashes against values made by hand.

import Cryptography
import EventContracts
import Testing

@Suite("Identities")
struct IdentityTests {
    private func frame(_ text: String) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.appendLittleEndian(UInt64(text.utf8.count))
        return bytes + Array(text.utf8)
    }

    @Test("A publisher's identity hashes its framed source and id")
    func publisher() {
        let digest = EventIdentity.publisherDigest(
            source: Array("/s".utf8).span.bytes, id: Array("42".utf8).span.bytes)
        #expect(digest == SHA256.digest(of: Array("penstock:publisher:1".utf8) + frame("/s") + frame("42")))
        let id = EventIdentity.eventID(publisher: digest, eventTime: 1_622_505_600_123_456)
        #expect(id.milliseconds == 1_622_505_600_123)
        #expect(id == EventID(milliseconds: 1_622_505_600_123, digest: digest))
    }

    @Test("Moving a byte from source to id gives another digest")
    func framing() {
        let one = EventIdentity.publisherDigest(source: Array("ab".utf8).span.bytes, id: Array("c".utf8).span.bytes)
        let other = EventIdentity.publisherDigest(source: Array("a".utf8).span.bytes, id: Array("bc".utf8).span.bytes)
        #expect(one != other)
    }

    @Test("A position hashes cluster, topic, partition and offset")
    func position() {
        let id = EventIdentity.eventID(
            clusterID: Array("c1".utf8), topic: Array("t".utf8), partition: 3, offset: 77, timestampMilliseconds: 5)
        var message = Array("penstock:position:1".utf8) + frame("c1") + frame("t")
        message.appendLittleEndian(UInt64(3))
        message.appendLittleEndian(UInt64(77))
        #expect(id == EventID(milliseconds: 5, digest: SHA256.digest(of: message)))
    }

    @Test("An event id carries version 8 and the RFC variant, and sorts by time")
    func format() {
        var random = SeededRandom(seed: 12)
        var ids: [EventID] = []
        for time in [-5, 0, 1, 1_622_505_600_123, 1 << 48, Int64.max] as [Int64] {
            let digest = SHA256Digest(words: (random.next(), random.next(), 0, 0))
            let id = EventID(milliseconds: time, digest: digest)
            let text = Array(id.description)
            #expect(text[14] == "8")
            #expect("89ab".contains(text[19]))
            ids.append(id)
        }
        #expect(ids[1].milliseconds == 0)
        #expect(Array(ids[1...4]).sorted() == Array(ids[1...4]))
    }

    @Test("The payload hash covers the event time and the body")
    func payload() {
        let body: [UInt8] = [1, 2, 3]
        let hash = EventIdentity.payloadHash(eventTime: 9, body: body.span.bytes)
        #expect(hash == SHA256.digest(of: [9, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]).words.0)
        #expect(hash != EventIdentity.payloadHash(eventTime: 8, body: body.span.bytes))
    }
}
