// InteroperationTests: a container and a document that scripts/sealing_interop.py made.

import Cryptography
import Foundation
import SecureMemory
import Testing

@testable import Sealing

@Suite("What the second implementation made")
struct InteroperationTests {
    struct Vector: Decodable {
        var ownerPEM: String
        var dataKey: String
        var files: [String: String]
        var releaseDocument: String
    }

    @Test("opens here: signature, recipient, payload, files, release document")
    func vector() throws {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "Fixtures")
        let vector = try JSONDecoder().decode(
            Vector.self, from: try Data(contentsOf: folder.appending(path: "vector.json")))
        let owner = try ECPrivateKey(pem: Array(vector.ownerPEM.utf8).span.bytes)
        let trust = TrustedOwners([owner.publicKey])
        let container = try SealedContainer(path: folder.appending(path: "vector.smc").path, trusting: trust)
        let key = try container.dataKey(with: owner)
        #expect(key.withBytes { bytes in bytes.withUnsafeBytes { Hex.encode(Array($0)) } } == vector.dataKey)
        let model = try container.open(with: key, lockMode: .off)
        for (path, digest) in vector.files {
            #expect(try model.withFile(path) { SHA256.digest(of: $0).hexadecimal } == digest, "\(path)")
        }
        var envelope = try ReleaseEnvelope(Array(vector.releaseDocument.utf8).span.bytes) { _ in owner.publicKey }
        try envelope.terms.check(container, now: 1_800_000_000, usage: .inference)
        let released = try takeKey(&envelope)
        _ = try container.open(with: released, lockMode: .off)
    }
}
