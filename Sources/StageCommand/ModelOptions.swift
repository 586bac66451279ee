// ModelOptions: how a program comes to its models.

public import ArgumentParser
import Attestation
import Foundation
public import ModelStore
public import SealedModels
import SealedStore
import Sealing
public import SecureMemory

extension LockMode: ExpressibleByArgument {}

/// Options of programs that open sealed models; each can come from the environment too.
public struct ModelOptions: ParsableArguments {
    enum Provider: String, CaseIterable, ExpressibleByArgument { case sample }

    @Option(help: "The key broker, https://HOST:PORT. [PENSTOCK_KEY_BROKER]")
    var keyBroker: String?

    @Option(help: "The key broker's own certificate (PEM), the only one accepted. [PENSTOCK_KEY_BROKER_CERTIFICATE]")
    var keyBrokerCertificate: String?

    @Option(help: "Public key of an owner whose models are opened; repeat it. [PENSTOCK_TRUSTED_OWNERS, split by ':']")
    var trustedOwner: [String] = []

    @Option(help: "Attestation provider; none is ever chosen by itself. [PENSTOCK_ATTESTATION]")
    var attestation: Provider?

    @Flag(help: "Yes to the provider `sample`, which proves nothing. [PENSTOCK_INSECURE_SAMPLE_ATTESTATION=1]")
    var insecureSampleAttestation = false

    @Option(help: "Locking of the model's memory: required, bestEffort or off. [PENSTOCK_LOCK_MODE]")
    var lockMode: LockMode?

    @Option(help: "Oldest serial that is opened. [PENSTOCK_SERIAL_MIN]")
    var serialMin: Int64?

    @Option(help: "Private key that seals fine-tuned models, of the trainer. [PENSTOCK_TRAINER_KEY]")
    var trainerKey: String?

    @Flag(help: "Load model.json and its ONNX file unsealed. For development. [PENSTOCK_ALLOW_UNSEALED_MODEL=1]")
    var allowUnsealedModel = false

    public init() {}

    /// What was chosen on the command line.
    public var choice: ModelChoice {
        ModelChoice(
            keyBroker: keyBroker, keyBrokerCertificate: keyBrokerCertificate, trustedOwner: trustedOwner,
            attestation: attestation?.rawValue, insecureSampleAttestation: insecureSampleAttestation,
            lockMode: lockMode, serialMin: serialMin, trainerKey: trainerKey, allowUnsealedModel: allowUnsealedModel)
    }
}

/// The options as values; what the command line leaves out comes from the environment.
public struct ModelChoice: Sendable {
    var keyBroker: String?
    var keyBrokerCertificate: String?
    var trustedOwner: [String]
    var attestation: String?
    var insecureSampleAttestation: Bool
    var lockMode: LockMode?
    var serialMin: Int64?
    var trainerKey: String?
    var allowUnsealedModel: Bool

    private func variable(_ name: String) -> String? {
        ProcessInfo.processInfo.environment[name].flatMap { $0.isEmpty ? nil : $0 }
    }

    public var isUnsealed: Bool { allowUnsealedModel || variable("PENSTOCK_ALLOW_UNSEALED_MODEL") == "1" }

    public func resolvedLockMode() throws -> LockMode {
        if let lockMode { return lockMode }
        guard let text = variable("PENSTOCK_LOCK_MODE") else { return .bestEffort }
        guard let mode = LockMode(rawValue: text) else {
            throw SealingError(.badDocument, "PENSTOCK_LOCK_MODE is '\(text)': required, bestEffort or off")
        }
        return mode
    }

    private func owners() throws -> TrustedOwners {
        let paths =
            trustedOwner.isEmpty
            ? (variable("PENSTOCK_TRUSTED_OWNERS") ?? "").split(separator: ":").map(String.init) : trustedOwner
        guard !paths.isEmpty else {
            throw SealingError(.untrusted, "no owner is trusted: --trusted-owner FILE names his public key")
        }
        return TrustedOwners(try paths.map { try KeyFile.publicKey($0) })
    }

    /// What opening a model takes. Every mistake names the option.
    private func access() throws -> SealedModelAccess {
        guard let url = keyBroker ?? variable("PENSTOCK_KEY_BROKER") else {
            throw SealingError(
                .policy,
                "the model is sealed and no key broker is named: --key-broker https://HOST:PORT "
                    + "(or, for development, --allow-unsealed-model)")
        }
        guard (attestation ?? variable("PENSTOCK_ATTESTATION")) == SampleEvidenceProvider.tee else {
            throw AttestationError(
                .evidence,
                "no attestation provider is chosen: --attestation sample is all that this machine can do, "
                    + "and it proves nothing")
        }
        let evidence = try SampleEvidenceProvider(
            isAllowed: insecureSampleAttestation || variable("PENSTOCK_INSECURE_SAMPLE_ATTESTATION") == "1")
        let broker = try KeyBrokerClient(
            address: try BrokerAddress(url),
            certificatePath: keyBrokerCertificate ?? variable("PENSTOCK_KEY_BROKER_CERTIFICATE"), provider: evidence)
        return SealedModelAccess(
            broker: broker, owners: try owners(), usage: .inference, lockMode: try resolvedLockMode(),
            serialMin: serialMin ?? variable("PENSTOCK_SERIAL_MIN").flatMap { Int64($0) } ?? 0)
    }

    /// The store that the options ask for. For a program that opens sealed models the process is hardened.
    /// - Parameters:
    ///   - opensModels: false for a program that only verifies.
    ///   - basePath: of the pipeline's manifest.
    ///   - warn: gets a loud sentence when a model is not sealed or its attestation proves nothing.
    ///   - onOpen: gets each sealed model that is opened.
    public func store(
        folder: String, basePath: String, opensModels: Bool, warn: @escaping @Sendable (String) -> Void,
        onOpen: @escaping @Sendable (SealedModelSource) -> Void = { _ in }
    ) throws -> any ModelStore {
        guard !isUnsealed else { return UnsealedModelStore(folder: folder, warn: warn) }
        let owners = try owners()
        if opensModels {
            // Before a key or a model comes into the process.
            try ProcessHardening.apply(mode: try resolvedLockMode())
            ProcessHardening.filterCalls()
        }
        let access = opensModels ? try access() : nil
        if access?.broker.isInsecure == true {
            warn("INSECURE: models are opened on evidence that proves nothing (attestation provider sample)")
        }
        let sealer = try (trainerKey ?? variable("PENSTOCK_TRAINER_KEY")).map { path in
            let key = try KeyFile.privateKey(path)
            // Policy, validity and the rest come from the parent.
            return ModelSealer(
                owner: try SealedContainer(
                    path: SealedModelStore.container(beside: basePath), trusting: owners
                ).header.owner, signer: key, policy: try .sample(), leaseSeconds: 60)
        }
        return SealedModelStore(
            folder: folder, basePath: basePath, owners: owners, access: access, sealer: sealer, onOpen: onOpen)
    }
}
