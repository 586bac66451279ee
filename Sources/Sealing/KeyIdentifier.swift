// KeyIdentifier: how keys are named, and the signature envelope over a header.

public import Cryptography

extension ECPublicKey {
    /// SHA-256 of the SubjectPublicKeyInfo in DER, 64 hexadecimal digits.
    public var keyID: String {
        guard let der = try? der() else { return "" }
        return SHA256.digest(of: der).hexadecimal
    }
}

/// One signature over a header.
public struct HeaderSignature: Sendable, Equatable {
    public static let algorithm = "ES384"
    /// DSSE payload type of a header.
    public static let payloadType = "application/vnd.penstock.smc1+json"
    public static let blockBytesMax = 64 << 10
    public static let signaturesMax = 8

    public var keyID: String
    public var signature: [UInt8]
    /// SubjectPublicKeyInfo of a delegate, whom the reader knows from the parent's `resealTo` alone.
    public var delegateKey: [UInt8]?

    /// What is signed: the pre-authentication encoding of DSSE v1.
    public static func signedBytes(_ header: [UInt8], type: String = payloadType) -> [UInt8] {
        Array("DSSEv1 \(type.utf8.count) \(type) \(header.count) ".utf8) + header
    }

    public static func sign(
        _ header: [UInt8], with key: ECPrivateKey, isDelegate: Bool
    ) throws -> HeaderSignature {
        guard key.curve == .p384 else {
            throw SealingError(.badKeyFile, "a signing key is on P-384, this one on \(key.curve.rawValue)")
        }
        return HeaderSignature(
            keyID: key.publicKey.keyID, signature: try key.sign(signedBytes(header)),
            delegateKey: isDelegate ? try key.publicKey.der() : nil)
    }

    func verifies(_ header: [UInt8], with key: ECPublicKey) -> Bool {
        key.curve == .p384 && key.keyID == keyID && key.verifies(signature, Self.signedBytes(header))
    }

    static func encode(_ signatures: [HeaderSignature]) -> [UInt8] {
        JSONValue.array(
            signatures.map { signature in
                var members: [String: JSONValue] = [
                    "alg": .string(algorithm), "keyid": .string(signature.keyID),
                    "sig": .string(Base64.encodeURL(signature.signature)),
                ]
                if let key = signature.delegateKey { members["key"] = .string(Base64.encodeURL(key)) }
                return .object(members)
            }
        ).canonical
    }

    static func decode(_ bytes: [UInt8]) throws(SealingError) -> [HeaderSignature] {
        let values = try JSONValue(canonical: bytes, what: "the signature block").array ?? []
        guard (1...signaturesMax).contains(values.count) else {
            throw SealingError(.badSignature, "there must be 1 to \(signaturesMax) signatures, not \(values.count)")
        }
        var result: [HeaderSignature] = []
        for value in values {
            let reader = MemberReader(value, "signatures")
            try reader.only(["alg", "keyid", "sig", "key"])
            guard try reader.text("alg") == algorithm else {
                throw SealingError(.badSignature, "signatures.alg must be \(algorithm)")
            }
            result.append(
                HeaderSignature(
                    keyID: try reader.digest("keyid"), signature: try reader.bytes("sig"),
                    delegateKey: value["key"] == nil ? nil : try reader.bytes("key")))
        }
        return result
    }
}

/// The owners that this reader trusts: their public keys, pinned by configuration.
public struct TrustedOwners: Sendable {
    /// Generations from a base model; each header carries its parent's.
    static let lineageMax = 16
    private let keys: [String: ECPublicKey]

    public init(_ keys: [ECPublicKey]) {
        self.keys = Dictionary(keys.map { ($0.keyID, $0) }, uniquingKeysWith: { first, _ in first })
    }

    public var keyIDs: [String] { keys.keys.sorted() }

    public func key(_ identifier: String) -> ECPublicKey? { keys[identifier] }

    /// Verifies a header: a signature by a pinned owner, or by a delegate whom a pinned owner's parent header names.
    /// - Returns: the key that signed.
    func verify(
        _ header: ContainerHeader, _ bytes: [UInt8], _ signatures: [HeaderSignature], depth: Int = 0
    ) throws(SealingError) -> ECPublicKey {
        guard let signature = signatures.first(where: { $0.keyID == header.keyID }) else {
            throw SealingError(.badSignature, "no signature is by the key that the header names (\(header.keyID))")
        }
        if let key = keys[header.keyID] {
            guard signature.verifies(bytes, with: key) else {
                throw SealingError(.badSignature, "the signature does not fit the header: the container was changed")
            }
            if header.kind == .finetuned { _ = try verifyParent(of: header, signer: nil, depth: depth) }
            return key
        }
        guard header.kind == .finetuned, let encoded = signature.delegateKey, let key = try? ECPublicKey(der: encoded)
        else {
            throw SealingError(
                .untrusted,
                "the model is signed by the key \(header.keyID), which is none of the trusted owners "
                    + "(\(keyIDs.joined(separator: ", "))): name its owner's public key, or reject the model")
        }
        guard signature.verifies(bytes, with: key) else {
            throw SealingError(.badSignature, "the signature does not fit the header: the container was changed")
        }
        _ = try verifyParent(of: header, signer: key.keyID, depth: depth)
        return key
    }

    /// The parent's header, verified, and that it allows what the descendant claims.
    private func verifyParent(
        of header: ContainerHeader, signer: String?, depth: Int
    ) throws(SealingError) -> ContainerHeader {
        guard let parent = header.parent, depth < Self.lineageMax else {
            throw SealingError(.untrusted, "the lineage is missing or longer than \(Self.lineageMax) models")
        }
        guard SHA256.digest(of: parent.header).hexadecimal == parent.headerSHA256 else {
            throw SealingError(.untrusted, "the parent's header is not the one whose digest is named")
        }
        let base = try ContainerHeader(canonical: parent.header)
        _ = try verify(base, parent.header, try HeaderSignature.decode(parent.signatures), depth: depth + 1)
        guard base.name == parent.name, base.serial == parent.serial, base.owner == header.owner,
            header.serial > base.serial
        else { throw SealingError(.untrusted, "the lineage does not fit the parent's name, owner and serial") }
        guard base.usage.allow.contains(.finetune), header.usage.allow.isSubset(of: base.usage.outputUsage),
            header.usage.outputUsage.isSubset(of: base.usage.outputUsage),
            Set(header.usage.resealTo).isSubset(of: base.usage.resealTo)
        else { throw SealingError(.usageDenied, "the model claims more use than its parent \(base.name) allows") }
        if let signer, !base.usage.resealTo.contains(signer) {
            throw SealingError(
                .untrusted, "the key \(signer) may not seal descendants of \(base.name): finetune.resealTo lacks it")
        }
        return base
    }
}
