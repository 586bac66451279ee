// LineageTests: fine-tuned models, and who may seal them.

import Cryptography
import SecureMemory
import Testing

@testable import Sealing

@Suite("Lineage")
struct LineageTests {
    private let owner: ECPrivateKey
    private let trainer: ECPrivateKey
    private let sealed: Sealed

    init() throws {
        trainer = try ECPrivateKey(generating: .p384)
        sealed = try Sealed(
            sizes: [10],
            usage: .init(
                allow: [.inference, .finetune], resealTo: [trainer.publicKey.keyID], outputUsage: [.inference]))
        owner = sealed.owner
    }

    private func descend(
        _ signer: ECPrivateKey, serial: Int64 = 9, usage: ContainerHeader.Usage = .init(allow: [.inference]),
        parent: ContainerHeader.Parent? = nil
    ) throws -> SealingError.Code? {
        let base = try sealed.read()
        let parent =
            parent
            ?? ContainerHeader.Parent(
                name: base.header.name, serial: base.header.serial, headerSHA256: base.headerDigest,
                header: base.frame.header, signatures: base.frame.signatures)
        let path = sealed.folder.file("candidate.smc")
        let key = try SecretBytes.makeDataKey()
        try ContainerWriter.seal(
            [SealedInput(name: "f0", bytes: [1])], terms: Sealed.terms(serial: serial, usage: usage, parent: parent),
            key: key, signer: signer, to: path)
        return code { _ = try SealedContainer(path: path, trusting: sealed.trust) }
    }

    @Test("A trainer whom the owner named may seal a descendant")
    func allowed() throws {
        #expect(try descend(trainer) == nil)
        #expect(try descend(owner) == nil)
    }

    @Test("Nobody else may, nor with a wider use, an older serial or another parent")
    func refused() throws {
        #expect(try descend(ECPrivateKey(generating: .p384)) == .untrusted)
        #expect(try descend(trainer, usage: .init(allow: [.inference, .finetune])) == .usageDenied)
        #expect(
            try descend(trainer, usage: .init(allow: [.inference], resealTo: [owner.publicKey.keyID])) == .usageDenied)
        #expect(try descend(trainer, serial: 7) == .untrusted)
        let base = try sealed.read()
        var parent = ContainerHeader.Parent(
            name: base.header.name, serial: base.header.serial, headerSHA256: String(repeating: "0", count: 64),
            header: base.frame.header, signatures: base.frame.signatures)
        #expect(try descend(trainer, parent: parent) == .untrusted)
        // A parent that a stranger signed.
        let other = try Sealed(
            sizes: [10], usage: .init(allow: [.inference, .finetune], resealTo: [trainer.publicKey.keyID]))
        let foreign = try other.read()
        parent = .init(
            name: foreign.header.name, serial: foreign.header.serial, headerSHA256: foreign.headerDigest,
            header: foreign.frame.header, signatures: foreign.frame.signatures)
        #expect(try descend(trainer, parent: parent) == .untrusted)
    }

    @Test("A base that may not be fine-tuned has no descendants")
    func notAllowed() throws {
        let plain = try Sealed(sizes: [10], usage: .init(allow: [.inference], resealTo: [trainer.publicKey.keyID]))
        let base = try plain.read()
        let path = plain.folder.file("candidate.smc")
        let key = try SecretBytes.makeDataKey()
        try ContainerWriter.seal(
            [SealedInput(name: "f0", bytes: [1])],
            terms: Sealed.terms(
                serial: 9,
                parent: .init(
                    name: "tiny", serial: 7, headerSHA256: base.headerDigest, header: base.frame.header,
                    signatures: base.frame.signatures)), key: key, signer: trainer, to: path)
        #expect(code { _ = try SealedContainer(path: path, trusting: plain.trust) } == .usageDenied)
    }
}
