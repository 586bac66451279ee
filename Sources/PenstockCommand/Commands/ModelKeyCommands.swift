// ModelKeyCommands: `penstock model verify | register | rewrap | revoke` work on a sealed model and its key.

import ArgumentParser
import Attestation
import Cryptography
import Foundation
import SealedModels
import Sealing
import SecureMemory

/// Where the key broker is.
struct KeyBrokerOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The key broker.", valueName: "https://host:port"))
    var keyBroker: String

    @Option(help: ArgumentHelp("The key broker's own certificate, the only one accepted.", valueName: "file"))
    var keyBrokerCertificate: String

    func client() throws -> KeyBrokerClient {
        try KeyBrokerClient(
            address: try BrokerAddress(keyBroker), certificatePath: keyBrokerCertificate,
            provider: try NoEvidence.provider())
    }
}

extension ModelCommand {
    struct Verify: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Verify a sealed model's signature, lineage and shape; its key is not needed.",
            discussion: "Example: penstock model verify model.smc --owner-key owner.pem.pub")

        @Argument(help: "The sealed model.")
        var container: String

        @Option(help: ArgumentHelp("Public key of a trusted owner; may be repeated.", valueName: "file"))
        var ownerKey: [String]

        @Option(help: ArgumentHelp("The owner's private key: decrypts and verifies every file too.", valueName: "file"))
        var key: String?

        @OptionGroup var output: OutputOption

        mutating func run() throws {
            let owners = TrustedOwners(try ownerKey.map { try KeyFile.publicKey($0) })
            let sealed = try SealedContainer(path: container, trusting: owners)
            try sealed.check(now: Int64(Date().timeIntervalSince1970), usage: .inference)
            if let key {
                let dataKey = try sealed.dataKey(
                    with: try KeyFile.privateKey(key, passphrase: Passphrase.fromEnvironment))
                var progress = Progress("verifying")
                _ = try sealed.open(with: dataKey, lockMode: .bestEffort) { progress.show(done: $0, of: $1) }
                progress.clear()
            }
            try SealedSummary(
                header: sealed.header, digest: sealed.headerDigest, path: container, recipients: sealed.recipients
            ).show(output)
            if !output.isJSON {
                Console.print(
                    "verified  signature and lineage\(key == nil ? "" : ", every file")")
            }
        }
    }

    struct Register: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Hand a sealed model's key and policy to a key broker.",
            discussion: """
                Example: penstock model register model.smc --key owner.pem --policy policy.json \\
                  --key-broker https://broker:8443 --key-broker-certificate broker.pem
                """)

        @Argument(help: "The sealed model.")
        var container: String

        @OptionGroup var sealer: SealerOptions
        @OptionGroup var broker: KeyBrokerOptions

        @Option(help: "Oldest serial of this model that is released from now on.")
        var serialMin: Int64 = 0

        mutating func run() throws {
            let sealer = try sealer.sealer()
            let sealed = try SealedContainer(path: container, trusting: TrustedOwners([sealer.signer.publicKey]))
            guard sealed.header.release.policySHA256 == sealer.policy.sha256 else {
                throw CommandFailure(
                    "the model was sealed with the policy \(sealed.header.release.policySHA256), this one is "
                        + "\(sealer.policy.sha256): give the same policy")
            }
            let client = try broker.client()
            try sealer.registerPolicy(at: client)
            let key = try sealed.dataKey(with: sealer.signer)
            try sealer.register(
                sealed.header, headerSHA256: sealed.headerDigest, key: key, at: client, serialMin: serialMin)
            Console.print("registered \(sealed.header.release.uri) at \(client.address)")
        }
    }

    struct Rewrap: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Replace the keys that can unwrap a sealed model's data key.",
            discussion: """
                Header, signature and payload stay byte for byte. Needs a key that unwraps the data key now.

                Example: penstock model rewrap model.smc new.smc --key owner.pem --to owner.pem.pub --to escrow.pub
                """)

        @Argument(help: "The sealed model.")
        var container: String

        @Argument(help: "File for the result; may be the same.")
        var target: String

        @Option(help: ArgumentHelp("Private key of a present recipient, the owner.", valueName: "file"))
        var key: String

        @Option(help: ArgumentHelp("Public key of the owner, if --key is another's.", valueName: "file"))
        var ownerKey: String?

        @Option(help: ArgumentHelp("Public key of a recipient from now on; may be repeated.", valueName: "file"))
        var to: [String] = []

        mutating func run() throws {
            let key = try KeyFile.privateKey(key, passphrase: Passphrase.fromEnvironment)
            let owner = try ownerKey.map { try KeyFile.publicKey($0) } ?? key.publicKey
            let sealed = try SealedContainer(path: container, trusting: TrustedOwners([owner]))
            let recipients = try to.map { try KeyFile.publicKey($0) }
            try ContainerWriter.rewrap(sealed, key: try sealed.dataKey(with: key), escrow: recipients, to: target)
            Console.print("rewrapped \(target) for the key broker and \(recipients.count) keys")
        }
    }

    struct Revoke: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Revoke a sealed model: its key is released no more.",
            discussion: """
                Consumers that have it open lose it when their lease ends, at the latest.

                Example: penstock model revoke model.smc --key owner.pem --key-broker https://broker:8443 \\
                  --key-broker-certificate broker.pem
                """)

        @Argument(help: "The sealed model.")
        var container: String

        @Option(help: ArgumentHelp("The owner's private key.", valueName: "file"))
        var key: String

        @OptionGroup var broker: KeyBrokerOptions

        mutating func run() throws {
            let key = try KeyFile.privateKey(key, passphrase: Passphrase.fromEnvironment)
            let sealed = try SealedContainer(path: container, trusting: TrustedOwners([key.publicKey]))
            let sealer = ModelSealer(owner: sealed.header.owner, signer: key, policy: try .sample())
            try sealer.revoke(sealed.header, headerSHA256: sealed.headerDigest, at: try broker.client())
            Console.print("revoked \(sealed.header.name) serial \(sealed.header.serial)")
        }
    }
}
