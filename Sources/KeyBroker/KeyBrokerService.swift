// KeyBrokerService: RCAR 0.4.0 and the registration of keys, as a function of request and time.

import Attestation
package import Cryptography
import Sealing
import SecureMemory
import Synchronization

/// What the operator decides.
package struct KeyBrokerOptions: Sendable {
    /// Holds `owners/`, `store/`, the keys and the audit.
    package var folder: String
    /// The broker's own yes to evidence that proves nothing.
    package var allowsInsecureSample: Bool
    package var requestsPerMinute: Int
    /// Where the audit goes; in the folder unless given.
    package var auditPath: String?

    package init(
        folder: String, allowsInsecureSample: Bool, requestsPerMinute: Int = 600, auditPath: String? = nil
    ) {
        self.folder = folder
        self.allowsInsecureSample = allowsInsecureSample
        self.requestsPerMinute = requestsPerMinute
        self.auditPath = auditPath
    }
}

/// Counters for the metrics page.
package struct KeyBrokerCounts: Sendable, Equatable {
    package var released = 0
    package var refused = 0
    package var registered = 0
}

/// The broker without its network. Any thread may call it.
package final class KeyBrokerService: Sendable {
    private struct State {
        var sessions = SessionTable()
        var limiter: RateLimiter
        var usedTokens: [String: Int64] = [:]
        var counts = KeyBrokerCounts()
    }

    let options: KeyBrokerOptions
    let owners: OwnerRegistry
    let store: ResourceStore
    package let audit: AuditOutbox
    private let signer: ECPrivateKey
    private let state: Mutex<State>

    package init(_ options: KeyBrokerOptions, signer: ECPrivateKey) throws {
        self.options = options
        self.signer = signer
        owners = OwnerRegistry(folder: "\(options.folder)/owners")
        store = try ResourceStore(folder: "\(options.folder)/store", keyPath: "\(options.folder)/kek.bin")
        audit = try AuditOutbox(path: options.auditPath ?? "\(options.folder)/audit.ndjson", signer: signer)
        state = Mutex(State(limiter: RateLimiter(perMinute: options.requestsPerMinute)))
    }

    package var counts: KeyBrokerCounts { state.withLock { $0.counts } }

    /// Notes the start; loudly when the broker accepts evidence that proves nothing.
    package func noteStart(now: Int64) throws {
        try audit.append(
            options.allowsInsecureSample ? "insecure.mode" : "broker.started", time: now,
            ["insecure": .bool(options.allowsInsecureSample)])
    }

    /// Answers one request.
    /// - Parameter now: seconds since the Unix epoch.
    package func answer(_ request: BrokerRequest, now: Int64) -> BrokerResponse {
        do {
            guard state.withLock({ $0.limiter.admits(request.peer, now: now) }) else {
                throw BrokerProblem(.rateLimited, "more than \(options.requestsPerMinute) requests a minute")
            }
            return try route(request, now: now)
        } catch let problem as BrokerProblem {
            return problem.response
        } catch let error as SealingError {
            return BrokerProblem(.badResource, error.message).response
        } catch {
            return BrokerProblem(.store, "the broker failed").response
        }
    }

    private func route(_ request: BrokerRequest, now: Int64) throws -> BrokerResponse {
        let parts = request.path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        guard parts.starts(with: ["kbs", "v0"]) else { return try service(request) }
        let rest = parts.dropFirst(2)
        switch (request.method, rest.first ?? "", rest.count) {
        case ("POST", "auth", 1): return try challenge(request, now: now)
        case ("POST", "attest", 1): return try attest(request, now: now)
        case (_, "resource", 4):
            let name = rest.dropFirst().joined(separator: "/")
            guard rest.dropFirst().allSatisfy({ RCAR.isName($0) }) else { break }
            let place = ResourcePlace(
                owner: String(rest[rest.startIndex + 1]), type: String(rest[rest.startIndex + 2]),
                tag: String(rest[rest.startIndex + 3]), name: name)
            switch request.method {
            case "GET": return try release(place, request, now: now)
            case "POST", "PUT": return try register(place, request, now: now)
            default: break
            }
        case ("GET", "decisions", 2):
            return try decisions(owner: String(rest[rest.startIndex + 1]), request, now: now)
        default: break
        }
        throw BrokerProblem(.invalidRequestPath, "there is no \(request.method) \(request.path)")
    }

    private func service(_ request: BrokerRequest) throws -> BrokerResponse {
        let isInsecure = options.allowsInsecureSample
        switch (request.method, request.path) {
        case ("GET", "/healthz"): return .json(["status": "ok", "insecure": .bool(isInsecure)])
        case ("GET", "/metrics"):
            let counts = counts
            let text = """
                # TYPE penstock_key_broker_insecure gauge
                penstock_key_broker_insecure \(isInsecure ? 1 : 0)
                # TYPE penstock_key_broker_released_total counter
                penstock_key_broker_released_total \(counts.released)
                # TYPE penstock_key_broker_refused_total counter
                penstock_key_broker_refused_total \(counts.refused)
                # TYPE penstock_key_broker_registered_total counter
                penstock_key_broker_registered_total \(counts.registered)

                """
            return BrokerResponse(status: 200, contentType: "text/plain; version=0.0.4", body: Array(text.utf8))
        default: throw BrokerProblem(.invalidRequestPath, "there is no \(request.method) \(request.path)")
        }
    }

    // MARK: Challenge and attestation

    private func challenge(_ request: BrokerRequest, now: Int64) throws -> BrokerResponse {
        let body = try JSONValue(parsing: request.body)
        guard body["version"]?.string == RCAR.version, let tee = body["tee"]?.string else {
            throw BrokerProblem(.attestation, "the protocol's version must be \(RCAR.version)")
        }
        if let hashes = body["extra-params"]?["supported-hash-algorithms"]?.array, !hashes.contains("sha384") {
            throw BrokerProblem(.attestation, "only the digest sha384 is served")
        }
        let (id, nonce) = try state.withLock { try $0.sessions.challenge(tee: tee, now: now) }
        let cookie = "\(RCAR.cookie)=\(id); Path=\(RCAR.root); Max-Age=\(SessionTable.sessionSecondsMax); HttpOnly"
        return .json(
            ["nonce": .string(nonce), "extra-params": ["selected-hash-algorithm": "sha384"]], cookie: cookie)
    }

    private func attest(_ request: BrokerRequest, now: Int64) throws -> BrokerResponse {
        let id = try session(request)
        let (nonce, tee) = try state.withLock { state throws(BrokerProblem) in
            try state.sessions.takeNonce(id, now: now)
        }
        let verifier = EvidenceVerifier(allowsInsecureSample: options.allowsInsecureSample)
        let identity: AttestedIdentity
        do {
            identity = try verifier.verify(try JSONValue(parsing: request.body), tee: tee, nonce: nonce)
        } catch {
            let reason = (error as? BrokerProblem)?.detail ?? "\(error)"
            try audit.append("attestation.refused", time: now, ["tee": .string(tee), "reason": .string(reason)])
            throw BrokerProblem(.attestation, "the evidence is not accepted: \(reason)")
        }
        state.withLock { $0.sessions.attested(id, identity) }
        return .json(["token": .string(try AttestationToken.make(identity, signer: signer, now: now))])
    }

    private func session(_ request: BrokerRequest) throws(BrokerProblem) -> String {
        let parts = (request.cookie ?? "").split(separator: ";").map { $0.drop { $0 == " " } }
        guard let pair = parts.first(where: { $0.hasPrefix(RCAR.cookie + "=") }) else {
            throw BrokerProblem(.session, "no session cookie")
        }
        return String(pair.dropFirst(RCAR.cookie.count + 1))
    }

    /// Who asks: by the session's cookie or by the token of one.
    private func identity(_ request: BrokerRequest, now: Int64) throws -> AttestedIdentity {
        if let authorization = request.authorization {
            guard authorization.hasPrefix("Bearer ") else {
                throw BrokerProblem(.session, "a bearer token is expected")
            }
            return try AttestationToken.read(String(authorization.dropFirst(7)), key: signer.publicKey, now: now)
        }
        let id = try session(request)
        return try state.withLock { state throws(BrokerProblem) in try state.sessions.identity(id, now: now) }
    }

    // MARK: Release

    private func release(_ place: ResourcePlace, _ request: BrokerRequest, now: Int64) throws -> BrokerResponse {
        let identity = try identity(request, now: now)
        let operation = request.query["operation"] ?? SealedUsage.inference.rawValue
        var record: [String: JSONValue] = [
            "resource": .string(place.name), "owner": .string(place.owner), "operation": .string(operation),
            "tee": .string(identity.tee), "insecure": .bool(identity.isInsecure), "peer": .string(request.peer),
            "evidenceSha256": .string(identity.evidenceSHA256),
        ]
        do {
            let decided = try ReleaseDecision(service: self, place: place, identity: identity, operation: operation)
                .decide(now: now)
            record.merge(decided.record) { _, new in new }
            // On disk before the key leaves; a failure here means no release.
            do {
                try audit.append("release.granted", time: now, record)
            } catch {
                throw BrokerProblem(.auditUnavailable, "the audit cannot be written: nothing is released")
            }
            let sealed = try decided.document.withBytes { try JSONWebEncryption.seal($0, to: identity.publicKey) }
            state.withLock { $0.counts.released += 1 }
            return .json(sealed)
        } catch let refusal as ReleaseRefusal {
            record.merge(refusal.record) { _, new in new }
            state.withLock { $0.counts.refused += 1 }
            try audit.append("release.denied", time: now, record)
            throw refusal.problem
        }
    }

    // MARK: Registration

    private func register(_ place: ResourcePlace, _ request: BrokerRequest, now: Int64) throws -> BrokerResponse {
        let (key, isDelegate) = try administrator(place.owner, request, now: now)
        let registration = Registration(service: self, place: place, signer: key, isDelegate: isDelegate)
        let record = try registration.store(request.body, now: now)
        state.withLock { $0.counts.registered += 1 }
        try audit.append("resource.registered", time: now, record)
        return .json(["stored": .string(place.name)])
    }

    /// What the owner may read of his decisions: each claim, expected and got.
    private func decisions(owner: String, _ request: BrokerRequest, now: Int64) throws -> BrokerResponse {
        let (_, isDelegate) = try administrator(owner, request, now: now)
        guard !isDelegate else { throw BrokerProblem(.administration, "decisions are shown to the owner alone") }
        let path = options.auditPath ?? "\(options.folder)/audit.ndjson"
        let events = try AuditOutbox.verify(path: path, key: signer.publicKey).filter { $0["owner"]?.string == owner }
        return .json(.array(Array(events.suffix(1_000))))
    }

    /// Verifies the token of a request and its single use.
    private func administrator(
        _ owner: String, _ request: BrokerRequest, now: Int64
    ) throws -> (key: ECPublicKey, isDelegate: Bool) {
        func refuse(_ text: String) -> BrokerProblem { BrokerProblem(.administration, text) }
        guard let keys = owners.keys(of: owner) else { throw refuse("the owner '\(owner)' is unknown here") }
        guard let authorization = request.authorization, authorization.hasPrefix("Bearer "),
            let token = try? JSONWebSignature(compact: String(authorization.dropFirst(7))),
            token.type == RegistrationToken.type, let found = token.keyID.flatMap(keys.key),
            token.verifies(with: found.key)
        else { throw refuse("the request's token is not signed by a key of '\(owner)'") }
        let claims = token.payload
        let digest = Hex.encode(try DigestAlgorithm.sha256.digest(request.body))
        guard claims["path"]?.string == request.path, claims["sha256"]?.string == digest,
            let issued = claims["iat"]?.integer, let expiry = claims["exp"]?.integer,
            issued <= now + 60, now <= expiry, expiry - issued <= RegistrationToken.secondsMax,
            let identifier = claims["jti"]?.string
        else { throw refuse("the token was made for another request, or is too old") }
        let isNew = state.withLock { state in
            state.usedTokens = state.usedTokens.filter { $0.value >= now }
            return state.usedTokens.updateValue(expiry, forKey: identifier) == nil
        }
        guard isNew else { throw refuse("the token was used already") }
        return found
    }
}
