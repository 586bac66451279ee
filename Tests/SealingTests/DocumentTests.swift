// DocumentTests: canonical JSON, release documents and policies.

import Cryptography
import SecureMemory
import Testing

@testable import Sealing

@Suite("Signed documents")
struct DocumentTests {
    @Test("JSON is read strictly and written canonically")
    func json() throws {
        let text = #"{"a":[1,-2,true,null,"é\n\u0001"],"b":{},"€":"\"\\"}"#
        #expect(try JSONValue(parsing: Array(text.utf8)).canonicalText == text)
        #expect(
            try JSONValue(parsing: Array(" { \"b\" : \"\\u20ac\\ud83d\\ude00\" } ".utf8)).canonicalText
                == "{\"b\":\"€😀\"}")
        let wrong = [
            "", "{", "[1,]", "{\"a\":1,\"a\":2}", "1.0", "1e3", "01", "-0", "9007199254740992", "\"\\x\"",
            "\"\\ud800\"",
            "[1] 2", "nul", "\"\u{1}\"", "+1", String(repeating: "[", count: 40), "{\"a\" 1}",
        ]
        for text in wrong {
            #expect(throws: SealingError.self, "\(text)") { try JSONValue(parsing: Array(text.utf8)) }
        }
        #expect(throws: SealingError.self) { try JSONValue(parsing: [0x22, 0xff, 0x22]) }
    }

    private func terms(_ container: SealedContainer, sequence: Int64 = 5) -> ReleaseTerms {
        ReleaseTerms(
            for: container.header, headerSHA256: container.headerDigest, sequence: sequence, issuedAt: Sealed.now)
    }

    @Test("A release document carries its key, and no ordinary copy of it")
    func envelope() throws {
        let sealed = try Sealed(sizes: [10])
        let container = try sealed.read()
        let key = try container.dataKey(with: sealed.owner)
        let document = try terms(container).signed(by: sealed.owner, key: key)
        let owner = sealed.owner.publicKey
        var envelope = try ReleaseEnvelope(document.span.bytes) { $0 == owner.keyID ? owner : nil }
        let read = envelope.terms
        #expect(read == terms(container))
        let taken = try takeKey(&envelope)
        _ = try container.open(with: taken, lockMode: .off)
        let isGone = envelope.takeKey() == nil
        #expect(isGone)
    }

    @Test("A document that is changed, unsigned, revoked or without a key is refused")
    func refusedEnvelopes() throws {
        let sealed = try Sealed(sizes: [10])
        let container = try sealed.read()
        let key = try container.dataKey(with: sealed.owner)
        let document = try terms(container).signed(by: sealed.owner, key: key)
        let owner = sealed.owner.publicKey
        for position in stride(from: 0, to: document.count, by: 11) {
            var bytes = document
            bytes[position] = bytes[position] == 0x41 ? 0x42 : 0x41
            #expect(throws: (any Error).self, "byte \(position)") {
                _ = try ReleaseEnvelope(bytes.span.bytes) { $0 == owner.keyID ? owner : nil }
            }
        }
        #expect(code { _ = try ReleaseEnvelope(document.span.bytes) { _ in nil } } == .untrusted)
        let revocation = try terms(container).signedRevocation(by: sealed.owner)
        var revoked = try ReleaseEnvelope(revocation.span.bytes) { _ in owner }
        let hasNoKey = revoked.takeKey() == nil
        #expect(hasNoKey)
        let isRevoked = revoked.terms.isRevoked
        #expect(isRevoked)
    }

    @Test("A document is held against the container, the time, the use and its predecessor")
    func checks() throws {
        let sealed = try Sealed(sizes: [10])
        let container = try sealed.read()
        let good = terms(container)
        try good.check(container, now: Sealed.now, usage: .inference, sequenceMin: 5)
        func refused(
            _ usage: SealedUsage = .inference, sequenceMin: Int64 = 0, now: Int64 = Sealed.now,
            _ change: (inout ReleaseTerms) -> Void
        ) -> SealingError.Code? {
            var terms = good
            change(&terms)
            return code { try terms.check(container, now: now, usage: usage, sequenceMin: sequenceMin) }
        }
        #expect(refused { $0.isRevoked = true } == .revoked)
        #expect(refused { $0.serialMin = 8 } == .rollback)
        #expect(refused(sequenceMin: 6) { _ in } == .rollback)
        #expect(refused(now: Sealed.now + 2_000) { _ in } == .expired)
        #expect(refused(.finetune) { _ in } == .usageDenied)
        #expect(refused { $0.headerSHA256 = String(repeating: "0", count: 64) } == .wrongKey)
        #expect(refused { $0.policySHA256 = String(repeating: "0", count: 64) } == .policy)
        #expect(refused { $0.sampleAllowed = false } == .policy)
    }

    @Test("A policy compares typed claims, denies by default and tells what it compared")
    func policy() throws {
        let policy = try ReleasePolicy([
            "version": "1",
            "anyOf": [
                ["allOf": [["claim": "tee", "equals": "snp"], ["claim": "debug", "equals": false]]],
                [
                    "allOf": [
                        ["claim": "tee", "in": ["sample", "tdx"]], ["claim": "serial", "greaterOrEquals": 5],
                        ["claim": "gone", "exists": false],
                    ]
                ],
            ],
        ])
        #expect(policy.decide(["tee": "snp", "debug": false]).isReleased)
        #expect(!policy.decide(["tee": "snp", "debug": "false"]).isReleased)
        #expect(policy.decide(["tee": "sample", "serial": 5]).isReleased)
        #expect(!policy.decide(["tee": "sample", "serial": "5"]).isReleased)
        #expect(!policy.decide(["tee": "sample", "serial": 5, "gone": 1]).isReleased)
        let denied = policy.decide(["tee": "sev"])
        #expect(!denied.isReleased)
        #expect(denied.findings.contains { $0.claim == "tee" && $0.got == "\"sev\"" && !$0.isMet })
        #expect(denied.findings.contains { $0.claim == "debug" && $0.got == "(no such claim)" })
        for wrong: JSONValue in [
            ["version": "1", "anyOf": []], ["version": "2", "anyOf": [["allOf": [["claim": "a", "equals": 1]]]]],
            ["version": "1", "anyOf": [["allOf": [["claim": "a", "matches": ".*"]]]]],
            ["version": "1", "anyOf": [["allOf": [["claim": "a", "less": "3"]]]]],
            ["version": "1", "anyOf": [["allOf": [["claim": "a", "equals": 1, "less": 2]]]]],
        ] {
            #expect(code { _ = try ReleasePolicy(wrong) } == .policy, "\(wrong.canonicalText)")
        }
    }
}
