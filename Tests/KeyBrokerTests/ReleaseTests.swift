// ReleaseTests: whom the broker gives a key, and whom not.

import Attestation
import Cryptography
import Foundation
import KeyBroker
import SecureMemory
import Testing

@testable import Sealing

@Suite("The key broker")
struct ReleaseTests {
    @Test("releases a key to an attested session, by cookie and by token, and says so in the audit first")
    func released() throws {
        let bench = try Bench()
        let sealer = try bench.sealer()
        let container = try bench.seal(sealer)
        #expect(try bench.registerAll(container, sealer).status == 200)
        let key = try ECPrivateKey(generating: .p256)
        let (cookie, token) = try bench.session(key)
        for answer in [bench.release(cookie: cookie), bench.release(token: token)] {
            try #require(answer.status == 200)
            let document = try JSONWebEncryption.open(try JSONValue(parsing: answer.body), with: key)
            var envelope = try document.withBytes { try ReleaseEnvelope($0) { _ in bench.owner.publicKey } }
            _ = try container.open(with: try takeKey(&envelope), lockMode: .off)
        }
        let events = try bench.audit()
        #expect(events.filter { $0["event"]?.string == "release.granted" }.count == 2)
        #expect(events.last?["insecure"] == true && events.last?["model"] == "tiny")
    }

