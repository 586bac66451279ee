// Support: a broker in a folder of its own, an owner it knows, and a requester.

import Attestation
import Cryptography
import Foundation
import KeyBroker
import SealedModels
import SecureMemory
import Synchronization
import Testing

@testable import Sealing

final class Folder: Sendable {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "penstock-key-broker-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ name: String) -> String { "\(path)/\(name)" }
}

/// A clock that a test moves.
final class TestClock: Sendable {
    private let value: Atomic<Int64>
    init(_ seconds: Int64) { value = Atomic(seconds) }
    var now: Int64 { value.load(ordering: .sequentiallyConsistent) }
    func advance(_ seconds: Int64) { value.add(seconds, ordering: .sequentiallyConsistent) }
}

/// A broker, its folder and one owner, `acme`, with a trainer as delegate.
struct Bench {
    let folder: Folder
    let service: KeyBrokerService
    let brokerKey: ECPrivateKey
    let owner: ECPrivateKey
    let trainer: ECPrivateKey
    let clock = TestClock(Int64(Date().timeIntervalSince1970))
    var brokerFolder: String { folder.file("broker") }

    init(allowsSample: Bool = true, requestsPerMinute: Int = 100_000, auditPath: String? = nil) throws {
        folder = try Folder()
        owner = try ECPrivateKey(generating: .p384)
        trainer = try ECPrivateKey(generating: .p384)
        brokerKey = try BrokerIdentity.prepare(folder.file("broker"))
        let place = folder.file("broker/owners/acme")
        try FileManager.default.createDirectory(atPath: "\(place)/delegates", withIntermediateDirectories: true)
        try KeyFile.write(owner.publicKey, to: "\(place)/owner.pem")
        try KeyFile.write(trainer.publicKey, to: "\(place)/delegates/trainer.pem")
        service = try KeyBrokerService(
            KeyBrokerOptions(
                folder: folder.file("broker"), allowsInsecureSample: allowsSample,
                requestsPerMinute: requestsPerMinute, auditPath: auditPath), signer: brokerKey)
    }

    func sealer(policy: ReleasePolicy? = nil, sampleAllowed: Bool = true, lease: Int64 = 60) throws -> ModelSealer {
        let clock = clock
        return ModelSealer(
            owner: "acme", signer: owner, policy: try policy ?? .sample(), sampleAllowed: sampleAllowed,
            leaseSeconds: lease, escrow: [owner.publicKey],
            clock: { clock.now * 1_000 })
    }

    /// Seals a small model as `model.smc`.
    func seal(
        _ sealer: ModelSealer, serial: Int64 = 5, allow: Set<SealedUsage> = [.inference, .finetune]
    ) throws -> SealedContainer {
        let path = folder.file("model-\(serial).smc")
        _ = try sealer.seal(
            [SealedInput(name: "model.onnx", bytes: Array("weights".utf8))], name: "tiny", version: "1",
            serial: serial, usage: .init(allow: allow, resealTo: [trainer.publicKey.keyID]), to: path)
        return try SealedContainer(path: path, trusting: TrustedOwners([owner.publicKey]))
    }

    // MARK: Requests without a network

    func send(_ request: BrokerRequest) -> BrokerResponse { service.answer(request, now: clock.now) }

    /// What a POST of the owner's or another's answers.
    func register(
        _ path: String, _ value: [UInt8], by signer: ECPrivateKey, tokenPath: String? = nil
    ) throws -> BrokerResponse {
        let path = "\(RCAR.root)/resource/\(path)"
        let token = try RegistrationToken.make(
            path: tokenPath ?? path, body: value, signer: signer, now: clock.now)
        return send(BrokerRequest(method: "POST", path: path, authorization: "Bearer \(token)", body: value))
    }

    /// Registers policy and key of a container.
    func registerAll(
        _ container: SealedContainer, _ sealer: ModelSealer, sequence: Int64 = 1,
        change: (inout ReleaseTerms) -> Void = { _ in }
    ) throws -> BrokerResponse {
        _ = try register("acme/policy/\(sealer.policy.sha256)", sealer.policy.canonical, by: owner)
        var terms = ReleaseTerms(
            for: container.header, headerSHA256: container.headerDigest, leaseSeconds: 60, sequence: sequence,
            issuedAt: clock.now)
        change(&terms)
        let document = try terms.signed(by: owner, key: try container.dataKey(with: owner))
        return try register("acme/dek/tiny-\(container.header.serial)", document, by: owner)
    }

    func challenge(tee: String = "sample") throws -> (cookie: String, nonce: String) {
        let body: JSONValue = ["version": "0.4.0", "tee": .string(tee), "extra-params": [:]]
        let answer = send(BrokerRequest(method: "POST", path: "\(RCAR.root)/auth", body: body.canonical))
        let nonce = try #require(try JSONValue(parsing: answer.body)["nonce"]?.string)
        return (String(try #require(answer.cookie).prefix { $0 != ";" }), nonce)
    }

    /// - Parameters:
    ///   - shown: the key that the request names, if it is another than the one in the evidence.
    ///   - named: the same for the nonce.
    func attest(
        _ cookie: String, nonce: String, key: ECPublicKey, shown: ECPublicKey? = nil, named: String? = nil
    ) throws -> BrokerResponse {
        let jwk = JSONWebKey.json(key, algorithm: RCAR.keyAlgorithm)
        let reported = try ReportData.make(nonce: nonce, publicKey: jwk)
        let evidence = try SampleEvidenceProvider(isAllowed: true).evidence(reportData: reported)
        let body: JSONValue = [
            "init-data": .null,
            "runtime-data": [
                "nonce": .string(named ?? nonce),
                "tee-pubkey": JSONWebKey.json(shown ?? key, algorithm: RCAR.keyAlgorithm),
            ], "tee-evidence": ["primary_evidence": evidence, "additional_evidence": ""],
        ]
        return send(BrokerRequest(method: "POST", path: "\(RCAR.root)/attest", cookie: cookie, body: body.canonical))
    }

    /// An attested session's cookie and its token.
    func session(_ key: ECPrivateKey) throws -> (cookie: String, token: String) {
        let (cookie, nonce) = try challenge()
        let answer = try attest(cookie, nonce: nonce, key: key.publicKey)
        try #require(answer.status == 200)
        return (cookie, try #require(try JSONValue(parsing: answer.body)["token"]?.string))
    }

    func release(
        _ tag: String = "tiny-5", cookie: String? = nil, token: String? = nil, operation: String = "inference"
    ) -> BrokerResponse {
        send(
            BrokerRequest(
                method: "GET", path: "\(RCAR.root)/resource/acme/dek/\(tag)", query: ["operation": operation],
                cookie: cookie, authorization: token.map { "Bearer \($0)" }))
    }

    /// Releases with a fresh session.
    func freshRelease(_ tag: String = "tiny-5", operation: String = "inference") throws -> BrokerResponse {
        release(tag, cookie: try session(ECPrivateKey(generating: .p256)).cookie, operation: operation)
    }

    func problem(_ response: BrokerResponse) -> String? {
        (try? JSONValue(parsing: response.body))?["type"]?.string.map {
            String($0.dropFirst(RCAR.problemRoot.count))
        }
    }

    func audit() throws -> [JSONValue] {
        try AuditOutbox.verify(path: folder.file("broker/audit.ndjson"), key: brokerKey.publicKey)
    }
}

/// The key of a document that must hold one.
func takeKey(_ envelope: inout ReleaseEnvelope) throws -> SecretBytes {
    guard let key = envelope.takeKey() else { throw SealingError(.badDocument, "the document holds no key") }
    return key
}
