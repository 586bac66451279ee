// SessionTable: challenges that are answered once, and the sessions that come of them.

import Attestation
import Cryptography
import Sealing

/// What a requester has shown of itself.
struct AttestedIdentity: Sendable {
    var tee: String
    var isInsecure: Bool
    var publicKey: ECPublicKey
    var claims: [String: JSONValue]
    /// SHA-256 of the evidence, for the audit.
    var evidenceSHA256: String
}

/// Sessions by their cookie. A nonce serves one attestation, within a minute; a session lives five.
struct SessionTable {
    private enum Phase {
        case challenged(nonce: String, tee: String)
        /// An attempt was made; the nonce is gone, whatever came of it.
        case spent
        case attested(AttestedIdentity)
    }

    private struct Session {
        var phase: Phase
        var createdAt: Int64
    }

    static let nonceSecondsMax: Int64 = 60
    static let sessionSecondsMax: Int64 = 300
    static let sessionsMax = 4_096
    private var sessions: [String: Session] = [:]

    /// A new challenge: session id and nonce.
    mutating func challenge(tee: String, now: Int64) throws -> (id: String, nonce: String) {
        sessions = sessions.filter { now - $0.value.createdAt <= Self.sessionSecondsMax }
        guard sessions.count < Self.sessionsMax else {
            throw BrokerProblem(.rateLimited, "too many sessions are open")
        }
        let id = Hex.encode(try SecureRandom.bytes(16))
        let nonce = Base64.encode(try SecureRandom.bytes(RCAR.nonceBytes))
        sessions[id] = Session(phase: .challenged(nonce: nonce, tee: tee), createdAt: now)
        return (id, nonce)
    }

    /// Takes a session's nonce: the next call for the same session fails.
    mutating func takeNonce(_ id: String, now: Int64) throws(BrokerProblem) -> (nonce: String, tee: String) {
        guard let session = sessions[id] else { throw BrokerProblem(.session, "no such session") }
        guard case .challenged(let nonce, let tee) = session.phase else {
            throw BrokerProblem(.sessionUsed, "this session's challenge was answered already: ask for a new one")
        }
        sessions[id]?.phase = .spent
        guard now - session.createdAt <= Self.nonceSecondsMax, now >= session.createdAt else {
            throw BrokerProblem(.session, "the nonce is older than \(Self.nonceSecondsMax) s")
        }
        return (nonce, tee)
    }

    mutating func attested(_ id: String, _ identity: AttestedIdentity) { sessions[id]?.phase = .attested(identity) }

    func identity(_ id: String, now: Int64) throws(BrokerProblem) -> AttestedIdentity {
        guard let session = sessions[id], case .attested(let identity) = session.phase,
            now - session.createdAt <= Self.sessionSecondsMax, now >= session.createdAt
        else { throw BrokerProblem(.session, "the session is not attested or has ended") }
        return identity
    }
}

/// A bucket of requests for each peer.
struct RateLimiter {
    static let peersMax = 4_096
    let perMinute: Int
    private var buckets: [String: (tokens: Double, at: Int64)] = [:]

    init(perMinute: Int) { self.perMinute = perMinute }

    /// - Parameter now: seconds.
    mutating func admits(_ peer: String, now: Int64) -> Bool {
        if buckets.count >= Self.peersMax { buckets = buckets.filter { now - $0.value.at < 60 } }
        let old = buckets[peer] ?? (Double(perMinute), now)
        let tokens = min(Double(perMinute), old.tokens + Double(max(0, now - old.at)) * Double(perMinute) / 60)
        let isAdmitted = tokens >= 1
        buckets[peer] = (isAdmitted ? tokens - 1 : tokens, now)
        return isAdmitted
    }
}
