// ChunkedEncryptionTests: Cobblestone-256 against Wycheproof's vectors and at the edges of a chunk.

import Cryptography
import Foundation
import SecureMemory
import Testing

@testable import Sealing

@Suite("Chunked encryption")
struct ChunkedEncryptionTests {
    struct Vector: Decodable {
        var id: Int
        var comment: String
        var key: String
        var ctx: String
        var ct: String
        var length: Int
        var sha512: String
        var result: String
    }

    private func open(_ sealed: [UInt8], key: [UInt8], context: [UInt8]) throws -> [UInt8] {
        guard let count = ChunkedEncryption.plaintextBytes(sealed.count), key.count == 32 else {
            throw SealingError(.truncated, "no message has this length")
        }
        let opener = try ChunkedEncryption.Opener(
            key: key.span.bytes, prefix: sealed.span.bytes.extracting(0..<ChunkedEncryption.prefixBytes),
            context: context)
        var result: [UInt8] = []
        var offset = ChunkedEncryption.prefixBytes
        var chunk: UInt64 = 0
        while offset < sealed.count {
            let length = min(ChunkedEncryption.sealedChunkBytes, sealed.count - offset)
            var plain = [UInt8](repeating: 0, count: length - AES256GCM.tagBytes)
            var span = plain.mutableSpan
            var bytes = span.mutableBytes
            try opener.open(sealed.span.bytes.extracting(offset..<offset + length), chunk: chunk, into: &bytes)
            result += plain
            offset += length
            chunk += 1
        }
        #expect(result.count == count)
        return result
    }

    @Test("Wycheproof's vectors open, or are refused, as they say")
    func wycheproof() throws {
        let url = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appending(path: "Fixtures/cobblestone-256.json")
        let vectors = try JSONDecoder().decode([Vector].self, from: try Data(contentsOf: url))
        #expect(vectors.count >= 15)
        for vector in vectors {
            let sealed = try #require(Base64.decode(vector.ct))
            let key = try #require(Hex.decode(vector.key))
            let context = try #require(Hex.decode(vector.ctx))
            if vector.result == "valid" {
                let message = try open(sealed, key: key, context: context)
                #expect(message.count == vector.length, "\(vector.id)")
                #expect(Hex.encode(try DigestAlgorithm.sha512.digest(message)) == vector.sha512, "\(vector.id)")
            } else {
                #expect(throws: (any Error).self, "\(vector.id): \(vector.comment)") {
                    _ = try open(sealed, key: key, context: context)
                }
            }
        }
    }

    @Test(
        "Every size around a chunk's edge comes back",
        arguments: [0, 1, 16_383, 16_384, 16_385, 32_767, 32_768, 50_000])
    func edges(size: Int) throws {
        let key = try SecureRandom.bytes(32)
        let message = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        var sealed: [UInt8] = []
        let sealer = try ChunkedEncryption.Sealer(key: key.span.bytes, context: [1, 2, 3])
        sealed += sealer.prefix
        // In uneven pieces, as files come.
        var offset = 0
        while offset < size {
            let count = min(9_973, size - offset)
            try sealer.add(message.span.bytes.extracting(offset..<offset + count)) { sealed += $0 }
            offset += count
        }
        try sealer.finish { sealed += $0 }
        #expect(sealed.count == ChunkedEncryption.sealedBytes(size))
        #expect(ChunkedEncryption.plaintextBytes(sealed.count) == size)
        #expect(try open(sealed, key: key, context: [1, 2, 3]) == message)
        #expect(throws: SealingError.self) { try open(sealed, key: key, context: [1, 2, 4]) }
    }
}
