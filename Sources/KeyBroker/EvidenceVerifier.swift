// EvidenceVerifier: what of the evidence is believed, and the token that says so.

import Attestation
import Cryptography
import Sealing

/// Verifies the evidence of one attestation.
struct EvidenceVerifier {
    let allowsInsecureSample: Bool

    /// - Parameters:
    ///   - tee: as the challenge was asked for.
    ///   - nonce: of this session alone.
    func verify(_ body: JSONValue, tee: String, nonce: String) throws -> AttestedIdentity {
        guard let runtime = body["runtime-data"], let publicKey = runtime["tee-pubkey"],
            let evidence = body["tee-evidence"]?["primary_evidence"]
        else { throw BrokerProblem(.attestation, "runtime-data or tee-evidence is missing") }
        guard runtime["nonce"]?.string == nonce else {
            throw BrokerProblem(.attestation, "the nonce is not this session's")
        }
        guard publicKey["alg"]?.string == RCAR.keyAlgorithm else {
            throw BrokerProblem(.attestation, "the public key's algorithm must be \(RCAR.keyAlgorithm)")
        }
        let key = try JSONWebKey.publicKey(publicKey)
        let additional = body["tee-evidence"]?["additional_evidence"]?.string ?? ""
        let expected = try ReportData.make(nonce: nonce, publicKey: publicKey, additional: additional)
        guard tee == SampleEvidenceProvider.tee else {
            throw BrokerProblem(.attestation, "evidence of '\(tee)' cannot be verified by this broker")
        }
        guard allowsInsecureSample else {
            throw BrokerProblem(
                .attestation, "evidence of `sample` proves nothing and is not allowed here (--allow-insecure-sample)")
        }
        guard let report = evidence["report_data"]?.string.flatMap(Base64.decode),
            Wipe.isEqual(report.span.bytes, expected.span.bytes)
        else { throw BrokerProblem(.attestation, "the evidence was made for another nonce or another key") }
        return AttestedIdentity(
            tee: tee, isInsecure: true, publicKey: key,
            claims: ["tee": .string(tee), "insecure": true, "sample.svn": evidence["svn"] ?? .null],
            evidenceSHA256: Hex.encode(try DigestAlgorithm.sha256.digest(evidence.canonical)))
    }
}

/// The token of an attested session: an EAR (entity attestation result) signed with ES384, for five minutes.
enum AttestationToken {
    static let type = "JWT"
    static let secondsMax: Int64 = 300

    static func make(_ identity: AttestedIdentity, signer: ECPrivateKey, now: Int64) throws -> String {
        let evidence: JSONValue = [
            "runtime_data_claims": [
                "tee-pubkey": JSONWebKey.json(identity.publicKey, algorithm: RCAR.keyAlgorithm)
            ],
            "claims": .object(identity.claims), "evidence_sha256": .string(identity.evidenceSHA256),
        ]
        let claims: JSONValue = [
            "eat_profile": "tag:github.com,2024:confidential-containers/Trustee", "iss": "penstock key-broker",
            "iat": .integer(now), "exp": .integer(now + secondsMax),
            "jti": .string(Hex.encode(try SecureRandom.bytes(16))), "insecure": .bool(identity.isInsecure),
            "submods": [
                "cpu0": [
                    // AR4SI: nothing is known of evidence that proves nothing.
                    "ear.status": identity.isInsecure ? "warning" : "affirming", "tee": .string(identity.tee),
                    "ear.veraison.annotated-evidence": evidence,
                ]
            ],
        ]
        return try JSONWebSignature.sign(
            claims, type: type, with: signer, header: ["jwk": JSONWebKey.json(signer.publicKey)])
    }

    /// Reads a token of this broker. A key that the token brings along is never believed.
    static func read(_ text: String, key: ECPublicKey, now: Int64) throws -> AttestedIdentity {
        func refuse(_ text: String) -> BrokerProblem { BrokerProblem(.session, text) }
        guard let token = try? JSONWebSignature(compact: text), token.type == type, token.verifies(with: key) else {
            throw refuse("the token is not this broker's")
        }
        guard let expiry = token.payload["exp"]?.integer, let issued = token.payload["iat"]?.integer, now <= expiry,
            issued <= now + 60
        else { throw refuse("the token has expired") }
        guard let cpu = token.payload["submods"]?["cpu0"], let tee = cpu["tee"]?.string,
            let evidence = cpu["ear.veraison.annotated-evidence"],
            let jwk = evidence["runtime_data_claims"]?["tee-pubkey"], let publicKey = try? JSONWebKey.publicKey(jwk),
            let isInsecure = token.payload["insecure"]?.bool
        else { throw refuse("the token lacks the claims of an attested session") }
        return AttestedIdentity(
            tee: tee, isInsecure: isInsecure, publicKey: publicKey, claims: evidence["claims"]?.object ?? [:],
            evidenceSHA256: evidence["evidence_sha256"]?.string ?? "")
    }
}
