// RegistrationTests: who may put a key where.

import Attestation
import Cryptography
import Foundation
import KeyBroker
import SealedModels
import SecureMemory
import Testing

@testable import Sealing

@Suite("Registration")
struct RegistrationTests {
    @Test("A key is taken from its owner alone, in his namespace, once for each token")
    func namespaces() throws {
        let bench = try Bench()
        let sealer = try bench.sealer()
        let container = try bench.seal(sealer)
        let document = try ReleaseTerms(
            for: container.header, headerSHA256: container.headerDigest, sequence: 1, issuedAt: bench.clock.now
        ).signed(by: bench.owner, key: try container.dataKey(with: bench.owner))
        let other = try ECPrivateKey(generating: .p384)
        let place = bench.folder.file("broker/owners/globex")
        try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
        try KeyFile.write(other.publicKey, to: "\(place)/owner.pem")
        // Tenant globex with its own valid token on acme's path, and with acme's document on its own path.
        #expect(bench.problem(try bench.register("acme/dek/tiny-5", document, by: other)) == "AdminAuth")
        #expect(try bench.register("globex/dek/tiny-5", document, by: other).status != 200)
        #expect(bench.problem(try bench.register("nobody/dek/tiny-5", document, by: other)) == "AdminAuth")
        #expect(
            bench.problem(
                try bench.register(
                    "acme/dek/tiny-5", document, by: bench.owner, tokenPath: "\(RCAR.root)/resource/acme/dek/tiny-6"))
                == "AdminAuth")
        let path = "\(RCAR.root)/resource/acme/dek/tiny-5"
        let token = try RegistrationToken.make(path: path, body: document, signer: bench.owner, now: bench.clock.now)
        let request = BrokerRequest(method: "POST", path: path, authorization: "Bearer \(token)", body: document)
        #expect(bench.send(request).status == 200)
        #expect(bench.problem(bench.send(request)) == "AdminAuth")
        var altered = request
        altered.body.append(0x20)
        #expect(bench.problem(bench.send(altered)) == "AdminAuth")
    }

    @Test("A newer document replaces an older one of the same container; nothing else does")
    func sequences() throws {
        let bench = try Bench()
        let sealer = try bench.sealer()
        let container = try bench.seal(sealer)
        #expect(try bench.registerAll(container, sealer, sequence: 5).status == 200)
        #expect(bench.problem(try bench.registerAll(container, sealer, sequence: 5)) == "ResourceConflict")
        #expect(bench.problem(try bench.registerAll(container, sealer, sequence: 4)) == "ResourceConflict")
        #expect(try bench.registerAll(container, sealer, sequence: 6).status == 200)
        // The same serial for another container.
        bench.clock.advance(1)
        let again = try bench.seal(sealer)
        #expect(bench.problem(try bench.registerAll(again, sealer, sequence: 7)) == "ResourceConflict")
    }

    @Test("A delegate registers new keys, changes none, and makes no policy")
    func delegates() throws {
        let bench = try Bench()
        let sealer = try bench.sealer()
        let base = try bench.seal(sealer)
        _ = try bench.registerAll(base, sealer)
        let trainer = ModelSealer(
            owner: "acme", signer: bench.trainer, policy: sealer.policy, sampleAllowed: true, leaseSeconds: 60)
        let path = bench.folder.file("candidate.smc")
        let result = try trainer.reseal(
            [SealedInput(name: "model.onnx", bytes: [1, 2])], version: "2", parent: base, to: path)
        let terms = ReleaseTerms(
            for: result.header, headerSHA256: result.headerSHA256, sequence: 1, issuedAt: bench.clock.now)
        let document = try terms.signed(by: bench.trainer, key: result.key)
        let tag = "acme/dek/tiny-\(result.header.serial)"
        #expect(try bench.register(tag, document, by: bench.trainer).status == 200)
        var second = terms
        second.sequence = 2
        let changed = try second.signed(by: bench.trainer, key: result.key)
        #expect(bench.problem(try bench.register(tag, changed, by: bench.trainer)) == "ResourceConflict")
        #expect(
            bench.problem(
                try bench.register("acme/policy/\(sealer.policy.sha256)", sealer.policy.canonical, by: bench.trainer))
                == "AdminAuth")
        #expect(try bench.freshRelease("tiny-\(result.header.serial)").status == 200)
        // The container verifies for whoever knows the owner's key alone.
        let candidate = try SealedContainer(path: path, trusting: TrustedOwners([bench.owner.publicKey]))
        #expect(candidate.header.kind == .finetuned && candidate.header.parent?.serial == 5)
        let wider = try bench.seal(sealer, serial: 9, allow: [.inference])
        #expect(throws: SealingError.self) {
            _ = try trainer.reseal([SealedInput(name: "f", bytes: [1])], version: "3", parent: wider, to: path)
        }
    }

    @Test("The audit's chain shows a changed, a missing and a foreign line")
    func auditChain() throws {
        let bench = try Bench()
        let sealer = try bench.sealer()
        _ = try bench.registerAll(try bench.seal(sealer), sealer)
        for _ in 0..<3 { _ = try bench.freshRelease() }
        let path = bench.folder.file("broker/audit.ndjson")
        #expect(try bench.audit().count == 5)
        let original = try String(contentsOfFile: path, encoding: .utf8)
        let lines = original.split(separator: "\n").map(String.init)
        func expectRefused(_ lines: [String]) throws {
            try (lines.joined(separator: "\n") + "\n").write(toFile: path, atomically: true, encoding: .utf8)
            #expect(throws: SealingError.self) { _ = try bench.audit() }
        }
        var changed = lines
        changed[3] = changed[3].replacingOccurrences(of: "release.granted", with: "release.Granted")
        try expectRefused(changed)
        try expectRefused(Array(lines[..<2] + lines[3...]))
        try expectRefused(Array(lines.reversed()))
        // Each line authentic, each number in its place, but the third is of another history.
        let (one, two) = (bench.folder.file("one.ndjson"), bench.folder.file("two.ndjson"))
        let first = try AuditOutbox(path: one, signer: bench.brokerKey)
        for event in ["a", "b"] { try first.append(event, time: 1, [:]) }
        try FileManager.default.copyItem(atPath: one, toPath: two)
        for event in ["c", "d"] { try first.append(event, time: 2, [:]) }
        try AuditOutbox(path: two, signer: bench.brokerKey).append("x", time: 2, [:])
        func events(_ path: String) throws -> [String] {
            try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map(String.init)
        }
        var spliced = try events(one)
        spliced[2] = try events(two)[2]
        try expectRefused(spliced)
    }

    @Test("The store's files open at their own place alone, and hold no key in the open")
    func store() throws {
        let bench = try Bench()
        let sealer = try bench.sealer()
        let container = try bench.seal(sealer)
        _ = try bench.registerAll(container, sealer)
        let store = bench.folder.file("broker/store/acme/dek")
        let bytes = try #require(FileManager.default.contents(atPath: "\(store)/tiny-5"))
        let key = try container.dataKey(with: bench.owner)
        let raw = key.withBytes { bytes in bytes.withUnsafeBytes { Data($0) } }
        #expect(bytes.range(of: raw) == nil && bytes.range(of: Data(Base64.encodeURL(Array(raw)).utf8)) == nil)
        try bytes.write(to: URL(fileURLWithPath: "\(store)/tiny-6"))
        #expect(bench.problem(try bench.freshRelease("tiny-6")) == "StoreUnavailable")
        #expect(try bench.freshRelease("tiny-5").status == 200)
    }
}
