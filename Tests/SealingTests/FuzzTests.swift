// FuzzTests: damaged headers, recipient blocks, documents and policies end in an error, never in a crash.

import Cryptography
import Foundation
import SecureMemory
import Testing

@testable import Sealing

/// SplitMix64: the same damage every time.
struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    /// Flips, cuts, doubles, inserts digits and brackets.
    mutating func damage(_ bytes: [UInt8]) -> [UInt8] {
        var result = bytes
        for _ in 0..<Int.random(in: 1...4, using: &self) where !result.isEmpty {
            let place = Int.random(in: 0..<result.count, using: &self)
            switch Int.random(in: 0..<6, using: &self) {
            case 0: result[place] ^= 1 << UInt8.random(in: 0..<8, using: &self)
            case 1: result.removeSubrange(place..<min(result.count, place + Int.random(in: 1...40, using: &self)))
            case 2: result.insert(contentsOf: result[place..<min(result.count, place + 20)], at: place)
            case 3:
                result.insert(contentsOf: Array("[{\"},]:0.9e9\\ud8".utf8).shuffled(using: &self).prefix(3), at: place)
            case 4: result[place] = UInt8.random(in: 0...255, using: &self)
            default: result = Array(result.prefix(place))
            }
        }
        return result
    }
}

@Suite("Damage is an error, never a crash")
struct FuzzTests {
    static let rounds = 4_000

    @Test("in a header, a signature block, a recipient block, a policy and a release document")
    func documents() throws {
        var random = Seeded(state: 20_261_129)
        let sealed = try Sealed(sizes: [10])
        let container = try sealed.read()
        let frame = container.frame
        let key = try container.dataKey(with: sealed.owner)
        let document = try ReleaseTerms(
            for: container.header, headerSHA256: container.headerDigest, sequence: 1, issuedAt: 1
        ).signed(by: sealed.owner, key: key)
        let policy = try ReleasePolicy.sample().canonical
        let owner = sealed.owner.publicKey
        var accepted = 0
        for _ in 0..<Self.rounds {
            let header = random.damage(frame.header)
            if let read = try? ContainerHeader(canonical: header) {
                // What is accepted is exactly what would be written.
                #expect(read.json.canonical == header)
                accepted += 1
            }
            _ = try? HeaderSignature.decode(random.damage(frame.signatures))
            if let block = try? RecipientBlock.decode(random.damage(frame.recipients)) {
                #expect(!block.isEmpty)
            }
            _ = try? ReleasePolicy(canonical: random.damage(policy))
            let broken = random.damage(document)
            if broken != document {
                #expect(throws: (any Error).self) { _ = try ReleaseEnvelope(broken.span.bytes) { _ in owner } }
            }
        }
        #expect(accepted < Self.rounds)
    }

    @Test("in a whole container")
    func containers() throws {
        var random = Seeded(state: 7)
        let sealed = try Sealed(sizes: [300])
        let original = sealed.bytes
        for _ in 0..<400 {
            let bytes = random.damage(original)
            guard bytes != original else { continue }
            try sealed.write(bytes)
            // The recipient block alone is not signed: damage there is found when the key is unwrapped.
            #expect(throws: (any Error).self) { _ = try sealed.open() }
        }
    }
}
