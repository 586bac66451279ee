// KeyBrokerClient: request, challenge, attestation, response: how a consumer gets a resource.

public import Cryptography
import NIOHTTP1
public import Sealing
public import SecureMemory

/// Asks one key broker for resources. Each release attests anew, with a key pair of its own that lives in protected memory
/// and goes with it. Blocks the calling thread.
public final class KeyBrokerClient: Sendable {
    private let exchange: HTTPExchange
    private let provider: any EvidenceProvider
    public let address: BrokerAddress

    public init(
        address: BrokerAddress, certificatePath: String?, provider: any EvidenceProvider
    ) throws(AttestationError) {
        _ = SecureHeap.state
        exchange = try HTTPExchange(address: address, certificatePath: certificatePath)
        self.provider = provider
        self.address = address
    }

    public var isInsecure: Bool { provider.isInsecure }

    /// Attests and fetches `uri` for `usage`.
    /// - Returns: the resource in protected memory.
    public func release(_ uri: String, usage: SealedUsage) throws -> ProtectedRegion {
        guard let place = RCAR.path(of: uri) else {
            throw AttestationError(.protocolError, "'\(uri)' is no key broker's resource: kbs:///OWNER/TYPE/TAG")
        }
        let key = try ECPrivateKey(generating: .p256)
        let session = try attest(key)
        let path = "\(RCAR.root)/resource/\(place.repository)/\(place.type)/\(place.tag)?operation=\(usage.rawValue)"
        let answer = try exchange.send(.GET, path, headers: [("Cookie", session)])
        return try JSONWebEncryption.open(try Self.json(answer), with: key)
    }

    /// Opens a session for `key`; gives back the cookie.
    private func attest(_ key: ECPrivateKey) throws -> String {
        let request: JSONValue = [
            "version": .string(RCAR.version), "tee": .string(provider.tee),
            "extra-params": ["supported-hash-algorithms": ["sha384"]],
        ]
        let answer = try exchange.send(
            .POST, "\(RCAR.root)/auth", headers: [("Content-Type", "application/json")], body: request.canonical)
        let challenge = try Self.json(answer)
        guard let nonce = challenge["nonce"]?.string, let cookie = answer.cookie?.prefix(while: { $0 != ";" }),
            cookie.hasPrefix(RCAR.cookie + "=")
        else { throw AttestationError(.protocolError, "the key broker at \(address) sent no nonce or no session") }
        if let chosen = challenge["extra-params"]?["selected-hash-algorithm"]?.string, chosen != "sha384" {
            throw AttestationError(
                .protocolError, "the key broker chose the digest \(chosen), only sha384 is used here")
        }
        let publicKey = JSONWebKey.json(key.publicKey, algorithm: RCAR.keyAlgorithm)
        let reportData = try ReportData.make(nonce: nonce, publicKey: publicKey)
        let evidence: JSONValue = [
            "init-data": .null, "runtime-data": ["nonce": .string(nonce), "tee-pubkey": publicKey],
            "tee-evidence": [
                "primary_evidence": try provider.evidence(reportData: reportData), "additional_evidence": "",
            ],
        ]
        let attested = try exchange.send(
            .POST, "\(RCAR.root)/attest", headers: [("Content-Type", "application/json"), ("Cookie", String(cookie))],
            body: evidence.canonical)
        guard try Self.json(attested)["token"]?.string != nil else {
            throw AttestationError(.protocolError, "the key broker at \(address) sent no token")
        }
        return String(cookie)
    }

    /// Hands a resource in, with a request token that the owner signed.
    public func register(_ uri: String, value: [UInt8], signer: ECPrivateKey, now: Int64) throws {
        guard let place = RCAR.path(of: uri) else {
            throw AttestationError(.protocolError, "'\(uri)' is no key broker's resource: kbs:///OWNER/TYPE/TAG")
        }
        let path = "\(RCAR.root)/resource/\(place.repository)/\(place.type)/\(place.tag)"
        let token = try RegistrationToken.make(path: path, body: value, signer: signer, now: now)
        let answer = try exchange.send(
            .POST, path,
            headers: [("Authorization", "Bearer \(token)"), ("Content-Type", "application/octet-stream")], body: value)
        guard (200..<300).contains(answer.status) else { throw Self.refusal(answer) }
    }

    /// What the broker decided about an owner's models: each claim, expected and got. Shown to the owner alone.
    public func decisions(owner: String, signer: ECPrivateKey, now: Int64) throws -> [JSONValue] {
        guard RCAR.isName(Substring(owner)) else {
            throw AttestationError(.protocolError, "'\(owner)' is no owner's id")
        }
        let path = "\(RCAR.root)/decisions/\(owner)"
        let token = try RegistrationToken.make(path: path, body: [], signer: signer, now: now)
        return try Self.json(try exchange.send(.GET, path, headers: [("Authorization", "Bearer \(token)")])).array ?? []
    }

    private static func json(_ answer: HTTPAnswer) throws -> JSONValue {
        guard (200..<300).contains(answer.status) else { throw refusal(answer) }
        do {
            return try JSONValue(parsing: answer.body)
        } catch {
            throw AttestationError(.protocolError, "the key broker's answer is not what RCAR says: \(error)")
        }
    }

    /// RFC 7807; what decides is the type, not the status.
    private static func refusal(_ answer: HTTPAnswer) -> AttestationError {
        let value = try? JSONValue(parsing: answer.body)
        let type = value?["type"]?.string ?? ""
        let problem = type.hasPrefix(RCAR.problemRoot) ? String(type.dropFirst(RCAR.problemRoot.count)) : nil
        let detail = value?["detail"]?.string.map { ": \($0)" } ?? ""
        guard answer.status < 500 else {
            return AttestationError(
                .unreachable, "the key broker failed (\(problem ?? "HTTP \(answer.status)"))\(detail)", problem: problem
            )
        }
        return AttestationError(
            .refused, "the key broker refused (\(problem ?? "HTTP \(answer.status)"))\(detail)", problem: problem)
    }
}

/// The owner's token for one request to one path with one body.
public enum RegistrationToken {
    public static let type = "smc1-request+jwt"
    public static let secondsMax: Int64 = 300

    public static func make(path: String, body: [UInt8], signer: ECPrivateKey, now: Int64) throws -> String {
        let claims: JSONValue = [
            "jti": .string(Hex.encode(try SecureRandom.bytes(16))), "iat": .integer(now),
            "exp": .integer(now + secondsMax), "path": .string(path),
            "sha256": .string(Hex.encode(try DigestAlgorithm.sha256.digest(body))),
        ]
        return try JSONWebSignature.sign(claims, type: type, with: signer)
    }
}
