// Registration: what owners and their delegates may put into the store.

import Attestation
import Cryptography
import Sealing
import SecureMemory

struct Registration {
    let service: KeyBrokerService
    let place: ResourcePlace
    let signer: ECPublicKey
    let isDelegate: Bool

    /// Checks and stores a value.
    /// - Returns: the audit's record of it.
    func store(_ body: [UInt8], now: Int64) throws -> [String: JSONValue] {
        var record: [String: JSONValue] = [
            "resource": .string(place.name), "owner": .string(place.owner), "keyid": .string(signer.keyID),
            "delegate": .bool(isDelegate),
        ]
        switch place.type {
        case ResourcePlace.policyType:
            guard !isDelegate else { throw BrokerProblem(.administration, "only the owner registers policies") }
            let policy = try ReleasePolicy(canonical: body)
            guard policy.sha256 == place.tag else {
                throw BrokerProblem(.badResource, "a policy's tag is its SHA-256, \(policy.sha256)")
            }
            try service.store.write(place.name, body.span.bytes)
        case ResourcePlace.keyType:
            let terms = try check(body)
            try service.store.write(place.name, body.span.bytes)
            if !isDelegate { try raiseFloor(terms) }
            record["model"] = .string(terms.name)
            record["serial"] = .integer(terms.serial)
            record["revoked"] = .bool(terms.isRevoked)
            record["headerSha256"] = .string(terms.headerSHA256)
        default: throw BrokerProblem(.badResource, "a resource is of type dek or policy, not '\(place.type)'")
        }
        return record
    }

    private func check(_ body: [UInt8]) throws -> ReleaseTerms {
        guard let keys = service.owners.keys(of: place.owner) else {
            throw BrokerProblem(.administration, "the owner is unknown here")
        }
        let envelope = try ReleaseEnvelope(body.span.bytes) { keys.key($0)?.key }
        let terms = envelope.terms
        guard envelope.signer == signer.keyID else {
            throw BrokerProblem(.administration, "the document and the request are signed by different keys")
        }
        guard place.tag == "\(terms.name)-\(terms.serial)" else {
            throw BrokerProblem(.badResource, "the document belongs to \(terms.name)-\(terms.serial)")
        }
        guard let old = try service.store.read(place.name) else { return terms }
        let before = try old.withBytes { try ReleaseEnvelope($0) { keys.key($0)?.key } }.terms
        if isDelegate { throw BrokerProblem(.conflict, "a delegate registers new keys and changes none") }
        guard terms.sequence > before.sequence else {
            throw BrokerProblem(
                .conflict, "document \(terms.sequence) is not newer than the registered one, \(before.sequence)")
        }
        guard terms.headerSHA256 == before.headerSHA256 else {
            throw BrokerProblem(.conflict, "this serial belongs to another container: seal with a new serial")
        }
        return terms
    }

    /// The oldest serial of a model that is still released.
    static func floor(_ store: ResourceStore, _ owner: String, _ model: String) throws -> Int64 {
        guard let region = try store.read("\(owner)/\(ResourcePlace.floorType)/\(model)") else { return 0 }
        return try JSONValue(parsing: region.withBytes { bytes in bytes.withUnsafeBytes { Array($0) } }).integer ?? 0
    }

    private func raiseFloor(_ terms: ReleaseTerms) throws {
        let before = try Self.floor(service.store, place.owner, terms.name)
        guard terms.serialMin > before else { return }
        let value = JSONValue.integer(terms.serialMin).canonical
        try service.store.write("\(place.owner)/\(ResourcePlace.floorType)/\(terms.name)", value.span.bytes)
    }
}