    @Test("takes a nonce once, within a minute, from its own session, for its own key")
    func nonces() throws {
        let bench = try Bench()
        let key = try ECPrivateKey(generating: .p256).publicKey
        let other = try ECPrivateKey(generating: .p256).publicKey
        let (cookie, nonce) = try bench.challenge()
        #expect(try bench.attest(cookie, nonce: nonce, key: key).status == 200)
        #expect(bench.problem(try bench.attest(cookie, nonce: nonce, key: key)) == "SessionAlreadyAttested")
        let late = try bench.challenge()
        bench.clock.advance(61)
        #expect(bench.problem(try bench.attest(late.cookie, nonce: late.nonce, key: key)) == "TokenVerifierError")
        let (first, second) = (try bench.challenge(), try bench.challenge())
        #expect(bench.problem(try bench.attest(first.cookie, nonce: second.nonce, key: key)) == "AttestationError")
        // The nonce is gone after the failed attempt too.
        #expect(bench.problem(try bench.attest(first.cookie, nonce: first.nonce, key: key)) == "SessionAlreadyAttested")
        #expect(
            bench.problem(try bench.attest(second.cookie, nonce: second.nonce, key: key, shown: other))
                == "AttestationError")
        let third = try bench.challenge()
        #expect(
            bench.problem(try bench.attest(third.cookie, nonce: third.nonce, key: key, named: second.nonce))
                == "AttestationError")
        #expect(bench.problem(bench.release(cookie: first.cookie)) == "TokenVerifierError")
    }

    @Test("believes no token but its own, and that for five minutes")
    func tokens() throws {
        let bench = try Bench()
        let sealer = try bench.sealer()
        _ = try bench.registerAll(try bench.seal(sealer), sealer)
        let key = try ECPrivateKey(generating: .p256)
        let (cookie, token) = try bench.session(key)
        #expect(bench.release(token: token).status == 200)
        // Signed by a stranger who puts his own key into the header.
        let stranger = try ECPrivateKey(generating: .p384)
        let claims = try JSONWebSignature(compact: token).payload
        let foreign = try JSONWebSignature.sign(
            claims, type: "JWT", with: stranger, header: ["jwk": JSONWebKey.json(stranger.publicKey)])
        #expect(bench.problem(bench.release(token: foreign)) == "TokenVerifierError")
        for header in ["{\"alg\":\"HS256\",\"typ\":\"JWT\"}", "{\"alg\":\"none\",\"typ\":\"JWT\"}"] {
            let parts = token.split(separator: ".").map(String.init)
            let forged = Base64.encodeURL(Array(header.utf8)) + "." + parts[1] + "." + parts[2]
            #expect(bench.problem(bench.release(token: forged)) == "TokenVerifierError")
        }
        #expect(bench.problem(bench.release(cookie: "kbs-session-id=0000")) == "TokenVerifierError")
        #expect(bench.problem(bench.release()) == "TokenVerifierError")
        bench.clock.advance(301)
        #expect(bench.problem(bench.release(token: token)) == "TokenVerifierError")
        #expect(bench.problem(bench.release(cookie: cookie)) == "TokenVerifierError")
    }

    @Test("needs all three to accept the provider sample")
    func sampleOptIns() throws {
        #expect(throws: AttestationError.self) { _ = try SampleEvidenceProvider(isAllowed: false) }
        let closed = try Bench(allowsSample: false)
        let (cookie, nonce) = try closed.challenge()
        let key = try ECPrivateKey(generating: .p256).publicKey
        #expect(closed.problem(try closed.attest(cookie, nonce: nonce, key: key)) == "AttestationError")
        let bench = try Bench()
        let sealer = try bench.sealer(sampleAllowed: false)
        _ = try bench.registerAll(try bench.seal(sealer), sealer)
        #expect(bench.problem(try bench.freshRelease()) == "PolicyDeny")
        let health = bench.send(BrokerRequest(method: "GET", path: "/healthz"))
        #expect(try JSONValue(parsing: health.body)["insecure"] == true)
        let metrics = bench.send(BrokerRequest(method: "GET", path: "/metrics"))
        #expect(String(decoding: metrics.body, as: UTF8.self).contains("penstock_key_broker_insecure 1"))
        let other = try bench.challenge(tee: "snp")
        #expect(bench.problem(try bench.attest(other.cookie, nonce: other.nonce, key: key)) == "AttestationError")
    }

    @Test("denies what is revoked, old, of another use or outside the policy, and tells the owner why")
    func denied() throws {
        let bench = try Bench()
        let policy = try ReleasePolicy([
            "version": "1",
            "anyOf": [["allOf": [["claim": "tee", "equals": "sample"], ["claim": "serial", "greater": 5]]]],
        ])
        let sealer = try bench.sealer(policy: policy)
        _ = try bench.registerAll(try bench.seal(sealer), sealer)
        let refused = try bench.freshRelease()
        #expect(refused.status == 401 && bench.problem(refused) == "PolicyDeny")
        // The requester learns neither claims nor values.
        #expect(!String(decoding: refused.body, as: UTF8.self).contains("greater"))
        let findings = try #require(try bench.audit().last?["findings"]?.array)
        #expect(findings.contains { $0["claim"] == "serial" && $0["expected"] == "greater 5" && $0["got"] == "5" })

        let newer = try bench.seal(sealer, serial: 6, allow: [.inference])
        _ = try bench.registerAll(newer, sealer)
        #expect(try bench.freshRelease("tiny-6").status == 200)
        #expect(bench.problem(try bench.freshRelease("tiny-6", operation: "finetune")) == "PolicyDeny")
        #expect(bench.problem(try bench.freshRelease("tiny-6", operation: "export")) == "PolicyDeny")
        #expect(bench.problem(try bench.freshRelease("absent-1")) == "PolicyDeny")
        // A floor that a later document raises holds for the earlier one too.
        let third = try bench.seal(sealer, serial: 7)
        _ = try bench.registerAll(third, sealer) { $0.serialMin = 7 }
        #expect(bench.problem(try bench.freshRelease("tiny-6")) == "PolicyDeny")
        #expect(try bench.freshRelease("tiny-7").status == 200)
        let revocation = try ReleaseTerms(
            for: third.header, headerSHA256: third.headerDigest, leaseSeconds: 60, sequence: 2,
            issuedAt: bench.clock.now
        ).signedRevocation(by: bench.owner)
        #expect(try bench.register("acme/dek/tiny-7", revocation, by: bench.owner).status == 200)
        #expect(bench.problem(try bench.freshRelease("tiny-7")) == "ResourceRevoked")
    }

    @Test("releases nothing when the audit cannot be written")
    func auditDown() throws {
        let bench = try Bench(auditPath: "/dev/full")
        let sealer = try bench.sealer()
        let container = try bench.seal(sealer)
        let answer = try bench.registerAll(container, sealer)
        #expect(bench.problem(answer) == "AuditUnavailable")
        #expect(bench.problem(try bench.freshRelease()) == "AuditUnavailable")
    }

    @Test("limits the requests of one peer")
    func rateLimit() throws {
        let bench = try Bench(requestsPerMinute: 3)
        let request = BrokerRequest(method: "GET", path: "/healthz", peer: "10.0.0.1")
        #expect((0..<3).allSatisfy { _ in bench.send(request).status == 200 })
        #expect(bench.send(request).status == 429)
        var other = request
        other.peer = "10.0.0.2"
        #expect(bench.send(other).status == 200)
        bench.clock.advance(20)
        #expect(bench.send(request).status == 200)
    }
}
