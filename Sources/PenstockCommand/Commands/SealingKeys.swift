// SealingKeys: the keys of a local deployment, and what the key broker must know of them.

import Attestation
import Cryptography
import Foundation
import LocalDeployment
import SealedModels
import Sealing

/// A folder with the owner's and the trainer's key. The owner's id is `local` unless said otherwise.
struct SealingKeys {
    static let standardOwner = "local"

    let folder: String
    var owner = SealingKeys.standardOwner

    init(folder: String) { self.folder = folder }

    /// `<data>/keys`.
    init(data: DataDirectory) { self.init(folder: "\(data.path)/keys") }

    var ownerPath: String { "\(folder)/owner.pem" }
    var ownerPublicPath: String { "\(folder)/owner.pub.pem" }
    var trainerPath: String { "\(folder)/trainer.pem" }
    var trainerPublicPath: String { "\(folder)/trainer.pub.pem" }

    /// Makes the keys that are missing.
    func prepare() throws {
        _ = SecureHeap.state
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        for (path, publicPath) in [(ownerPath, ownerPublicPath), (trainerPath, trainerPublicPath)] {
            if !FileManager.default.fileExists(atPath: path) {
                try KeyFile.write(try ECPrivateKey(generating: .p384), to: path)
            }
            if !FileManager.default.fileExists(atPath: publicPath) {
                try KeyFile.write(try KeyFile.privateKey(path).publicKey, to: publicPath)
            }
        }
    }

    /// The sealer of the local owner. Its policy takes the provider `sample`, because nothing else is on this machine.
    func sealer() throws -> ModelSealer {
        let key = try KeyFile.privateKey(ownerPath, passphrase: Passphrase.fromEnvironment)
        return ModelSealer(
            owner: owner, signer: key, policy: try .sample(), sampleAllowed: true, leaseSeconds: 60,
            escrow: [key.publicKey])
    }

    /// Puts the public keys where the broker looks for them.
    func introduce(to broker: String) throws {
        let place = "\(broker)/owners/\(owner)"
        try FileManager.default.createDirectory(
            atPath: "\(place)/delegates", withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        for (source, target) in [
            (ownerPublicPath, "\(place)/owner.pem"), (trainerPublicPath, "\(place)/delegates/trainer.pem"),
        ] where FileManager.default.fileExists(atPath: source) {
            let key = try KeyFile.publicKey(source)
            try KeyFile.write(key, to: target)
        }
    }

    /// Hands the model's key and policy to the broker. Nothing happens when it has them already.
    func register(container path: String, at url: String, certificate: String) throws {
        let sealer = try sealer()
        let container = try SealedContainer(path: path, trusting: TrustedOwners([sealer.signer.publicKey]))
        // The trainer registers his own candidates; only the owner's base comes from here.
        guard container.header.kind == .base else { return }
        let client = try KeyBrokerClient(
            address: try BrokerAddress(url), certificatePath: certificate, provider: try NoEvidence.provider())
        try sealer.registerPolicy(at: client)
        let key = try container.dataKey(with: sealer.signer)
        do {
            try sealer.register(container.header, headerSHA256: container.headerDigest, key: key, at: client)
        } catch let error as AttestationError where error.problem == "ResourceConflict" {
            // Another start handed it in within the same millisecond.
            return
        }
    }
}

/// For commands that register and never ask for a key.
enum NoEvidence {
    private struct Provider: EvidenceProvider {
        var tee: String { "none" }
        var isInsecure: Bool { false }
        func evidence(reportData: [UInt8]) throws -> JSONValue {
            throw AttestationError(.evidence, "this command does not attest")
        }
    }

    static func provider() throws -> any EvidenceProvider { Provider() }
}

/// The passphrase of a private key.
enum Passphrase {
    static let variable = "PENSTOCK_PASSPHRASE"

    /// From the environment, else asked for on the terminal without echo.
    static func fromEnvironment() throws -> [UInt8]? {
        if let text = ProcessInfo.processInfo.environment[variable], !text.isEmpty { return Array(text.utf8) }
        guard isatty(0) == 1, let text = getpass("Passphrase: ") else { return nil }
        return Array(String(cString: text).utf8)
    }
}
