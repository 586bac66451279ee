// SealedModelLoader: verify, attest, release, decrypt, wipe the key.

public import Attestation
public import Sealing
public import SecureMemory
import Synchronization

/// What opening a sealed model takes, besides its file.
public struct SealedModelAccess: Sendable {
    public var broker: KeyBrokerClient
    public var owners: TrustedOwners
    public var usage: SealedUsage
    public var lockMode: LockMode
    /// The lowest serial that this consumer opens, whatever the broker says.
    public var serialMin: Int64
    /// The oldest release document, in seconds, that is accepted; nil for any.
    public var documentAgeSecondsMax: Int64?

    public init(
        broker: KeyBrokerClient, owners: TrustedOwners, usage: SealedUsage, lockMode: LockMode, serialMin: Int64 = 0,
        documentAgeSecondsMax: Int64? = nil
    ) {
        self.broker = broker
        self.owners = owners
        self.usage = usage
        self.lockMode = lockMode
        self.serialMin = serialMin
        self.documentAgeSecondsMax = documentAgeSecondsMax
    }

    /// The same for another usage.
    public func with(_ usage: SealedUsage) -> SealedModelAccess {
        var access = self
        access.usage = usage
        return access
    }
}

/// Opens sealed models, each time with a fresh attestation. Blocks the calling thread; may be used from any.
public final class SealedModelLoader: Sendable {
    public let access: SealedModelAccess
    /// Highest sequence of a release document seen, by container: an older one is a replay.
    private let sequences = Mutex<[String: Int64]>([:])
    /// The latest time seen, so that a clock that is set back does not revive an expired model.
    private let latest = Mutex<Int64>(0)
    private let clock: @Sendable () -> Int64

    /// - Parameter clock: seconds since the Unix epoch; tests bring their own.
    public init(
        _ access: SealedModelAccess,
        clock: @escaping @Sendable () -> Int64 = { WallClock.seconds() }
    ) {
        self.access = access
        self.clock = clock
    }

    private static let clockStepBackSecondsMax: Int64 = 300

    /// Now, never much before a time that was seen already.
    private func now() throws(SealingError) -> Int64 {
        let now = clock()
        let latest = latest.withLock { latest in
            latest = max(latest, now)
            return latest
        }
        guard latest - now <= Self.clockStepBackSecondsMax else {
            throw SealingError(
                .expired, "the clock was set back by \(latest - now) s: validity and leases cannot be judged")
        }
        return now
    }

    /// Everything that can be verified without the key.
    public func verify(_ path: String) throws -> SealedContainer {
        let container = try SealedContainer(path: path, trusting: access.owners)
        try container.check(now: try now(), usage: access.usage, serialMin: access.serialMin)
        if access.broker.isInsecure, !container.header.release.sampleAllowed {
            throw SealingError(
                .policy,
                "\(path): the model's owner does not accept insecure attestation (provider sample): attest with "
                    + "hardware, or ask for a model sealed with --allow-insecure-sample")
        }
        return container
    }

    /// Opens a model: nothing is published before the last digest matched.
    public func open(_ path: String, progress: (Int, Int) -> Void = { _, _ in }) throws -> SealedModelSource {
        let container = try verify(path)
        var envelope = try release(container)
        guard var key = envelope.takeKey() else { throw SealingError(.revoked, "\(path) was revoked by its owner") }
        defer { key.wipe() }
        let model = try container.open(with: key, lockMode: access.lockMode, progress: progress)
        let mode: LockMode = container.header.lockMode == .required ? .required : access.lockMode
        return try SealedModelSource(
            model, terms: envelope.terms, weights: LockedWeightAllocator(mode: mode),
            isInsecure: access.broker.isInsecure, place: path)
    }

    /// Asks again for a model that is open: the lease's renewal. The key is dropped at once.
    public func renew(_ path: String) throws -> ReleaseTerms { try release(try verify(path)).terms }

    /// Attests and gets the release document of a verified container.
    private func release(_ container: SealedContainer) throws -> ReleaseEnvelope {
        let resource = try access.broker.release(container.header.release.uri, usage: access.usage)
        let signer = try container.signer
        let envelope = try resource.withBytes { bytes in
            try ReleaseEnvelope(bytes) { keyID in
                keyID == signer.keyID ? signer : access.owners.key(keyID)
            }
        }
        let digest = container.headerDigest
        let seen = sequences.withLock { $0[digest] ?? 0 }
        let now = try now()
        try envelope.terms.check(container, now: now, usage: access.usage, sequenceMin: seen)
        if let limit = access.documentAgeSecondsMax, now - envelope.terms.issuedAt > limit {
            throw SealingError(
                .rollback,
                "\(container.path): the release document is \(now - envelope.terms.issuedAt) s old, at most \(limit) "
                    + "is accepted: the owner must sign a new one")
        }
        sequences.withLock { $0[digest] = max(seen, envelope.terms.sequence) }
        return envelope
    }
}
