// ReleaseDecision: whether one key leaves, and every reason for the owner.

import Attestation
import Cryptography
import Sealing
import SecureMemory

/// `<owner>/<type>/<tag>`.
struct ResourcePlace: Sendable {
    static let keyType = "dek"
    static let policyType = "policy"
    static let floorType = "floor"

    var owner: String
    var type: String
    var tag: String
    var name: String
}

/// A refusal with what the owner is told; the requester sees `problem` alone.
struct ReleaseRefusal: Error {
    var problem: BrokerProblem
    var record: [String: JSONValue]
}

struct ReleaseDecision {
    struct Granted {
        /// The signed document as it was registered.
        var document: ProtectedRegion
        var record: [String: JSONValue]
    }

    let service: KeyBrokerService
    let place: ResourcePlace
    let identity: AttestedIdentity
    let operation: String

    private func refuse(
        _ kind: BrokerProblem.Kind, _ reason: String, _ detail: String, findings: [ReleasePolicy.Finding] = []
    ) -> ReleaseRefusal {
        ReleaseRefusal(
            problem: BrokerProblem(kind, detail),
            record: ["outcome": .string(reason), "findings": .array(findings.map(\.json))])
    }

    func decide(now: Int64) throws -> Granted {
        let generic = "the release is not allowed; the model's owner can see why"
        guard place.type == ResourcePlace.keyType, let usage = SealedUsage(rawValue: operation) else {
            throw refuse(.policyDeny, "only keys are released, for inference or finetune", generic)
        }
        guard let keys = service.owners.keys(of: place.owner), let document = try service.store.read(place.name) else {
            throw refuse(.policyDeny, "there is no such resource", generic)
        }
        let envelope: ReleaseEnvelope
        do {
            envelope = try document.withBytes { try ReleaseEnvelope($0) { keys.key($0)?.key } }
        } catch {
            throw refuse(.policyDeny, "the stored document is not accepted: \(error)", generic)
        }
        let terms = envelope.terms
        guard !terms.isRevoked else { throw refuse(.revoked, "revoked", "the model was revoked by its owner") }
        guard terms.validity.notBefore <= now, now <= terms.validity.notAfter else {
            throw refuse(.policyDeny, "outside the document's validity", generic)
        }
        guard terms.usage.contains(usage) else {
            throw refuse(.policyDeny, "the document does not allow \(operation)", generic)
        }
        let floor = try Registration.floor(service.store, place.owner, terms.name)
        guard terms.serial >= max(floor, terms.serialMin) else {
            throw refuse(
                .policyDeny, "serial \(terms.serial) is below the floor \(max(floor, terms.serialMin))", generic)
        }
        guard !identity.isInsecure || terms.sampleAllowed else {
            throw refuse(.policyDeny, "the owner does not accept insecure evidence (sampleAllowed)", generic)
        }
        let policyName = "\(place.owner)/\(ResourcePlace.policyType)/\(terms.policySHA256)"
        guard let stored = try service.store.read(policyName) else {
            throw refuse(.policyDeny, "the release policy \(terms.policySHA256) is not registered", generic)
        }
        let policy = try ReleasePolicy(canonical: stored.withBytes { bytes in bytes.withUnsafeBytes { Array($0) } })
        guard policy.sha256 == terms.policySHA256 else {
            throw refuse(.policyDeny, "the stored policy is another one", generic)
        }
        let decision = policy.decide(claims(terms, now: now))
        guard decision.isReleased else {
            throw refuse(.policyDeny, "the policy does not hold", generic, findings: decision.findings)
        }
        return Granted(
            document: document,
            record: [
                "outcome": "released", "model": .string(terms.name), "serial": .integer(terms.serial),
                "headerSha256": .string(terms.headerSHA256), "policySha256": .string(terms.policySHA256),
                "findings": .array(decision.findings.map(\.json)),
            ])
    }

    /// What a policy can ask about. The broker's own claims cannot be replaced by the evidence's.
    private func claims(_ terms: ReleaseTerms, now: Int64) -> [String: JSONValue] {
        identity.claims.merging([
            "tee": .string(identity.tee), "insecure": .bool(identity.isInsecure), "operation": .string(operation),
            "model": .string(terms.name), "serial": .integer(terms.serial), "time": .integer(now),
        ]) { _, own in own }
    }
}
