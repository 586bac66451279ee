// Support: an owner, his files and a container to work on.

import Cryptography
import Foundation
import SecureMemory
import Testing

@testable import Sealing

/// A folder that goes with the test.
final class Folder: Sendable {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "penstock-sealing-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ name: String) -> String { "\(path)/\(name)" }
}

/// One owner with one sealed model.
struct Sealed {
    static let now: Int64 = 1_790_000_000
    let folder: Folder
    let owner: ECPrivateKey
    let container: String
    let inputs: [SealedInput]

    static func terms(
        escrow: [ECPublicKey] = [], serial: Int64 = 7, usage: ContainerHeader.Usage = .init(allow: [.inference]),
        parent: ContainerHeader.Parent? = nil, lockMode: LockMode = .bestEffort
    ) -> SealingTerms {
        SealingTerms(
            name: "tiny", version: "1", serial: serial, owner: "acme",
            validity: .init(notBefore: now - 10, notAfter: now + 1_000), usage: usage,
            policySHA256: String(repeating: "a", count: 64), sampleAllowed: true, lockMode: lockMode, created: now,
            parent: parent, escrow: escrow)
    }

    /// - Parameter sizes: of the files `f0`, `f1`, …
    init(sizes: [Int] = [40_000, 5], usage: ContainerHeader.Usage = .init(allow: [.inference])) throws {
        folder = try Folder()
        owner = try ECPrivateKey(generating: .p384)
        inputs = sizes.enumerated().map { number, size in
            SealedInput(name: "f\(number)", bytes: (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ number) })
        }
        container = folder.file("model.smc")
        let key = try SecretBytes.makeDataKey()
        try ContainerWriter.seal(
            inputs, terms: Self.terms(escrow: [owner.publicKey], usage: usage), key: key, signer: owner, to: container)
    }

    var trust: TrustedOwners { TrustedOwners([owner.publicKey]) }

    func read() throws -> SealedContainer { try SealedContainer(path: container, trusting: trust) }

    func open() throws -> OpenedModel {
        let sealed = try read()
        return try sealed.open(with: try sealed.dataKey(with: owner), lockMode: .off)
    }

    var bytes: [UInt8] { FileManager.default.contents(atPath: container).map { Array($0) } ?? [] }

    func write(_ bytes: [UInt8]) throws { try Data(bytes).write(to: URL(fileURLWithPath: container)) }

    /// Replaces parts of the frame and writes the container again.
    func reframe(_ change: (inout ContainerFrame) -> Void) throws {
        let before = try read().frame
        var frame = before
        change(&frame)
        try write(frame.encoded() + bytes[before.payloadOffset...])
    }
}

/// What a refused action was refused with.
func code(_ body: () throws -> Void) -> SealingError.Code? {
    do {
        try body()
        return nil
    } catch {
        return (error as? SealingError)?.code
    }
}

/// The key of a document that must hold one.
func takeKey(_ envelope: inout ReleaseEnvelope) throws -> SecretBytes {
    guard let key = envelope.takeKey() else { throw SealingError(.badDocument, "the document holds no key") }
    return key
}
