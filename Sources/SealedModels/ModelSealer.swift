// ModelSealer: how an owner, or a trainer in his name, seals a model and hands its key to the key broker.

public import Attestation
public import Cryptography
public import Sealing
public import SecureMemory

/// A container that was written, and its data key until that is registered.
public struct SealedResult: ~Copyable {
    public let header: ContainerHeader
    /// SHA-256 of the header, 64 hexadecimal digits.
    public let headerSHA256: String
    public let path: String
    public let key: SecretBytes
}

/// Seals models of one owner with one key.
public struct ModelSealer: Sendable {
    public var owner: String
    /// The owner's key, or a delegate's whom a base model's `finetune.resealTo` names.
    public var signer: ECPrivateKey
    public var policy: ReleasePolicy
    public var sampleAllowed: Bool
    public var lockMode: LockMode
    public var leaseSeconds: Int64
    public var validitySeconds: Int64
    /// Besides the key broker, whoever holds one of these keys can unwrap the data key.
    public var escrow: [ECPublicKey]
    /// Milliseconds since the Unix epoch.
    private let clock: @Sendable () -> Int64

    public static let validitySecondsDefault: Int64 = 365 * 86_400

    public init(
        owner: String, signer: ECPrivateKey, policy: ReleasePolicy, sampleAllowed: Bool = false,
        lockMode: LockMode = .bestEffort, leaseSeconds: Int64 = 300,
        validitySeconds: Int64 = ModelSealer.validitySecondsDefault, escrow: [ECPublicKey] = [],
        clock: @escaping @Sendable () -> Int64 = { WallClock.milliseconds() }
    ) {
        self.owner = owner
        self.signer = signer
        self.policy = policy
        self.sampleAllowed = sampleAllowed
        self.lockMode = lockMode
        self.leaseSeconds = leaseSeconds
        self.validitySeconds = validitySeconds
        self.escrow = escrow
        self.clock = clock
    }

    private var seconds: Int64 { clock() / 1_000 }

    /// Seals a base model.
    /// - Parameter serial: milliseconds since the Unix epoch unless given; it must rise from model to model of a name.
    public func seal(
        _ inputs: [SealedInput], name: String, version: String, serial: Int64? = nil,
        contract: String? = nil, usage: ContainerHeader.Usage, to path: String,
        progress: (Int, Int) -> Void = { _, _ in }
    ) throws -> SealedResult {
        let now = seconds
        let terms = SealingTerms(
            name: name, version: version, serial: serial ?? clock(), owner: owner,
            // A minute back, for consumers whose clock is a little behind.
            validity: .init(notBefore: now - 60, notAfter: now + validitySeconds), usage: usage,
            policySHA256: policy.sha256, sampleAllowed: sampleAllowed, lockMode: lockMode, created: now,
            contract: contract, escrow: escrow)
        return try write(inputs, terms, to: path, progress)
    }

    /// Seals a fine-tuned model: lineage from `parent`, use never wider than the parent's `outputUsage`, the parent's
    /// policy, validity and lock mode. The signer must be the owner or a key of the parent's `finetune.resealTo`.
    public func reseal(
        _ inputs: [SealedInput], version: String, contract: String? = nil, parent: SealedContainer, to path: String,
        progress: (Int, Int) -> Void = { _, _ in }
    ) throws -> SealedResult {
        let base = parent.header
        let signerID = signer.publicKey.keyID
        guard base.usage.allow.contains(.finetune) else {
            throw SealingError(.usageDenied, "\(base.name) serial \(base.serial) may not be fine-tuned")
        }
        guard signerID == base.keyID || base.usage.resealTo.contains(signerID) else {
            throw SealingError(
                .usageDenied, "the key \(signerID) may not seal descendants of \(base.name): resealTo lacks it")
        }
        let now = seconds
        let lineage = ContainerHeader.Parent(
            name: base.name, serial: base.serial, headerSHA256: parent.headerDigest, header: parent.frame.header,
            signatures: parent.frame.signatures)
        let terms = SealingTerms(
            name: base.name, version: version,
            serial: max(base.serial + 1, clock()), owner: base.owner,
            validity: base.validity,
            usage: .init(
                allow: base.usage.outputUsage, resealTo: base.usage.resealTo, outputUsage: base.usage.outputUsage),
            policySHA256: base.release.policySHA256, sampleAllowed: base.release.sampleAllowed,
            lockMode: base.lockMode, created: now, parent: lineage, contract: contract ?? base.contract, escrow: escrow)
        return try write(inputs, terms, to: path, progress)
    }

    private func write(
        _ inputs: [SealedInput], _ terms: SealingTerms, to path: String, _ progress: (Int, Int) -> Void
    ) throws -> SealedResult {
        let key = try SecretBytes.makeDataKey()
        let header = try ContainerWriter.seal(
            inputs, terms: terms, key: key, signer: signer, to: path, progress: progress)
        let digest = Hex.encode(try DigestAlgorithm.sha256.digest(header.json.canonical))
        return SealedResult(header: header, headerSHA256: digest, path: path, key: key)
    }

    // MARK: Registration

    /// Registers the policy; the owner does it once, delegates never.
    public func registerPolicy(at broker: KeyBrokerClient) throws {
        try broker.register(
            "kbs:///\(owner)/policy/\(policy.sha256)", value: policy.canonical, signer: signer, now: seconds)
    }

    /// Registers a data key with a release document that this signer signs.
    /// - Parameters:
    ///   - sequence: milliseconds since the Unix epoch unless given; rises with every document of a key.
    ///   - serialMin: the oldest serial that is released from now on.
    public func register(
        _ header: ContainerHeader, headerSHA256: String, key: borrowing SecretBytes, at broker: KeyBrokerClient,
        sequence: Int64? = nil, serialMin: Int64 = 0
    ) throws {
        let terms = releaseTerms(header, headerSHA256, sequence: sequence, serialMin: serialMin)
        var document = try terms.signed(by: signer, key: key)
        defer { Wipe.array(&document) }
        try broker.register(header.release.uri, value: document, signer: signer, now: seconds)
    }

    /// Revokes a model: the key broker releases its key no more, and running consumers lose it with their lease.
    public func revoke(_ header: ContainerHeader, headerSHA256: String, at broker: KeyBrokerClient) throws {
        let document = try releaseTerms(header, headerSHA256, sequence: nil, serialMin: 0).signedRevocation(by: signer)
        try broker.register(header.release.uri, value: document, signer: signer, now: seconds)
    }

    private func releaseTerms(
        _ header: ContainerHeader, _ digest: String, sequence: Int64?, serialMin: Int64
    ) -> ReleaseTerms {
        ReleaseTerms(
            for: header, headerSHA256: digest, leaseSeconds: leaseSeconds, serialMin: serialMin,
            sequence: sequence ?? clock(), issuedAt: seconds)
    }
}
