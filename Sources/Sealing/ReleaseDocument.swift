// ReleaseDocument: the owner's signed word on one data key: floor of serials, validity, revocation, lease, usage.

public import Cryptography
public import SecureMemory

/// What a key broker hands out for a data key. Any KBS can store it: it is a compact JWS by the owner (or by a delegate
/// whom the owner registered), and the key is a member of it.
public struct ReleaseTerms: Sendable, Equatable {
    public static let type = "smc1-release+jws"
    public static let version: Int64 = 1
    public static let leaseSecondsRange = Int64(1)...86_400

    public var name: String
    public var serial: Int64
    /// Of the container's header, 64 hexadecimal digits.
    public var headerSHA256: String
    /// Oldest serial of this name that may still be opened.
    public var serialMin: Int64
    public var validity: ContainerHeader.Validity
    public var isRevoked: Bool
    public var usage: Set<SealedUsage>
    /// The consumer asks again after so many seconds, and wipes the model when it is refused.
    public var leaseSeconds: Int64
    public var policySHA256: String
    public var sampleAllowed: Bool
    /// Rises with every document for the same key, so that an old one is recognised.
    public var sequence: Int64
    /// Seconds since the Unix epoch.
    public var issuedAt: Int64

    public init(
        for header: ContainerHeader, headerSHA256: String, leaseSeconds: Int64 = 300, serialMin: Int64 = 0,
        isRevoked: Bool = false, sequence: Int64, issuedAt: Int64
    ) {
        name = header.name
        serial = header.serial
        self.headerSHA256 = headerSHA256
        self.serialMin = serialMin
        validity = header.validity
        self.isRevoked = isRevoked
        usage = header.usage.allow
        self.leaseSeconds = leaseSeconds
        policySHA256 = header.release.policySHA256
        sampleAllowed = header.release.sampleAllowed
        self.sequence = sequence
        self.issuedAt = issuedAt
    }

    init(_ reader: MemberReader) throws(SealingError) {
        try reader.only([
            "v", "name", "serial", "dek", "headerSha256", "minSerial", "notBefore", "notAfter", "revoked", "usage",
            "leaseSeconds", "policySha256", "sampleAllowed", "seq", "iat",
        ])
        guard try reader.count("v") == Self.version else {
            throw SealingError(.badDocument, "the release document has an unknown version")
        }
        name = try reader.identifier("name")
        serial = try reader.count("serial")
        headerSHA256 = try reader.digest("headerSha256")
        serialMin = try reader.count("minSerial")
        validity = .init(notBefore: try reader.count("notBefore"), notAfter: try reader.count("notAfter"))
        isRevoked = try reader.flag("revoked")
        usage = try reader.words("usage", SealedUsage.self)
        leaseSeconds = try reader.count("leaseSeconds")
        policySHA256 = try reader.digest("policySha256")
        sampleAllowed = try reader.flag("sampleAllowed")
        sequence = try reader.count("seq")
        issuedAt = try reader.count("iat")
        guard Self.leaseSecondsRange.contains(leaseSeconds) else {
            throw SealingError(.badDocument, "leaseSeconds must be 1 to 86400")
        }
    }

    private func json(key: String?) -> JSONValue {
        var members: [String: JSONValue] = [
            "v": .integer(Self.version), "name": .string(name), "serial": .integer(serial),
            "headerSha256": .string(headerSHA256), "minSerial": .integer(serialMin),
            "notBefore": .integer(validity.notBefore), "notAfter": .integer(validity.notAfter),
            "revoked": .bool(isRevoked), "usage": .array(usage.map(\.rawValue).sorted().map { .string($0) }),
            "leaseSeconds": .integer(leaseSeconds), "policySha256": .string(policySHA256),
            "sampleAllowed": .bool(sampleAllowed), "seq": .integer(sequence), "iat": .integer(issuedAt),
        ]
        if let key { members["dek"] = .string(key) }
        return .object(members)
    }

    /// The signed document with the data key. Whoever gets the bytes wipes them.
    public func signed(by signer: ECPrivateKey, key: borrowing SecretBytes) throws -> [UInt8] {
        let placeholder = String(repeating: "A", count: ReleaseEnvelope.keyTextBytes)
        var payload = json(key: placeholder).canonical
        defer { Wipe.array(&payload) }
        guard let place = ReleaseEnvelope.keyPlace(payload.span.bytes) else {
            throw SealingError(.badDocument, "the release document has no place for its key")
        }
        try key.withBytes { key throws(SealingError) in
            guard key.byteCount == ChunkedEncryption.keyBytes else {
                throw SealingError(.badDocument, "a data key has 32 bytes, not \(key.byteCount)")
            }
            var span = payload.mutableSpan
            var bytes = span.mutableBytes
            Base64.encodeURL(key, into: &bytes, at: place)
        }
        return try JSONWebSignature.sign(payload: payload, type: Self.type, with: signer)
    }

    /// A revocation: the same place, no key.
    public func signedRevocation(by signer: ECPrivateKey) throws -> [UInt8] {
        var terms = self
        terms.isRevoked = true
        return try JSONWebSignature.sign(payload: terms.json(key: nil).canonical, type: Self.type, with: signer)
    }

    /// Refuses what the owner did not mean for this container, now, for this use.
    public func check(
        _ container: SealedContainer, now: Int64, usage: SealedUsage, sequenceMin: Int64 = 0
    ) throws(SealingError) {
        let header = container.header
        let title = "\(header.name) serial \(header.serial)"
        guard name == header.name, serial == header.serial, headerSHA256 == container.headerDigest else {
            throw SealingError(.wrongKey, "the released key belongs to \(name) serial \(self.serial), not to \(title)")
        }
        guard !isRevoked else { throw SealingError(.revoked, "\(title) was revoked by its owner") }
        guard header.serial >= serialMin else {
            throw SealingError(.rollback, "\(title): the owner accepts serial \(serialMin) and later only")
        }
        guard sequence >= sequenceMin else {
            throw SealingError(
                .rollback,
                "\(title): the key broker gave release document \(sequence) after \(sequenceMin): an old copy")
        }
        guard now >= validity.notBefore, now <= validity.notAfter else {
            throw SealingError(.expired, "\(title): the release document is not valid now")
        }
        guard self.usage.contains(usage) else {
            throw SealingError(.usageDenied, "\(title): the owner releases no key for \(usage.rawValue)")
        }
        guard policySHA256 == header.release.policySHA256, sampleAllowed == header.release.sampleAllowed else {
            throw SealingError(.policy, "\(title): the release document and the header name different policies")
        }
    }
}
